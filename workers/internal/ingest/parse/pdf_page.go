package parse

import (
	"errors"
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	pdfiumerrors "github.com/klippa-app/go-pdfium/errors"
	"github.com/klippa-app/go-pdfium/references"
	"github.com/klippa-app/go-pdfium/requests"
)

const (
	// lineHyphen is what PDFium writes for a hyphen at the end of a line, joining it with the next one.
	lineHyphen = '\ufffe'
	// measuredLines is how many lines of a page are measured; more than that is no page for reading, and measuring costs
	// several calls into the sandbox for each line.
	measuredLines = 1000
)

// pdfPage is what PDFium sees on a page.
type pdfPage struct {
	lines      []pdfLine
	unreadable bool
}

// size is the number of bytes of text.
func (p *pdfPage) size() int64 {
	n := 0
	for i := range p.lines {
		n += len(p.lines[i].text)
	}
	return int64(n)
}

// pdfLine is a line of text with its look. Lengths are in points (1/72 inch), from the lower left corner of the page.
type pdfLine struct {
	text   string // with lineHyphen where two printed lines were joined
	left   float64
	right  float64 // of the last printed line
	bottom float64
	height float64 // of the font's box
	size   float64 // of the font; comparable only within a document
	bold   bool
	mono   bool
}

// page reads a page. The error is pdfiumerrors.ErrPage when only the page is at fault.
func (x *session) page(index int) (page pdfPage, err error) {
	err = x.within(func() error {
		loaded, err := x.pdfium.FPDF_LoadPage(&requests.FPDF_LoadPage{Document: x.doc, Index: index})
		if err != nil {
			return fmt.Errorf("load page: %w", err)
		}
		ref := requests.Page{ByReference: &loaded.Page}
		text, err := x.pdfium.FPDFText_LoadPage(&requests.FPDFText_LoadPage{Page: ref})
		if err != nil {
			if _, closeErr := x.pdfium.FPDF_ClosePage(&requests.FPDF_ClosePage{Page: loaded.Page}); closeErr == nil {
				return errors.Join(pdfiumerrors.ErrPage, err) // the worker still answers, so only the page is at fault
			}
			return fmt.Errorf("load text: %w", err)
		}
		if page.lines, err = x.lines(ref, text.TextPage); err != nil {
			return err
		}
		if _, err := x.pdfium.FPDFText_ClosePage(&requests.FPDFText_ClosePage{TextPage: text.TextPage}); err != nil {
			return fmt.Errorf("close text: %w", err)
		}
		if _, err := x.pdfium.FPDF_ClosePage(&requests.FPDF_ClosePage{Page: loaded.Page}); err != nil {
			return fmt.Errorf("close page: %w", err)
		}
		return nil
	})
	return page, err
}

// lines reads the lines of a page. The text comes in one call; only the first and last character of a line are measured.
func (x *session) lines(page requests.Page, textPage references.FPDF_TEXTPAGE) ([]pdfLine, error) {
	count, err := x.pdfium.FPDFText_CountChars(&requests.FPDFText_CountChars{TextPage: textPage})
	if err != nil || count.Count == 0 {
		return nil, err // page's callers describe it
	}
	got, err := x.pdfium.FPDFText_GetText(&requests.FPDFText_GetText{TextPage: textPage, Count: count.Count})
	if err != nil {
		return nil, fmt.Errorf("read text: %w", err)
	}
	text := strings.TrimRight(got.Text, "\x00")
	if strings.ContainsFunc(text, func(r rune) bool { return r > 0xffff }) {
		// GetText counts UTF-16 units where it should count characters, and cuts the end off. This way is slower.
		all, err := x.pdfium.GetPageText(&requests.GetPageText{Page: page})
		if err != nil {
			return nil, fmt.Errorf("read text character by character: %w", err)
		}
		text = strings.ReplaceAll(all.Text, "\x02", string(lineHyphen))
	}
	var lines []pdfLine
	position := 0 // of the line in the text, in characters
	for raw := range strings.SplitSeq(text, "\n") {
		length := utf8.RuneCountInString(raw)
		left := strings.TrimLeftFunc(raw, blank)
		trimmed := strings.TrimRightFunc(left, blank)
		if trimmed != "" {
			line := pdfLine{text: trimmed}
			if len(lines) < measuredLines {
				first := position + length - utf8.RuneCountInString(left)
				x.measure(textPage, &line, first, first+utf8.RuneCountInString(trimmed)-1)
			} else {
				last := lines[len(lines)-1]
				line.left, line.right, line.height, line.size = last.left, last.right, last.height, last.size
				line.bottom = last.bottom - last.height
			}
			lines = append(lines, line)
		}
		position += length + 1
	}
	return lines, nil
}

