package parse

import (
	"bytes"
	"strings"
	"unicode/utf8"

	"golang.org/x/net/html/charset"
	"golang.org/x/text/encoding/unicode"
	"golang.org/x/text/transform"

	"github.com/tarento/copilot/pkg/fault"
)

// parseText reads plain text: paragraphs end at blank lines; form feeds, where a text has them, separate pages. Line breaks
// inside a paragraph stay, since they carry meaning in logs, poems and configuration.
func parseText(src Source, cfg Config) (*Document, error) {
	text, err := readText(src, cfg.MaxBytes)
	if err != nil {
		return nil, err
	}
	b := NewBuilder(Text, cfg.MaxText)
	paragraphs(b, text)
	return b.Document(), b.Err()
}

// paragraphs appends the paragraphs of a plain text.
func paragraphs(b *Builder, text string) {
	pages := strings.Split(strings.TrimRight(text, "\f \t\r\n"), "\f")
	for i, page := range pages {
		number := 0
		if len(pages) > 1 {
			number = i + 1
		}
		for paragraph := range blankLineSeparated(page) {
			b.Paragraph(paragraph, number)
		}
	}
	if len(pages) > 1 {
		b.SetPages(len(pages))
	}
}

// blankLineSeparated yields the runs of lines that are not blank.
func blankLineSeparated(text string) func(yield func(string) bool) {
	return func(yield func(string) bool) {
		start, end := -1, 0
		for pos := 0; pos < len(text); {
			next := len(text)
			if i := strings.IndexByte(text[pos:], '\n'); i >= 0 {
				next = pos + i + 1
			}
			switch blank := strings.TrimSpace(text[pos:next]) == ""; {
			case !blank && start < 0:
				start, end = pos, next
			case !blank:
				end = next
			case start >= 0:
				if !yield(text[start:end]) {
					return
				}
				start = -1
			}
			pos = next
		}
		if start >= 0 {
			yield(text[start:end])
		}
	}
}

// readText returns the whole of a text file as UTF-8, with line feeds only.
func readText(src Source, limit int64) (string, error) {
	raw, err := src.all(limit)
	if err != nil {
		return "", err
	}
	text, err := decode(raw, declaredCharset(src))
	if err != nil {
		return "", err
	}
	if isBinary(text) {
		return "", binaryFault()
	}
	if strings.ContainsRune(text, '\r') {
		text = strings.ReplaceAll(strings.ReplaceAll(text, "\r\n", "\n"), "\r", "\n")
	}
	return text, nil
}

// decode turns bytes into UTF-8: by their byte order mark, else by the declared charset, else they must be UTF-8. Nothing
// is guessed: a wrong guess would fill the index with text that nobody can find.
func decode(raw []byte, declared string) (string, error) {
	switch {
	case bytes.HasPrefix(raw, []byte("\xff\xfe\x00\x00")), bytes.HasPrefix(raw, []byte("\x00\x00\xfe\xff")):
		return "", encodingFault(nil)
	case hasUTF16Mark(raw):
		return decodeUTF16(raw)
	}
	raw = bytes.TrimPrefix(raw, []byte("\xef\xbb\xbf"))
	if utf8.Valid(raw) {
		return string(raw), nil
	}
	encoding, name := charset.Lookup(declared)
	if encoding == nil || name == "utf-8" {
		return "", encodingFault(nil)
	}
	text, err := encoding.NewDecoder().Bytes(raw)
	if err != nil || bytes.ContainsRune(text, utf8.RuneError) {
		return "", encodingFault(err)
	}
	return string(text), nil
}

// hasUTF16Mark reports whether bytes begin with a UTF-16 byte order mark.
func hasUTF16Mark(raw []byte) bool {
	return bytes.HasPrefix(raw, []byte("\xff\xfe")) || bytes.HasPrefix(raw, []byte("\xfe\xff"))
}

// decodeUTF16 decodes UTF-16 with a byte order mark; unpaired surrogates and a half character at the end are errors.
func decodeUTF16(raw []byte) (string, error) {
	text, _, err := transform.Bytes(unicode.UTF16(unicode.LittleEndian, unicode.ExpectBOM).NewDecoder(), raw)
	if err != nil || len(raw)%2 != 0 || bytes.ContainsRune(text, utf8.RuneError) {
		return "", encodingFault(err)
	}
	return string(text), nil
}

func encodingFault(cause error) error {
	return fault.Wrap(cause, fault.Invalid, "document.encoding",
		"The text is not valid UTF-8. Save the file with the encoding UTF-8 and upload it again, "+
			"or declare its charset in the content type.")
}

// isBinary reports whether a text has what no text has: NUL characters, or many other control characters.
func isBinary(text string) bool {
	controls := 0
	for i := range len(text) {
		switch c := text[i]; {
		case c == 0:
			return true
		case c < ' ' && c != '\n' && c != '\r' && c != '\t' && c != '\f' && c != '\v' && c != 0x1b:
			controls++
		}
	}
	return controls > len(text)/100
}
