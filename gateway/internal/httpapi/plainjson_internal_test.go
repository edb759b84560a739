package httpapi

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
)

func TestOnlyPlainJSONIsTaken(t *testing.T) {
	t.Parallel()
	deep := func(n int) string { return strings.Repeat("[", n) + strings.Repeat("]", n) }
	keys := func(n int, last string) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, `"key%d":%d,`, i, i)
		}
		return "{" + b.String() + `"` + last + `":0}`
	}
	nested := func(levels int, inner string) string {
		return strings.Repeat(`{"a":0,"b":0,"c":0,"d":0,"e":0,"f":0,"g":0,"h":0,"i":0,"j":`, levels) + inner + strings.Repeat("}", levels)
	}
	const bad, unfit = http.StatusBadRequest, http.StatusUnprocessableEntity
	for name, c := range map[string]struct {
		body string
		// status is 0 for what is taken.
		status         int
		location, says string
	}{
		"an object":                       {body: ` {"a": 1, "b" : [true, false, null], "c": {"a": "x"}} `},
		"empty containers":                {body: `{"a":{ },"b":[ ]}`},
		"every escape":                    {body: `["\"\\\/\b\f\n\r\t\u00e9\ud83d\ude00\uFFFF"]`},
		"every number":                    {body: `[0, -0, 10, -1.5, 1e9, 1E+9, 2.25e-3]`},
		"text in every script":            {body: `{"größe":"日本","😀":"😀"}`},
		"a bare value":                    {body: `"x"`},
		"64 levels":                       {body: deep(64)},
		"50000 values":                    {body: `[0` + strings.Repeat(",0", 49_998) + `]`},
		"a hundred keys in ten objects":   {body: nested(10, `{"a":0}`)},
		"a hundred keys":                  {body: keys(100, "last")},
		"the same key in different depth": {body: `{"a":{"a":{"a":1}},"b":[{"a":1},{"a":1}]}`},

		"a key twice below a hundred":            {nested(10, `{"k":0,"l":1,"K":2}`), bad, "body" + strings.Repeat(".j", 10) + ".K", "once"},
		"a key twice above a hundred":            {`{"a":` + nested(10, "0") + `,"A":0}`, bad, "body.A", "once"},
		"a key twice":                            {`{"a":1,"b":2,"a":3}`, bad, "body.a", "once"},
		"a key twice deep down":                  {`{"x":[0,{"y":{"secret":1,"secret":2}}]}`, bad, "body.x[1].y.secret", "once"},
		"a key twice, once escaped":              {`{"a":1,"\u0061":2}`, bad, "body.a", "once"},
		"a key in two spellings":                 {`{"role":1,"ROLE":2}`, bad, "body.ROLE", "spelling"},
		"a key with the Kelvin sign":             {"{\"key\":1,\"\u212Aey\":2}", bad, "body.\u212Aey", "spelling"},
		"a key twice among a hundred":            {keys(100, "key7"), bad, "body.key7", "once"},
		"a key twice among a hundred, by case":   {keys(100, "KEY99"), bad, "body.KEY99", "once"},
		"a late key twice, after a Kelvin sign":  {keys(20, "\u212AEY19"), bad, "body.\u212AEY19", "once"},
		"a NUL":                                  {`{"a":{"b":["x","y\u0000z"]}}`, unfit, "body.a.b[1]", "NUL"},
		"a NUL in a key":                         {`{"a":{"b\u0000":1}}`, unfit, "body.a", "NUL"},
		"a NUL as it is":                         {"[\"a\x00b\"]", bad, "body[0]", "control"},
		"a line break as it is":                  {"[\"a\nb\"]", bad, "body[0]", "control"},
		"no UTF-8":                               {"{\"a\":\"\xff\"}", bad, "body.a", "UTF-8"},
		"no UTF-8 in a key":                      {"{\"a\xff\":1}", bad, "body", "UTF-8"},
		"no UTF-8 outside of text":               {"{\"a\":1\xff}", bad, "body", "comma"},
		"an encoded surrogate":                   {"[\"\xed\xa0\x80\"]", bad, "body[0]", "UTF-8"},
		"half a character":                       {`["\ud83d"]`, bad, "body[0]", "halves"},
		"half a character and another":           {`["\ud83d\u0041"]`, bad, "body[0]", "halves"},
		"the second half first":                  {`["\ude00\ud83d"]`, bad, "body[0]", "halves"},
		"half a character at the end":            {`["\ud83d\`, bad, "body[0]", "halves"},
		"65 levels":                              {deep(65), bad, "body" + strings.Repeat("[0]", 64), "64 levels"},
		"a million levels":                       {strings.Repeat(`{"a":`, 1<<18), bad, "", "64 levels"},
		"50001 values":                           {`[0` + strings.Repeat(",0", 50_000) + `]`, bad, "body[49999]", "50000"},
		"nothing":                                {` `, bad, "body", "a value"},
		"a word":                                 {`nil`, bad, "body", "a value"},
		"something after the end":                {`{} {}`, bad, "body", "nothing after"},
		"an open object":                         {`{"a":1`, bad, "body", "end of the object"},
		"an open array":                          {`[1`, bad, "body", "end of the array"},
		"an open text":                           {`["abc`, bad, "body[0]", "end of a string"},
		"a comma too many in an object":          {`{"a":1,}`, bad, "body", "key"},
		"a comma too many in an array":           {`[1,]`, bad, "body[1]", "value"},
		"a key that is a number":                 {`{1:1}`, bad, "body", "key"},
		"no colon":                               {`{"a" 1}`, bad, "body.a", "colon"},
		"an escape that JSON does not know":      {`["\x41"]`, bad, "body[0]", "escape"},
		"an escape that is cut off":              {`["\u00`, bad, "body[0]", "hexadecimal"},
		"an escape that is no number":            {`["\u00zz"]`, bad, "body[0]", "hexadecimal"},
		"a leading zero":                         {`[01]`, bad, "body", "comma"},
		"a sign and no number":                   {`[-]`, bad, "body[0]", "digit"},
		"a plus sign":                            {`[+1]`, bad, "body[0]", "value"},
		"a point and no fraction":                {`[1.]`, bad, "body[0]", "digit"},
		"an exponent without digits":             {`[1e+]`, bad, "body[0]", "digit"},
		"NaN":                                    {`[NaN]`, bad, "body[0]", "value"},
		"a comment":                              {`{/* */}`, bad, "body", "key"},
		"a byte order mark":                      {"\ufeff{}", bad, "body", "value"},
		"single quotes":                          {`{'a':1}`, bad, "body", "key"},
		"a key that is longer than a message is": {`{"` + strings.Repeat("ü", 99) + `":x}`, bad, "body." + strings.Repeat("ü", 32), "value"},
	} {
		p := checkJSON([]byte(c.body))
		if c.status == 0 {
			if p != nil {
				t.Errorf("%s is refused: %+v", name, p)
			}
			continue
		}
		if p == nil {
			t.Errorf("%s is taken", name)
			continue
		}
		if p.Status != c.status || len(p.Errors) != 1 || !strings.Contains(p.Errors[0].Message, c.says) {
			t.Errorf("%s is refused with %d %+v, want %d and %q", name, p.Status, p.Errors, c.status, c.says)
		} else if c.location != "" && p.Errors[0].Location != c.location {
			t.Errorf("%s is said to be at %s, want %s", name, p.Errors[0].Location, c.location)
		}
	}
}

func FuzzCheckJSONTakesNoMoreThanTheDecoder(f *testing.F) {
	for _, seed := range []string{
		`{"a":[1,2.5e3,"x\u0041\ud83d\ude00"],"b":{"c":null}}`, `{"a":1,"A":2}`, `["\u0000"]`, `[1e+]`, "\"\xff\"", `[[[`, ` `,
	} {
		f.Add([]byte(seed))
	}
	f.Fuzz(func(t *testing.T, body []byte) {
		p := checkJSON(body)
		switch {
		case p == nil && !json.Valid(body):
			t.Errorf("%q is taken and is no JSON", body)
		case p != nil && json.Valid(body):
			for _, reason := range []string{"once", "NUL", "halves", "levels", "values", "UTF-8"} {
				if strings.Contains(p.Errors[0].Message, reason) {
					return
				}
			}
			t.Errorf("%q is JSON and refused: %+v", body, p.Errors)
		}
	})
}

const smallBody = `{"name":"Document Analyzer","description":"Answers from the documents of the project","agent_type":"analyzer",
	"llm_config":{"provider":"gemini","model":"gemini-2.5-flash","temperature":0.2},"tools":["document_search","calculator"]}`

func TestSmallBodiesAreCheckedWithoutAllocating(t *testing.T) {
	body := []byte(smallBody)
	if n := testing.AllocsPerRun(100, func() { _ = checkJSON(body) }); n != 0 {
		t.Errorf("%v allocations", n)
	}
}

func BenchmarkCheckJSON(b *testing.B) {
	body := []byte(smallBody)
	b.SetBytes(int64(len(body)))
	for b.Loop() {
		if p := checkJSON(body); p != nil {
			b.Fatal(p)
		}
	}
}
