package geminilocal

import (
	"cmp"
	"encoding/json"
	"math"
	"slices"
	"strings"
	"unicode"
	"unicode/utf8"
)

// passage is one result of the retrieval tool.
type passage struct {
	Mark    string `json:"mark"`
	Title   string `json:"title"`
	Page    int    `json:"page"`
	Heading string `json:"heading"`
	Text    string `json:"text"`
}

// passagesIn reads the passages of a function response; ok is false when the response holds no list of them.
func passagesIn(response json.RawMessage) (passages []passage, ok bool) {
	var body struct {
		Passages *[]passage `json:"passages"`
		Output   *struct {
			Passages *[]passage `json:"passages"`
		} `json:"output"`
	}
	if err := json.Unmarshal(response, &body); err != nil {
		return nil, false
	}
	switch {
	case body.Passages != nil:
		return *body.Passages, true
	case body.Output != nil && body.Output.Passages != nil:
		return *body.Output.Passages, true
	default:
		return nil, false
	}
}

const (
	maxQuotes = 3
	// keepRatio is how good a further sentence must be, measured against the best one, to be quoted too.
	keepRatio = 0.6
	// maxQuote is the longest quote in bytes.
	maxQuote = 420
)

// sentence is a candidate for a quote.
type sentence struct {
	text    string
	terms   map[string]bool
	passage int
	place   int
	score   float64
}

// quote picks the sentences that say most about the question, best passages' first, each followed by its passage's mark. It
// is empty when no sentence shares a term with the question.
func quote(question string, passages []passage) string {
	asked := terms(question)
	slices.Sort(asked)
	asked = slices.Compact(asked)

	sentences := split(passages)
	rank(asked, passages, sentences)
	slices.SortStableFunc(sentences, func(a, b sentence) int { return cmp.Compare(b.score, a.score) })

	var picked []sentence
	for _, s := range sentences {
		if len(picked) == maxQuotes || s.score <= 0 || s.score < keepRatio*sentences[0].score {
			break
		}
		if !slices.ContainsFunc(picked, func(p sentence) bool { return p.text == s.text }) {
			picked = append(picked, s)
		}
	}
	// The best sentence leads; the others follow in the order of the text.
	if len(picked) > 2 {
		slices.SortFunc(picked[1:], func(a, b sentence) int {
			return cmp.Or(cmp.Compare(a.passage, b.passage), cmp.Compare(a.place, b.place))
		})
	}

	var b strings.Builder
	for i, s := range picked {
		if i > 0 {
			b.WriteByte(' ')
		}
		b.WriteString("“" + s.text + "”")
		if mark := passages[s.passage].Mark; mark != "" {
			b.WriteString(" " + mark)
		}
	}
	return b.String()
}

// split cuts the passages into sentences of at least three terms, or one sentence for a passage that has no such.
func split(passages []passage) []sentence {
	var all []sentence
	for i, p := range passages {
		before := len(all)
		for place, text := range cutSentences(p.Text) {
			if found := terms(text); len(found) >= 3 {
				all = append(all, sentence{text: clip(text), terms: set(found), passage: i, place: place})
			}
		}
		if whole := clean(p.Text); len(all) == before && whole != "" {
			all = append(all, sentence{text: clip(whole), terms: set(terms(whole)), passage: i})
		}
	}
	return all
}

// rank scores every sentence: the weight of the asked terms it holds, plus a smaller share for what its whole passage, title
// and heading hold, because a sentence often leaves out what its paragraph is about.
func rank(asked []string, passages []passage, sentences []sentence) {
	around := make([]map[string]bool, len(passages))
	for i, p := range passages {
		around[i] = set(terms(p.Title + "\n" + p.Heading + "\n" + p.Text))
	}
	weight := make(map[string]float64, len(asked))
	for _, t := range asked {
		in := 0
		for i := range sentences {
			if sentences[i].terms[t] {
				in++
			}
		}
		weight[t] = math.Log(1 + float64(len(sentences)+1)/float64(in+1))
	}
	for i := range sentences {
		s := &sentences[i]
		own := overlap(asked, weight, s.terms)
		if own == 0 {
			continue
		}
		context := overlap(asked, weight, around[s.passage])
		// A long sentence holds more terms by chance.
		s.score = (own + 0.4*context) / (1 + 0.01*float64(len(s.terms)))
		// Results come best first; the order breaks what would else be ties.
		s.score *= 1 - 0.01*float64(min(s.passage, 20))
	}
}

