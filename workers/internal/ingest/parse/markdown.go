package parse

import (
	"strconv"
	"strings"

	"github.com/yuin/goldmark"
	"github.com/yuin/goldmark/ast"
	"github.com/yuin/goldmark/extension"
	extast "github.com/yuin/goldmark/extension/ast"
	"github.com/yuin/goldmark/text"
	"github.com/yuin/goldmark/util"
)

// maxNesting is how deep blocks or inline marks of a document may be nested; nobody writes more than a handful.
const maxNesting = 100

// parseMarkdown reads CommonMark with tables, strikethrough and footnotes. Marks, link targets and inline HTML are left
// out of the text; front matter is too, except for its title.
func parseMarkdown(src Source, cfg Config) (*Document, error) {
	content, err := readText(src, cfg.MaxBytes)
	if err != nil {
		return nil, err
	}
	b := NewBuilder(Markdown, cfg.MaxText)
	title, body := frontMatter(content)
	b.SetTitle(title)
	if pathological(body) {
		paragraphs(b, body)
		return b.Document(), b.Err()
	}
	source := []byte(body)
	md := goldmark.New(goldmark.WithExtensions(extension.Table, extension.Strikethrough, extension.Footnote))
	w := markdownWalker{builder: b, source: source}
	w.blocks(md.Parser().Parse(text.NewReader(source)), 0, 0)
	return b.Document(), b.Err()
}

// frontMatter splits off the metadata block that many tools put before the text, in YAML (---) or TOML (+++), and returns
// the title it gives.
func frontMatter(content string) (title, body string) {
	fence, rest, found := strings.Cut(content, "\n")
	fence = strings.TrimRight(fence, " \t")
	if !found || fence != "---" && fence != "+++" {
		return "", content
	}
	for remaining := rest; remaining != ""; {
		var line string
		line, remaining, _ = strings.Cut(remaining, "\n")
		trimmed := strings.TrimRight(line, " \t")
		if trimmed == fence || fence == "---" && trimmed == "..." {
			return title, remaining
		}
		if trimmed == "" || trimmed[0] == '#' {
			continue
		}
		separator := strings.IndexAny(trimmed, ":=")
		if separator < 0 && !strings.ContainsAny(trimmed[:1], " -\t[]{}\"'") {
			return "", content // a thematic break followed by ordinary text
		}
		if separator > 0 && strings.TrimSpace(trimmed[:separator]) == "title" {
			title = strings.Trim(strings.TrimSpace(trimmed[separator+1:]), `"'`)
		}
	}
	return "", content // never closed
}

// pathological reports whether a text would keep a Markdown parser busy out of all proportion: the parser's effort grows
// with the square of the marks in one paragraph, and its recursion with their nesting. Such a text is read as plain text.
func pathological(content string) bool {
	const maxMarks = 5_000
	marks := 0
	for line := range strings.Lines(content) {
		if strings.TrimSpace(line) == "" {
			marks = 0
			continue
		}
		containers, leading := 0, true
		for i := range len(line) {
			switch c := line[i]; c {
			case '[', ']', '*', '_', '`', '<', '~', '!', '(':
				marks++
				if leading && c == '*' {
					containers++
				}
			case '>', '-', '+', '.', ')':
				if leading {
					containers++
				}
			case ' ', '\t', '0', '1', '2', '3', '4', '5', '6', '7', '8', '9', '\n':
			default:
				leading = false
			}
		}
		if !leading && containers > maxNesting || marks > maxMarks {
			return true
		}
		if leading && strings.Count(line, ">") > maxNesting {
			return true
		}
	}
	return false
}

// markdownWalker appends a syntax tree to a builder.
type markdownWalker struct {
	builder *Builder
	source  []byte
}

// blocks appends the blocks below parent; list is the depth of lists around them.
func (w *markdownWalker) blocks(parent ast.Node, list, depth int) {
	if depth > maxNesting {
		return
	}
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		w.block(n, list, depth)
	}
}

