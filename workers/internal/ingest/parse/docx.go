package parse

import (
	"context"
	"encoding/xml"
	"errors"
	"io"
	"path"
	"strconv"
	"strings"
)

// maxHeading is the longest heading, in bytes; longer paragraphs in a heading's style are running text made big.
const maxHeading = 300

// parseDOCX reads a Word document: headings by their styles or outline levels, with the numbers the reader sees; lists;
// tables; footnotes after the paragraph that refers to them; text boxes before the paragraph they hang on. Deleted text,
// hidden text and tables of contents are left out. Pages are those Word last laid out, or else the explicit page breaks;
// a file with neither has none.
func parseDOCX(ctx context.Context, src Source, maxText int) (*Document, error) {
	p, err := openDOCX(src)
	if err != nil {
		return nil, err
	}
	main, err := p.mainPart(ctx)
	if err != nil {
		return nil, err
	}
	r := &docxReader{builder: NewBuilder(DOCX, maxText), styles: docxStyles{}}
	folder := path.Dir(main)
	for _, part := range []struct {
		name string
		read func(*xmlReader) error
	}{
		{"docProps/core.xml", r.readProperties},
		{folder + "/styles.xml", func(d *xmlReader) (err error) { r.styles, err = readStyles(d); return err }},
		{folder + "/numbering.xml", func(d *xmlReader) (err error) { r.numbering, err = readNumbering(d); return err }},
		{folder + "/footnotes.xml", func(d *xmlReader) (err error) { r.footnotes, err = readNotes(d, "footnote"); return err }},
		{folder + "/endnotes.xml", func(d *xmlReader) (err error) { r.endnotes, err = readNotes(d, "endnote"); return err }},
		{main, r.readBody},
	} {
		if err := p.read(ctx, part.name, part.read); err != nil {
			return nil, err
		}
	}
	r.setPages()
	return r.builder.Document(), r.builder.Err()
}

// docxReader appends a document's main part to a builder.
type docxReader struct {
	d         *xmlReader
	builder   *Builder
	styles    docxStyles
	numbering *docxNumbering
	footnotes map[string]string
	endnotes  map[string]string
	noteCount int
	at        docxPage
	pages     []docxPage // of each block in the builder
}

// docxPage counts page breaks in the two ways a document may tell of them, because only its end shows which to believe.
type docxPage struct{ rendered, explicit int }

// docxParagraph is a paragraph on its way to becoming a block.
type docxParagraph struct {
	text    strings.Builder
	style   string
	outline int
	num     numRef
	section bool // a new page follows
	at      docxPage
	placed  bool // at is set
	notes   []string
}

func (r *docxReader) readProperties(d *xmlReader) error {
	return d.each(func(e xml.StartElement) error {
		if e.Name.Local != "title" {
			return nil
		}
		title, err := d.text()
		r.builder.SetTitle(title)
		return err
	})
}

// readNotes reads footnotes or endnotes by their ids.
func readNotes(d *xmlReader, element string) (map[string]string, error) {
	notes := map[string]string{}
	err := d.each(func(e xml.StartElement) error {
		if e.Name.Local != element || !isWord(e) {
			return nil
		}
		text, err := noteText(d)
		notes[attr(e, "id")] = text
		return err
	})
	return notes, err
}

