package parse

import (
	"bytes"
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/pkg/fault"
)

// shared is the parser with defaults; starting one for each test would take most of the time.
var shared = sync.OnceValue(func() *Parser { return New(Config{CacheDir: testCache()}) })

// testCache is where the compiled sandbox is kept between runs.
func testCache() string {
	dir, err := os.UserCacheDir()
	if err != nil {
		return ""
	}
	return filepath.Join(dir, "copilot-test", "pdf-sandbox")
}

// closing closes the shared parser after the tests.
type closing struct{ *testing.M }

func (m closing) Run() int {
	code := m.M.Run()
	if err := shared().Close(); err != nil {
		return 1
	}
	return code
}

func TestMain(m *testing.M) { goleak.VerifyTestMain(closing{m}) }

// sharedParser returns a parser with defaults.
func sharedParser(testing.TB) *Parser { return shared() }

// newParser returns a parser of the test's own.
func newParser(tb testing.TB, cfg Config) *Parser {
	tb.Helper()
	if cfg.CacheDir == "" {
		cfg.CacheDir = testCache()
	}
	p := New(cfg)
	tb.Cleanup(func() {
		if err := p.Close(); err != nil {
			tb.Errorf("close: %v", err)
		}
	})
	return p
}

// file makes a source of bytes.
func file(name string, content []byte) Source {
	return Source{Name: name, Content: bytes.NewReader(content), Size: int64(len(content))}
}

// mustParse parses, checks what holds for every document, and returns it.
func mustParse(t *testing.T, p *Parser, src Source) *Document {
	t.Helper()
	doc, err := p.Parse(context.Background(), src, nil)
	if err != nil {
		t.Fatalf("parse %s: %v", src.Name, err)
	}
	checkDocument(t, doc)
	return doc
}

// checkDocument fails the test where a document breaks a promise of the package.
func checkDocument(t *testing.T, doc *Document) {
	t.Helper()
	end := 0
	for i, b := range doc.Blocks {
		switch {
		case i > 0 && b.Start != end+len(separator), i == 0 && b.Start != 0:
			t.Fatalf("block %d starts at %d, the one before ended at %d", i, b.Start, end)
		case b.Text != doc.Text()[b.Start:b.End]:
			t.Fatalf("block %d is %q, its place holds %q", i, b.Text, doc.Text()[b.Start:b.End])
		case strings.TrimSpace(b.Text) == "":
			t.Fatalf("block %d is blank", i)
		case clean(b.Text) != b.Text:
			t.Fatalf("block %d is not clean: %q", i, b.Text)
		case b.Page < 0 || b.Page > doc.Pages:
			t.Fatalf("block %d is on page %d of %d", i, b.Page, doc.Pages)
		case (b.Level > 0) != (b.Kind == Heading || b.Kind == ListItem):
			t.Fatalf("block %d, a %s, has level %d", i, b.Kind, b.Level)
		case b.Header < 0 || b.Header > 0 && (b.Kind != Table || b.Text[b.Header] != '\n'):
			t.Fatalf("block %d has a header of %d bytes in %q", i, b.Header, b.Text)
		}
		end = b.End
	}
	if end != len(doc.Text()) {
		t.Fatalf("the blocks end at %d, the text at %d", end, len(doc.Text()))
	}
}

// outlineOf writes blocks in short for comparison.
func outlineOf(doc *Document) string {
	var out strings.Builder
	for _, b := range doc.Blocks {
		switch b.Kind {
		case Heading:
			out.WriteString(strings.Repeat("#", b.Level) + " ")
		case ListItem:
			out.WriteString(strings.Repeat("  ", b.Level-1))
		case Table:
			out.WriteString("table:\n")
		case Code:
			out.WriteString("code:\n")
		case Paragraph:
		}
		out.WriteString(b.Text + "\n")
	}
	return out.String()
}

// wantOutline compares a document with lines.
func wantOutline(t *testing.T, doc *Document, lines ...string) {
	t.Helper()
	if got, want := outlineOf(doc), strings.Join(lines, "\n")+"\n"; got != want {
		t.Errorf("got\n%s\nwant\n%s", got, want)
	}
}

// wantFault checks that an error is a fault about the document, for good, with a message for people.
func wantFault(t *testing.T, err error, kind fault.Kind, code string) {
	t.Helper()
	var f *fault.Error
	if !errors.As(err, &f) {
		t.Fatalf("got %v, want the fault %s", err, code)
	}
	if f.Kind != kind || f.Code != code || f.Kind.Retryable() {
		t.Errorf("got %v %q (%v), want %v %q", f.Kind, f.Code, err, kind, code)
	}
	if !strings.HasSuffix(f.Message, ".") || strings.Contains(f.Message, "%!") {
		t.Errorf("not a message for people: %q", f.Message)
	}
}
