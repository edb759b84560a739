package chunk

import (
	"context"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"unicode"

	"github.com/tarento/copilot/workers/internal/ingest/parse"
)

// sentences returns n distinct sentences of about twelve tokens.
func sentences(n int) string {
	var out strings.Builder
	for i := range n {
		fmt.Fprintf(&out, "The pump of station %c%c delivers water to the upper basin. ", 'a'+i/26%26, 'a'+i%26)
	}
	return strings.TrimSpace(out.String())
}

// checkInvariants fails the test where chunks break a promise of the package.
func checkInvariants(t *testing.T, doc *parse.Document, cfg Config, chunks []Chunk) {
	t.Helper()
	text := doc.Text()
	covered := make([]bool, len(text))
	maxTokens := cfg.normal().max / token
	for i, c := range chunks {
		switch {
		case c.Index != i:
			t.Errorf("chunk %d has index %d", i, c.Index)
		case c.Start < 0 || c.End > len(text) || c.Start >= c.End:
			t.Fatalf("chunk %d covers [%d,%d) of %d bytes", i, c.Start, c.End, len(text))
		case !strings.HasSuffix(c.Text, text[c.Start:c.End]):
			t.Errorf("chunk %d is %q, its place holds %q", i, c.Text, text[c.Start:c.End])
		case c.Tokens != Tokens(c.Text) || c.Tokens > maxTokens:
			t.Errorf("chunk %d says %d tokens, has %d, may have %d", i, c.Tokens, Tokens(c.Text), maxTokens)
		case c.EndPage < c.Page || c.EndPage > c.Page+1:
			t.Errorf("chunk %d covers pages %d to %d", i, c.Page, c.EndPage)
		case strings.TrimSpace(c.Text) == "":
			t.Errorf("chunk %d is blank", i)
		case i > 0 && (c.Start <= chunks[i-1].Start || c.End <= chunks[i-1].End):
			t.Errorf("chunk %d [%d,%d) does not follow [%d,%d)", i, c.Start, c.End, chunks[i-1].Start, chunks[i-1].End)
		}
		for at := c.Start; at < c.End; at++ {
			covered[at] = true
		}
	}
	for i := range doc.Blocks {
		b := &doc.Blocks[i]
		for at, r := range b.Text {
			if !covered[b.Start+at] && !unicode.IsSpace(r) {
				t.Fatalf("block %d %q: byte %d is in no chunk", i, b.Text, at)
			}
		}
	}
	if again := Split(doc, cfg); !reflect.DeepEqual(again, chunks) {
		t.Error("the same document gives other chunks the second time")
	}
}

func texts(chunks []Chunk) []string {
	out := make([]string, len(chunks))
	for i := range chunks {
		out[i] = chunks[i].Text
	}
	return out
}

