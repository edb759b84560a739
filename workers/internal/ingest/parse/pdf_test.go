package parse

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/fault"
)

func TestPDFParagraphs(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	at := func(x, y int, text string) pdfText { return pdfText{x: x, y: y, size: 11, text: text} }
	mono := func(x, y int, text string) pdfText { return pdfText{x: x, y: y, size: 11, font: "Courier", text: text} }
	long := "The pump delivers water to the upper basin all through the night and"
	tests := []struct {
		name  string
		lines []pdfText
		want  []string
	}{
		{"lines are joined and gaps separate", []pdfText{at(72, 700, long), at(72, 686, "rests by day."), at(72, 655, "Then it begins again.")}, []string{long + " rests by day.", "Then it begins again."}},
		{"a short last line ends a paragraph", []pdfText{at(72, 700, long), at(72, 686, "rests."), at(72, 672, long), at(72, 658, "so on")}, []string{long + " rests.", long + " so on"}},
		{"hyphens at line ends go", []pdfText{at(72, 700, "The reser-"), at(72, 686, "voir is full.")}, []string{"The reservoir is full."}},
		{
			"hyphens that belong to the word stay",
			[]pdfText{at(72, 700, "A well-known pump."), at(72, 660, "It is well-"), at(72, 646, "known here.")},
			[]string{"A well-known pump.", "It is well-known here."},
		},
		{"bullets make list items", []pdfText{at(72, 700, "- open the valve and wait until the water is"), at(82, 686, "clear"), at(72, 672, "- close it"), at(72, 640, "Done.")}, []string{"- open the valve and wait until the water is clear", "- close it", "Done."}},
		{"numbers make list items", []pdfText{at(72, 700, "1. open it"), at(72, 686, "2. close it")}, []string{"1. open it", "2. close it"}},
		{"code keeps lines and indentation", []pdfText{at(72, 720, "Run this:"), mono(72, 700, "for {"), mono(99, 686, "pump()"), mono(72, 672, "}")}, []string{"Run this:", "code:", "for {\n    pump()\n}"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := mustParse(t, p, file("a.pdf", pdfFile{pages: [][]pdfText{tc.lines}}.bytes()))
			wantOutline(t, doc, tc.want...)
		})
	}
}

// manual writes a document of some pages with running headers, page numbers and a chapter on every page.
func manual(pages int) pdfFile {
	f := pdfFile{title: "Manual"}
	for i := range pages {
		f.pages = append(f.pages, []pdfText{
			{x: 72, y: 770, size: 9, text: "Pump manual"},
			{x: 72, y: 720, size: 18, font: "Helvetica-Bold", text: fmt.Sprintf("Chapter %c", 'A'+i)},
			{x: 72, y: 690, size: 11, text: fmt.Sprintf("Station %c delivers water to the basin.", 'A'+i)},
			{x: 72, y: 676, size: 11, text: "It does so by night."},
			{x: 290, y: 40, size: 9, text: strconv.Itoa(i + 3)},
		})
		f.marks = append(f.marks, pdfMark{fmt.Sprintf("Chapter %c", 'A'+i), i})
	}
	return f
}

func TestPDFHeadingsPagesAndMargins(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	withOutline, withoutOutline, circular := manual(5), manual(5), manual(5)
	withoutOutline.marks = nil
	circular.circle = true
	for name, f := range map[string]pdfFile{"from the outline": withOutline, "from the look": withoutOutline, "when the outline is a circle": circular} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			doc := mustParse(t, p, file("a.pdf", f.bytes()))
			if doc.Title != "Manual" || doc.Pages != 5 || len(doc.Blocks) != 10 {
				t.Fatalf("title %q, %d pages, %d blocks\n%s", doc.Title, doc.Pages, len(doc.Blocks), outlineOf(doc))
			}
			for i, b := range doc.Blocks {
				letter := string(rune('A' + i/2))
				switch {
				case b.Page != i/2+1:
					t.Errorf("block %d is on page %d", i, b.Page)
				case i%2 == 0 && (b.Kind != Heading || b.Text != "Chapter "+letter):
					t.Errorf("block %d is a %s %q", i, b.Kind, b.Text)
				case i%2 == 1 && (b.Text != "Station "+letter+" delivers water to the basin. It does so by night." || strings.Join(b.Path, "/") != "Chapter "+letter):
					t.Errorf("block %d is %q under %q", i, b.Text, b.Path)
				}
			}
		})
	}
}

