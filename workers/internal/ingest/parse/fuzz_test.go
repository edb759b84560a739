package parse

import (
	"context"
	"errors"
	"testing"

	"github.com/tarento/copilot/pkg/fault"
)

// fuzzFormat parses whatever it gets as one format. The outcome must be a sound document or a fault that is final.
func fuzzFormat(f *testing.F, name string, seeds ...[]byte) {
	for _, s := range seeds {
		f.Add(s)
	}
	p := sharedParser(f)
	f.Fuzz(func(t *testing.T, content []byte) {
		doc, err := p.Parse(context.Background(), file(name, content), nil)
		if err == nil {
			checkDocument(t, doc)
			return
		}
		var about *fault.Error
		if !errors.As(err, &about) || about.Kind.Retryable() {
			t.Errorf("not a fault about the document: %v", err)
		}
	})
}

func FuzzParseText(f *testing.F) {
	fuzzFormat(f, "a.txt", []byte("a\n\nb\fc"), []byte("\xff\xfea\x00"), []byte("\xef\xbb\xbfx"), []byte("\x00"), []byte("\u2028\u00a0\ufb01"))
}

func FuzzParseMarkdown(f *testing.F) {
	fuzzFormat(f, "a.md", []byte("---\ntitle: x\n---\n# A\n\n- b\n  1. c\n\n| d |\n|---|\n| e |\n\n```\nf\n```\n> g[^1]\n\n[^1]: h\n"), []byte("<div>\n*a **b\n"), []byte("[a](<b>\n    c"))
}

func FuzzParseHTML(f *testing.F) {
	fuzzFormat(f, "a.html", []byte("<title>a</title><h1>b</h1><ul><li>c<ol><li>d</ol></ul><table><tr><th>e<td>f</table><pre>g</pre><br><br>"), []byte("<svg><title>x</title><foreignObject><p>y"), []byte("<table><table><li>"))
}

func FuzzParseDOCX(f *testing.F) {
	fuzzFormat(f, "a.docx",
		docx(para(`<w:pStyle w:val="berschrift1"/>`, "One")+para(num(1, 1), "Two")),
		docx(`<w:tbl><w:tr><w:tc>`+para("", "x")+`</w:tc></w:tr></w:tbl><w:p><w:r><w:footnoteReference w:id="2"/><w:t>y</w:t></w:r></w:p>`),
		[]byte("PK\x03\x04"))
}

// FuzzParseDOCXBody fuzzes what is inside the zip, which a fuzzer of the zip hardly ever reaches.
func FuzzParseDOCXBody(f *testing.F) {
	f.Add(para(`<w:pStyle w:val="Mine"/>`, "One") + `<w:tbl><w:tr><w:trPr><w:del/></w:trPr><w:tc>` + para("", "x") + `</w:tc></w:tr></w:tbl>`)
	f.Add(`<w:p><w:r><w:txbxContent>` + para(num(2, 3), "y") + `</w:txbxContent><w:br w:type="page"/></w:r></w:p><w:tr><w:tc/></w:tr>`)
	f.Add(`<w:tbl><w:p/><w:tc><w:p><w:r><w:t>a</w:t></w:r></w:p></w:tc><w:tr><w:tr/></w:tr></w:tbl>`)
	p := sharedParser(f)
	f.Fuzz(func(t *testing.T, body string) {
		if doc, err := p.Parse(context.Background(), file("a.docx", docx(body)), nil); err == nil {
			checkDocument(t, doc)
		} else if fault.Of(err).Kind.Retryable() {
			t.Errorf("not a fault about the document: %v", err)
		}
	})
}

func FuzzParsePDF(f *testing.F) {
	fuzzFormat(f, "a.pdf", manual(2).bytes(), pdfFile{raw: []string{"BT ("}}.bytes(), []byte("%PDF-1.4\ntrailer<</Root 1 0 R>>"))
}