func (w *markdownWalker) block(n ast.Node, list, depth int) {
	b := w.builder
	switch n := n.(type) {
	case *ast.Heading:
		b.Heading(n.Level, w.inline(n), 0)
	case *ast.Paragraph, *ast.TextBlock:
		b.Paragraph(w.inline(n), 0)
	case *ast.CodeBlock, *ast.FencedCodeBlock:
		b.Code(w.lines(n.Lines()), 0)
	case *ast.HTMLBlock:
		raw := w.lines(n.Lines())
		if n.HasClosure() {
			raw += string(n.ClosureLine.Value(w.source))
		}
		b.Paragraph(textOfHTML(raw), 0)
	case *ast.List:
		w.list(n, list+1, depth+1)
	case *extast.Table:
		w.table(n)
	case *extast.Footnote:
		w.footnote(n, list, depth+1)
	default:
		w.blocks(n, list, depth+1)
	}
}

// list appends the items of a list.
func (w *markdownWalker) list(l *ast.List, level, depth int) {
	if depth > maxNesting {
		return
	}
	number := l.Start
	for item := l.FirstChild(); item != nil; item = item.NextSibling() {
		marker := "-"
		if l.IsOrdered() {
			marker = strconv.Itoa(number) + "."
			number++
		}
		child := item.FirstChild()
		if child != nil && isProse(child) {
			w.builder.Item(level, marker, w.inline(child), 0)
			child = child.NextSibling()
		}
		for ; child != nil; child = child.NextSibling() {
			w.block(child, level, depth+1)
		}
	}
}

// isProse reports whether a block is running text.
func isProse(n ast.Node) bool {
	return n.Kind() == ast.KindParagraph || n.Kind() == ast.KindTextBlock
}

// table appends a table.
func (w *markdownWalker) table(t *extast.Table) {
	var rows [][]string
	for row := t.FirstChild(); row != nil; row = row.NextSibling() {
		var cells []string
		for cell := row.FirstChild(); cell != nil; cell = cell.NextSibling() {
			cells = append(cells, w.inline(cell))
		}
		rows = append(rows, cells)
	}
	w.builder.Table(rows, true, 0)
}

// footnote appends a footnote under the number its references show.
func (w *markdownWalker) footnote(n *extast.Footnote, list, depth int) {
	child := n.FirstChild()
	if child != nil && isProse(child) {
		w.builder.Paragraph("["+strconv.Itoa(n.Index)+"] "+w.inline(child), 0)
		child = child.NextSibling()
	}
	for ; child != nil; child = child.NextSibling() {
		w.block(child, list, depth)
	}
}

// lines joins the raw lines of a block.
func (w *markdownWalker) lines(segments *text.Segments) string {
	var out strings.Builder
	for i := range segments.Len() {
		segment := segments.At(i)
		out.Write(segment.Value(w.source))
	}
	return out.String()
}

// inline returns the text below a node without its marks.
func (w *markdownWalker) inline(n ast.Node) string {
	var out strings.Builder
	w.appendInline(&out, n, 0)
	return out.String()
}

func (w *markdownWalker) appendInline(out *strings.Builder, parent ast.Node, depth int) {
	if depth > maxNesting {
		return
	}
	for n := parent.FirstChild(); n != nil; n = n.NextSibling() {
		switch n := n.(type) {
		case *ast.Text:
			value := n.Segment.Value(w.source)
			if !n.IsRaw() {
				value = util.ResolveEntityNames(util.ResolveNumericReferences(util.UnescapePunctuations(value)))
			}
			out.Write(value)
			switch {
			case n.HardLineBreak():
				out.WriteByte('\n')
			case n.SoftLineBreak():
				out.WriteByte(' ')
			}
		case *ast.String:
			out.Write(n.Value)
		case *ast.AutoLink:
			out.Write(n.Label(w.source))
		case *ast.RawHTML:
		case *extast.FootnoteLink:
			out.WriteString("[" + strconv.Itoa(n.Index) + "]")
		case *extast.FootnoteBacklink:
		default:
			w.appendInline(out, n, depth+1)
		}
	}
}
