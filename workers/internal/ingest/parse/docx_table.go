package parse

import (
	"encoding/xml"
	"strings"
)

// docxTable is a table on its way to becoming a block.
type docxTable struct {
	rows    [][]string
	text    strings.Builder // of the current cell
	row     int             // depth of the current row, 0 between rows
	cell    int             // depth of the current cell, 0 between cells
	deleted bool            // the current row is a tracked deletion
	header  bool            // the first row is marked as the table's head
	notes   []string
	at      docxPage
	placed  bool
}

// table reads the table that was just begun. Tables inside its cells become part of the cell's text.
func (r *docxReader) table() error {
	t := &docxTable{at: r.at}
	for outside := r.d.depth - 1; r.d.depth > outside; {
		token, err := r.d.token()
		if err != nil {
			return err
		}
		t.leave(r.d.depth)
		if e, ok := token.(xml.StartElement); ok {
			if err := r.tableElement(t, e); err != nil {
				return err
			}
		}
	}
	t.leave(0)
	t.emit(r.builder)
	r.place(t.at)
	return nil
}

// tableElement reads an element somewhere inside a table.
func (r *docxReader) tableElement(t *docxTable, e xml.StartElement) error {
	switch {
	case e.Name.Local == "Fallback":
		return r.d.skip()
	case !isWord(e):
		return nil
	}
	switch e.Name.Local {
	case "tr":
		if t.row == 0 {
			t.row, t.rows = r.d.depth, append(t.rows, nil)
		}
	case "tc":
		if t.row > 0 && t.cell == 0 {
			t.cell = r.d.depth
		}
	case "tblHeader":
		t.header = t.header || len(t.rows) == 1 && isOn(e)
	case "del":
		// Among a row's properties it says that the row is deleted; elsewhere it holds deleted content.
		t.deleted = t.deleted || t.row > 0 && t.cell == 0
		return r.d.skip()
	case "moveFrom":
		return r.d.skip()
	case "p":
		p, err := r.paragraph()
		if err != nil {
			return err
		}
		if t.cell > 0 {
			r.cellParagraph(t, p)
		}
	}
	return nil
}

// cellParagraph adds a paragraph to the current cell.
func (r *docxReader) cellParagraph(t *docxTable, p *docxParagraph) {
	text := strings.TrimSpace(p.text.String())
	if text == "" {
		return
	}
	if marker, listed := r.marker(p); listed && marker != "" {
		text = marker + " " + text
	}
	if !t.placed {
		t.at, t.placed = p.at, true
	}
	if t.text.Len() > 0 {
		t.text.WriteByte(' ')
	}
	t.text.WriteString(text)
	t.notes = append(t.notes, p.notes...)
}

// leave ends the cell and the row that are not open any more at that depth.
func (t *docxTable) leave(depth int) {
	if t.cell > 0 && depth < t.cell {
		last := len(t.rows) - 1
		t.rows[last] = append(t.rows[last], t.text.String())
		t.text.Reset()
		t.cell = 0
	}
	if t.row > 0 && depth < t.row {
		if t.deleted {
			t.rows = t.rows[:len(t.rows)-1]
		}
		t.row, t.deleted = 0, false
	}
}

// emit appends the table and its notes. A table of one cell is a frame around a paragraph. A first row counts as the head
// even when it is not marked as one: few people mark it, and a column's name helps every row below.
func (t *docxTable) emit(b *Builder) {
	if len(t.rows) == 1 && len(t.rows[0]) == 1 {
		b.Paragraph(t.rows[0][0], 0)
	} else {
		b.Table(t.rows, t.header || len(t.rows) > 1 && len(t.rows[0]) > 1, 0)
	}
	for _, note := range t.notes {
		b.Paragraph(note, 0)
	}
}