func TestBookmarksThatAreNotOnThePageBecomeHeadings(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	doc := mustParse(t, p, file("a.pdf", pdfFile{
		pages: [][]pdfText{prosePage("Cover."), prosePage("2.1 The  Pumps", "Text.")},
		marks: []pdfMark{{"Front", 0}, {"The pumps", 1}, {"Annex", 1}},
	}.bytes()))
	wantOutline(t, doc, "# Front", "Cover.", "# 2.1 The Pumps", "# Annex", "Text.")
}

func TestARestrictedPDFIsRead(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	wantOutline(t, mustParse(t, p, file("a.pdf", testdata(t, "restricted.pdf"))), "Top secret")
}

func TestAMissingPageCostsNoOther(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	doc := mustParse(t, p, file("a.pdf", pdfFile{pages: [][]pdfText{prosePage("Here.")}, missing: 1}.bytes()))
	wantOutline(t, doc, "Here.")
	if doc.Pages != 2 || len(doc.Unreadable) != 1 || doc.Unreadable[0] != 2 {
		t.Errorf("%d pages, unreadable %v", doc.Pages, doc.Unreadable)
	}
}

func TestPagesAreInOrderWhoeverReadsThem(t *testing.T) {
	t.Parallel()
	p := newParser(t, Config{Workers: 3})
	f := pdfFile{}
	for i := range 100 {
		f.pages = append(f.pages, prosePage(fmt.Sprintf("This is the text of page %c%c.", 'a'+i/10, 'a'+i%10)))
	}
	content := f.bytes()
	var documents sync.WaitGroup
	for range 4 { // more documents than workers
		documents.Go(func() {
			last := -1
			doc, err := p.Parse(context.Background(), file("a.pdf", content), func(done, total int) {
				if total == 100 && done != last+1 {
					t.Errorf("progress went from %d to %d", last, done)
				}
				if total == 100 {
					last = done
				}
			})
			if err != nil || last != 100 {
				t.Errorf("error %v, progress %d", err, last)
				return
			}
			for i, b := range doc.Blocks {
				if want := fmt.Sprintf("This is the text of page %c%c.", 'a'+i/10, 'a'+i%10); b.Text != want || b.Page != i+1 {
					t.Errorf("block %d is %q on page %d", i, b.Text, b.Page)
				}
			}
		})
	}
	documents.Wait()
}

func TestPDFLimits(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name string
		cfg  Config
		file pdfFile
		kind fault.Kind
		code string
	}{
		{"too many pages", Config{MaxPages: 4}, manual(5), fault.TooLarge, "document.too_many_pages"},
		{"too much text", Config{MaxText: 100}, manual(5), fault.TooLarge, "document.too_large"},
		{"a page that takes for ever", Config{PageTimeout: 500 * time.Millisecond}, endless(), fault.Invalid, "document.unreadable"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			p := newParser(t, tc.cfg)
			if err := p.Warm(context.Background()); err != nil {
				t.Fatal(err)
			}
			_, err := p.Parse(context.Background(), file("a.pdf", tc.file.bytes()), nil)
			wantFault(t, err, tc.kind, tc.code)
			p.pdf.cfg.PageTimeout = time.Hour // a machine that stands still is no endless page
			doc := mustParse(t, p, file("a.pdf", pdfFile{pages: [][]pdfText{prosePage("Fine.")}}.bytes()))
			wantOutline(t, doc, "Fine.")
		})
	}
}

