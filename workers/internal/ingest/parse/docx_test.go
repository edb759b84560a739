package parse

import (
	"archive/zip"
	"bytes"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"testing"
	"unicode/utf16"
)

const (
	wordNamespace = `xmlns:w="http://schemas.openxmlformats.org/wordprocessingml/2006/main" xmlns:mc="http://schemas.openxmlformats.org/markup-compatibility/2006"`
	entityBomb    = `<?xml version="1.0"?><!DOCTYPE w [<!ENTITY a "aaaaaaaaaa"><!ENTITY b "&a;&a;&a;&a;">]><w:document ` + wordNamespace + `><w:body><w:p><w:r><w:t>&b;</w:t></w:r></w:p></w:body></w:document>`
	testStyles    = `<w:styles ` + wordNamespace + `>
<w:style w:type="paragraph" w:styleId="berschrift1"><w:name w:val="heading 1"/><w:pPr><w:outlineLvl w:val="0"/></w:pPr></w:style>
<w:style w:type="paragraph" w:styleId="Mine"><w:name w:val="My own"/><w:basedOn w:val="Sub"/></w:style>
<w:style w:type="paragraph" w:styleId="Sub"><w:name w:val="heading 2"/><w:pPr><w:numPr><w:ilvl w:val="1"/><w:numId w:val="2"/></w:numPr></w:pPr></w:style>
<w:style w:type="paragraph" w:styleId="Loop"><w:name w:val="loop"/><w:basedOn w:val="Loop"/></w:style>
<w:style w:type="paragraph" w:styleId="Titel"><w:name w:val="Title"/></w:style>
<w:style w:type="paragraph" w:styleId="Verzeichnis1"><w:name w:val="toc 1"/></w:style>
</w:styles>`
	testNumbering = `<w:numbering ` + wordNamespace + `>
<w:abstractNum w:abstractNumId="7"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="bullet"/><w:lvlText w:val="*"/></w:lvl><w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="lowerLetter"/><w:lvlText w:val="%2)"/></w:lvl></w:abstractNum>
<w:abstractNum w:abstractNumId="8"><w:lvl w:ilvl="0"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1."/></w:lvl><w:lvl w:ilvl="1"><w:start w:val="1"/><w:numFmt w:val="decimal"/><w:lvlText w:val="%1.%2"/></w:lvl></w:abstractNum>
<w:num w:numId="1"><w:abstractNumId w:val="7"/></w:num><w:num w:numId="2"><w:abstractNumId w:val="8"/></w:num>
</w:numbering>`
)

// zipOf writes a zip file.
func zipOf(parts map[string]string) []byte {
	var out bytes.Buffer
	z := zip.NewWriter(&out)
	names := make([]string, 0, len(parts))
	for name := range parts {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		w, err := z.Create(name)
		if err == nil {
			_, err = w.Write([]byte(parts[name]))
		}
		if err != nil {
			panic(err)
		}
	}
	if err := z.Close(); err != nil {
		panic(err)
	}
	return out.Bytes()
}

// zipOfMany writes a zip file of n empty entries beside a document.
func zipOfMany(n int) []byte {
	parts := map[string]string{"word/document.xml": "<x/>"}
	for i := range n {
		parts[strconv.Itoa(i)] = ""
	}
	return zipOf(parts)
}

// docx writes a Word document with that body.
func docx(body string) []byte {
	return zipOf(map[string]string{
		"[Content_Types].xml": "<Types/>",
		"_rels/.rels":         `<Relationships><Relationship Type="http://schemas.openxmlformats.org/officeDocument/2006/relationships/officeDocument" Target="word/document.xml"/></Relationships>`,
		"docProps/core.xml":   `<cp:coreProperties xmlns:cp="c" xmlns:dc="d"><dc:title>From the properties</dc:title></cp:coreProperties>`,
		"word/document.xml":   `<?xml version="1.0" encoding="UTF-8"?><w:document ` + wordNamespace + `><w:body>` + body + `</w:body></w:document>`,
		"word/styles.xml":     testStyles,
		"word/numbering.xml":  testNumbering,
		"word/footnotes.xml":  `<w:footnotes ` + wordNamespace + `><w:footnote w:id="0" w:type="separator"><w:p/></w:footnote><w:footnote w:id="2"><w:p><w:r><w:t>By night.</w:t></w:r></w:p></w:footnote></w:footnotes>`,
	})
}

