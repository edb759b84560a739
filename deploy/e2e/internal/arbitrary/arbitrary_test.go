package arbitrary_test

import (
	"bytes"
	"encoding/json"
	"math/rand/v2"
	"mime"
	"mime/multipart"
	"regexp"
	"strings"
	"testing"
	"unicode/utf8"

	"github.com/tarento/copilot/deploy/e2e/internal/arbitrary"
	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// everything is a schema with all that the API's schemas use.
const everything = `{
  "type": "object", "additionalProperties": false, "required": ["name", "count", "kind", "owner_id", "tags"],
  "properties": {
    "name": {"type": "string", "minLength": 3, "maxLength": 20},
    "slug": {"type": "string", "pattern": "^[a-z][a-z0-9-]{2,8}$", "maxLength": 9},
    "count": {"type": "integer", "minimum": -5, "maximum": 7},
    "large": {"type": "integer", "minimum": 9000000000},
    "above": {"type": "integer", "exclusiveMinimum": 0},
    "share": {"type": "number", "minimum": 0.25, "maximum": 0.75},
    "kind": {"type": "string", "enum": ["a", "b"]},
    "fixed": {"const": 3},
    "owner_id": {"type": "string", "format": "uuid"},
    "born": {"type": "string", "format": "date-time"},
    "day": {"type": "string", "format": "date"},
    "email": {"type": ["string", "null"], "format": "email"},
    "link": {"type": "string", "format": "uri"},
    "flag": {"type": "boolean"},
    "tags": {"type": "array", "minItems": 1, "maxItems": 4, "items": {"type": "string", "minLength": 1, "maxLength": 5}},
    "model": {"type": "string", "examples": ["some-model"]},
    "either": {"oneOf": [{"type": "integer"}, {"type": "boolean"}]},
    "open": {"type": "object", "additionalProperties": {"type": "integer"}},
    "any": {},
    "password": {"type": "string", "minLength": 8},
    "confirm_password": {"type": "string", "minLength": 8},
    "child": {"$ref": "#/components/schemas/Thing"}
  }
}`

// schemas compiles the schema of a request's JSON body and of its form.
func schemas(t *testing.T) (body, form openapi.Schema) {
	t.Helper()
	doc, err := openapi.Parse([]byte(`{
		"paths": {"/things": {"post": {
			"requestBody": {"content": {
				"application/json": {"schema": {"$ref": "#/components/schemas/Thing"}},
				"multipart/form-data": {"schema": {"type": "object", "required": ["file"], "properties": {
					"file": {"type": "string", "format": "binary"}, "title": {"type": "string"}, "is_public": {"type": "boolean"}}}}
			}}, "responses": {}}}},
		"components": {"schemas": {"Thing": ` + everything + `}}}`))
	if err != nil {
		t.Fatal(err)
	}
	return doc.Operations[0].Body[openapi.MediaJSON], doc.Operations[0].Body[openapi.MediaForm]
}

func generator(seed uint64) *arbitrary.Generator {
	return &arbitrary.Generator{Rand: rand.New(rand.NewPCG(seed, 1))}
}

func TestWhatIsMadeUpFits(t *testing.T) {
	t.Parallel()
	schema, _ := schemas(t)
	seen := map[string]bool{}
	for seed := range uint64(200) {
		g := generator(seed)
		g.Plain = seed%2 == 0
		value := g.Value(schema, "")
		text := arbitrary.Encode(value)
		if !schema.Fits(text) {
			t.Fatalf("seed %d made %s, which does not fit", seed, text)
		}
		object, ok := value.(arbitrary.Object)
		if !ok {
			t.Fatalf("seed %d made a %T", seed, value)
		}
		for _, field := range object {
			seen[field.Name] = true
		}
	}
	for _, name := range schema.Properties() {
		if !seen[name] {
			t.Errorf("%s was never there", name)
		}
	}
}

func TestTheSameSourceMakesTheSame(t *testing.T) {
	t.Parallel()
	schema, form := schemas(t)
	made := func(seed uint64) string {
		g := generator(seed)
		value := g.Value(schema, "")
		spoiled, what := g.Spoil(schema, value)
		mangled, how := arbitrary.Mangle(g.Rand, arbitrary.Encode(spoiled))
		_, _, odd := g.Form(form, true)
		return string(arbitrary.Encode(value)) + what + string(mangled) + how + odd
	}
	different := map[string]bool{}
	for seed := range uint64(100) {
		once, again := made(seed), made(seed)
		if once != again {
			t.Errorf("seed %d made two things", seed)
		}
		different[once] = true
	}
	if len(different) < 99 {
		t.Errorf("100 seeds made only %d things", len(different))
	}
}

func TestWhatIsSpoiledMostlyDoesNotFit(t *testing.T) {
	t.Parallel()
	schema, _ := schemas(t)
	misfits := 0
	ways := map[string]bool{}
	const tries = 700
	for seed := range uint64(tries) {
		g := generator(seed)
		value := g.Value(schema, "")
		before := arbitrary.Encode(value)
		spoiled, what := g.Spoil(schema, value)
		if !schema.Fits(arbitrary.Encode(spoiled)) {
			misfits++
		}
		if !bytes.Equal(before, arbitrary.Encode(value)) {
			t.Fatalf("seed %d: spoiling (%s) has changed the value", seed, what)
		}
		how, _, _ := strings.Cut(what, " at ")
		if strings.HasSuffix(how, " twice") {
			how = "a field twice"
		}
		ways[how] = true
	}
	if misfits < tries/2 {
		t.Errorf("only %d of %d do not fit", misfits, tries)
	}
	for _, want := range []string{
		"null", "no name", "a field that is unknown", "a field twice", "NUL", "NUL as an escape", "half a surrogate pair", "bytes that are no UTF-8",
		"more than the largest int64", "more than the largest float", "minus one", "too many items", "no items", "one character too many",
		"an id that is none", "a value that nests 200 deep", "text from right to left", "astral characters", "a tower of combining characters",
		"three thousand fields that are unknown", "name in capitals",
	} {
		if !ways[want] {
			t.Errorf("nothing was spoiled by %q", want)
		}
	}
}

func TestABodyIsMangled(t *testing.T) {
	t.Parallel()
	body := []byte(`{"name": "lamp"}`)
	sizes := map[bool]int{}
	for seed := range uint64(200) {
		mangled, what := arbitrary.Mangle(rand.New(rand.NewPCG(seed, 1)), body)
		if bytes.Equal(mangled, body) {
			t.Errorf("%s is what it was", what)
		}
		sizes[len(mangled) >= arbitrary.TooLarge]++
	}
	if sizes[true] == 0 || sizes[false] == 0 {
		t.Errorf("too large and not: %v", sizes)
	}
	if _, what := arbitrary.Mangle(rand.New(rand.NewPCG(1, 1)), nil); what == "" {
		t.Error("nothing cannot be mangled")
	}
}

func TestValuesAreWrittenAsJSON(t *testing.T) {
	t.Parallel()
	value := arbitrary.Object{
		{"b", []any{nil, true, 1, 2.5, json.Number("1e3"), "<é>\u2028"}}, {"a", arbitrary.Object{}}, {"b", arbitrary.Raw(`"\ud800"`)},
	}
	const want = `{"b":[null,true,1,2.5,1e3,"<é>\u2028"],"a":{},"b":"\ud800"}`
	if got := string(arbitrary.Encode(value)); got != want {
		t.Errorf("wrote %s, want %s", got, want)
	}
}

func TestOdditiesAreTexts(t *testing.T) {
	t.Parallel()
	seen := map[string]bool{}
	for _, odd := range arbitrary.Oddities() {
		if !utf8.ValidString(odd.Text) || odd.What == "" || seen[odd.What] {
			t.Errorf("%q is no UTF-8, has no name or one that another has", odd.What)
		}
		seen[odd.What] = true
	}
	id := regexp.MustCompile(`^[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}$`)
	for _, bad := range arbitrary.BadIDs(rand.New(rand.NewPCG(1, 1))) {
		if id.MatchString(bad.Text) {
			t.Errorf("%s is an id: %s", bad.What, bad.Text)
		}
	}
	if made := arbitrary.UUID(rand.New(rand.NewPCG(1, 1))); !id.MatchString(made) {
		t.Errorf("%s is no id", made)
	}
}

func TestAFormHasItsFileUnlessItIsOdd(t *testing.T) {
	t.Parallel()
	_, schema := schemas(t)
	for seed := range uint64(200) {
		body, media, _ := generator(seed).Form(schema, false)
		_, params, err := mime.ParseMediaType(media)
		if err != nil {
			t.Fatal(err)
		}
		form, err := multipart.NewReader(bytes.NewReader(body), params["boundary"]).ReadForm(1 << 20)
		if err != nil || len(form.File["file"]) != 1 || form.File["file"][0].Size == 0 {
			t.Fatalf("seed %d made a form without a file (%v): %s", seed, err, body)
		}
	}
	ways := map[string]bool{}
	for seed := range uint64(500) {
		_, _, what := generator(seed).Form(schema, true)
		ways[what] = true
	}
	for _, want := range []string{"no file", "two files", "an empty file", "a form that breaks off", "a form without a boundary", "a path upwards as a filename"} {
		if !ways[want] {
			t.Errorf("no form was %q", want)
		}
	}
}
