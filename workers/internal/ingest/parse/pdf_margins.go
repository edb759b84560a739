package parse

import (
	"cmp"
	"math"
	"slices"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// marginLines is how many of the topmost and of the lowest lines of a page may be its header and footer.
	marginLines = 3
	// maxMarginLine is the longest line, in bytes, that may be one.
	maxMarginLine = 150
	// marginZone is the part of the printed height, at either end, in which they are.
	marginZone = 0.12
)

// marginKey identifies lines that are the same on many pages: same place, same words, other numbers.
type marginKey struct {
	place int
	words string
}

// numberKey identifies page numbers: the number grows with the page, so their difference stays.
type numberKey struct {
	top        bool
	difference int
}

// dropMargins removes headers, footers and page numbers, which would cut sentences in two and fill the index.
func dropMargins(pages []pdfPage) {
	repeated, numbers, filled := map[marginKey]int{}, map[numberKey]int{}, 0
	zones := zonesOf(pages)
	for i := range pages {
		if len(pages[i].lines) > 0 {
			filled++
		}
		top, low := zones.candidates(pages[i].lines)
		seen := map[marginKey]bool{}
		for _, line := range append(slices.Clone(top), low...) {
			if key := keyOf(pages[i].lines[line]); !seen[key] {
				seen[key] = true
				repeated[key]++
			}
		}
		for key := range pageNumbers(pages[i].lines, i, top, low) {
			numbers[key]++
		}
	}
	if filled < 3 {
		return
	}
	// A header may change from chapter to chapter and from left to right pages.
	often := max(3, (filled+1)/2)
	if filled > 20 {
		often = max(10, filled/5)
	}
	for i := range pages {
		top, low := zones.candidates(pages[i].lines)
		drop := map[int]bool{}
		for _, line := range append(slices.Clone(top), low...) {
			if repeated[keyOf(pages[i].lines[line])] >= often {
				drop[line] = true
			}
		}
		for key, line := range pageNumbers(pages[i].lines, i, top, low) {
			if numbers[key] >= max(3, filled/2) {
				drop[line] = true
			}
		}
		pages[i].lines = without(pages[i].lines, drop)
	}
}

// without returns the lines that are not to be dropped, in a slice of their own.
func without(lines []pdfLine, drop map[int]bool) []pdfLine {
	if len(drop) == 0 {
		return lines
	}
	kept := make([]pdfLine, 0, len(lines))
	for i, line := range lines {
		if !drop[i] {
			kept = append(kept, line)
		}
	}
	return kept
}

// zones are the heights above and below which headers and footers are.
type zones struct{ above, below float64 }

// zonesOf measures the printed height over all pages.
func zonesOf(pages []pdfPage) zones {
	lowest, highest := math.Inf(1), math.Inf(-1)
	for i := range pages {
		for _, line := range pages[i].lines {
			lowest, highest = math.Min(lowest, line.bottom), math.Max(highest, line.bottom)
		}
	}
	zone := marginZone * (highest - lowest)
	return zones{above: highest - zone, below: lowest + zone}
}

// candidates returns the indexes of the topmost lines, from the top, and of the lowest, from below.
func (z zones) candidates(lines []pdfLine) (top, low []int) {
	order := make([]int, len(lines))
	for i := range order {
		order[i] = i
	}
	slices.SortStableFunc(order, func(a, b int) int { return cmp.Compare(lines[b].bottom, lines[a].bottom) })
	n := min(marginLines, len(order)/2)
	if len(order) == 1 {
		n = 1
	}
	for i := range n {
		if l := order[i]; len(lines[l].text) <= maxMarginLine && lines[l].bottom >= z.above {
			top = append(top, l)
		}
		if l := order[len(order)-1-i]; len(order) > 1 && len(lines[l].text) <= maxMarginLine && lines[l].bottom <= z.below {
			low = append(low, l)
		}
	}
	return top, low
}

func keyOf(line pdfLine) marginKey {
	words := strings.Map(func(r rune) rune {
		if unicode.IsDigit(r) {
			return '#'
		}
		return unicode.ToLower(r)
	}, line.text)
	for strings.Contains(words, "##") {
		words = strings.ReplaceAll(words, "##", "#")
	}
	if strings.Trim(words, "ivxlc") == "" { // Roman page numbers
		words = "#"
	}
	return marginKey{place: int(math.Round(line.bottom / 6)), words: words}
}

// pageNumbers returns the lines at the very top and bottom that may hold a page number.
func pageNumbers(lines []pdfLine, page int, top, low []int) map[numberKey]int {
	found := map[numberKey]int{}
	for _, edge := range []struct {
		top   bool
		lines []int
	}{{true, top}, {false, low}} {
		if len(edge.lines) == 0 {
			continue
		}
		line := edge.lines[0]
		words := strings.Fields(lines[line].text)
		for _, word := range []string{words[0], words[len(words)-1]} {
			if n, err := strconv.Atoi(strings.Trim(word, "-–—[]()|")); err == nil && n >= 0 {
				found[numberKey{edge.top, n - page}] = line
			}
		}
	}
	return found
}

// joinHyphens resolves the hyphens at line ends. Most are there for the line break alone; those that belong to the word stay,
// which the rest of the document knows: where it writes "well-known" in the middle of a line, it is not "wellknown".
func joinHyphens(pages []pdfPage) {
	words := map[string]int{}
	for i := range pages {
		for _, line := range pages[i].lines {
			for at, r := range line.text {
				if r == lineHyphen {
					left, right := hyphenated(line.text, at)
					words[left+right], words[left+"-"+right] = 0, 0
				}
			}
		}
	}
	if len(words) == 0 {
		return
	}
	for i := range pages {
		for _, line := range pages[i].lines {
			for word := range strings.FieldsFuncSeq(strings.ToLower(line.text), func(r rune) bool {
				return !unicode.IsLetter(r) && !unicode.IsDigit(r) && r != '-' && r != lineHyphen
			}) {
				if _, asked := words[word]; asked {
					words[word]++
				}
			}
		}
	}
	for i := range pages {
		for j := range pages[i].lines {
			pages[i].lines[j].text = resolveHyphens(pages[i].lines[j].text, words)
		}
	}
}

// resolveHyphens replaces line-end hyphens, given how often the document writes each word in either way.
func resolveHyphens(text string, words map[string]int) string {
	if !strings.ContainsRune(text, lineHyphen) {
		return text
	}
	var out strings.Builder
	for at, r := range text {
		if r != lineHyphen {
			out.WriteRune(r)
			continue
		}
		next, _ := utf8.DecodeRuneInString(text[at+utf8.RuneLen(lineHyphen):])
		left, right := hyphenated(text, at)
		if left == "" || !unicode.IsLower(next) || words[left+"-"+right] > words[left+right] {
			out.WriteByte('-')
		}
	}
	return out.String()
}

// hyphenated returns the lower-case halves of the word around a line-end hyphen.
func hyphenated(text string, at int) (left, right string) {
	notLetter := func(r rune) bool { return !unicode.IsLetter(r) }
	left = text[:at]
	if i := strings.LastIndexFunc(left, notLetter); i >= 0 {
		_, size := utf8.DecodeRuneInString(left[i:])
		left = left[i+size:]
	}
	right = text[at+utf8.RuneLen(lineHyphen):]
	if i := strings.IndexFunc(right, notLetter); i >= 0 {
		right = right[:i]
	}
	return strings.ToLower(left), strings.ToLower(right)
}
