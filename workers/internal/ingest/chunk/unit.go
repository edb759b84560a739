package chunk

import (
	"iter"
	"maps"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tarento/copilot/workers/internal/ingest/parse"
)

// unit is what goes into a chunk as a whole: a block, or a piece of one that is too large.
type unit struct {
	start, end   int // in the document's text, without white space at either end
	weight       int
	gap          int // weight of what stands between the unit before and this one
	page         int
	path         []string
	title        string // of a heading
	heading      bool
	top          bool // a heading of the topmost level: no chunk crosses it
	main         bool // a heading of the next level, in a document whose one topmost heading is its title
	prose        bool // a paragraph or list item, which may be repeated in an overlap
	block        int  // start of the block
	prefix       int  // bytes of the block's header row to repeat, 0 for none
	prefixWeight int  // of the header row and its line break
}

// total is the weight of the unit with its prefix.
func (u *unit) total() int { return u.weight + u.prefixWeight }

// unitsOf lists the units of a document.
func unitsOf(doc *parse.Document, limits limits) []unit {
	text := doc.Text()
	top, main := topLevels(doc.Blocks)
	units := make([]unit, 0, len(doc.Blocks))
	for i := range doc.Blocks {
		b := &doc.Blocks[i]
		whole := unit{
			start: b.Start, end: b.End, weight: weigh(b.Text), page: b.Page, path: b.Path, block: b.Start,
			heading: b.Kind == parse.Heading,
			prose:   b.Kind == parse.Paragraph || b.Kind == parse.ListItem,
		}
		if whole.heading {
			whole.title, whole.top, whole.main = b.Text, b.Level == top, b.Level == main
		}
		if whole.weight <= limits.max {
			units = append(units, whole)
			continue
		}
		header, room := 0, limits.target
		if b.Header > 0 {
			// A header row that takes much of a chunk is not worth repeating.
			if w := weigh(b.Text[:b.Header]) + weightSpace; w <= limits.target/4 {
				header, room = w, limits.target-w
			}
		}
		for j, piece := range pieces(text, b.Start, b.End, room, boundaries(b.Kind)) {
			u := whole
			u.start, u.end = piece[0], piece[1]
			u.weight = weigh(text[u.start:u.end])
			u.top, u.main = whole.top && j == 0, whole.main && j == 0
			if header > 0 && j > 0 {
				u.prefix, u.prefixWeight = b.Header, header
			}
			units = append(units, u)
		}
	}
	for i := 1; i < len(units); i++ {
		units[i].gap = weigh(text[units[i-1].end:units[i].start])
	}
	return units
}

// topLevels returns the topmost heading level in use and, when there is but one heading of it, the document's title, the
// next one too. Levels that are not in use are 0.
func topLevels(blocks []parse.Block) (top, main int) {
	count := map[int]int{}
	for i := range blocks {
		if blocks[i].Kind == parse.Heading {
			count[blocks[i].Level]++
		}
	}
	levels := slices.Sorted(maps.Keys(count))
	if len(levels) == 0 {
		return 0, 0
	}
	if count[levels[0]] == 1 && len(levels) > 1 {
		main = levels[1]
	}
	return levels[0], main
}

// boundary yields the offsets at which a text may be cut, in order, without 0.
type boundary func(text string) iter.Seq[int]

// boundaries returns the kinds of boundary in a kind of block, best first.
func boundaries(kind parse.Kind) []boundary {
	switch kind {
	case parse.Table:
		return []boundary{lineStarts, cellStarts, wordStarts}
	case parse.Code:
		return []boundary{emptyLines, lineStarts, wordStarts}
	default:
		return []boundary{sentenceStarts, wordStarts}
	}
}

// pieces cuts text[start:end] into runs of at most room weight, as [start, end) without white space at the ends: at the best
// boundaries, and between them at worse ones only where what lies between is itself too large.
func pieces(text string, start, end, room int, cuts []boundary) [][2]int {
	var out [][2]int
	open, sum := start, 0 // the piece in the making
	closeAt := func(at int) {
		if from, to := trim(text, open, at); from < to {
			out = append(out, [2]int{from, to})
		}
		open, sum = at, 0
	}
	add := func(from, to int) {
		w := weigh(text[from:to])
		if sum > 0 && sum+w > room {
			closeAt(from)
		}
		if w <= room {
			sum += w
			return
		}
		if len(cuts) > 0 {
			out = append(out, pieces(text, from, to, room, cuts[1:])...)
		} else {
			out = append(out, runes(text, from, to, room)...)
		}
		open, sum = to, 0
	}
	from := start
	if len(cuts) > 0 {
		for cut := range cuts[0](text[start:end]) {
			add(from, start+cut)
			from = start + cut
		}
		add(from, end)
		closeAt(end)
		return out
	}
	return runes(text, start, end, room)
}

