package geminilocal

import (
	"unicode"
	"unicode/utf8"
)

// maxTerm is the longest term in bytes; a longer run of letters is cut into several, which only matters for text without
// spaces.
const maxTerm = 48

// eachTerm calls visit for every term of text in order: a run of letters or digits in lower case, without English stop words
// and with plurals reduced to the singular. The slice is only valid during the call.
func eachTerm(text string, visit func(term []byte)) {
	var buf [maxTerm + utf8.UTFMax]byte
	word := buf[:0]
	flush := func() {
		if len(word) > 0 && !stopWord(string(word)) {
			visit(singular(word))
		}
		word = buf[:0]
	}
	for i := 0; i < len(text); {
		c := text[i]
		switch {
		case 'a' <= c && c <= 'z' || '0' <= c && c <= '9':
			word = append(word, c)
			i++
		case 'A' <= c && c <= 'Z':
			word = append(word, c+'a'-'A')
			i++
		case c < utf8.RuneSelf:
			flush()
			i++
		default:
			r, size := utf8.DecodeRuneInString(text[i:])
			if unicode.IsLetter(r) || unicode.IsDigit(r) || unicode.IsMark(r) {
				word = utf8.AppendRune(word, unicode.ToLower(r))
			} else {
				flush()
			}
			i += size
		}
		if len(word) >= maxTerm {
			flush()
		}
	}
	flush()
}

// terms collects what eachTerm visits.
func terms(text string) []string {
	var all []string
	eachTerm(text, func(term []byte) { all = append(all, string(term)) })
	return all
}

// singular strips an English plural ending, in place.
func singular(w []byte) []byte {
	n := len(w)
	if n < 4 || w[n-1] != 's' {
		return w
	}
	end := string(w[n-4:])
	switch {
	case n > 4 && end[1:] == "ies":
		w[n-3] = 'y'
		return w[:n-2]
	case end == "sses" || end == "ches" || end == "shes" || end[1:] == "xes":
		return w[:n-2]
	case end[2] == 's' || end[2] == 'u' || end[2] == 'i': // glass, status, analysis
		return w
	default:
		return w[:n-1]
	}
}

// stopWord reports whether w says nothing about what a text is about. Question words are among them: they stand in the
// question, never in the passage.
func stopWord(w string) bool {
	if len(w) == 1 {
		return w[0] >= 'a' && w[0] <= 'z' // the s of "it's"; single digits stay
	}
	switch w {
	case "about", "above", "after", "again", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "because",
		"been", "before", "being", "below", "between", "both", "but", "by", "can", "could", "did", "do", "does", "doing",
		"document", "documents", "down", "during", "each", "explain", "few", "find", "for", "from", "give", "had", "has",
		"have", "having", "he", "her", "here", "him", "his", "how", "if", "in", "into", "is", "it", "its", "just", "let",
		"many", "may", "me", "might", "more", "most", "much", "must", "my", "no", "nor", "not", "of", "off", "on", "once",
		"only", "or", "other", "our", "out", "over", "own", "please", "say", "says", "shall", "she", "should", "so", "some",
		"such", "tell", "than", "that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "through",
		"to", "too", "under", "until", "up", "us", "very", "was", "we", "were", "what", "when", "where", "which", "while",
		"who", "whom", "whose", "why", "will", "with", "would", "you", "your", "according":
		return true
	}
	return false
}