// overlap sums the weights of the asked terms that stand in found; a term that only shares its first letters counts a half.
func overlap(asked []string, weight map[string]float64, found map[string]bool) float64 {
	sum := 0.0
	for _, t := range asked {
		if found[t] {
			sum += weight[t]
			continue
		}
		if len(t) < 5 {
			continue
		}
		stem := t[:max(5, len(t)-3)]
		for f := range found {
			if strings.HasPrefix(f, stem) {
				sum += weight[t] / 2
				break
			}
		}
	}
	return sum
}

func set(all []string) map[string]bool {
	m := make(map[string]bool, len(all))
	for _, t := range all {
		m[t] = true
	}
	return m
}

// cutSentences cuts a text into blocks, and those after each full stop, question or exclamation mark that is followed by a
// space and does not look like an abbreviation.
func cutSentences(text string) []string {
	var all []string
	for _, block := range blocks(text) {
		start := 0
		for i := 0; i+1 < len(block); i++ {
			if c := block[i]; c != '.' && c != '!' && c != '?' {
				continue
			}
			end := len(block) - len(strings.TrimLeft(block[i+1:], "\"'”’»)]"))
			if end >= len(block) || block[end] != ' ' || abbreviated(block[start:i]) || startsLower(block[end+1:]) {
				continue
			}
			all = append(all, block[start:end])
			start = end + 1
		}
		if rest := strings.TrimSpace(block[min(start, len(block)):]); rest != "" {
			all = append(all, rest)
		}
	}
	return all
}

// blocks cuts a text into paragraphs, headings, list items and table rows, each on one line. Any other line end is a space,
// since the text of a PDF breaks lines anywhere.
func blocks(text string) []string {
	var all []string
	open := false // whether the next line may belong to the last block
	for line := range strings.Lines(text) {
		line = clean(line)
		heading := strings.HasPrefix(line, "#")
		switch {
		case line == "":
			open = false
			continue
		case open && !heading && !startsItem(line):
			all[len(all)-1] += " " + line
		default:
			all = append(all, line)
		}
		open = !heading
	}
	return all
}

// startsItem reports whether a line begins a list item or a table row.
func startsItem(line string) bool {
	for _, marker := range []string{"- ", "* ", "+ ", "• ", "– ", "|"} {
		if strings.HasPrefix(line, marker) {
			return true
		}
	}
	number, _, found := strings.Cut(line, ". ")
	return found && number != "" && strings.Trim(number, "0123456789") == ""
}

// abbreviated reports whether the full stop after before belongs to "e.g.", "Dr." or a single letter.
func abbreviated(before string) bool {
	word := before[strings.LastIndexByte(before, ' ')+1:]
	switch strings.ToLower(strings.TrimLeft(word, "(")) {
	case "e.g", "i.e", "etc", "cf", "vs", "dr", "mr", "mrs", "ms", "no", "fig", "sec", "ch", "vol", "approx":
		return true
	}
	r, size := utf8.DecodeRuneInString(word)
	return size > 0 && size == len(word) && unicode.IsUpper(r)
}

func startsLower(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return unicode.IsLower(r)
}

// clean makes one line of text.
func clean(text string) string { return strings.Join(strings.Fields(text), " ") }

// clip shortens text to about maxQuote bytes, at a space.
func clip(text string) string {
	const limit = maxQuote
	if len(text) <= limit {
		return text
	}
	cut := strings.LastIndexByte(text[:limit], ' ')
	if cut < limit/2 {
		cut = limit
		for cut > 0 && !utf8.RuneStart(text[cut]) {
			cut--
		}
	}
	return text[:cut] + "…"
}
