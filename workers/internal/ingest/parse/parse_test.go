package parse

import (
	"bytes"
	"context"
	"errors"
	"io"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/fault"
)

func TestDocumentsThatCannotBeReadSayWhy(t *testing.T) {
	t.Parallel()
	p := newParser(t, Config{MaxBytes: 1 << 20, MaxText: 1 << 20})
	wholePDF := pdfFile{pages: [][]pdfText{prosePage("A page.")}}.bytes()
	tests := []struct {
		name string
		src  Source
		kind fault.Kind
		code string
	}{
		{"an empty file", file("a.pdf", nil), fault.Invalid, "document.empty"},
		{"white space only", file("a.txt", []byte(" \n\t\n")), fault.Invalid, "document.no_text"},
		{"a text called PDF", file("a.pdf", []byte("Not a PDF at all.")), fault.Invalid, "document.not_pdf"},
		{"an HTML page called PDF by its media type", Source{MediaType: "application/pdf", Content: strings.NewReader("<html><p>x"), Size: 10}, fault.Invalid, "document.not_pdf"},
		{"a PDF cut off after its header", file("a.pdf", []byte("%PDF-1.7\n")), fault.Invalid, "document.unreadable"},
		{"a PDF full of noise", file("a.pdf", append([]byte("%PDF-1.7\n"), noise(50_000)...)), fault.Invalid, "document.unreadable"},
		{"a PDF under a password", file("a.pdf", testdata(t, "encrypted.pdf")), fault.Invalid, "document.encrypted"},
		{"a PDF without text", file("a.pdf", pdfFile{raw: []string{"0 0 100 100 re f"}}.bytes()), fault.Invalid, "document.no_text"},
		{"a PDF all of whose pages are missing", file("a.pdf", pdfFile{missing: 2}.bytes()), fault.Invalid, "document.unreadable"},
		{"a PDF called DOCX", file("a.docx", wholePDF[:0:0]), fault.Invalid, "document.empty"},
		{"a text called DOCX", file("a.docx", []byte("Not a document.")), fault.Invalid, "document.not_docx"},
		{"a zip called DOCX", file("a.docx", zipOf(map[string]string{"a.txt": "x"})), fault.Invalid, "document.not_docx"},
		{"a zip", file("a.zip", zipOf(map[string]string{"a.txt": "x"})), fault.Unsupported, "document.unsupported"},
		{"a spreadsheet", file("a.xlsx", zipOf(map[string]string{"[Content_Types].xml": "<Types/>", "xl/workbook.xml": "<workbook/>"})), fault.Unsupported, "document.unsupported"},
		{"half a DOCX", file("a.docx", docx("<w:p><w:r><w:t>x</w:t></w:r></w:p>")[:400]), fault.Invalid, "document.unreadable"},
		{"a DOCX whose XML is broken", file("a.docx", docx("<w:p><w:r><w:t>x</w:p>")), fault.Invalid, "document.unreadable"},
		{"a DOCX with an entity bomb", file("a.docx", zipOf(map[string]string{"word/document.xml": entityBomb})), fault.Invalid, "document.unreadable"},
		{"a DOCX nested absurdly deep", file("a.docx", docx(strings.Repeat("<w:sdt>", 10_000)+strings.Repeat("</w:sdt>", 10_000))), fault.Invalid, "document.unreadable"},
		{"a DOCX that is a zip bomb", file("a.docx", docx("<w:p><w:r><w:t>"+strings.Repeat(" ", 5<<20)+"</w:t></w:r></w:p>")), fault.TooLarge, "document.bomb"},
		{"a zip with too many entries", file("a.docx", zipOfMany(maxEntries+1)), fault.TooLarge, "document.bomb"},
		{"a DOCX without text", file("a.docx", docx("<w:p/>")), fault.Invalid, "document.no_text"},
		{"a DOCX under a password", file("a.docx", ole("EncryptedPackage")), fault.Invalid, "document.encrypted"},
		{"a DOC of before 2007", file("a.doc", ole("WordDocument")), fault.Unsupported, "document.unsupported"},
		{"a picture", file("a.png", []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01")), fault.Unsupported, "document.unsupported"},
		{"a picture called a text", file("a.txt", []byte("\x89PNG\r\n\x1a\n\x00\x00\x00\rIHDR\x00\x00\x00\x01")), fault.Invalid, "document.binary"},
		{"rich text", file("a.rtf", []byte(`{\rtf1\ansi Hello}`)), fault.Unsupported, "document.unsupported"},
		{"noise called a text", file("a.txt", noise(9_000)), fault.Invalid, "document.binary"},
		{"noise far into a text", file("a.txt", append(bytes.Repeat([]byte("plain text "), 1000), 0, 1, 2, 3)), fault.Invalid, "document.binary"},
		{"a text that is not UTF-8", file("a.md", []byte("Gr\xfc\xdfe aus K\xf6ln")), fault.Invalid, "document.encoding"},
		{"UTF-16 that ends in half a character", file("a.txt", []byte("\xff\xfeh\x00i\x00!")), fault.Invalid, "document.encoding"},
		{"UTF-16 with half a surrogate pair", file("a.txt", []byte("\xff\xfeh\x00\x00\xd8i\x00")), fault.Invalid, "document.encoding"},
		{"UTF-32", file("a.txt", []byte("\xff\xfe\x00\x00h\x00\x00\x00")), fault.Invalid, "document.encoding"},
		{"a text over the limit", file("a.txt", bytes.Repeat([]byte("word "), 300_000)), fault.TooLarge, "document.too_large"},
		{"an HTML page over the limit", file("a.html", bytes.Repeat([]byte("<p>word</p>"), 100_000)), fault.TooLarge, "document.too_large"},
		{"HTML nested absurdly deep", file("a.html", bytes.Repeat([]byte("<div>"), 10_000)), fault.Invalid, "document.unreadable"},
		{"an HTML page without text", file("a.html", []byte("<html><script>var a</script></html>")), fault.Invalid, "document.no_text"},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc, err := p.Parse(context.Background(), tc.src, nil)
			wantFault(t, err, tc.kind, tc.code)
			if doc != nil {
				t.Error("a document came with the error")
			}
		})
	}
}

