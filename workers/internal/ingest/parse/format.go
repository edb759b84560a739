package parse

import (
	"bytes"
	"mime"
	"path"
	"strings"

	"github.com/gabriel-vasile/mimetype"

	"github.com/tarento/copilot/pkg/fault"
)

// supported ends every message about a file that is not read.
const supported = "PDF, DOCX, HTML, Markdown and plain text files are read."

// docxType is the media type of a DOCX file.
const docxType = "application/vnd.openxmlformats-officedocument.wordprocessingml.document"

// detect decides what a file is: by its content where that is certain (PDF, DOCX), and by what was declared where the
// content leaves a choice (Markdown, HTML and plain text are all text).
func detect(src Source) (Format, error) {
	if src.Size <= 0 {
		return "", fault.New(fault.Invalid, "document.empty", "The file is empty. Check it and upload it again.")
	}
	head, err := src.head(4096)
	if err != nil {
		return "", err
	}
	declared := declaredFormat(src)
	sniffed := mimetype.Detect(head)
	textual := isText(sniffed) || hasUTF16Mark(head)
	if sniffed.Is("application/pdf") {
		// The mark of a PDF may stand after other bytes, and then also in a text about PDF.
		textual = declared == Text || declared == Markdown || declared == HTML
		if !textual || bytes.HasPrefix(bytes.TrimLeft(head, "\xef\xbb\xbf\r\n\t "), []byte("%PDF-")) {
			return PDF, nil
		}
	}

	switch {
	case bytes.HasPrefix(head, []byte("PK\x03\x04")):
		if isDOCX(src) {
			return DOCX, nil
		}
	case sniffed.Is("application/x-ole-storage"), bytes.HasPrefix(head, []byte("\xd0\xcf\x11\xe0\xa1\xb1\x1a\xe1")):
		return "", oleFault(src)
	}

	switch {
	case declared == PDF:
		return "", fault.New(fault.Invalid, "document.not_pdf",
			"The file is called a PDF but its content is %s. Export it as PDF again and upload that.", describe(sniffed))
	case declared == DOCX:
		return "", fault.New(fault.Invalid, "document.not_docx",
			"The file is called a Word document but its content is %s. Open it in Word, save it as .docx and upload that.",
			describe(sniffed))
	case sniffed.Is("text/rtf"):
		return "", unsupported(sniffed)
	case textual && declared != "":
		return declared, nil
	case textual && (sniffed.Is("text/html") || sniffed.Is("application/xhtml+xml")):
		return HTML, nil
	case textual:
		return Text, nil
	case declared != "":
		return "", binaryFault()
	default:
		return "", unsupported(sniffed)
	}
}

// declaredFormat is what the media type or else the name says, empty when neither says something we know. A media type of
// plain text says less than an extension: browsers send it for Markdown.
func declaredFormat(src Source) Format {
	mediaType, _, err := mime.ParseMediaType(src.MediaType)
	if err != nil {
		mediaType = ""
	}
	switch mediaType {
	case "application/pdf", "application/x-pdf":
		return PDF
	case docxType:
		return DOCX
	case "text/html", "application/xhtml+xml":
		return HTML
	case "text/markdown", "text/x-markdown":
		return Markdown
	}
	switch strings.ToLower(path.Ext(src.Name)) {
	case ".pdf":
		return PDF
	case ".docx":
		return DOCX
	case ".html", ".htm", ".xhtml":
		return HTML
	case ".md", ".markdown", ".mdown", ".mkd":
		return Markdown
	case ".txt", ".text", ".log":
		return Text
	}
	if strings.HasPrefix(mediaType, "text/") {
		return Text
	}
	return ""
}

// declaredCharset is the charset parameter of the declared media type, empty when there is none.
func declaredCharset(src Source) string {
	_, params, err := mime.ParseMediaType(src.MediaType)
	if err != nil {
		return ""
	}
	return params["charset"]
}

// isText reports whether a sniffed type is plain text or one of the many formats written in it.
func isText(m *mimetype.MIME) bool {
	for ; m != nil; m = m.Parent() {
		if m.Is("text/plain") {
			return true
		}
	}
	return false
}

// describe names a sniffed type for people.
func describe(m *mimetype.MIME) string {
	switch {
	case m.Is("application/octet-stream"):
		return "something we do not know"
	case m.Is("text/plain"):
		return "plain text"
	default:
		mediaType, _, _ := strings.Cut(m.String(), ";")
		return mediaType
	}
}

func unsupported(m *mimetype.MIME) error {
	return fault.New(fault.Unsupported, "document.unsupported",
		"The file's content is %s, which is not read. %s", describe(m), supported)
}

func binaryFault() error {
	return fault.New(fault.Invalid, "document.binary",
		"The file is called a text but holds binary data. Check that it is the right file. %s", supported)
}

// oleFault explains the old compound files: a DOCX under a password is one, and so is a .doc.
func oleFault(src Source) error {
	head, err := src.head(4 << 20)
	if err != nil {
		return err
	}
	if bytes.Contains(head, []byte("E\x00n\x00c\x00r\x00y\x00p\x00t\x00e\x00d\x00P\x00a\x00c\x00k\x00a\x00g\x00e\x00")) {
		return encryptedFault("The document is protected by a password. Remove the password in Word and upload it again.")
	}
	return fault.New(fault.Unsupported, "document.unsupported",
		"The file is in the Office format of before 2007. Save it as .docx or as PDF and upload that. %s", supported)
}

func encryptedFault(message string) error {
	return fault.New(fault.Invalid, "document.encrypted", "%s", message)
}
