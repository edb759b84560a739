package parse

import (
	"context"
	"io"
	"strconv"
	"strings"

	"golang.org/x/net/html"
	"golang.org/x/net/html/atom"
	"golang.org/x/net/html/charset"

	"github.com/tarento/copilot/pkg/fault"
)

// parseHTML reads a web page: its title, headings, paragraphs, lists, tables and preformatted text. What a reader does not
// see or does not read is left out: scripts, styles, navigation, form controls, hidden elements. The encoding is found as
// browsers find it (byte order mark, declared charset, meta element, and then the content).
func parseHTML(ctx context.Context, src Source, cfg Config) (*Document, error) {
	if err := src.fits(cfg.MaxBytes); err != nil {
		return nil, err
	}
	decoded, err := charset.NewReader(interruptible(ctx, io.NewSectionReader(src.Content, 0, src.Size)), src.MediaType)
	if err != nil {
		return nil, unreadableHTML(err)
	}
	root, err := html.Parse(decoded)
	if err != nil {
		return nil, unreadableHTML(err)
	}
	b := NewBuilder(HTML, cfg.MaxText)
	w := htmlWalker{builder: b}
	w.children(root, htmlScope{})
	w.flush()
	return b.Document(), b.Err()
}

func unreadableHTML(err error) error {
	return fault.Wrap(err, fault.Invalid, "document.unreadable",
		"This HTML file cannot be read: it is nested too deeply or its encoding is unknown. "+
			"Save the page again, or as PDF, and upload that.")
}

// textOfHTML returns the text of an HTML fragment on one line.
func textOfHTML(fragment string) string {
	root, err := html.Parse(strings.NewReader(fragment))
	if err != nil {
		return ""
	}
	return flatText(root)
}

// htmlWalker appends an HTML tree to a builder. Text collects in inline until a block begins or ends. The parser refuses
// trees deeper than 512 elements, so recursion is bounded.
type htmlWalker struct {
	builder *Builder
	inline  strings.Builder
	marker  string // of the list item whose text is being collected; empty outside and after its first paragraph
	level   int    // of that list item
}

// htmlScope is what the elements around a node mean for it.
type htmlScope struct {
	list    int  // depth of lists
	ordered bool // the innermost list is numbered
}

func (w *htmlWalker) children(n *html.Node, scope htmlScope) {
	number := listStart(n)
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		if c.Type == html.ElementNode && c.DataAtom == atom.Li {
			w.item(c, scope, number)
			number++
			continue
		}
		w.node(c, scope)
	}
}

// listStart is the number of an ordered list's first item.
func listStart(n *html.Node) int {
	if start, err := strconv.Atoi(attribute(n, "start")); err == nil {
		return start
	}
	return 1
}

func (w *htmlWalker) node(n *html.Node, scope htmlScope) {
	switch n.Type {
	case html.TextNode:
		w.inline.WriteString(n.Data)
		return
	case html.ElementNode:
	case html.DocumentNode:
		w.children(n, scope)
		return
	default:
		return
	}
	if invisible(n) {
		return
	}
	switch n.DataAtom {
	case atom.Title:
		if n.Namespace == "" {
			w.builder.SetTitle(flatText(n))
		}
	case atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6:
		w.flush()
		w.builder.Heading(int(n.Data[1]-'0'), flatText(n), 0)
	case atom.Pre, atom.Listing, atom.Xmp:
		w.flush()
		w.builder.Code(rawText(n), 0)
	case atom.Table:
		w.flush()
		w.table(n, scope)
	case atom.Ul, atom.Menu, atom.Dir:
		w.flush()
		w.children(n, htmlScope{list: scope.list + 1})
		w.flush()
	case atom.Ol:
		w.flush()
		w.children(n, htmlScope{list: scope.list + 1, ordered: true})
		w.flush()
	case atom.Br:
		w.lineBreak()
	case atom.Td, atom.Th:
		w.inline.WriteByte(' ')
		w.children(n, scope)
	default:
		if inlineElements[n.DataAtom] {
			w.children(n, scope)
			return
		}
		w.flush()
		w.children(n, scope)
		w.flush()
	}
}

// item appends a list item; its first paragraph gets the marker, lists inside it come after.
func (w *htmlWalker) item(n *html.Node, scope htmlScope, number int) {
	w.flush()
	if invisible(n) {
		return
	}
	w.marker, w.level = "-", max(scope.list, 1)
	if scope.ordered {
		w.marker = strconv.Itoa(number) + "."
	}
	w.children(n, scope)
	w.flush()
	w.marker = ""
}

// lineBreak notes a line break; two in a row end the paragraph, as old pages mean them.
func (w *htmlWalker) lineBreak() {
	if strings.HasSuffix(strings.TrimRight(w.inline.String(), " \t\r\n"), "\v") {
		w.flush()
		return
	}
	w.inline.WriteByte('\v')
}

// flush ends the running paragraph.
func (w *htmlWalker) flush() {
	text := oneLine(clean(w.inline.String()))
	w.inline.Reset()
	if text == "" {
		return
	}
	if w.marker != "" {
		w.builder.Item(w.level, w.marker, text, 0)
		w.marker = ""
		return
	}
	w.builder.Paragraph(text, 0)
}