// runes cuts text[start:end] between any two characters.
func runes(text string, start, end, room int) [][2]int {
	var out [][2]int
	open, sum := start, 0
	for at, r := range text[start:end] {
		w := weight(r)
		if sum > 0 && sum+w > room {
			if from, to := trim(text, open, start+at); from < to {
				out = append(out, [2]int{from, to})
			}
			open, sum = start+at, 0
		}
		sum += w
	}
	if from, to := trim(text, open, end); from < to {
		out = append(out, [2]int{from, to})
	}
	return out
}

// trim takes the white space off both ends of text[from:to]; indentation at the start of a line of code stays.
func trim(text string, from, to int) (start, end int) {
	end = from + len(strings.TrimRightFunc(text[from:to], unicode.IsSpace))
	piece := text[from:end]
	inner := strings.TrimLeftFunc(piece, unicode.IsSpace)
	blank := piece[:len(piece)-len(inner)]
	return from + strings.LastIndexByte(blank, '\n') + 1, end
}

// lineStarts yields where lines begin.
func lineStarts(text string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := 0; ; {
			i := strings.IndexByte(text[at:], '\n')
			if i < 0 {
				return
			}
			if at += i + 1; at < len(text) && !yield(at) {
				return
			}
		}
	}
}

// emptyLines yields where lines begin that follow an empty one.
func emptyLines(text string) iter.Seq[int] {
	return func(yield func(int) bool) {
		for at := range lineStarts(text) {
			if at >= 2 && text[at-2] == '\n' && !yield(at) {
				return
			}
		}
	}
}

// cellStarts yields where the cells of a table row begin.
func cellStarts(text string) iter.Seq[int] {
	const bar = " | "
	return func(yield func(int) bool) {
		for at := 0; ; {
			i := strings.Index(text[at:], bar)
			if i < 0 {
				return
			}
			if at += i + len(bar); at < len(text) && !yield(at) {
				return
			}
		}
	}
}

// wordStarts yields where words begin.
func wordStarts(text string) iter.Seq[int] {
	return func(yield func(int) bool) {
		space := false
		for at, r := range text {
			if space && !unicode.IsSpace(r) && !yield(at) {
				return
			}
			space = unicode.IsSpace(r)
		}
	}
}

// sentenceStarts yields where sentences begin, and lines, which in a paragraph are someone's choice too. It errs on the
// side of longer sentences: abbreviations, initials and numbers do not end one.
func sentenceStarts(text string) iter.Seq[int] {
	return func(yield func(int) bool) {
		ended := false // a sentence has ended, white space may follow
		space := false
		word := 0 // where the latest word begins
		for at, r := range text {
			switch {
			case unicode.IsSpace(r):
				if r == '\n' {
					ended = true
				}
				space = true
				continue
			case ended && (space || ideographicStop(before(text, at))) && at > 0 && !unicode.IsLower(r):
				if !yield(at) {
					return
				}
				ended = false
			}
			if space {
				word = at
			}
			switch {
			case r == '.':
				ended = !abbreviation(text[word:at])
			case strings.ContainsRune("!?…。！？", r):
				ended = true
			case strings.ContainsRune("\"'”’»)]", r): // closes a sentence that has ended
			default:
				ended = false
			}
			space = false
		}
	}
}

// before returns the character before an offset.
func before(text string, at int) rune {
	r, _ := utf8.DecodeLastRuneInString(text[:at])
	return r
}

// ideographicStop reports whether a character ends sentences in scripts that put no space after it.
func ideographicStop(r rune) bool { return r == '。' || r == '！' || r == '？' }

// abbreviation reports whether a word before a full stop is most likely shortened: an initial, one with a full stop inside,
// or a known one.
func abbreviation(word string) bool {
	word = strings.TrimLeft(word, "(\"'“‘«[")
	if utf8.RuneCountInString(word) == 1 && word != "" {
		return !unicode.IsDigit(rune(word[0]))
	}
	if strings.Contains(word, ".") && len(word) <= 5 {
		return true
	}
	switch strings.ToLower(word) {
	case "mr", "mrs", "ms", "dr", "prof", "st", "no", "nr", "vs", "cf", "fig", "figs", "eq", "ref", "sec", "ch", "vol", "pp",
		"ed", "eds", "al", "approx", "dept", "inc", "ltd", "co", "corp", "bzw", "ca", "vgl", "abb", "art", "abs", "resp":
		return true
	}
	return false
}
