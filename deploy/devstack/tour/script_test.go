package tour

import (
	"archive/zip"
	"bytes"
	"io"
	"regexp"
	"strings"
	"testing"
)

func TestDocumentsAreSmallAndTheirFactsStandInThem(t *testing.T) {
	t.Parallel()
	docs, err := documents()
	if err != nil {
		t.Fatal(err)
	}
	total := 0
	byTitle := map[string]document{}
	for _, d := range docs {
		total += len(d.Data)
		byTitle[d.Title] = d
	}
	if total > 4<<20 {
		t.Errorf("the documents have %d bytes, more than 4 MiB", total)
	}
	if n := bytes.Count(byTitle[titleManual].Data, []byte("/Type /Page\n")); n < 100 {
		t.Errorf("the manual has %d pages, want at least 100", n)
	}
	asked := map[string]bool{}
	for _, q := range questions() {
		d, ok := byTitle[q.Document]
		if !ok || asked[q.Document] {
			t.Errorf("%q: the document %q is not there, or asked about twice", q.Text, q.Document)
		}
		asked[q.Document] = true
		text := ""
		switch d.Title {
		case titleManual:
			continue // its text is compressed; the ingestion is what reads it
		case titlePolicy:
			text = docxText(t, d.Data)
		case titleRunbook:
			text = string(d.Data)
		}
		if !contains(text, q.Phrase) || !contains(text, q.Heading) {
			t.Errorf("%s does not hold %q and %q", d.File, q.Phrase, q.Heading)
		}
	}
}

// docxText returns the text of a DOCX file without its structure.
func docxText(t *testing.T, data []byte) string {
	t.Helper()
	archive, err := zip.NewReader(bytes.NewReader(data), int64(len(data)))
	if err != nil {
		t.Fatal(err)
	}
	body, err := archive.Open("word/document.xml")
	if err != nil {
		t.Fatal(err)
	}
	defer body.Close()
	xml, err := io.ReadAll(body)
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile(`<[^>]*>`).ReplaceAllString(strings.ReplaceAll(string(xml), "</w:p>", "\n"), "")
}