// ole writes the beginning of a compound file with a stream of that name.
func ole(stream string) []byte {
	out := append([]byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1"), make([]byte, 1024)...)
	for _, u := range utf16.Encode([]rune(stream)) {
		out = append(out, byte(u), byte(u>>8))
	}
	return append(out, make([]byte, 512)...)
}

// noise returns bytes that are neither text nor anything else.
func noise(n int) []byte {
	r := rand.New(rand.NewPCG(1, 2))
	out := make([]byte, n)
	for i := range out {
		out[i] = byte(r.UintN(256))
	}
	return out
}

func testdata(tb testing.TB, name string) []byte {
	tb.Helper()
	content, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		tb.Fatal(err)
	}
	return content
}

// para writes a paragraph with properties.
func para(properties, text string) string {
	return `<w:p><w:pPr>` + properties + `</w:pPr><w:r><w:t xml:space="preserve">` + text + `</w:t></w:r></w:p>`
}

func num(id, level int) string {
	return fmt.Sprintf(`<w:numPr><w:ilvl w:val="%d"/><w:numId w:val="%d"/></w:numPr>`, level, id)
}

func TestDOCX(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	cell := func(s string) string { return "<w:tc>" + para("", s) + "</w:tc>" }
	tests := []struct {
		name string
		body string
		want []string
	}{
		{
			"headings by localized, derived and direct levels", para(`<w:pStyle w:val="berschrift1"/>`, "One") + para(`<w:pStyle w:val="Mine"/><w:numPr><w:numId w:val="0"/></w:numPr>`, "Two") +
				para(`<w:outlineLvl w:val="2"/>`, "Three") + para(`<w:pStyle w:val="Loop"/>`, "text") + para(`<w:pStyle w:val="Heading4"/>`, "Four"),
			[]string{"# One", "## Two", "### Three", "text", "#### Four"},
		},
		{
			"numbered headings carry their number", para(num(2, 0), "Part") + para(`<w:pStyle w:val="Sub"/>`, "First") + para(`<w:pStyle w:val="Sub"/>`, "Second"),
			[]string{"1. Part", "## 1.1 First", "## 1.2 Second"},
		},
		{
			"lists with bullets, letters and numbers that start again", para(num(1, 0), "a") + para(num(1, 1), "b") + para(num(1, 1), "c") + para(num(1, 0), "d") + para(num(1, 1), "e"),
			[]string{"- a", "  a) b", "  b) c", "- d", "  a) e"},
		},
		{
			"runs, tabs, breaks, hyperlinks and formulas are one paragraph",
			`<w:p><w:r><w:t>go</w:t></w:r><w:hyperlink><w:r><w:t xml:space="preserve">od </w:t></w:r></w:hyperlink><w:r><w:tab/><w:t>x</w:t><w:br/><w:t>y</w:t><w:noBreakHyphen/></w:r>
			<m:oMath xmlns:m="http://schemas.openxmlformats.org/officeDocument/2006/math"><m:r><m:t>z</m:t></m:r></m:oMath></w:p>`,
			[]string{"good \tx\ny-z"},
		},
		{
			"tracked deletions, hidden text and field codes are left out",
			`<w:p><w:del><w:r><w:delText>gone</w:delText></w:r></w:del><w:ins><w:r><w:t>new</w:t></w:r></w:ins><w:moveFrom><w:r><w:t>moved</w:t></w:r></w:moveFrom>
			<w:r><w:rPr><w:vanish/></w:rPr><w:t>hidden</w:t></w:r><w:r><w:rPr><w:vanish w:val="0"/></w:rPr><w:t> shown</w:t></w:r><w:r><w:instrText>PAGE</w:instrText></w:r></w:p>`,
			[]string{"new shown"},
		},
		{
			"tables are rows, with nested tables in their cell and deleted rows left out",
			`<w:tbl><w:tr><w:trPr><w:tblHeader/></w:trPr>` + cell("Name") + cell("Flow") + `</w:tr><w:tr>` + cell("A") + `<w:tc><w:tbl><w:tr>` + cell("1") + cell("2") + `</w:tr></w:tbl>` + para("", "3") + `</w:tc></w:tr>
			<w:tr><w:trPr><w:del w:id="1"/></w:trPr>` + cell("x") + cell("y") + `</w:tr><w:tr>` + cell("") + cell("4") + `</w:tr></w:tbl>`,
			[]string{"table:", "Name | Flow", "A | 1 2 3", "| 4"},
		},
		{"a table of one cell is a paragraph", `<w:tbl><w:tr>` + cell("Careful.") + `</w:tr></w:tbl>`, []string{"Careful."}},
		{
			"footnotes follow their paragraph", `<w:p><w:r><w:t>It runs</w:t></w:r><w:r><w:footnoteReference w:id="2"/></w:r><w:r><w:t>.</w:t></w:r></w:p>` + para("", "Next."),
			[]string{"It runs[1].", "[1] By night.", "Next."},
		},
		{
			"text boxes are read once", `<w:p><w:r><mc:AlternateContent><mc:Choice><w:txbxContent>` + para("", "Boxed.") + `</w:txbxContent></mc:Choice><mc:Fallback><w:txbxContent>` + para("", "Boxed.") +
				`</w:txbxContent></mc:Fallback></mc:AlternateContent></w:r><w:r><w:t>Around.</w:t></w:r></w:p>`,
			[]string{"Boxed.", "Around."},
		},
		{"tables of contents are left out", para(`<w:pStyle w:val="Verzeichnis1"/>`, "One 3") + para("", "Text."), []string{"Text."}},
		{"content controls are read", `<w:sdt><w:sdtPr><w:alias/></w:sdtPr><w:sdtContent>` + para("", "Inside.") + `</w:sdtContent></w:sdt>`, []string{"Inside."}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := mustParse(t, p, file("a.docx", docx(tc.body)))
			wantOutline(t, doc, tc.want...)
			if doc.Pages != 0 || doc.Format != DOCX {
				t.Errorf("%d pages of %s", doc.Pages, doc.Format)
			}
		})
	}
}