func TestFormatComesFromContentThenFromDeclaration(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	markup := []byte("# Title\n\n<b>bold</b>")
	tests := []struct {
		name string
		src  Source
		want Format
	}{
		{"a PDF whatever it is called", file("a.txt", pdfFile{pages: [][]pdfText{prosePage("A page.")}}.bytes()), PDF},
		{"a PDF with bytes before its header", file("a.pdf", append([]byte("\r\nsome mail header\r\n"), pdfFile{pages: [][]pdfText{prosePage("A page.")}}.bytes()...)), PDF},
		{"a text that speaks of PDF", file("a.txt", []byte("The header is %PDF-1.7.")), Text},
		{"a DOCX whatever it is called", file("a.zip", docx("<w:p><w:r><w:t>x</w:t></w:r></w:p>")), DOCX},
		{"Markdown by extension", file("a.MD", markup), Markdown},
		{"Markdown by extension although the browser said text", Source{Name: "a.md", MediaType: "text/plain; charset=utf-8", Content: bytes.NewReader(markup), Size: int64(len(markup))}, Markdown},
		{"Markdown by media type", Source{Name: "a", MediaType: "text/markdown", Content: bytes.NewReader(markup), Size: int64(len(markup))}, Markdown},
		{"HTML by content", file("a", []byte("<!doctype html><p>x")), HTML},
		{"HTML shown as text by its extension", file("a.txt", []byte("<!doctype html><p>x")), Text},
		{"JSON is text", file("a.json", []byte(`{"a": 1}`)), Text},
		{"anything else that is text", file("noext", []byte("hello")), Text},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if doc := mustParse(t, p, tc.src); doc.Format != tc.want {
				t.Errorf("read as %s, want %s", doc.Format, tc.want)
			}
		})
	}
}

func TestPlainText(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	tests := []struct {
		name  string
		src   Source
		pages int
		want  []string
	}{
		{"paragraphs end at blank lines", file("a.txt", []byte("One\nstill one\r\n \t\r\nTwo\r\rThree")), 0, []string{"One\nstill one", "Two", "Three"}},
		{"form feeds separate pages", file("a.txt", []byte("One\n\fTwo\n\nThree\n\f")), 2, []string{"One", "Two", "Three"}},
		{"a UTF-8 mark is dropped", file("a.txt", []byte("\xef\xbb\xbfOne")), 0, []string{"One"}},
		{"UTF-16, little end first", file("a.txt", []byte("\xff\xfeh\x00\xe4\x00")), 0, []string{"hä"}},
		{"UTF-16, big end first", file("a.txt", []byte("\xfe\xff\x00h\x00\xe4")), 0, []string{"hä"}},
		{"a declared charset is believed", Source{Name: "a.txt", MediaType: "text/plain; charset=iso-8859-1", Content: strings.NewReader("K\xf6ln"), Size: 4}, 0, []string{"Köln"}},
		{"ligatures and look-alikes become ordinary", file("a.txt", []byte("e\u0301 \ufb01le\u00a0x\u00ad\u200b²")), 0, []string{"é file x²"}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := mustParse(t, p, tc.src)
			wantOutline(t, doc, tc.want...)
			if doc.Pages != tc.pages {
				t.Errorf("%d pages, want %d", doc.Pages, tc.pages)
			}
		})
	}
}

