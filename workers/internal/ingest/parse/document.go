package parse

import (
	"strings"

	"github.com/tarento/copilot/pkg/fault"
)

// Kind says what a block is.
type Kind string

// The kinds of block.
const (
	Heading   Kind = "heading"
	Paragraph Kind = "paragraph"
	ListItem  Kind = "list_item"
	Table     Kind = "table"
	Code      Kind = "code"
)

// Format is the format a document was read as.
type Format string

// The formats that Parse reads.
const (
	PDF      Format = "pdf"
	DOCX     Format = "docx"
	HTML     Format = "html"
	Markdown Format = "markdown"
	Text     Format = "text"
)

// separator stands between two blocks in a document's text.
const separator = "\n\n"

// Block is a piece of a document that belongs together.
type Block struct {
	Kind Kind
	// Level is the depth of a heading (1 is the topmost) or of a list item (1 is the outermost); 0 for other kinds.
	Level int
	// Text is the block's text without space around it: for a list item with its marker ("- " or "3. "), for a
	// table one row a line with " | " between cells, for code with line breaks and indentation,
	// that of its first line included.
	Text string
	// Page is the page on which the block starts, counted from 1; 0 where the format has no pages.
	Page int
	// Path holds the headings above the block, outermost first, without the block itself. It is shared between blocks and
	// must not be changed.
	Path []string
	// Start and End are the block's byte offsets in the document's text: Text is doc.Text()[Start:End].
	Start, End int
	// Header is how many leading bytes of a table's Text are its header row, line break excluded; 0 when it has none.
	Header int
}

// Document is what a parser understood of a file. Build one with a Builder.
type Document struct {
	// Title is the document's own title: from its metadata or else its first topmost heading; empty when it has neither.
	Title string
	// Format is what the document was read as.
	Format Format
	// Pages is the number of pages; 0 where the format has none.
	Pages int
	// Unreadable lists the pages whose content could not be read, in order; nil when there are none. The rest of the
	// document is complete.
	Unreadable []int
	// Blocks are in reading order and do not overlap.
	Blocks []Block

	text string
}

// Text returns the whole text: valid UTF-8 in Unicode normal form C, without control characters other than tab and line
// feed; the blocks, separated by one empty line. It does not allocate.
func (d *Document) Text() string { return d.text }

// Builder puts a Document together block by block, keeping the text, the offsets and the heading path consistent. The zero
// value is not usable; call NewBuilder.
type Builder struct {
	doc      Document
	text     strings.Builder
	path     []string // the current headings; replaced, never changed in place, because blocks share it
	levels   []int    // the level of each heading in path
	limit    int
	overflow bool
}

// NewBuilder returns a builder of a document of that format whose text may grow to limit bytes; 0 means no limit.
func NewBuilder(format Format, limit int) *Builder {
	return &Builder{doc: Document{Format: format}, limit: limit}
}

// SetTitle sets the document's title, replacing what was set before unless title is blank.
func (b *Builder) SetTitle(title string) {
	if t := oneLine(clean(title)); t != "" {
		b.doc.Title = t
	}
}

// SetPages sets the number of pages.
func (b *Builder) SetPages(n int) { b.doc.Pages = n }

// Heading appends a heading and makes it the path of what follows, in place of headings of the same level or deeper.
// Blank headings are dropped. Levels below 1 count as 1.
func (b *Builder) Heading(level int, text string, page int) {
	text = oneLine(clean(text))
	if text == "" {
		return
	}
	level = max(level, 1)
	keep := len(b.levels)
	for keep > 0 && b.levels[keep-1] >= level {
		keep--
	}
	b.path, b.levels = b.path[:keep:keep], b.levels[:keep:keep]
	b.add(Block{Kind: Heading, Level: level, Page: page}, text)
	b.path, b.levels = append(b.path, text), append(b.levels, level)
}

// Paragraph appends running text. Blank text is dropped.
func (b *Builder) Paragraph(text string, page int) {
	b.add(Block{Kind: Paragraph, Page: page}, strings.TrimSpace(clean(text)))
}

// Item appends a list item of that depth (1 is the outermost), with its marker. An item that is only a marker is dropped.
func (b *Builder) Item(level int, marker, text string, page int) {
	text = strings.TrimSpace(clean(text))
	if text == "" {
		return
	}
	if marker = oneLine(clean(marker)); marker == "" {
		marker = "-"
	}
	b.add(Block{Kind: ListItem, Level: max(level, 1), Page: page}, marker+" "+text)
}

// Code appends preformatted text. Blank lines around it are dropped, indentation stays.
func (b *Builder) Code(text string, page int) {
	text = strings.TrimRight(clean(text), " \t\n")
	for {
		line, rest, found := strings.Cut(text, "\n")
		if !found || strings.TrimSpace(line) != "" {
			break
		}
		text = rest
	}
	b.add(Block{Kind: Code, Page: page}, text)
}

// Table appends a table of rows of cells; with header the first row is the table's head. Empty rows are dropped, line
// breaks inside a cell become spaces.
func (b *Builder) Table(rows [][]string, header bool, page int) {
	var text strings.Builder
	head := 0
	for i, row := range rows {
		line := tableRow(row)
		if line == "" {
			continue
		}
		if text.Len() > 0 {
			text.WriteByte('\n')
		}
		text.WriteString(line)
		if i == 0 && header {
			head = text.Len()
		}
	}
	if head == text.Len() {
		head = 0 // a head without a body is just a row
	}
	b.add(Block{Kind: Table, Page: page, Header: head}, text.String())
}

// tableRow joins the cells of a row; it is empty when every cell is.
func tableRow(cells []string) string {
	trimmed := make([]string, len(cells))
	blank := true
	for i, c := range cells {
		trimmed[i] = oneLine(clean(c))
		blank = blank && trimmed[i] == ""
	}
	if blank {
		return ""
	}
	return strings.TrimSpace(strings.Join(trimmed, " | "))
}

// add appends the block with its text, which is already clean.
func (b *Builder) add(block Block, text string) {
	if text == "" || b.overflow {
		return
	}
	if b.limit > 0 && b.text.Len()+len(separator)+len(text) > b.limit {
		b.overflow = true
		return
	}
	if b.text.Len() > 0 {
		b.text.WriteString(separator)
	}
	block.Start = b.text.Len()
	b.text.WriteString(text)
	block.End = b.text.Len()
	block.Path = b.path
	b.doc.Blocks = append(b.doc.Blocks, block)
}

// Err returns a fault once the text has outgrown the limit, and nil before. Everything added after that is dropped.
func (b *Builder) Err() error {
	if !b.overflow {
		return nil
	}
	return fault.New(fault.TooLarge, "document.too_large",
		"The document holds more than %s of text. Split it into smaller documents and upload those.", bytesText(int64(b.limit)))
}

// Document returns the document. The builder must not be used afterwards.
func (b *Builder) Document() *Document {
	d := &b.doc
	d.text = b.text.String()
	for i := range d.Blocks {
		d.Blocks[i].Text = d.text[d.Blocks[i].Start:d.Blocks[i].End]
	}
	if d.Title == "" {
		d.Title = firstTopHeading(d.Blocks)
	}
	return d
}

// firstTopHeading returns the first heading of the topmost level in use.
func firstTopHeading(blocks []Block) string {
	title, level := "", 0
	for i := range blocks {
		if blocks[i].Kind == Heading && (level == 0 || blocks[i].Level < level) {
			title, level = blocks[i].Text, blocks[i].Level
		}
	}
	return title
}
