package store

import (
	"slices"
	"testing"
)

func FuzzStringArrayReadsBackWhatItWrote(f *testing.F) {
	f.Add("", "a")
	f.Add(`"`, `\`)
	f.Add("{,}", `a","b`)
	f.Add("NULL", " x ")
	f.Add("ü\n", "\x80")
	f.Fuzz(func(t *testing.T, a, b string) {
		for _, want := range []StringArray{{a}, {a, b}, {b, a, b}} {
			text, err := want.Value()
			if err != nil {
				t.Fatal(err)
			}
			var got StringArray
			if err := got.Scan(text); err != nil {
				t.Fatalf("read %q: %v", text, err)
			}
			if !slices.Equal(got, want) {
				t.Errorf("%q became %q by way of %q", want, got, text)
			}
		}
	})
}

func TestStringArrayReadsTheTextFormOfPostgres(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]StringArray{
		"{}":                {},
		"{a,b c}":           {"a", "b c"},
		`{"a,b",c,"d\"e"}`:  {"a,b", "c", `d"e`},
		`{"","NULL","\\x"}`: {"", "NULL", `\x`},
	} {
		var got StringArray
		if err := got.Scan([]byte(text)); err != nil || got == nil || !slices.Equal(got, want) {
			t.Errorf("%s: read %q, want %q (%v)", text, got, want, err)
		}
	}
}

func TestColumnsRefuseWhatTheyCannotHold(t *testing.T) {
	t.Parallel()
	for name, err := range map[string]error{
		"an array without braces":     new(StringArray).Scan("a,b"),
		"an array that ends early":    new(StringArray).Scan(`{"a}`),
		"an array of a dangling mark": new(StringArray).Scan(`{"a\}`),
		"a number as an array":        new(StringArray).Scan(int64(1)),
		"a null as an array":          new(StringArray).Scan(nil),
		"an array as an object":       new(Object).Scan("[]"),
		"an object as a list":         new(List[any]).Scan("{}"),
		"no JSON at all":              new(Object).Scan("{"),
	} {
		if err == nil {
			t.Errorf("%s was accepted", name)
		}
	}
}

func TestNilColumnsAreStoredEmpty(t *testing.T) {
	t.Parallel()
	object, _ := Object(nil).Value()
	list, _ := List[any](nil).Value()
	array, _ := StringArray(nil).Value()
	if object != "{}" || list != "[]" || array != "{}" {
		t.Errorf("stored %v, %v and %v", object, list, array)
	}
}