func TestHeadingsMakeThePath(t *testing.T) {
	t.Parallel()
	b := NewBuilder(Markdown, 0)
	b.Heading(1, "A", 0)
	b.Heading(3, "A.x", 0)
	b.Paragraph("deep", 0)
	b.Heading(2, "A.1", 0)
	b.Paragraph("one", 0)
	b.Heading(1, "B", 0)
	b.Paragraph("two", 0)
	doc := b.Document()
	checkDocument(t, doc)
	var paths []string
	for _, block := range doc.Blocks {
		paths = append(paths, strings.Join(block.Path, "/"))
	}
	if got, want := strings.Join(paths, " "), " A A/A.x A A/A.1  B"; got != want {
		t.Errorf("got %q, want %q", got, want)
	}
	if doc.Title != "A" {
		t.Errorf("title %q, want the first topmost heading", doc.Title)
	}
}

func TestAStorageFailureIsNotTheDocumentsFault(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	broken := errors.New("disk on fire")
	for name, content := range map[string][]byte{
		"a.pdf": pdfFile{pages: [][]pdfText{prosePage("A page.")}}.bytes(), "a.docx": docx("<w:p/>"), "a.html": []byte("<p>x"), "a.txt": []byte("x"),
	} {
		for _, after := range []int{0, 1, 2} {
			src := file(name, content)
			src.Content = &failing{content: src.Content, reads: after, err: broken}
			_, err := p.Parse(context.Background(), src, nil)
			if err == nil {
				continue // it was read in fewer reads
			}
			if !errors.Is(err, broken) || !fault.Of(err).Kind.Retryable() {
				t.Errorf("%s after %d reads: got %v, want the storage's error", name, after, err)
			}
		}
	}
}

// failing fails all reads after some.
type failing struct {
	content io.ReaderAt
	reads   int
	err     error
}

func (f *failing) ReadAt(p []byte, off int64) (int, error) {
	if f.reads--; f.reads < 0 {
		return 0, f.err
	}
	return f.content.ReadAt(p, off)
}

func TestAPanicInAParserIsAnErrorAboutTheDocument(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	src := file("a.txt", []byte("x"))
	src.Content = panicking{}
	_, err := p.Parse(context.Background(), src, nil)
	wantFault(t, err, fault.Invalid, "document.unreadable")
}

type panicking struct{}

func (panicking) ReadAt([]byte, int64) (int, error) { panic("surprise") }

func TestACancelledContextIsNotTheDocumentsFault(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	reason := errors.New("the lease was lost")
	ctx, cancel := context.WithCancelCause(context.Background())
	cancel(reason)
	for name, content := range map[string][]byte{
		"a.pdf": pdfFile{pages: [][]pdfText{prosePage("A page.")}}.bytes(), "a.docx": docx("<w:p/>"), "a.html": []byte("<p>x"),
	} {
		if _, err := p.Parse(ctx, file(name, content), nil); !errors.Is(err, reason) {
			t.Errorf("%s: got %v, want the reason of the cancellation", name, err)
		}
	}
}

func TestHostileTextsAreReadInTime(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	const n = 200_000
	for name, content := range map[string]string{
		"brackets.md":  strings.Repeat("[", n),
		"quotes.md":    strings.Repeat(">", n) + " x",
		"lists.md":     strings.Repeat("- ", n) + "x",
		"emphasis.md":  strings.Repeat("*a **b ", n),
		"backticks.md": strings.Repeat("`a``b", n),
		"entities.md":  strings.Repeat("&", n),
		"tables.md":    strings.Repeat("|", n) + "\n" + strings.Repeat("|-", n) + "\n" + strings.Repeat("|", n),
		"links.md":     strings.Repeat("[a](", n),
		"html.md":      strings.Repeat("<a ", n),
		"cells.html":   "<table>" + strings.Repeat("<td>", n) + "x",
		"tables.html":  strings.Repeat("<table><tr><td>", 150) + strings.Repeat("x ", n),
		"breaks.html":  "x" + strings.Repeat("<br>y", n),
		"lines.txt":    strings.Repeat("\n", n) + "x" + strings.Repeat("\n \n", n),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			begun := time.Now()
			doc, err := p.Parse(context.Background(), file(name, []byte(content)), nil)
			if err == nil {
				checkDocument(t, doc)
			} else if fault.Of(err).Kind == fault.Internal {
				t.Errorf("got %v", err)
			}
			if took := time.Since(begun); took > time.Minute {
				t.Errorf("took %v", took)
			}
		})
	}
}