// noteText returns the text of the note that was just begun.
func noteText(d *xmlReader) (string, error) {
	var out strings.Builder
	for outside := d.depth - 1; d.depth > outside; {
		t, err := d.token()
		if err != nil {
			return "", err
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch e.Name.Local {
		case "del", "moveFrom", "instrText", "Fallback":
			err = d.skip()
		case "p":
			out.WriteByte(' ')
		case "t":
			var text string
			text, err = d.text()
			out.WriteString(text)
		}
		if err != nil {
			return "", err
		}
	}
	return out.String(), nil
}

// isWord reports whether an element belongs to the vocabulary of Word documents, in either edition of the standard.
func isWord(e xml.StartElement) bool {
	return strings.HasSuffix(e.Name.Space, "/wordprocessingml/2006/main") || strings.HasSuffix(e.Name.Space, "/wordprocessingml/main")
}

// isMath reports whether an element belongs to a formula.
func isMath(e xml.StartElement) bool { return strings.HasSuffix(e.Name.Space, "/math") }

func (r *docxReader) readBody(d *xmlReader) error {
	r.d = d
	err := r.blocks(0)
	if errors.Is(err, io.EOF) {
		return nil
	}
	return err
}

// blocks appends paragraphs and tables until the depth falls below outside, or to the end of the part.
func (r *docxReader) blocks(outside int) error {
	for {
		t, err := r.d.token()
		if err != nil {
			return err
		}
		switch e := t.(type) {
		case xml.EndElement:
			if r.d.depth < outside {
				return nil
			}
		case xml.StartElement:
			if err := r.blockElement(e); err != nil {
				return err
			}
			if err := r.builder.Err(); err != nil {
				return err
			}
		}
	}
}

func (r *docxReader) blockElement(e xml.StartElement) error {
	switch {
	case e.Name.Local == "Fallback":
		return r.d.skip()
	case !isWord(e):
		return nil
	}
	switch e.Name.Local {
	case "p":
		p, err := r.paragraph()
		if err != nil {
			return err
		}
		r.emit(p)
	case "tbl":
		return r.table()
	case "del", "moveFrom", "sectPr", "sdtPr":
		return r.d.skip()
	}
	return nil
}

// paragraph reads the paragraph that was just begun.
func (r *docxReader) paragraph() (*docxParagraph, error) {
	p := &docxParagraph{}
	outside := r.d.depth - 1
	run, hidden := 0, false
	for r.d.depth > outside {
		t, err := r.d.token()
		if err != nil {
			return nil, err
		}
		if r.d.depth < run {
			run, hidden = 0, false
		}
		e, ok := t.(xml.StartElement)
		if !ok {
			continue
		}
		switch {
		case isWord(e) && e.Name.Local == "r":
			run, hidden = r.d.depth, false
		case isWord(e) && e.Name.Local == "rPr":
			hidden, err = r.hiddenRun()
		case isWord(e) && hidden && e.Name.Local == "t":
			err = r.d.skip()
		default:
			err = r.inline(p, e)
		}
		if err != nil {
			return nil, err
		}
	}
	if !p.placed {
		p.at = r.at
	}
	return p, nil
}

// hiddenRun reads run properties and reports whether they hide the run.
func (r *docxReader) hiddenRun() (bool, error) {
	hidden := false
	for outside := r.d.depth - 1; r.d.depth > outside; {
		t, err := r.d.token()
		if err != nil {
			return false, err
		}
		if e, ok := t.(xml.StartElement); ok && isWord(e) && e.Name.Local == "vanish" {
			hidden = isOn(e)
		}
	}
	return hidden, nil
}

// isOn reads a switch element: present means on unless it says otherwise.
func isOn(e xml.StartElement) bool {
	switch attr(e, "val") {
	case "0", "false", "off":
		return false
	}
	return true
}

// inline reads an element inside a paragraph. Containers are not skipped: their content follows as further tokens.
func (r *docxReader) inline(p *docxParagraph, e xml.StartElement) error {
	name := e.Name.Local
	switch {
	case name == "Fallback":
		return r.d.skip()
	case name == "t" && (isWord(e) || isMath(e)):
		text, err := r.d.text()
		r.write(p, text)
		return err
	case !isWord(e):
		return nil
	}
	switch name {
	case "pPr":
		return r.properties(p)
	case "tab", "ptab":
		r.write(p, "\t")
	case "cr":
		r.write(p, "\n")
	case "noBreakHyphen":
		r.write(p, "-")
	case "br":
		if attr(e, "type") == "page" {
			r.at.explicit++
		} else {
			r.write(p, "\n")
		}
	case "lastRenderedPageBreak":
		r.at.rendered++
	case "footnoteReference":
		r.note(p, r.footnotes[attr(e, "id")])
	case "endnoteReference":
		r.note(p, r.endnotes[attr(e, "id")])
	case "txbxContent":
		return r.blocks(r.d.depth)
	case "del", "moveFrom", "instrText", "delText", "rt", "sdtPr":
		return r.d.skip()
	}
	return nil
}

// write appends text to a paragraph, which is on the page where its first visible character is.
func (r *docxReader) write(p *docxParagraph, text string) {
	if !p.placed && strings.TrimSpace(text) != "" {
		p.at, p.placed = r.at, true
	}
	p.text.WriteString(text)
}

// note marks a reference to a note and keeps its text for after the paragraph.
func (r *docxReader) note(p *docxParagraph, text string) {
	if text = oneLine(clean(text)); text == "" {
		return
	}
	r.noteCount++
	mark := "[" + strconv.Itoa(r.noteCount) + "]"
	r.write(p, mark)
	p.notes = append(p.notes, mark+" "+text)
}

// properties reads a paragraph's properties.
func (r *docxReader) properties(p *docxParagraph) error {
	for outside := r.d.depth - 1; r.d.depth > outside; {
		t, err := r.d.token()
		if err != nil {
			return err
		}
		e, ok := t.(xml.StartElement)
		if !ok || !isWord(e) {
			continue
		}
		switch value := attr(e, "val"); e.Name.Local {
		case "pStyle":
			p.style = value
		case "outlineLvl":
			p.outline = outlineLevel(value)
		case "ilvl":
			p.num.level = atoi(value)
		case "numId":
			p.num.id = value
		case "pageBreakBefore":
			if isOn(e) {
				r.at.explicit++
			}
		case "sectPr":
			p.section = true
		case "type":
			p.section = p.section && value != "continuous"
		case "pPrChange", "rPr": // what it was before a tracked change, and how the paragraph mark looks
			if err := r.d.skip(); err != nil {
				return err
			}
		}
	}
	return nil
}

// marker counts the paragraph in its list and returns how the list marks it. listed is false outside lists.
func (r *docxReader) marker(p *docxParagraph) (marker string, listed bool) {
	ref := p.num
	if ref.id == "" {
		ref = r.styles.numbering(p.style)
		ref.level = max(ref.level, p.num.level)
	}
	if ref.id == "" || ref.id == "0" {
		return "", false
	}
	p.num = ref
	if r.numbering == nil {
		return "-", true
	}
	return r.numbering.next(ref), true
}

// emit appends a paragraph, and after it the notes it refers to.
func (r *docxReader) emit(p *docxParagraph) {
	text := strings.TrimSpace(p.text.String())
	level := p.outline
	if level == 0 {
		level = r.styles.heading(p.style)
	}
	if text != "" && !r.styles.contents(p.style) {
		marker, listed := r.marker(p)
		switch {
		case r.styles.title(p.style) && len(text) <= maxHeading:
			r.builder.SetTitle(text)
			r.builder.Heading(1, text, 0)
		case level > 0 && len(text) <= maxHeading:
			if marker != "" && marker != "-" {
				text = marker + " " + text
			}
			r.builder.Heading(level, text, 0)
		case listed && marker != "":
			r.builder.Item(p.num.level+1, marker, text, 0)
		default:
			r.builder.Paragraph(text, 0)
		}
		for _, note := range p.notes {
			r.builder.Paragraph(note, 0)
		}
		r.place(p.at)
	}
	if p.section {
		r.at.explicit++
	}
}

// place notes the page of the blocks that were appended since the last call.
func (r *docxReader) place(at docxPage) {
	for len(r.pages) < len(r.builder.doc.Blocks) {
		r.pages = append(r.pages, at)
	}
}

// setPages gives every block its page, by the layout that Word stored or else by the explicit breaks.
func (r *docxReader) setPages() {
	number := func(at docxPage) int { return at.rendered + 1 }
	switch {
	case r.at.rendered > 0:
	case r.at.explicit > 0:
		number = func(at docxPage) int { return at.explicit + 1 }
	default:
		return
	}
	r.builder.SetPages(number(r.at))
	for i := range r.builder.doc.Blocks {
		r.builder.doc.Blocks[i].Page = number(r.pages[i])
	}
}