func TestSplit(t *testing.T) {
	t.Parallel()
	small := Config{TargetTokens: 40, MaxTokens: 60}
	tests := []struct {
		name  string
		cfg   Config
		build func(b *parse.Builder)
		check func(t *testing.T, chunks []Chunk)
	}{
		{"a document without blocks gives no chunks", small, func(*parse.Builder) {}, func(t *testing.T, chunks []Chunk) {
			if len(chunks) != 0 {
				t.Errorf("got %q", texts(chunks))
			}
		}},
		{"a short document is one chunk", small, func(b *parse.Builder) {
			b.Heading(1, "Pumps", 0)
			b.Paragraph("They move water.", 0)
		}, func(t *testing.T, chunks []Chunk) {
			if len(chunks) != 1 || chunks[0].Text != "Pumps\n\nThey move water." || !reflect.DeepEqual(chunks[0].Headings, []string{"Pumps"}) {
				t.Errorf("got %+v", chunks)
			}
		}},
		{"no chunk crosses a top-level heading, however small the sections", small, func(b *parse.Builder) {
			for _, name := range []string{"One", "Two", "Three"} {
				b.Heading(1, name, 0)
				b.Paragraph("Short.", 0)
			}
		}, func(t *testing.T, chunks []Chunk) {
			if want := []string{"One\n\nShort.", "Two\n\nShort.", "Three\n\nShort."}; !reflect.DeepEqual(texts(chunks), want) {
				t.Errorf("got %q, want %q", texts(chunks), want)
			}
		}},
		{"small subsections share a chunk", small, func(b *parse.Builder) {
			b.Heading(1, "All", 0)
			b.Heading(2, "Left", 0)
			b.Paragraph("Short.", 0)
			b.Heading(2, "Right", 0)
			b.Paragraph("Short too.", 0)
		}, func(t *testing.T, chunks []Chunk) {
			if len(chunks) != 1 {
				t.Errorf("got %q", texts(chunks))
			}
			if want := []string{"All", "Right"}; !reflect.DeepEqual(chunks[0].Headings, want) { // where most of the text stands
				t.Errorf("under %q, want %q", chunks[0].Headings, want)
			}
		}},
		{"a heading goes with the text below it", small, func(b *parse.Builder) {
			b.Heading(1, "All", 0)
			b.Paragraph(sentences(3), 0)
			b.Heading(2, "Next", 0)
			b.Heading(3, "Deeper", 0)
			b.Paragraph(sentences(3), 0)
		}, func(t *testing.T, chunks []Chunk) {
			if len(chunks) != 2 || !strings.HasPrefix(chunks[1].Text, "Next\n\nDeeper\n\n") ||
				!reflect.DeepEqual(chunks[1].Headings, []string{"All", "Next", "Deeper"}) {
				t.Errorf("got %+v", chunks)
			}
		}},
		{"a long paragraph is cut between sentences", small, func(b *parse.Builder) {
			b.Paragraph(sentences(12), 0)
		}, func(t *testing.T, chunks []Chunk) {
			if len(chunks) < 3 {
				t.Errorf("got %d chunks", len(chunks))
			}
			for _, c := range chunks {
				if !strings.HasPrefix(c.Text, "The pump") || !strings.HasSuffix(c.Text, "basin.") {
					t.Errorf("not whole sentences: %q", c.Text)
				}
			}
		}},
		{"a cut section repeats its last sentence", Config{TargetTokens: 60, MaxTokens: 100, OverlapTokens: 20}, func(b *parse.Builder) {
			b.Paragraph(sentences(12), 0)
		}, func(t *testing.T, chunks []Chunk) {
			for i := 1; i < len(chunks); i++ {
				shared := chunks[i-1].End - chunks[i].Start
				if shared <= 0 || Tokens(chunks[i-1].Text[len(chunks[i-1].Text)-shared:]) > 20 {
					t.Errorf("chunks %d and %d share %d bytes", i-1, i, shared)
				}
				if !strings.HasPrefix(chunks[i].Text, "The pump") {
					t.Errorf("the overlap is not a whole sentence: %q", chunks[i].Text)
				}
			}
		}},
		{"a new section repeats nothing", Config{TargetTokens: 60, MaxTokens: 100, OverlapTokens: 20}, func(b *parse.Builder) {
			b.Heading(1, "One", 0)
			b.Paragraph(sentences(4), 0)
			b.Heading(1, "Two", 0)
			b.Paragraph(sentences(4), 0)
		}, func(t *testing.T, chunks []Chunk) {
			if len(chunks) != 2 || !strings.HasPrefix(chunks[1].Text, "Two") {
				t.Errorf("got %q", texts(chunks))
			}
		}},
		{"a long table is cut between rows and repeats its header", small, func(b *parse.Builder) {
			rows := [][]string{{"Name", "Flow"}}
			for i := range 20 {
				rows = append(rows, []string{fmt.Sprintf("pump %c", 'a'+i), "eleven litres"})
			}
			b.Table(rows, true, 0)
		}, func(t *testing.T, chunks []Chunk) {
			if len(chunks) < 3 {
				t.Errorf("got %d chunks", len(chunks))
			}
			for _, c := range chunks {
				if !strings.HasPrefix(c.Text, "Name | Flow\npump ") || !strings.HasSuffix(c.Text, "litres") {
					t.Errorf("got %q", c.Text)
				}
			}
		}},
		{"code that fits is kept whole, even above the target", small, func(b *parse.Builder) {
			b.Paragraph(sentences(2), 0)
			b.Code("for {\n    pump()\n\n    wait()\n}\nif full {\n    stop()\n}\nreport(basin)\nreturn nil", 0)
		}, func(t *testing.T, chunks []Chunk) {
			found := false
			for _, c := range chunks {
				found = found || strings.Contains(c.Text, "for {\n    pump()\n\n    wait()\n}\nif full {\n    stop()\n}\nreport(basin)\nreturn nil")
			}
			if !found {
				t.Errorf("got %q", texts(chunks))
			}
		}},
		{"long code is cut between lines and keeps its indentation", small, func(b *parse.Builder) {
			b.Code(strings.Repeat("if true {\n    call(a, b)\n}\n\n", 20), 0)
		}, func(t *testing.T, chunks []Chunk) {
			for _, c := range chunks {
				if !strings.HasPrefix(c.Text, "if true {\n    call") || !strings.HasSuffix(c.Text, "}") {
					t.Errorf("got %q", c.Text)
				}
			}
		}},
		{"a chunk covers at most two pages", Config{TargetTokens: 400, MaxTokens: 800}, func(b *parse.Builder) {
			for page := 1; page <= 5; page++ {
				b.Paragraph("A short page.", page)
			}
		}, func(t *testing.T, chunks []Chunk) {
			if len(chunks) != 3 || chunks[0].Page != 1 || chunks[0].EndPage != 2 || chunks[2].Page != 5 {
				t.Errorf("got %+v", chunks)
			}
		}},
		{"a word longer than a chunk is cut anywhere", small, func(b *parse.Builder) {
			b.Paragraph(strings.Repeat("0123456789", 50), 0)
		}, func(t *testing.T, chunks []Chunk) {
			if len(chunks) < 5 {
				t.Errorf("got %d chunks", len(chunks))
			}
		}},
		{"text without spaces is cut after ideographic full stops", small, func(b *parse.Builder) {
			b.Paragraph(strings.Repeat("水泵把水送到上游水池。", 12), 0)
		}, func(t *testing.T, chunks []Chunk) {
			for _, c := range chunks {
				if !strings.HasSuffix(c.Text, "。") {
					t.Errorf("got %q", c.Text)
				}
			}
		}},
		{"long runs of white space do not make a chunk too large", small, func(b *parse.Builder) {
			b.Paragraph("Left."+strings.Repeat(" ", 3000)+"Right."+strings.Repeat("\n", 3000)+"End.", 0)
		}, func(*testing.T, []Chunk) {}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			b := parse.NewBuilder(parse.Markdown, 0)
			tc.build(b)
			doc := b.Document()
			chunks := Split(doc, tc.cfg)
			checkInvariants(t, doc, tc.cfg, chunks)
			tc.check(t, chunks)
		})
	}
}

