package parse

import (
	"archive/zip"
	"context"
	"encoding/xml"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"golang.org/x/net/html/charset"

	"github.com/tarento/copilot/pkg/fault"
)

// What an honest DOCX file stays far below. The limits concern only the parts that are read; pictures and embedded files
// are never unpacked.
const (
	maxDirectoryBytes = 8 << 20   // of the zip directory, about 100,000 entries
	maxEntries        = 20_000    // in the zip
	maxUnpackedBytes  = 256 << 20 // of XML over all parts read
	maxRatio          = 200       // unpacked to packed, of one part
	ratioFreeBytes    = 4 << 20   // a part up to this size may have any ratio
	maxXMLDepth       = 256
)

// docxPackage is the zip file around a Word document.
type docxPackage struct {
	parts map[string]*zip.File
	left  int64 // bytes that may still be unpacked
}

// isDOCX reports whether a zip file holds a Word document.
func isDOCX(src Source) bool {
	files, err := openZip(src)
	if err != nil {
		// Leave it to parseDOCX to explain what is wrong with a file that is meant to be one.
		return declaredFormat(src) == DOCX
	}
	for _, f := range files {
		if isPart(f.Name, "word/document.xml") || isPart(f.Name, "word/document2.xml") {
			return true
		}
	}
	return false
}

// isPart compares part names, which the standard treats as case-insensitive.
func isPart(name, want string) bool { return strings.EqualFold(strings.TrimPrefix(name, "/"), want) }

// openZip reads the directory of a zip file under a cap, since the directory alone can be made to fill the memory.
func openZip(src Source) ([]*zip.File, error) {
	budget := &budgetReader{content: src.Content, left: maxDirectoryBytes, limited: true}
	z, err := zip.NewReader(budget, src.Size)
	switch {
	case budget.spent(), err == nil && len(z.File) > maxEntries:
		return nil, bombFault("The document is a zip file with far too many entries.")
	case err != nil:
		return nil, brokenDOCX(err)
	}
	budget.limited = false
	return z.File, nil
}

// budgetReader fails once more than left bytes were read through it, while limited.
type budgetReader struct {
	content io.ReaderAt
	left    int64
	limited bool
}

var errBudget = errors.New("read budget spent")

// ReadAt implements io.ReaderAt.
func (b *budgetReader) ReadAt(p []byte, off int64) (int, error) {
	if b.limited {
		if b.left -= int64(len(p)); b.left < 0 {
			return 0, errBudget
		}
	}
	return b.content.ReadAt(p, off) // passed through as it is: io.EOF must stay io.EOF
}

// spent reports whether a read was refused.
func (b *budgetReader) spent() bool { return b.left < 0 }

func openDOCX(src Source) (*docxPackage, error) {
	files, err := openZip(src)
	if err != nil {
		return nil, err
	}
	p := &docxPackage{parts: make(map[string]*zip.File, len(files)), left: maxUnpackedBytes}
	for _, f := range files {
		p.parts[strings.ToLower(strings.TrimPrefix(f.Name, "/"))] = f
	}
	return p, nil
}

// mainPart returns the name of the document's main part, which the package's relationships tell.
func (p *docxPackage) mainPart(ctx context.Context) (string, error) {
	main := "word/document.xml"
	err := p.read(ctx, "_rels/.rels", func(d *xmlReader) error {
		return d.each(func(e xml.StartElement) error {
			if e.Name.Local == "Relationship" && strings.HasSuffix(attr(e, "Type"), "/officeDocument") {
				main = strings.ToLower(strings.TrimPrefix(path.Clean("/"+attr(e, "Target")), "/"))
			}
			return nil
		})
	})
	if err != nil {
		return "", err
	}
	if p.parts[main] == nil {
		return "", brokenDOCX(fmt.Errorf("part %q is missing", main))
	}
	return main, nil
}

