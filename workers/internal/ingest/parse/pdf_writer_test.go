package parse

import (
	"bytes"
	"fmt"
	"strings"
)

// pdfText is a line of text on a page of a test PDF.
type pdfText struct {
	x, y, size int
	font       string // Helvetica when empty
	text       string
}

// pdfMark is a bookmark of a test PDF; pages count from 0.
type pdfMark struct {
	title string
	page  int
}

// pdfFile writes minimal PDFs.
type pdfFile struct {
	pages   [][]pdfText
	raw     []string // content streams of further pages
	forms   []string // content streams of form objects named /F0, /F1, ...
	title   string
	marks   []pdfMark
	circle  bool // the outline is a circle
	missing int  // further pages whose object does not exist
}

// bytes writes the file.
func (f pdfFile) bytes() []byte {
	var objects []string
	add := func(format string, args ...any) int {
		objects = append(objects, fmt.Sprintf(format, args...))
		return len(objects)
	}
	catalog, tree := add(""), add("")
	fonts := map[string]int{}
	font := func(name string) string {
		if name == "" {
			name = "Helvetica"
		}
		if fonts[name] == 0 {
			fonts[name] = add("<< /Type /Font /Subtype /Type1 /BaseFont /%s /Encoding /WinAnsiEncoding >>", name)
		}
		return fmt.Sprintf("T%d", fonts[name])
	}
	contents := append([]string(nil), f.raw...)
	for _, page := range f.pages {
		var c strings.Builder
		for _, line := range page {
			text := strings.NewReplacer(`\`, `\\`, "(", `\(`, ")", `\)`).Replace(line.text)
			fmt.Fprintf(&c, "BT /%s %d Tf %d %d Td (%s) Tj ET\n", font(line.font), line.size, line.x, line.y, text)
		}
		contents = append(contents, c.String())
	}
	forms := make([]int, len(f.forms))
	for i := range f.forms {
		forms[i] = add("")
	}
	var resources strings.Builder
	resources.WriteString("<< /Font << ")
	font("")
	for _, id := range fonts {
		fmt.Fprintf(&resources, "/T%d %d 0 R ", id, id)
	}
	resources.WriteString(">> /XObject << ")
	for i, id := range forms {
		fmt.Fprintf(&resources, "/F%d %d 0 R ", i, id)
	}
	resources.WriteString(">> >>")
	shared := add("%s", resources.String())
	for i, c := range f.forms {
		objects[forms[i]-1] = fmt.Sprintf("<< /Type /XObject /Subtype /Form /BBox [0 0 600 800] /Resources %d 0 R /Length %d >>\nstream\n%s\nendstream", shared, len(c), c)
	}
	var kids []int
	for _, c := range contents {
		stream := add("<< /Length %d >>\nstream\n%s\nendstream", len(c), c)
		kids = append(kids, add("<< /Type /Page /Parent %d 0 R /MediaBox [0 0 600 800] /Resources %d 0 R /Contents %d 0 R >>", tree, shared, stream))
	}
	for range f.missing {
		kids = append(kids, 9_999)
	}
	var refs strings.Builder
	for _, id := range kids {
		fmt.Fprintf(&refs, "%d 0 R ", id)
	}
	objects[tree-1] = fmt.Sprintf("<< /Type /Pages /Count %d /Kids [ %s] >>", len(kids), refs.String())
	objects[catalog-1] = fmt.Sprintf("<< /Type /Catalog /Pages %d 0 R >>", tree)
	if len(f.marks) > 0 {
		outlines := add("")
		first := len(objects) + 1
		for i, m := range f.marks {
			links := ""
			switch {
			case i < len(f.marks)-1:
				links = fmt.Sprintf("/Next %d 0 R", first+i+1)
			case f.circle:
				links = fmt.Sprintf("/Next %d 0 R", first)
			}
			add("<< /Title (%s) /Parent %d 0 R /Dest [%d 0 R /Fit] %s >>", m.title, outlines, kids[m.page], links)
		}
		objects[outlines-1] = fmt.Sprintf("<< /Type /Outlines /First %d 0 R /Last %d 0 R /Count %d >>", first, first+len(f.marks)-1, len(f.marks))
		objects[catalog-1] = fmt.Sprintf("<< /Type /Catalog /Pages %d 0 R /Outlines %d 0 R >>", tree, outlines)
	}
	info := add("<< /Title (%s) >>", f.title)

	var out bytes.Buffer
	out.WriteString("%PDF-1.7\n")
	offsets := make([]int, len(objects))
	for i, o := range objects {
		offsets[i] = out.Len()
		fmt.Fprintf(&out, "%d 0 obj\n%s\nendobj\n", i+1, o)
	}
	xref := out.Len()
	fmt.Fprintf(&out, "xref\n0 %d\n0000000000 65535 f \n", len(objects)+1)
	for _, at := range offsets {
		fmt.Fprintf(&out, "%010d 00000 n \n", at)
	}
	fmt.Fprintf(&out, "trailer\n<< /Size %d /Root %d 0 R /Info %d 0 R >>\nstartxref\n%d\n%%%%EOF\n", len(objects)+1, catalog, info, xref)
	return out.Bytes()
}

// prose returns lines of text from the top of a page down.
func prosePage(lines ...string) []pdfText {
	out := make([]pdfText, len(lines))
	for i, l := range lines {
		out[i] = pdfText{x: 72, y: 720 - 14*i, size: 11, text: l}
	}
	return out
}
