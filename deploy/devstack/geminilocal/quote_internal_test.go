package geminilocal

import (
	"slices"
	"testing"
)

func TestCutSentences(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		text string
		want []string
	}{
		"a line end inside a sentence is a space": {
			"One sentence\nover two lines. Another.",
			[]string{"One sentence over two lines.", "Another."},
		},
		"paragraphs end sentences": {
			"A heading\n\nA text without an end",
			[]string{"A heading", "A text without an end"},
		},
		"headings stand alone": {"## Leave\nYou get 25 days.", []string{"## Leave", "You get 25 days."}},
		"list items stand alone": {
			"Bring:\n- a pen\n- paper,\n  two sheets\n2. ink",
			[]string{"Bring:", "- a pen", "- paper, two sheets", "2. ink"},
		},
		"table rows stand alone": {
			"| Role | Days |\r\n| CEO | 30 |",
			[]string{"| Role | Days |", "| CEO | 30 |"},
		},
		"abbreviations and initials end nothing": {
			"See Fig. 3, e.g. by J. Doe. Done.",
			[]string{"See Fig. 3, e.g. by J. Doe.", "Done."},
		},
		"numbers and names with stops end nothing": {
			"Version 1.2 of main.go is out! Is it?",
			[]string{"Version 1.2 of main.go is out!", "Is it?"},
		},
		"quotation marks belong to their sentence": {
			"He said “no.” She said \"yes.\" They left.",
			[]string{"He said “no.”", "She said \"yes.\"", "They left."},
		},
		"nothing comes of nothing": {" \n\n ", nil},
		"what looks like a number list needs space": {
			"1.5 liters are enough. 2 are too many.",
			[]string{"1.5 liters are enough.", "2 are too many."},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got := cutSentences(tc.text); !slices.Equal(got, tc.want) {
				t.Errorf("got %q, want %q", got, tc.want)
			}
		})
	}
}
