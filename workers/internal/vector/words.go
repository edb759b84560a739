package vector

import (
	"iter"
	"strings"
	"unicode"
	"unicode/utf8"

	"golang.org/x/text/unicode/norm"
)

// maxWord is the longest word worth an index, in bytes. What is longer is an encoded blob, not something people search.
const maxWord = 64

// words yields the stems of a text's words, in order, without stop words.
//
// Letters of any script are lower-cased, compatibility forms (the ligatures of PDFs, full-width letters) and accents are
// folded away, and everything but letters, digits and their marks separates. Chinese and Japanese do not separate words:
// their runs become overlapping pairs of characters.
func words(text string) iter.Seq[string] {
	return func(yield func(string) bool) {
		w := splitter{yield: yield}
		for _, r := range fold(text) {
			switch {
			case unicode.In(r, unicode.Han, unicode.Hiragana, unicode.Katakana):
				w.endWord()
				w.run = append(w.run, r)
			case unicode.IsLetter(r) || unicode.IsNumber(r) || unicode.IsMark(r):
				w.endRun()
				if len(w.word) <= maxWord {
					w.word = utf8.AppendRune(w.word, unicode.ToLower(r))
				}
			default:
				w.endWord()
				w.endRun()
			}
			if w.done {
				return
			}
		}
		w.endWord()
		w.endRun()
	}
}

// splitter collects the word that is being read; only one of word and run is ever filled.
type splitter struct {
	yield func(string) bool
	done  bool // yield wants no more
	word  []byte
	run   []rune // of characters that are not separated
}

func (w *splitter) emit(word string) {
	w.done = w.done || !w.yield(word)
}

func (w *splitter) endWord() {
	if n := len(w.word); n > 0 && n <= maxWord && !isStop(string(w.word)) {
		w.emit(stem(string(w.word)))
	}
	w.word = w.word[:0]
}

func (w *splitter) endRun() {
	if len(w.run) == 1 {
		w.emit(string(w.run))
	}
	for i := range max(len(w.run), 1) - 1 {
		w.emit(string(w.run[i : i+2]))
	}
	w.run = w.run[:0]
}

// fold maps a text to the form that is compared. Only the accents of the Latin, Greek and Cyrillic scripts are dropped;
// elsewhere a combining mark makes another word.
func fold(text string) string {
	isASCII := true
	for i := 0; i < len(text) && isASCII; i++ {
		isASCII = text[i] < utf8.RuneSelf
	}
	if isASCII {
		return text
	}
	bare := strings.Map(func(r rune) rune {
		if r >= 0x300 && r <= 0x36f {
			return -1
		}
		return r
	}, norm.NFKD.String(text))
	return norm.NFC.String(bare)
}

// isStop reports whether a word says nothing about what a text is about. The single letters are what is left of "don't"
// and its like once the apostrophe has separated them.
func isStop(w string) bool {
	switch w {
	case "a", "about", "after", "all", "also", "am", "an", "and", "any", "are", "as", "at", "be", "been", "before", "being",
		"but", "by", "can", "could", "d", "did", "do", "does", "doing", "during", "each", "for", "from", "had", "has", "have",
		"he", "her", "his", "how", "i", "if", "in", "into", "is", "it", "its", "just", "ll", "m", "me", "more", "most", "my",
		"no", "not", "of", "on", "or", "our", "out", "over", "re", "s", "she", "should", "so", "some", "such", "t", "than",
		"that", "the", "their", "them", "then", "there", "these", "they", "this", "those", "through", "to", "too", "under",
		"up", "ve", "very", "was", "we", "were", "what", "when", "where", "which", "while", "who", "whom", "why", "will",
		"with", "would", "you", "your":
		return true
	}
	return false
}

// stem cuts the endings that English puts on a word without changing what it names: plurals, -ed, -ing, a final e, and y
// for i. It is the first step of Porter's algorithm and a little more; what it returns need not be a word. Words with
// anything but the letters a to z are left alone.
func stem(w string) string {
	if len(w) < 3 {
		return w
	}
	for i := range len(w) {
		if w[i] < 'a' || w[i] > 'z' {
			return w
		}
	}
	w = cutPlural(w)
	w = cutTense(w)
	switch n := len(w); {
	case n > 2 && w[n-1] == 'e':
		w = w[:n-1]
	case n > 2 && w[n-1] == 'y' && !isVowel(w[n-2]):
		w = w[:n-1] + "i"
	}
	return w
}

func cutPlural(w string) string {
	switch {
	case len(w) < 4, !strings.HasSuffix(w, "s"):
		return w
	case strings.HasSuffix(w, "sses"):
		return w[:len(w)-2]
	case strings.HasSuffix(w, "ies") && len(w) > 4:
		return w[:len(w)-3] + "y"
	case strings.HasSuffix(w, "ss"), strings.HasSuffix(w, "us"), strings.HasSuffix(w, "is"):
		return w
	default:
		return w[:len(w)-1]
	}
}

func cutTense(w string) string {
	if strings.HasSuffix(w, "eed") {
		return w // the -ed of "exceed" is no ending
	}
	root, ok := strings.CutSuffix(w, "ed")
	if !ok {
		root, ok = strings.CutSuffix(w, "ing")
	}
	n := len(root)
	if !ok || n < 2 || !strings.ContainsAny(root, "aeiouy") {
		return w
	}
	// A consonant that was doubled for the ending: "planned", but not "called", "passed", "buzzed".
	if last := root[n-1]; n > 2 && last == root[n-2] && !isVowel(last) && last != 'l' && last != 's' && last != 'z' {
		return root[:n-1]
	}
	return root
}

func isVowel(b byte) bool { return strings.IndexByte("aeiou", b) >= 0 }
