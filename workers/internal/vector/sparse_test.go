package vector

import (
	"math"
	"slices"
	"strings"
	"testing"
)

func TestWordsAreFoundInAnyScript(t *testing.T) {
	t.Parallel()
	tests := []struct{ name, text, want string }{
		{"case and punctuation do not count", "Hello, WORLD! (hello)", "hello world hello"},
		{"stop words are left out", "What is the name of the rose?", "nam ros"},
		{"contractions leave their word", "The company's plan: we don't", "compani plan don"},
		{"numbers and codes stay", "ISO-9001 v2 and RFC 9457", "iso 9001 v2 rfc 9457"},
		{"underscores separate", "user_id", "user id"},
		{"ligatures of PDFs are letters", "e\ufb03cient \ufb01les", "efficient fil"},
		{"accents are folded", "R\u00e9sum\u00e9 Cafe\u0301 na\u00efve \u00dcber", "resum caf naiv uber"},
		{"full-width letters are letters", "\uff21\uff22\uff23", "abc"},
		{"Cyrillic is lower-cased and left unstemmed", "\u041d\u0435\u0431\u043e", "\u043d\u0435\u0431\u043e"},
		{"marks of other scripts belong to their word", "\u0939\u093f\u0928\u094d\u0926\u0940", "\u0939\u093f\u0928\u094d\u0926\u0940"},
		{"Chinese becomes pairs", "\u6771\u4eac\u90fd", "\u6771\u4eac \u4eac\u90fd"},
		{"a single character is a word", "\u732b", "\u732b"},
		{"scripts that touch are separated", "Go\u8a00\u8a9e101", "go \u8a00\u8a9e 101"},
		{"blobs are left out", "x " + strings.Repeat("A1", 40) + " y", "x y"},
		{"invalid bytes separate", "red\xffblue", "red blu"},
		{"nothing is nothing", " \n\t.,;", ""},
	}
	for _, test := range tests {
		t.Run(test.name, func(t *testing.T) {
			t.Parallel()
			want := strings.Fields(test.want)
			if got := slices.Collect(words(test.text)); !slices.Equal(got, want) {
				t.Errorf("words are %q, want %q", got, want)
			}
		})
	}
}

func TestFormsOfAWordShareAStem(t *testing.T) {
	t.Parallel()
	for _, forms := range [][]string{
		{"policy", "policies"},
		{"index", "indexes", "indexed", "indexing"},
		{"store", "stores", "stored", "storing"},
		{"run", "runs", "running"},
		{"plan", "plans", "planned", "planning"},
		{"process", "processes", "processed", "processing"},
		{"use", "uses", "used", "using"},
		{"study", "studies", "studied", "studying"},
		{"call", "calls", "called", "calling"},
		{"employee", "employees"},
		{"box", "boxes"},
		{"go", "goes", "going"},
		{"exceed", "exceeds", "exceeded", "exceeding"},
	} {
		for _, form := range forms {
			if stem(form) != stem(forms[0]) {
				t.Errorf("%s becomes %s, but %s becomes %s", form, stem(form), forms[0], stem(forms[0]))
			}
		}
	}
	for _, word := range []string{"bus", "status", "analysis", "class", "king", "string", "need", "red", "bed", "thing"} {
		if stem(word) != word {
			t.Errorf("%s is cut to %s", word, stem(word))
		}
	}
}

func TestDocumentsAreWeighedByBM25(t *testing.T) {
	t.Parallel()
	short := EncodeDocument("alpha beta, alpha, alpha")
	long := EncodeDocument(strings.Repeat("alpha ", 3) + strings.Repeat("filler ", 2*averageLength))
	weight := func(s Sparse, word string) float64 {
		at, ok := slices.BinarySearch(s.Indices, index(stem(word)))
		if !ok {
			t.Fatalf("%s has no index", word)
		}
		return float64(s.Values[at])
	}
	want := 3 * 2.2 / (3 + 1.2*(0.25+0.75*4/256))
	if got := weight(short, "alpha"); math.Abs(got-want) > 1e-6 {
		t.Errorf("alpha weighs %v, want %v", got, want)
	}
	if weight(short, "alpha") <= weight(short, "beta") {
		t.Error("a word that is repeated weighs no more")
	}
	if weight(short, "alpha") >= 3*weight(short, "beta") {
		t.Error("repetition is not held back")
	}
	if weight(long, "alpha") >= weight(short, "alpha") {
		t.Error("length is not held back")
	}
}

func TestIndicesAreUniqueAndAscend(t *testing.T) {
	t.Parallel()
	for _, s := range []Sparse{EncodeDocument("one two three two one four one"), EncodeQuery("one two three two one four one")} {
		if len(s.Indices) != 4 || len(s.Values) != 4 {
			t.Fatalf("%d indices and %d values, want 4", len(s.Indices), len(s.Values))
		}
		if !slices.IsSorted(s.Indices) || len(slices.Compact(slices.Clone(s.Indices))) != len(s.Indices) {
			t.Errorf("indices are %v", s.Indices)
		}
	}
	for i, v := range EncodeQuery("twice once twice").Values {
		if v != 1 {
			t.Errorf("weight %d of a query is %v, want 1", i, v)
		}
	}
	if !EncodeQuery("the of and").IsEmpty() || !EncodeDocument("").IsEmpty() {
		t.Error("a text without words is not empty")
	}
}

func FuzzEncodeDocument(f *testing.F) {
	f.Add("Hello, w\u00f6rld \u2014 \u6771\u4eac \u0438 \u0435\u0449\u0451 \xff")
	f.Fuzz(func(t *testing.T, text string) {
		s := EncodeDocument(text)
		if len(s.Indices) != len(s.Values) || !slices.IsSorted(s.Indices) {
			t.Errorf("indices %v, values %v", s.Indices, s.Values)
		}
		for _, v := range s.Values {
			if !(v > 0 && v <= saturation+1) {
				t.Errorf("weight %v is out of range", v)
			}
		}
		if !slices.Equal(EncodeQuery(text).Indices, s.Indices) {
			t.Error("the same text as a query has other words")
		}
	})
}