// endless writes a page whose forms draw each other, ten times at every level: 10^20 lines of text.
func endless() pdfFile {
	f := pdfFile{raw: []string{"/F0 Do"}}
	for i := range 20 {
		f.forms = append(f.forms, strings.Repeat(fmt.Sprintf("/F%d Do ", i+1), 10))
	}
	f.forms = append(f.forms, "BT /T3 12 Tf 72 700 Td (x) Tj ET")
	return f
}

// whenReading calls a function once the parser has begun to read pages.
func whenReading(fn func()) func(done, total int) {
	var once sync.Once
	return func(done, total int) {
		if done == 0 && total > 1 {
			once.Do(fn)
		}
	}
}

func TestCancelInterruptsAPage(t *testing.T) {
	t.Parallel()
	p := newParser(t, Config{PageTimeout: time.Hour})
	f := endless()
	f.pages = [][]pdfText{prosePage("Fine.")}
	reason := errors.New("no longer wanted")
	ctx, cancel := context.WithCancelCause(context.Background())
	_, err := p.Parse(ctx, file("a.pdf", f.bytes()), whenReading(func() { time.AfterFunc(200*time.Millisecond, func() { cancel(reason) }) }))
	if !errors.Is(err, reason) {
		t.Errorf("got %v, want the reason of the cancellation", err)
	}
}

func TestCloseInterruptsAPage(t *testing.T) {
	t.Parallel()
	p := newParser(t, Config{PageTimeout: time.Hour})
	f := endless()
	f.pages = [][]pdfText{prosePage("Fine.")}
	closed := make(chan error, 1)
	_, err := p.Parse(context.Background(), file("a.pdf", f.bytes()), whenReading(func() {
		time.AfterFunc(200*time.Millisecond, func() { closed <- p.Close() })
	}))
	if !errors.Is(err, errSandboxClosed) || !fault.Of(err).Kind.Retryable() {
		t.Errorf("got %v, want an error that blames nobody", err)
	}
	if err := <-closed; err != nil {
		t.Errorf("close: %v", err)
	}
	if _, err := p.Parse(context.Background(), file("a.pdf", f.bytes()), nil); !errors.Is(err, errSandboxClosed) {
		t.Errorf("a closed parser says %v", err)
	}
}

func TestWaitingForAWorkerCanBeCancelled(t *testing.T) {
	t.Parallel()
	p := newParser(t, Config{Workers: 1})
	if err := p.pdf.acquire(context.Background()); err != nil {
		t.Fatal(err)
	}
	defer p.pdf.release()
	ctx, cancel := context.WithCancel(context.Background())
	time.AfterFunc(50*time.Millisecond, cancel)
	_, err := p.Parse(ctx, file("a.pdf", manual(1).bytes()), nil)
	if !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAnUnusableCacheFolderIsDoneWithout(t *testing.T) {
	t.Parallel()
	occupied := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(occupied, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	var log bytes.Buffer
	p := newParser(t, Config{CacheDir: occupied, Log: slog.New(slog.NewTextHandler(&log, nil))})
	cache := p.pdf.openCache(context.Background())
	if cache == nil || !strings.Contains(log.String(), occupied) {
		t.Errorf("cache %v, log %q", cache, log.String())
	}
	if err := cache.Close(context.Background()); err != nil {
		t.Error(err)
	}
}

func TestHyphens(t *testing.T) {
	t.Parallel()
	pages := []pdfPage{{lines: []pdfLine{
		{text: "co\ufffeoperate, state\ufffeof, Anglo\ufffeSaxon, 3\ufffeway, re\ufffe"}, {text: "a state-of affairs"},
	}}}
	joinHyphens(pages)
	if got, want := pages[0].lines[0].text, "cooperate, state-of, Anglo-Saxon, 3-way, re-"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
}
