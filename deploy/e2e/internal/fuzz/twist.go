package fuzz

import (
	"fmt"
	"maps"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"github.com/tarento/copilot/deploy/e2e/internal/arbitrary"
	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// twist makes something about the request unusual or wrong.
type twist struct {
	weight int
	fits   func(*composer) bool
	do     func(*composer)
}

// twists are all there are, beside those that concern who sends the request.
func twists() []twist {
	always := func(*composer) bool { return true }
	takesJSON := func(c *composer) bool { return c.schema(openapi.MediaJSON) != nil }
	return []twist{
		{30, takesJSON, (*composer).spoilBody},
		{8, takesJSON, (*composer).mangleBody},
		{3, func(c *composer) bool { return len(c.op.Body) > 0 }, (*composer).otherMedia},
		{40, func(c *composer) bool { return c.schema(openapi.MediaForm) != nil }, (*composer).oddForm},
		{10, func(c *composer) bool { return strings.Contains(c.op.Path, "{") }, (*composer).badPath},
		{18, func(c *composer) bool { return len(c.queries()) > 0 }, (*composer).badQuery},
		{3, always, (*composer).oddQuery},
		{8, always, (*composer).oddHeader},
		{8, func(c *composer) bool { return len(c.headers()) > 0 }, (*composer).badHeader},
		{8, func(c *composer) bool { return c.op.Secured }, (*composer).badLogin},
		{2, always, (*composer).otherMethod},
	}
}

// upset applies a twist that fits, or seldom two.
func (c *composer) upset() {
	all := slices.DeleteFunc(twists(), func(t twist) bool { return !t.fits(c) })
	for range 1 + c.random.IntN(6)/5 {
		sum := 0
		for _, t := range all {
			sum += t.weight
		}
		n := c.random.IntN(sum)
		for _, t := range all {
			if n -= t.weight; n < 0 {
				t.do(c)
				break
			}
		}
	}
}

func (c *composer) say(what string) { c.odd = append(c.odd, what) }

// must notes whether a part of the request, as it is now, must be refused.
func (c *composer) must(refuse bool, part, why string) {
	delete(c.refuse, part)
	if refuse {
		c.refuse[part] = why
	}
}

const misfit = "does not fit its schema"

func (c *composer) spoilBody() {
	s := *c.schema(openapi.MediaJSON)
	value, what := c.gen.Spoil(s, c.gen.Value(s, ""))
	if c.random.IntN(5) == 0 {
		var more string
		value, more = c.gen.Spoil(s, value)
		what += " and " + more
	}
	c.body = arbitrary.Encode(value)
	c.say("body: " + what)
	c.must(!s.Fits(c.body), "the body", misfit)
}

func (c *composer) mangleBody() {
	var what string
	c.body, what = arbitrary.Mangle(c.random, c.body)
	c.say("body: " + what)
	empty := len(c.body) == 0 && !c.op.BodyRequired
	s := *c.schema(openapi.MediaJSON)
	c.must(!empty && !s.Fits(c.body) || len(c.body) >= arbitrary.TooLarge, "the body", misfit)
}

func (c *composer) otherMedia() {
	media := []string{
		"application/xml", "text/plain", "application/x-www-form-urlencoded", "application/octet-stream", "", "nonsense", ";",
		"application/json; charset=utf-16", "multipart/form-data; boundary=x", "application/cbor",
		strings.Repeat("a", 2000) + "/b", "application/json, text/plain",
	}
	chosen := media[c.random.IntN(len(media))]
	c.header["Content-Type"] = []string{chosen}
	if c.random.IntN(4) == 0 {
		c.header.Set("Content-Encoding", []string{"gzip", "br", "nonsense"}[c.random.IntN(3)])
	}
	c.say(fmt.Sprintf("media type %.40q", chosen))
}

func (c *composer) oddForm() {
	var media, what string
	c.body, media, what = c.gen.Form(*c.schema(openapi.MediaForm), true)
	c.header.Set("Content-Type", media)
	c.say("form: " + what)
	c.must(strings.Contains(what, "no file"), "the form", "has no file")
}

// badPath puts something into the path that is no id.
func (c *composer) badPath() {
	names := slices.DeleteFunc(strings.Split(c.op.Path, "/"), func(part string) bool { return !strings.HasPrefix(part, "{") })
	name := strings.Trim(names[c.random.IntN(len(names))], "{}")
	p, _ := c.op.Parameter(openapi.InPath, name)
	odd := arbitrary.Nasty(c.random)
	if c.random.IntN(2) == 0 {
		bad := arbitrary.BadIDs(c.random)
		odd = bad[c.random.IntN(len(bad))]
	}
	c.say(name + " in the path: " + odd.What)
	at := slices.Index(strings.Split(c.op.Path, "/"), "{"+name+"}")
	parts := strings.Split(c.path, "/")
	parts[at] = url.PathEscape(odd.Text)
	c.path = strings.Join(parts, "/")
	// Whether an encoded slash parts a path, and what a dot or nothing is in one, routers decide.
	c.astray = c.astray || odd.Text == "" || strings.ContainsAny(odd.Text, "/\\") || strings.Contains(odd.Text, "%2f")
	c.must(p.Schema.Text("format") == "uuid" || !p.Schema.FitsString(odd.Text), name, misfit)
}

// queries and headers are the parameters in those places.
func (c *composer) queries() []openapi.Parameter { return c.parametersIn(openapi.InQuery) }
func (c *composer) headers() []openapi.Parameter { return c.parametersIn(openapi.InHeader) }

func (c *composer) parametersIn(in string) []openapi.Parameter {
	return slices.DeleteFunc(slices.Clone(c.op.Parameters), func(p openapi.Parameter) bool { return p.In != in })
}

// badQuery gives a parameter of the query a value that it was not made for.
func (c *composer) badQuery() {
	all := c.queries()
	p := all[c.random.IntN(len(all))]
	odd := c.badValue(p)
	c.query.Set(p.Name, odd.Text)
	c.say(p.Name + " in the query: " + odd.What)
	twice := c.random.IntN(6) == 0 // which of two counts is not said
	if twice {
		c.query.Add(p.Name, c.parameter(p))
		c.say(p.Name + " twice")
	}
	c.must(!twice && odd.Text != "" && clearly(p.Schema, odd.Text), p.Name, misfit)
}

// clearly tells whether a text is nothing that a parameter may be, however generously it is read.
func clearly(s openapi.Schema, value string) bool {
	if s.Text("format") == "uuid" && len(value) < 32 {
		return true
	}
	generous := slices.Contains([]string{"1", "0", "t", "f", "T", "F", "True", "False", "TRUE", "FALSE"}, value)
	return !s.FitsString(value) && !generous && len(s.Types()) == 1 && s.Types()[0] != "array"
}

// badValue chooses a value for a parameter that it was not made for, or only just.
func (c *composer) badValue(p openapi.Parameter) arbitrary.Oddity {
	kind := ""
	if types := p.Schema.Types(); len(types) > 0 {
		kind = types[0]
	}
	if strings.EqualFold(p.Name, "cursor") && c.random.IntN(4) > 0 {
		return c.badCursor()
	}
	var options []arbitrary.Oddity
	switch {
	case kind == "integer" || kind == "number":
		options = []arbitrary.Oddity{
			{What: "minus one", Text: "-1"},
			{What: "nothing at all", Text: "0"},
			{What: "a fraction", Text: "1.5"},
			{What: "a huge number", Text: "2147483648"},
			{What: "a larger number", Text: "9223372036854775808"},
			{What: "an exponent", Text: "1e3"},
			{What: "not a number", Text: "NaN"},
			{What: "infinity", Text: "Inf"},
			{What: "words", Text: "ten"},
		}
		for _, keyword := range []string{"minimum", "maximum"} {
			if edge, ok := p.Schema.Number(keyword); ok {
				for _, step := range []float64{-1, 0, 1} {
					near := strconv.FormatFloat(edge+step, 'f', -1, 64)
					options = append(options, arbitrary.Oddity{What: "near its " + keyword, Text: near})
				}
			}
		}
	case p.Schema.Text("format") == "uuid":
		options = arbitrary.BadIDs(c.random)
	case kind == "boolean":
		options = []arbitrary.Oddity{{What: "maybe", Text: "maybe"}, {What: "two", Text: "2"}, {What: "null", Text: "null"}}
	}
	if most, ok := p.Schema.Number("maxLength"); ok {
		options = append(options, arbitrary.Oddity{What: "one character too many", Text: strings.Repeat("z", int(most)+1)})
	}
	if len(options) == 0 || c.random.IntN(3) == 0 {
		options = append(options, arbitrary.Oddities()...)
	}
	chosen := options[c.random.IntN(len(options))]
	if len(chosen.Text) > 8<<10 {
		chosen.Text = chosen.Text[:8<<10] // a longer one is a question for the server, not for the operation
	}
	return chosen
}

// badCursor tampers with a cursor that an answer had.
func (c *composer) badCursor() arbitrary.Oddity {
	cursors := map[string]string{}
	if h, ok := c.world.(*house); ok {
		cursors = h.cursors
	}
	own := cursors[c.op.ID]
	var options []arbitrary.Oddity
	if n := len(own); n > 2 {
		middle := own[:n/2] + string(own[n/2]^1) + own[n/2+1:]
		options = []arbitrary.Oddity{
			{What: "a cursor with a character changed", Text: middle},
			{What: "half a cursor", Text: own[:n/2]},
			{What: "a cursor and more", Text: own + "AAAA"},
			{What: "a cursor twice", Text: own + own},
		}
	}
	for _, id := range slices.Sorted(maps.Keys(cursors)) {
		if id != c.op.ID {
			options = append(options, arbitrary.Oddity{What: "the cursor of " + id, Text: cursors[id]})
		}
	}
	options = append(options, arbitrary.Oddity{What: "a cursor that is none", Text: "bm90IGEgY3Vyc29y"},
		arbitrary.Oddity{What: "a cursor of 16 bytes", Text: "AAAAAAAAAAAAAAAAAAAAAA"})
	return options[c.random.IntN(len(options))]
}

// oddQuery adds to the query what no operation knows.
func (c *composer) oddQuery() {
	options := []arbitrary.Oddity{
		{What: "an unknown parameter", Text: "&unknown=1"},
		{What: "an encoding that breaks off", Text: "&a=%"},
		{What: "an encoding that is none", Text: "&%zz=%zz"},
		{What: "NUL", Text: "&a=%00&%00=b"},
		{What: "bytes that are no UTF-8", Text: "&search=%ff%fe&a=%c0%80"},
		{What: "semicolons", Text: "&a=1;b=2"},
		{What: "nothing but signs", Text: "&&=&&=="},
		{What: "brackets", Text: "&filter[a][b]=1&limit[]=2"},
		{What: "five hundred parameters", Text: strings.Repeat("&limit=1", 500)},
	}
	chosen := options[c.random.IntN(len(options))]
	c.raw = chosen.Text
	c.say("query: " + chosen.What)
}

// oddHeader adds a header that HTTP knows and the operation need not.
func (c *composer) oddHeader() {
	options := []string{
		"Range: bytes=0-0",
		"Range: bytes=9999999999-",
		"Range: bytes=5-2,0-1,-0,-99999999999999999999",
		"Range: bytes=" + strings.TrimSuffix(strings.Repeat("0-0,", 500), ","),
		"Range: lines=1-2",
		"If-Range: \"x\"",
		"If-Match: *",
		`If-Match: "nothing like it"`,
		`If-Match: W/"weak", "b", c`,
		`If-Match: "unclosed`,
		"If-None-Match: *",
		`If-None-Match: "a", W/"b"`,
		"If-Unmodified-Since: yesterday",
		"If-Modified-Since: Mon, 99 Foo 2099 99:99:99 GMT",
		"Idempotency-Key: " + strings.Repeat("k", 4000),
		"Idempotency-Key: a key with spaces, \"quotes\" and é",
		"Prefer: wait=-1",
		"Prefer: wait=soon, wait=\"1\"; x, =,;",
		"Prefer: wait=1e9",
		"Accept: image/png",
		"Accept: application/xml;q=nonsense, */*;q=-1",
		"Accept: " + strings.Repeat("a/b,", 1000),
		"Accept-Encoding: nonsense;q=5, *;q=0",
		"Accept-Language: " + strings.Repeat("x-", 500),
		"X-Request-ID: not\"sane{}<>",
		"X-Request-ID: " + strings.Repeat("r", 5000),
		"X-Forwarded-For: 999.1.1.1, ::1, nonsense",
		"X-Forwarded-Host: evil.example.com",
		"X-HTTP-Method-Override: DELETE",
		"X-Original-URL: /api/v1/users",
		"Origin: https://evil.example.com",
		"Origin: null",
		"Cookie: " + strings.Repeat("a=b; ", 500),
		"Expect: 100-continue",
		"Transfer-Encoding: identity",
		"Last-Event-ID: -1",
		"Traceparent: 00-ffffffffffffffffffffffffffffffff-ffffffffffffffff-zz",
		"User-Agent: " + strings.Repeat("é", 3000),
		"X-Huge: h",
	}
	chosen := options[c.random.IntN(len(options))]
	name, value, _ := strings.Cut(chosen, ": ")
	if name == "X-Huge" {
		value = strings.Repeat(value, 200<<10)
	}
	c.header.Set(name, value)
	c.bulky = c.bulky || len(value) > 16<<10
	c.say(fmt.Sprintf("header %.60s", chosen))
}

// badHeader gives a header that the operation knows a value that it was not made for.
func (c *composer) badHeader() {
	all := c.headers()
	p := all[c.random.IntN(len(all))]
	odd := c.badValue(p)
	c.setHeader(p.Name, odd.Text)
	c.say("header " + p.Name + ": " + odd.What)
}

// badLogin sends credentials that are none.
func (c *composer) badLogin() {
	token := strings.TrimPrefix(c.header.Get("Authorization"), "Bearer ")
	if c.unknown || token == "" {
		return
	}
	broken := []byte(token)
	broken[c.random.IntN(len(broken)*9/10)] ^= 3 // the last character holds bits that mean nothing
	options := []arbitrary.Oddity{
		{What: "no Authorization"},
		{What: "a scheme and nothing else", Text: "Bearer"},
		{What: "a token that is none", Text: "Bearer x"},
		{What: "three parts that are none", Text: "Bearer a.b.c"},
		{What: "another scheme", Text: "Basic YWRtaW46YWRtaW4="},
		{What: "a token without its scheme", Text: token},
		{What: "a token that was changed", Text: "Bearer " + string(broken)},
		{What: "a token that breaks off", Text: "Bearer " + token[:len(token)/2]},
		{What: "a token and more", Text: "Bearer " + token + "x"},
		{What: "two tokens", Text: "Bearer " + token + ", Bearer " + token},
		{What: "a token that needs no signature", Text: "Bearer eyJhbGciOiJub25lIiwidHlwIjoiSldUIn0.eyJzdWIiOiJhIn0."},
		{What: "a long token", Text: "Bearer " + strings.Repeat("t", 8000)},
		{What: "letters that no token has", Text: "Bearer é\xff💥"},
		{What: "an API key that is none", Text: "Bearer cpk_0000000000000000_0000"},
	}
	chosen := options[c.random.IntN(len(options))]
	c.header.Del("Authorization")
	if chosen.Text != "" {
		c.header["Authorization"] = []string{chosen.Text}
	}
	c.unknown = true
	c.say(chosen.What)
}

// otherMethod asks with a method that the operation does not have.
func (c *composer) otherMethod() {
	methods := []string{"PUT", "DELETE", "PATCH", "POST", "GET", "HEAD", "OPTIONS", "TRACE", "PROPFIND", "get", "NONSENSE"}
	chosen := methods[c.random.IntN(len(methods))]
	if chosen == c.method {
		return
	}
	c.method, c.astray = chosen, true
	c.say("method " + chosen)
}