func TestSentencesDoNotEndAtAbbreviations(t *testing.T) {
	t.Parallel()
	text := "Dr. Smith met J. Doe, e.g. at 3.5 p.m. there. \"Is it so?\" he asked. See Fig. 3 for more! 12 came."
	var got []string
	from := 0
	for cut := range sentenceStarts(text) {
		got = append(got, strings.TrimSpace(text[from:cut]))
		from = cut
	}
	got = append(got, text[from:])
	want := []string{
		"Dr. Smith met J. Doe, e.g. at 3.5 p.m. there.", "\"Is it so?\" he asked.", "See Fig. 3 for more!", "12 came.",
	}
	if !reflect.DeepEqual(got, want) {
		t.Errorf("got %q\nwant %q", got, want)
	}
}

func TestTokens(t *testing.T) {
	t.Parallel()
	for text, want := range map[string]int{"": 0, "a": 1, "four score": 3, "1234": 3, "水泵": 2, "привет": 3} {
		if got := Tokens(text); got != want {
			t.Errorf("Tokens(%q) = %d, want %d", text, got, want)
		}
	}
	prose := sentences(100)
	words := len(strings.Fields(prose))
	if got := Tokens(prose); got < words || got > 2*words {
		t.Errorf("%d tokens for %d English words", got, words)
	}
}

func TestContradictingConfigurationsAreResolved(t *testing.T) {
	t.Parallel()
	b := parse.NewBuilder(parse.Text, 0)
	b.Paragraph(sentences(40), 0)
	doc := b.Document()
	for _, cfg := range []Config{
		{},
		{TargetTokens: 100, MaxTokens: 10},
		{MaxTokens: 5},
		{MaxTokens: 1},
		{TargetTokens: 1, OverlapTokens: 100},
		{TargetTokens: -1, MaxTokens: -1, OverlapTokens: -1},
		{TargetTokens: 50, MaxTokens: 60, OverlapTokens: 1000},
	} {
		checkInvariants(t, doc, cfg, Split(doc, cfg))
	}
}

// FuzzSplit builds documents from Markdown and splits them with all sorts of limits.
func FuzzSplit(f *testing.F) {
	f.Add("# One\n\nText. More text!\n\n## Two\n\n- a\n- b\n\n| h | i |\n|---|---|\n| 1 | 2 |\n\n```\ncode\n\n    more\n```\n", 10, 20, 5, 1)
	f.Add(strings.Repeat("| a | b |\n", 50), 4, 6, 2, 3)
	f.Add("a\fb\fc\n\nd\fe", 1, 1, 1, 0)
	f.Add("水。泵。\u00a0\u00a0\u2028x", 2, 3, 1, 2)
	f.Add(strings.Repeat("word ", 500)+strings.Repeat("\n", 99)+strings.Repeat("x", 500), 7, 9, 3, 1)
	parser := parse.New(parse.Config{})
	f.Cleanup(func() { _ = parser.Close() })
	f.Fuzz(func(t *testing.T, content string, target, maximum, overlap, pages int) {
		name := "a.md"
		if pages%2 == 0 {
			name = "a.txt"
		}
		doc, err := parser.Parse(context.Background(), parse.Source{Name: name, Content: strings.NewReader(content), Size: int64(len(content))}, nil)
		if err != nil {
			return
		}
		cfg := Config{TargetTokens: target % 1000, MaxTokens: maximum % 2000, OverlapTokens: overlap % 500}
		checkInvariants(t, doc, cfg, Split(doc, cfg))
	})
}