// table appends a data table as one, and a table that only arranges a page as what it contains.
func (w *htmlWalker) table(n *html.Node, scope htmlScope) {
	if arranges(n) {
		w.children(n, scope)
		w.flush()
		return
	}
	var rows [][]string
	header := false
	visit(n, func(e *html.Node) bool {
		switch {
		case e.Type != html.ElementNode:
			return true
		case invisible(e):
			return false
		case e.DataAtom == atom.Caption:
			w.builder.Paragraph(flatText(e), 0)
			return false
		case e.DataAtom == atom.Tr:
			cells, heads := tableCells(e)
			if len(rows) == 0 {
				header = heads || e.Parent.DataAtom == atom.Thead
			}
			rows = append(rows, cells)
			return false
		default:
			return true
		}
	})
	w.builder.Table(rows, header, 0)
}

// tableCells returns the cells of a row, and whether all are header cells.
func tableCells(row *html.Node) (cells []string, heads bool) {
	heads = true
	for c := row.FirstChild; c != nil; c = c.NextSibling {
		if c.Type != html.ElementNode || c.DataAtom != atom.Td && c.DataAtom != atom.Th {
			continue
		}
		heads = heads && c.DataAtom == atom.Th
		cells = append(cells, flatText(c))
	}
	return cells, heads && len(cells) > 0
}

// arranges reports whether a table is there for layout: it holds a table, a heading or a list, or no row with two cells.
func arranges(table *html.Node) bool {
	layout, wide := false, false
	for c := table.FirstChild; c != nil; c = c.NextSibling {
		visit(c, func(e *html.Node) bool {
			switch e.DataAtom {
			case atom.Table, atom.H1, atom.H2, atom.H3, atom.H4, atom.H5, atom.H6, atom.Pre:
				layout = true
			case atom.Td, atom.Th:
				wide = wide || siblingCell(e)
			}
			return !layout
		})
	}
	return layout || !wide
}

// siblingCell reports whether a cell has another after it.
func siblingCell(cell *html.Node) bool {
	for c := cell.NextSibling; c != nil; c = c.NextSibling {
		if c.DataAtom == atom.Td || c.DataAtom == atom.Th {
			return true
		}
	}
	return false
}

// visit calls fn for a node and, where fn says so, for what is below it, in document order.
func visit(n *html.Node, fn func(*html.Node) bool) {
	if !fn(n) {
		return
	}
	for c := n.FirstChild; c != nil; c = c.NextSibling {
		visit(c, fn)
	}
}

// flatText returns the visible text below a node on one line.
func flatText(n *html.Node) string {
	var out strings.Builder
	visit(n, func(e *html.Node) bool {
		switch e.Type {
		case html.TextNode:
			out.WriteString(e.Data)
		case html.ElementNode:
			if e != n && invisible(e) {
				return false
			}
			if !inlineElements[e.DataAtom] {
				out.WriteByte(' ')
			}
		}
		return true
	})
	return oneLine(clean(out.String()))
}

// rawText returns the text below a node with its line breaks and indentation.
func rawText(n *html.Node) string {
	var out strings.Builder
	visit(n, func(e *html.Node) bool {
		switch {
		case e.Type == html.TextNode:
			out.WriteString(e.Data)
		case e.DataAtom == atom.Br:
			out.WriteByte('\n')
		}
		return true
	})
	return out.String()
}

// invisible reports whether an element is not part of what a reader reads.
func invisible(n *html.Node) bool {
	switch n.DataAtom {
	case atom.Script, atom.Style, atom.Noscript, atom.Template, atom.Nav, atom.Iframe, atom.Object, atom.Embed, atom.Svg,
		atom.Canvas, atom.Audio, atom.Video, atom.Button, atom.Select, atom.Textarea, atom.Input, atom.Datalist, atom.Dialog:
		return true
	}
	for _, a := range n.Attr {
		switch a.Key {
		case "hidden":
			return true
		case "aria-hidden":
			if strings.EqualFold(a.Val, "true") {
				return true
			}
		case "style":
			style := strings.ToLower(strings.ReplaceAll(a.Val, " ", ""))
			if strings.Contains(style, "display:none") || strings.Contains(style, "visibility:hidden") {
				return true
			}
		case "role":
			if a.Val == "navigation" {
				return true
			}
		}
	}
	return false
}

// attribute returns an attribute's value, empty when the node does not have it.
func attribute(n *html.Node, key string) string {
	for _, a := range n.Attr {
		if a.Key == key {
			return a.Val
		}
	}
	return ""
}

// inlineElements are the elements that do not interrupt a paragraph.
var inlineElements = map[atom.Atom]bool{
	atom.A: true, atom.Abbr: true, atom.Acronym: true, atom.B: true, atom.Bdi: true, atom.Bdo: true, atom.Big: true,
	atom.Cite: true, atom.Code: true, atom.Data: true, atom.Del: true, atom.Dfn: true, atom.Em: true, atom.Font: true,
	atom.I: true, atom.Img: true, atom.Ins: true, atom.Kbd: true, atom.Label: true, atom.Mark: true, atom.Math: true,
	atom.Q: true, atom.Rp: true, atom.Rt: true, atom.Ruby: true, atom.S: true, atom.Samp: true, atom.Small: true,
	atom.Span: true, atom.Strike: true, atom.Strong: true, atom.Sub: true, atom.Sup: true, atom.Time: true, atom.Tt: true,
	atom.U: true, atom.Var: true, atom.Wbr: true,
}
