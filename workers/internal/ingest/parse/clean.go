package parse

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// clean makes text fit for storing, showing and matching: valid UTF-8 in normal form C; line feeds for every kind of line
// break; ligatures taken apart (a search for "file" must find "file" set with one glyph for "fi"); ordinary spaces for all
// that look like one; no control characters, zero-width marks or noncharacters. Form NFKC would do more, and too much: it
// makes 2 of a superscript 2.
func clean(s string) string {
	if plain(s) {
		return s
	}
	var out strings.Builder
	out.Grow(len(s))
	previous := rune(0)
	for _, r := range s {
		switch {
		case r == '\n':
			if previous != '\r' {
				out.WriteByte('\n')
			}
		case r == '\r' || r == '\v' || r == '\f' || r == '\u0085' || r == '\u2028' || r == '\u2029':
			out.WriteByte('\n')
		case r == '\t' || r == ' ':
			out.WriteRune(r)
		case r >= '\ufb00' && r <= '\ufb06':
			out.WriteString(ligatures[r-'\ufb00'])
		case unicode.Is(unicode.Zs, r):
			out.WriteByte(' ')
		case dropped(r):
		default:
			out.WriteRune(r)
		}
		previous = r
	}
	return norm.NFC.String(out.String())
}

// ligatures are the spellings of U+FB00 to U+FB06.
var ligatures = [...]string{"ff", "fi", "fl", "ffi", "ffl", "st", "st"}

// plain reports whether clean would return s as it is, for the common case that it is ASCII.
func plain(s string) bool {
	for i := range len(s) {
		if c := s[i]; c >= utf8.RuneSelf || c == 0x7f || c < ' ' && c != '\n' && c != '\t' {
			return false
		}
	}
	return true
}

// dropped reports whether a rune carries no text: control characters, soft hyphens, zero-width marks (the joiners stay,
// they matter in several scripts), byte order marks, noncharacters and private use.
func dropped(r rune) bool {
	switch {
	case unicode.IsControl(r), r == '\u00ad', r == '\u200b', r == '\u2060', r == '\ufeff', r == utf8.RuneError:
		return true
	case r >= '\ufdd0' && r <= '\ufdef', r&0xfffe == 0xfffe:
		return true
	default:
		return unicode.Is(unicode.Co, r)
	}
}

// oneLine replaces every run of white space by one space and trims the ends.
func oneLine(s string) string {
	if !strings.ContainsAny(s, "\n\t") && !strings.Contains(s, "  ") {
		return strings.TrimSpace(s)
	}
	return strings.Join(strings.Fields(s), " ")
}

// bytesText writes a number of bytes for people.
func bytesText(n int64) string {
	switch {
	case n >= 1<<30:
		return fmt.Sprintf("%.4g GB", float64(n)/(1<<30))
	case n >= 1<<20:
		return fmt.Sprintf("%.4g MB", float64(n)/(1<<20))
	case n >= 1<<10:
		return fmt.Sprintf("%.4g kB", float64(n)/(1<<10))
	default:
		return fmt.Sprintf("%d bytes", n)
	}
}
