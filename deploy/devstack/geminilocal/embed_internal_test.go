package geminilocal

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
	"testing"
)

func TestTerms(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want []string
	}{
		"stop words vanish and case does not matter": {"What IS the Capital of France?", []string{"capital", "france"}},
		"plurals become singulars": {
			"policies boxes glasses branches cats status analysis",
			[]string{"policy", "box", "glass", "branch", "cat", "status", "analysis"},
		},
		"possessives and identifiers fall apart": {
			"Acme's apt-get, 10,000 euros",
			[]string{"acme", "apt", "get", "10", "000", "euro"},
		},
		"letters of other scripts are letters": {"Größe ÉTÉ", []string{"größe", "été"}},
		"a run without spaces is cut at the term length": {
			strings.Repeat("x", maxTerm+5),
			[]string{strings.Repeat("x", maxTerm), "xxxxx"},
		},
		"nothing comes of punctuation": {"?! …", nil},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := terms(tc.text); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}

func TestVectorsSurviveTheirTrip(t *testing.T) {
	t.Parallel()
	in := []float32{0, 1, -1, 0.5, -0.25, 0.000001, 0.0000001, 0.999999, -0.123456}
	var out []float32
	if err := json.Unmarshal(appendVector(nil, in), &out); err != nil {
		t.Fatalf("%s: %v", appendVector(nil, in), err)
	}
	for i := range in {
		if math.Abs(float64(in[i]-out[i])) > 1e-6 {
			t.Errorf("place %d: %v became %v", i, in[i], out[i])
		}
	}
}

func TestDurationRefusesAnythingButADurationString(t *testing.T) {
	t.Parallel()
	for _, in := range []string{`1`, `"soon"`, `{}`} {
		if err := json.Unmarshal([]byte(in), new(Duration)); err == nil {
			t.Errorf("%s was read as a duration", in)
		}
	}
}

func BenchmarkEmbed(b *testing.B) {
	short := "How many days of annual leave does an employee get?"
	for name, text := range map[string]string{"short": short, "passage": strings.Repeat(short+" ", 30)} {
		b.Run(name, func(b *testing.B) {
			var e embedder
			buf := make([]byte, 0, 16<<10)
			for b.Loop() {
				buf = appendVector(buf[:0], e.embed(text, defaultDimension))
			}
		})
	}
}
