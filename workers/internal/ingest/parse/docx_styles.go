package parse

import (
	"encoding/xml"
	"strconv"
	"strings"
)

// docxStyle is what a paragraph style means for structure.
type docxStyle struct {
	name    string // lower case; Word writes built-in names in English whatever its language
	basedOn string
	outline int    // heading level, 0 unknown
	num     numRef // list membership that the style gives
}

// docxStyles are the paragraph styles of a document by id.
type docxStyles map[string]docxStyle

// readStyles reads styles.xml.
func readStyles(d *xmlReader) (docxStyles, error) {
	styles := docxStyles{}
	id := ""
	err := d.each(func(e xml.StartElement) error {
		switch e.Name.Local {
		case "style":
			id = ""
			if t := attr(e, "type"); t == "paragraph" || t == "" {
				id = attr(e, "styleId")
				styles[id] = docxStyle{}
			}
			return nil
		case "docDefaults", "latentStyles":
			return d.skip()
		}
		if id == "" {
			return nil
		}
		s := styles[id]
		switch value := attr(e, "val"); e.Name.Local {
		case "name":
			s.name = strings.ToLower(value)
		case "basedOn":
			s.basedOn = value
		case "outlineLvl":
			s.outline = outlineLevel(value)
		case "numId":
			s.num.id = value
		case "ilvl":
			s.num.level = atoi(value)
		default:
			return nil
		}
		styles[id] = s
		return nil
	})
	return styles, err
}

// heading returns the heading level that a style gives, 0 when it is not a heading's. A document without style
// definitions, or in a style derived from a heading, still gets its levels.
func (s docxStyles) heading(id string) int {
	for range 16 { // styles may be based on each other in a circle
		style, known := s[id]
		switch {
		case style.outline > 0:
			return style.outline
		case style.outline < 0:
			return 0
		}
		if level := headingByName(style.name); level > 0 {
			return level
		}
		if !known || style.basedOn == "" {
			if level := headingByName(strings.ToLower(id)); !known && level > 0 {
				return level
			}
			return 0
		}
		id = style.basedOn
	}
	return 0
}

// title reports whether a style is that of the document's title.
func (s docxStyles) title(id string) bool {
	style, known := s[id]
	return style.name == "title" || !known && strings.EqualFold(id, "title")
}

// contents reports whether a style is that of a line in a table of contents.
func (s docxStyles) contents(id string) bool {
	name := s[id].name
	return strings.HasPrefix(name, "toc ") || name == "table of figures"
}

// numbering returns the list membership that a style or one it is based on gives.
func (s docxStyles) numbering(id string) numRef {
	for range 16 {
		style, known := s[id]
		if !known || style.num.id != "" {
			return style.num
		}
		id = style.basedOn
	}
	return numRef{}
}

// headingByName knows the names that Word and other programs give to heading styles in several languages.
func headingByName(name string) int {
	word := strings.TrimRight(name, "0123456789")
	level := atoi(name[len(word):])
	if level < 1 || level > 9 {
		return 0
	}
	switch strings.TrimRight(word, " _-") {
	case "heading", "überschrift", "berschrift", "titre", "título", "titulo", "ttulo", "titolo", "kop", "rubrik", "overskrift",
		"otsikko", "nagłówek", "nagwek", "nadpis", "címsor", "başlık", "заголовок", "标题", "標題", "見出し", "제목":
		return level
	}
	return 0
}

// outlineLevel turns Word's outline level (0 to 8, 9 for body text) into a heading level; -1 means body text.
func outlineLevel(value string) int {
	n, err := strconv.Atoi(value)
	if err != nil || n < 0 || n > 8 {
		return -1
	}
	return n + 1
}

// numRef puts a paragraph into a numbered or bulleted list.
type numRef struct {
	id    string // "0" takes a paragraph out of its style's list
	level int    // from 0
}

// numLevel is how one level of a list is marked.
type numLevel struct {
	format  string // decimal, lowerLetter, upperRoman, bullet, none, ...
	pattern string // "%1.%2", where %n stands for the number of level n
	start   int
}

