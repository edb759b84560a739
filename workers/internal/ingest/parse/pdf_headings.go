package parse

import (
	"cmp"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

const (
	// minOutline is how many entries an outline needs to be trusted with the whole structure.
	minOutline = 3
	// maxHeadingLines is how many lines a heading may have.
	maxHeadingLines = 3
	// maxLookLevels is how many levels are told apart by the look of headings.
	maxLookLevels = 6
)

// headingsFromOutline finds the line of every bookmark. A bookmark whose title is not on its page becomes a heading at the
// top of the page. It returns nil when the outline is too small to tell the structure.
func headingsFromOutline(pages []pdfPage, marks []bookmark) []pageHeadings {
	if len(marks) < minOutline {
		return nil
	}
	found := make([]pageHeadings, len(pages))
	for i := range found {
		found[i] = pageHeadings{levels: map[int]int{}, titles: map[int][]heading{}}
	}
	keys := map[int][]string{} // of the lines, by page
	after := map[int]int{}     // the line below the latest heading found, by page
	for _, mark := range marks {
		if mark.page >= len(pages) {
			continue
		}
		lines := pages[mark.page].lines
		if keys[mark.page] == nil {
			keys[mark.page] = lineKeys(lines)
		}
		h := found[mark.page]
		first, count := findTitle(lines, keys[mark.page], titleKey(mark.title), h.levels)
		if count == 0 {
			before := after[mark.page]
			h.titles[before] = append(h.titles[before], heading{level: mark.level, text: mark.title})
			continue
		}
		h.levels[first] = mark.level
		for i := first + 1; i < first+count; i++ {
			h.levels[i] = 0
		}
		after[mark.page] = first + count
	}
	return found
}

func lineKeys(lines []pdfLine) []string {
	keys := make([]string, len(lines))
	for i := range lines {
		keys[i] = titleKey(lines[i].text)
	}
	return keys
}

// titleKey keeps only the letters and digits of a text, in lower case, so that spelling details do not hide that two texts
// are the same.
func titleKey(s string) string {
	return strings.Map(func(r rune) rune {
		if unicode.IsLetter(r) || unicode.IsDigit(r) {
			return unicode.ToLower(r)
		}
		return -1
	}, clean(s))
}

// findTitle returns the lines that spell a title, allowing for a number before it that the outline leaves out or has. Of
// several places the one in the largest type wins, then the first. taken lines are not looked at.
func findTitle(lines []pdfLine, keys []string, title string, taken map[int]int) (first, count int) {
	if title == "" {
		return 0, 0
	}
	size := 0.0
	for i := range lines {
		if _, used := taken[i]; used || lines[i].size <= size {
			continue
		}
		joined := ""
		for n := 1; n <= maxHeadingLines && i+n <= len(lines) && len(joined) <= len(title); n++ {
			joined += keys[i+n-1]
			if joined != "" && sameTitle(joined, title) {
				first, count, size = i, n, lines[i].size
				break
			}
		}
	}
	return first, count
}

// sameTitle reports whether two keys are equal but for a section number before one of them.
func sameTitle(a, b string) bool {
	if len(a) < len(b) {
		a, b = b, a
	}
	number, found := strings.CutSuffix(a, b)
	if !found {
		return false
	}
	number = strings.TrimPrefix(strings.TrimPrefix(strings.TrimPrefix(number, "chapter"), "section"), "appendix")
	return len(number) <= 8 && (number == "" || len(number) == 1 || strings.Trim(number, "0123456789") == "" || isRomanKey(number))
}

func isRomanKey(s string) bool { return strings.Trim(s, "ivxlc") == "" }

// look is how a line is set.
type look struct {
	size int // in half points
	bold bool
}

func lookOf(line pdfLine) look { return look{size: int(math.Round(line.size * 2)), bold: line.bold} }

// headingsFromLook takes for headings the short lines that are set larger than the running text, and the bold ones that stand
// alone. Larger is higher; of the same size, bold is.
func headingsFromLook(pages []pdfPage) []pageHeadings {
	body := bodySize(pages)
	found := make([]pageHeadings, len(pages))
	used := map[look]bool{}
	for i := range pages {
		found[i] = pageHeadings{levels: map[int]int{}}
		lines := pages[i].lines
		space := leading(lines)
		for j := 0; j < len(lines); j++ {
			if !standsOut(lines, j, body, space) {
				continue
			}
			used[lookOf(lines[j])] = true
			found[i].levels[j] = 1 // its level comes when all looks are known
			for n := 1; n < maxHeadingLines && j+1 < len(lines) && continues(lines[j], lines[j+1]); n++ {
				j++
				found[i].levels[j] = 0
			}
		}
	}
	ranks := rank(used)
	for i := range pages {
		for j, level := range found[i].levels {
			if level > 0 {
				found[i].levels[j] = ranks[lookOf(pages[i].lines[j])]
			}
		}
	}
	return found
}

// bodySize is the size in which most of the text is set.
func bodySize(pages []pdfPage) float64 {
	amount := map[int]int{}
	for i := range pages {
		for _, line := range pages[i].lines {
			if !line.mono {
				amount[lookOf(line).size] += len(line.text)
			}
		}
	}
	best := 0
	for size, n := range amount {
		if n > amount[best] || n == amount[best] && size < best {
			best = size
		}
	}
	return float64(best) / 2
}

// standsOut reports whether a line looks like a heading.
func standsOut(lines []pdfLine, i int, body, space float64) bool {
	line := lines[i]
	letters := strings.IndexFunc(line.text, unicode.IsLetter) >= 0
	if !letters || line.mono || line.size == 0 || body == 0 || utf8.RuneCountInString(line.text) > 120 {
		return false
	}
	if line.size >= 1.15*body {
		return !strings.HasSuffix(line.text, ",")
	}
	if !line.bold || line.size < 0.97*body || utf8.RuneCountInString(line.text) > 90 ||
		endsSentence(line.text) || strings.HasSuffix(line.text, ",") {
		return false
	}
	if i == 0 || lines[i-1].bottom < line.bottom {
		return true
	}
	return lines[i-1].bottom-line.bottom > 1.3*math.Max(space, line.size)
}

// continues reports whether a line is the next line of the same heading.
func continues(line, next pdfLine) bool {
	gap := line.bottom - next.bottom
	return lookOf(line) == lookOf(next) && gap > 0 && gap < 1.5*line.height
}

// rank numbers looks from 1 by prominence.
func rank(used map[look]bool) map[look]int {
	looks := make([]look, 0, len(used))
	for l := range used {
		looks = append(looks, l)
	}
	slices.SortFunc(looks, func(a, b look) int {
		if a.size != b.size {
			return cmp.Compare(b.size, a.size)
		}
		if a.bold {
			return -1
		}
		return 1
	})
	ranks := make(map[look]int, len(looks))
	for i, l := range looks {
		ranks[l] = min(i+1, maxLookLevels)
	}
	return ranks
}