// blank reports whether a character at the edge of a line says nothing.
func blank(r rune) bool {
	return r != lineHyphen && (unicode.IsSpace(r) || unicode.IsControl(r))
}

// measure fills in where a line is and how it looks, from its first and last character. What cannot be measured stays
// zero, as for characters that are drawn without a font.
func (x *session) measure(textPage references.FPDF_TEXTPAGE, line *pdfLine, first, last int) {
	first, last = x.charIndex(textPage, first), x.charIndex(textPage, last)
	if box, err := x.pdfium.FPDFText_GetLooseCharBox(&requests.FPDFText_GetLooseCharBox{TextPage: textPage, Index: first}); err == nil {
		line.left, line.right = float64(box.Rect.Left), float64(box.Rect.Right)
		line.bottom, line.height = float64(box.Rect.Bottom), float64(box.Rect.Top-box.Rect.Bottom)
	}
	if box, err := x.pdfium.FPDFText_GetLooseCharBox(&requests.FPDFText_GetLooseCharBox{TextPage: textPage, Index: last}); err == nil {
		line.right = float64(box.Rect.Right)
		if strings.ContainsRune(line.text, lineHyphen) { // several printed lines: the paragraph goes on under the last
			line.bottom, line.height = float64(box.Rect.Bottom), float64(box.Rect.Top-box.Rect.Bottom)
		}
	}
	if size, err := x.pdfium.FPDFText_GetFontSize(&requests.FPDFText_GetFontSize{TextPage: textPage, Index: first}); err == nil {
		line.size = size.FontSize
	}
	if line.size <= 3 { // the scale is in the matrix, as some programs have it
		line.size = line.height
	}
	line.bold, line.mono = x.fontLook(textPage, first)
	if line.bold || line.mono { // only if the whole line looks so
		bold, mono := x.fontLook(textPage, last)
		line.bold, line.mono = line.bold && bold, line.mono && mono
	}
}

// charIndex turns a position in the text into the number of a character on the page.
func (x *session) charIndex(textPage references.FPDF_TEXTPAGE, position int) int {
	request := &requests.FPDFText_GetCharIndexFromTextIndex{TextPage: textPage, NTextIndex: position}
	res, err := x.pdfium.FPDFText_GetCharIndexFromTextIndex(request)
	if err != nil || res.CharIndex < 0 {
		return position
	}
	return res.CharIndex
}

// fontLook reports whether a character is bold and whether its font has one width for all characters. Not all fonts declare
// it, but most have it in their name.
func (x *session) fontLook(textPage references.FPDF_TEXTPAGE, index int) (bold, mono bool) {
	const fixedPitch, forceBold = 1, 1 << 18
	if font, err := x.pdfium.FPDFText_GetFontInfo(&requests.FPDFText_GetFontInfo{TextPage: textPage, Index: index}); err == nil {
		name := strings.ToLower(font.FontName)
		bold = font.Flags&forceBold != 0 || containsAny(name, "bold", "black", "heavy", "cmbx", "semibold")
		mono = font.Flags&fixedPitch != 0 || containsAny(name, "mono", "courier", "consol", "cmtt", "typewriter", "menlo", "fixed")
	}
	if !bold {
		if weight, err := x.pdfium.FPDFText_GetFontWeight(&requests.FPDFText_GetFontWeight{TextPage: textPage, Index: index}); err == nil {
			bold = weight.FontWeight >= 600
		}
	}
	return bold, mono
}

// containsAny reports whether s contains one of the words.
func containsAny(s string, words ...string) bool {
	for _, w := range words {
		if strings.Contains(s, w) {
			return true
		}
	}
	return false
}
