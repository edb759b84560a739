package parse

import (
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// layOut turns the lines of all pages into blocks: without the headers and footers that repeat, with headings from the
// outline or else from the look of the lines, lines joined to paragraphs, list items and code.
func layOut(b *Builder, pages []pdfPage, marks []bookmark) {
	dropMargins(pages)
	joinHyphens(pages)
	headings := headingsFromOutline(pages, marks)
	if headings == nil {
		headings = headingsFromLook(pages)
	}
	for i := range pages {
		page := pageLayout{builder: b, number: i + 1, leading: leading(pages[i].lines)}
		page.layOut(pages[i].lines, headings[i])
	}
}

// pageHeadings says which lines of a page are headings.
type pageHeadings struct {
	levels map[int]int       // by line; 0 for a line that continues the heading above it
	titles map[int][]heading // headings that are not on the page, to stand before a line
}

// heading is a heading whose text is not on the page.
type heading struct {
	level int
	text  string
}

// leading is the usual distance between the lines of a page.
func leading(lines []pdfLine) float64 {
	var gaps []float64
	for i := 1; i < len(lines); i++ {
		gap := lines[i-1].bottom - lines[i].bottom
		if similar(lines[i-1].size, lines[i].size) && gap > 0.5*lines[i].height && gap < 3*lines[i].height {
			gaps = append(gaps, gap)
		}
	}
	if len(gaps) == 0 {
		return 0
	}
	slices.Sort(gaps)
	return gaps[len(gaps)/3] // below the median, as lists and short paragraphs have many wide gaps
}

// similar reports whether two font sizes are the same for a reader.
func similar(a, b float64) bool { return math.Abs(a-b) <= 0.08*math.Max(a, b) }

// blockStyle is what a run of lines will become.
type blockStyle int

const (
	prose blockStyle = iota
	item
	code
	title
)

// pageLayout joins the lines of one page to blocks.
type pageLayout struct {
	builder *Builder
	number  int
	leading float64

	style blockStyle
	level int // of a title
	lines []pdfLine
}

func (p *pageLayout) layOut(lines []pdfLine, headings pageHeadings) {
	right := 0.0 // the edge that full lines reach
	for i := range lines {
		right = math.Max(right, lines[i].right)
	}
	for i, line := range lines {
		for _, h := range headings.titles[i] {
			p.flush()
			p.builder.Heading(h.level, h.text, p.number)
		}
		level, isHeading := headings.levels[i]
		switch {
		case isHeading && level == 0 && p.style == title && len(p.lines) > 0:
		case isHeading:
			p.begin(title)
			p.level = max(level, 1)
		case line.mono:
			if p.style != code || len(p.lines) == 0 || p.gap(line) > 2.6*p.spacing(line) || p.gap(line) < 0 {
				p.begin(code)
			}
		case startsItem(line.text) && !p.midSentence(line):
			p.begin(item)
		case len(p.lines) == 0 || p.style == title || p.style == code || p.breaks(line, right):
			p.begin(prose)
		}
		p.lines = append(p.lines, line)
	}
	p.flush()
	for _, h := range headings.titles[len(lines)] {
		p.builder.Heading(h.level, h.text, p.number)
	}
}

func (p *pageLayout) begin(style blockStyle) {
	p.flush()
	p.style = style
}

// last is the latest line of the block in the making.
func (p *pageLayout) last() pdfLine { return p.lines[len(p.lines)-1] }

// gap is how far below the latest line another is.
func (p *pageLayout) gap(line pdfLine) float64 { return p.last().bottom - line.bottom }

// spacing is the distance expected between the latest line and the next of the same paragraph.
func (p *pageLayout) spacing(line pdfLine) float64 {
	natural := 1.2 * line.size
	if p.leading > 0 && p.leading < 2.5*line.size {
		return p.leading
	}
	return natural
}

// breaks reports whether a line begins a new paragraph.
func (p *pageLayout) breaks(line pdfLine, right float64) bool {
	last, gap := p.last(), p.gap(line)
	switch {
	case line.height == 0 || last.height == 0: // not measured
		return false
	case math.Abs(gap) < 0.3*line.height: // goes on beside it
		return false
	case gap < 0, gap > 1.3*p.spacing(line), !similar(line.size, last.size):
		return true
	case line.left < p.lines[0].left-0.5*line.size: // moved out of a list item or a quotation
		return true
	}
	indented := line.left > last.left+0.8*line.size
	short := last.right < right-6*line.size
	return endsSentence(last.text) && (short || indented && p.style == prose)
}

// midSentence reports whether a line goes on with the sentence above, so that a number at its start numbers nothing.
func (p *pageLayout) midSentence(line pdfLine) bool {
	if len(p.lines) == 0 || p.style == title || p.style == code || !unicode.IsDigit(firstRune(line.text)) {
		return false
	}
	return !endsSentence(p.last().text) && p.gap(line) < 1.2*p.spacing(line) && p.gap(line) > 0 && p.style == prose
}

// flush appends the block in the making.
func (p *pageLayout) flush() {
	if len(p.lines) == 0 {
		return
	}
	switch p.style {
	case title:
		p.builder.Heading(p.level, joinLines(p.lines), p.number)
	case code:
		p.builder.Code(codeText(p.lines), p.number)
	case item:
		marker, text := splitMarker(joinLines(p.lines))
		p.builder.Item(1, marker, text, p.number)
	default:
		p.builder.Paragraph(joinLines(p.lines), p.number)
	}
	p.lines = p.lines[:0]
}

// joinLines joins the lines of a paragraph: with a space, or without one between characters of scripts that have none.
func joinLines(lines []pdfLine) string {
	var out strings.Builder
	previous := rune(0)
	for i := range lines {
		if out.Len() > 0 && (!ideographic(previous) || !ideographic(firstRune(lines[i].text))) {
			out.WriteByte(' ')
		}
		out.WriteString(lines[i].text)
		previous, _ = utf8.DecodeLastRuneInString(lines[i].text)
	}
	return out.String()
}

// codeText joins lines of code; indentation is taken from where they start, and blank lines from the gaps.
func codeText(lines []pdfLine) string {
	left := lines[0].left
	for i := range lines {
		left = math.Min(left, lines[i].left)
	}
	var out strings.Builder
	for i, line := range lines {
		if i > 0 {
			out.WriteByte('\n')
			if lines[i-1].bottom-line.bottom > 1.8*line.height {
				out.WriteByte('\n')
			}
		}
		if width := 0.6 * line.size; width > 0 {
			indent := int(math.Round((line.left - left) / width))
			out.WriteString(strings.Repeat(" ", min(max(indent, 0), 40)))
		}
		out.WriteString(line.text)
	}
	return out.String()
}

// bullets begin a list item when a space follows.
const bullets = "•◦▪▫‣⁃∙●○■□►▶➢➤✓✔*–—-·"

// startsItem reports whether a line begins with a bullet or a number as lists have them.
func startsItem(text string) bool {
	marker, rest := splitMarker(text)
	return marker != "" && rest != ""
}

// splitMarker splits the bullet or number off a list item; bullets become "-". The marker is empty when there is none.
func splitMarker(text string) (marker, rest string) {
	marker, rest, found := strings.Cut(text, " ")
	if !found || len(marker) > 6 {
		return "", text
	}
	if utf8.RuneCountInString(marker) == 1 && strings.Contains(bullets, marker) {
		return "-", strings.TrimSpace(rest)
	}
	inner := strings.TrimPrefix(marker, "(")
	core := strings.TrimRight(inner, ".)")
	if core == inner || core == "" || len(core) > 3 || len(inner)-len(core) > 1 {
		return "", text
	}
	digits := strings.Trim(core, "0123456789") == ""
	letter := len(core) == 1 && unicode.IsLower(rune(core[0]))
	if digits && len(core) <= 2 || letter && strings.HasSuffix(marker, ")") {
		return marker, strings.TrimSpace(rest)
	}
	return "", text
}

// endsSentence reports whether a text ends with the mark of a complete sentence, or with one that introduces what follows.
func endsSentence(text string) bool {
	text = strings.TrimRight(text, "\"'”’»)] ")
	last, _ := utf8.DecodeLastRuneInString(text)
	return strings.ContainsRune(".!?:…。！？：", last)
}

func firstRune(s string) rune {
	r, _ := utf8.DecodeRuneInString(s)
	return r
}

// ideographic reports whether a character belongs to a script written without spaces between words.
func ideographic(r rune) bool {
	return unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana) ||
		r >= '\u3000' && r <= '\u303f' || r >= '\uff00' && r <= '\uff60'
}