// docxNumbering knows the lists of a document and counts through them.
type docxNumbering struct {
	levels   map[string]map[int]numLevel // by abstract list, then level
	lists    map[string]string           // list to abstract list
	counters map[string][]int            // by abstract list
}

// readNumbering reads numbering.xml.
func readNumbering(d *xmlReader) (*docxNumbering, error) {
	n := &docxNumbering{levels: map[string]map[int]numLevel{}, lists: map[string]string{}, counters: map[string][]int{}}
	abstract, num, level := "", "", -1
	err := d.each(func(e xml.StartElement) error {
		value := attr(e, "val")
		switch e.Name.Local {
		case "abstractNum":
			abstract, num, level = attr(e, "abstractNumId"), "", -1
			n.levels[abstract] = map[int]numLevel{}
			return nil
		case "num":
			abstract, num, level = "", attr(e, "numId"), -1
			return nil
		case "abstractNumId":
			if num != "" {
				n.lists[num] = value
			}
			return nil
		case "lvl":
			level = atoi(attr(e, "ilvl"))
			if abstract != "" && level >= 0 && level < 10 {
				n.levels[abstract][level] = numLevel{format: "decimal", start: 1}
			}
			return nil
		}
		l, ok := n.levels[abstract][level]
		if !ok {
			return nil
		}
		switch e.Name.Local {
		case "start":
			l.start = atoi(value)
		case "numFmt":
			l.format = value
		case "lvlText":
			l.pattern = value
		default:
			return nil
		}
		n.levels[abstract][level] = l
		return nil
	})
	return n, err
}

// next counts the paragraph and returns its marker as the reader of the document sees it: "-" for bullets, "2.1" or "(c)"
// for numbers, empty when the list shows none.
func (n *docxNumbering) next(ref numRef) string {
	if ref.level < 0 || ref.level > 9 {
		ref.level = 0
	}
	abstract, known := n.lists[ref.id]
	level, defined := n.levels[abstract][ref.level]
	if !known || !defined {
		return "-"
	}
	counters := n.counters[abstract]
	for len(counters) <= ref.level {
		counters = append(counters, n.levels[abstract][len(counters)].start-1)
	}
	counters = counters[:ref.level+1] // deeper levels start again
	counters[ref.level]++
	n.counters[abstract] = counters
	switch level.format {
	case "bullet":
		return "-"
	case "none":
		return ""
	}
	marker := level.pattern
	for i := range counters {
		marker = strings.ReplaceAll(marker, "%"+strconv.Itoa(i+1), formatNumber(max(counters[i], 0), n.levels[abstract][i].format))
	}
	return strings.TrimSpace(marker)
}

// formatNumber writes a counter the way a list shows it.
func formatNumber(n int, format string) string {
	switch format {
	case "lowerLetter":
		return strings.ToLower(letters(n))
	case "upperLetter":
		return letters(n)
	case "lowerRoman":
		return strings.ToLower(roman(n))
	case "upperRoman":
		return roman(n)
	case "decimalZero":
		if n < 10 {
			return "0" + strconv.Itoa(n)
		}
	case "bullet", "none":
		return ""
	}
	return strconv.Itoa(n)
}

// letters counts A to Z, AA, BB, ... as Word does.
func letters(n int) string {
	if n < 1 || n > 26*10 {
		return strconv.Itoa(n)
	}
	return strings.Repeat(string(rune('A'+(n-1)%26)), (n-1)/26+1)
}

// roman writes a Roman numeral.
func roman(n int) string {
	if n < 1 || n > 3999 {
		return strconv.Itoa(n)
	}
	values := [...]int{1000, 900, 500, 400, 100, 90, 50, 40, 10, 9, 5, 4, 1}
	digits := [...]string{"M", "CM", "D", "CD", "C", "XC", "L", "XL", "X", "IX", "V", "IV", "I"}
	var out strings.Builder
	for i, v := range values {
		for ; n >= v; n -= v {
			out.WriteString(digits[i])
		}
	}
	return out.String()
}

// atoi reads a number; what is none counts as 0.
func atoi(s string) int {
	n, err := strconv.Atoi(s)
	if err != nil {
		return 0
	}
	return n
}