// read streams an XML part to fn. A part that does not exist is not read, and no error.
func (p *docxPackage) read(ctx context.Context, name string, fn func(*xmlReader) error) (err error) {
	f := p.parts[strings.ToLower(name)]
	if f == nil {
		return nil
	}
	if f.Flags&1 != 0 {
		return encryptedFault("The document is protected by a password. Remove the password and upload it again.")
	}
	packed := int64(f.CompressedSize64)
	limit := min(max(ratioFreeBytes, packed*maxRatio), p.left)
	// A bomb that says what it is need not be unpacked to find out; one that lies is counted below.
	if f.UncompressedSize64 > uint64(max(limit, 0)) {
		return bombFault("The document unpacks to far more data than a document holds.")
	}
	part, err := f.Open()
	if err != nil {
		return brokenDOCX(err)
	}
	defer func() {
		if closeErr := part.Close(); err == nil && closeErr != nil {
			err = brokenDOCX(closeErr)
		}
	}()
	counted := readerFunc(func(buf []byte) (int, error) {
		n, readErr := part.Read(buf)
		limit -= int64(n)
		p.left -= int64(n)
		if limit < 0 {
			return 0, bombFault("The document unpacks to far more data than a document holds.")
		}
		return n, readErr // passed through as it is: io.EOF must stay io.EOF
	})
	d := &xmlReader{decoder: xml.NewDecoder(interruptible(ctx, counted))}
	d.decoder.CharsetReader = charset.NewReaderLabel
	if err := fn(d); err != nil {
		return brokenDOCX(fmt.Errorf("part %q: %w", name, err))
	}
	return nil
}

// xmlReader reads XML tokens and refuses absurd nesting. Entities other than the five of XML are an error, so nothing
// expands.
type xmlReader struct {
	decoder *xml.Decoder
	depth   int
}

var errDepth = errors.New("XML is nested too deeply")

// token returns the next token; io.EOF after the last.
func (d *xmlReader) token() (xml.Token, error) {
	t, err := d.decoder.Token()
	if err != nil {
		return nil, err // io.EOF must stay io.EOF; read names the part
	}
	switch t.(type) {
	case xml.StartElement:
		if d.depth++; d.depth > maxXMLDepth {
			return nil, errDepth
		}
	case xml.EndElement:
		d.depth--
	}
	return t, nil
}

// each calls fn for every start element up to the end of the part.
func (d *xmlReader) each(fn func(xml.StartElement) error) error {
	for {
		t, err := d.token()
		if errors.Is(err, io.EOF) {
			return nil
		}
		if err != nil {
			return err
		}
		if start, ok := t.(xml.StartElement); ok {
			if err := fn(start); err != nil {
				return err
			}
		}
	}
}

// skip reads up to the end of the element that was just begun.
func (d *xmlReader) skip() error {
	for outside := d.depth - 1; d.depth > outside; {
		if _, err := d.token(); err != nil {
			return err
		}
	}
	return nil
}

// text returns the character data up to the end of the element that was just begun.
func (d *xmlReader) text() (string, error) {
	var out strings.Builder
	for outside := d.depth - 1; d.depth > outside; {
		t, err := d.token()
		if err != nil {
			return "", err
		}
		if data, ok := t.(xml.CharData); ok {
			out.Write(data)
		}
	}
	return out.String(), nil
}

// attr returns an attribute by its local name, empty when it is not there.
func attr(e xml.StartElement, local string) string {
	for _, a := range e.Attr {
		if a.Name.Local == local {
			return a.Value
		}
	}
	return ""
}

// brokenDOCX turns an error into a fault about the document, unless it is one already.
func brokenDOCX(err error) error {
	if f, ok := errors.AsType[*fault.Error](err); ok {
		return f
	}
	return fault.Wrap(err, fault.Invalid, "document.unreadable",
		"This Word document cannot be read: the file is damaged. Open it in Word, save it under a new name and upload that.")
}

func bombFault(what string) error {
	return fault.New(fault.TooLarge, "document.bomb",
		"%s It is refused. Save it again from the program that made it, and upload that.", what)
}