func TestDOCXPages(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	const (
		rendered = `<w:r><w:lastRenderedPageBreak/></w:r>`
		explicit = `<w:p><w:r><w:br w:type="page"/></w:r></w:p>`
	)
	tests := []struct {
		name  string
		body  string
		total int
		want  []int
	}{
		{"no breaks, no pages", para("", "a") + para("", "b"), 0, []int{0, 0}},
		{"explicit breaks", para("", "a") + explicit + para("", "b") + para("<w:pageBreakBefore/>", "c"), 3, []int{1, 2, 3}},
		{"stored layout wins over explicit breaks", para("", "a") + explicit + `<w:p>` + rendered + `<w:r><w:t>b</w:t></w:r></w:p><w:p><w:r><w:t>c</w:t></w:r>` + rendered + `<w:r><w:t>c</w:t></w:r></w:p>` + para("", "d"), 3, []int{1, 2, 2, 3}},
		{"section breaks", `<w:p><w:pPr><w:sectPr/></w:pPr><w:r><w:t>a</w:t></w:r></w:p>` + para("", "b"), 2, []int{1, 2}},
		{"tables are where their text is", explicit + `<w:tbl><w:tr><w:tc>` + para("", "x") + `</w:tc><w:tc>` + para("", "y") + `</w:tc></w:tr></w:tbl>`, 2, []int{2}},
	}
	for _, tc := range tests {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			doc := mustParse(t, p, file("a.docx", docx(tc.body)))
			var got []int
			for _, b := range doc.Blocks {
				got = append(got, b.Page)
			}
			if doc.Pages != tc.total || !reflect.DeepEqual(got, tc.want) {
				t.Errorf("%d pages, blocks on %v; want %d, %v", doc.Pages, got, tc.total, tc.want)
			}
		})
	}
}

func TestDOCXTitle(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	if doc := mustParse(t, p, file("a.docx", docx(para("", "x")))); doc.Title != "From the properties" {
		t.Errorf("title %q", doc.Title)
	}
	if doc := mustParse(t, p, file("a.docx", docx(para(`<w:pStyle w:val="Titel"/>`, "On the page")))); doc.Title != "On the page" {
		t.Errorf("title %q", doc.Title)
	}
}

func TestListNumbers(t *testing.T) {
	t.Parallel()
	for _, tc := range []struct {
		n      int
		format string
		want   string
	}{
		{4, "decimal", "4"},
		{4, "decimalZero", "04"},
		{28, "lowerLetter", "bb"},
		{3, "upperLetter", "C"},
		{1994, "upperRoman", "MCMXCIV"},
		{9, "lowerRoman", "ix"},
		{0, "upperRoman", "0"},
		{5, "chicago", "5"},
		{900, "upperLetter", "900"},
	} {
		if got := formatNumber(tc.n, tc.format); got != tc.want {
			t.Errorf("formatNumber(%d, %s) = %q, want %q", tc.n, tc.format, got, tc.want)
		}
	}
}

func TestLongHeadingsAreParagraphs(t *testing.T) {
	t.Parallel()
	p := sharedParser(t)
	doc := mustParse(t, p, file("a.docx", docx(para(`<w:outlineLvl w:val="0"/>`, strings.Repeat("long ", 100)))))
	if doc.Blocks[0].Kind != Paragraph {
		t.Errorf("got a %s", doc.Blocks[0].Kind)
	}
}
