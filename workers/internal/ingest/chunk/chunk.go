package chunk

import (
	"slices"

	"github.com/tarento/copilot/workers/internal/ingest/parse"
)

// Chunk is a piece of a document.
type Chunk struct {
	// Index counts the chunks of a document from 0.
	Index int
	// Text is the document's text from Start to End. When a table is cut between its rows, its header row and a line break
	// stand before that.
	Text string
	// Page and EndPage are the pages on which the chunk starts and ends, at most one apart; 0 in a document without pages.
	Page, EndPage int
	// Headings are the headings that most of the chunk stands under, outermost first, headings within the chunk included. It
	// is shared and must not be changed.
	Headings []string
	// Start and End are byte offsets in the document's text. Chunks may overlap; starts and ends only ever grow.
	Start, End int
	// Tokens is an estimate of the length of Text; see Tokens.
	Tokens int
}

// Config says how large chunks are, in estimated tokens. The zero value is ready for production.
type Config struct {
	// TargetTokens is the size that chunks aim at; 0 means 400. Larger chunks answer more questions each, smaller ones are
	// found more exactly.
	TargetTokens int
	// MaxTokens is the size that no chunk exceeds; 0 means twice the target. Embedding models cut off what is longer than
	// they take.
	MaxTokens int
	// OverlapTokens is how much of the text before a chunk is repeated at its start when a section is cut, in whole
	// sentences; 0 means none. At most half the target is repeated.
	OverlapTokens int
}

// DefaultConfig is what suits most documents: chunks of some 300 English words, two sentences of overlap.
func DefaultConfig() Config { return Config{TargetTokens: 400, MaxTokens: 800, OverlapTokens: 60} }

// normal returns the configuration with defaults filled in and contradictions resolved, in weights.
func (c Config) normal() limits {
	if c.TargetTokens <= 0 {
		c.TargetTokens = DefaultConfig().TargetTokens
		if c.MaxTokens > 0 {
			c.TargetTokens = min(c.TargetTokens, c.MaxTokens)
		}
	}
	if c.MaxTokens <= 0 {
		c.MaxTokens = 2 * c.TargetTokens
	}
	c.TargetTokens = min(c.TargetTokens, c.MaxTokens)
	c.OverlapTokens = min(max(c.OverlapTokens, 0), c.TargetTokens/2)
	return limits{target: c.TargetTokens * token, max: c.MaxTokens * token, overlap: c.OverlapTokens * token}
}

// limits are the sizes of a Config as weights.
type limits struct{ target, max, overlap int }

// Split cuts a document into chunks, in order. A document without blocks gives none.
func Split(doc *parse.Document, cfg Config) []Chunk {
	limits := cfg.normal()
	s := &splitter{text: doc.Text(), limits: limits, units: unitsOf(doc, limits)}
	return s.split()
}

// splitter packs units into chunks.
type splitter struct {
	text   string
	limits limits
	units  []unit
}

func (s *splitter) split() []Chunk {
	spans := s.mergeSmall(s.pack())
	chunks := make([]Chunk, 0, len(spans))
	for i, span := range spans {
		var before []unit
		if i > 0 {
			before = s.units[spans[i-1].from:spans[i-1].to]
		}
		chunks = append(chunks, s.chunk(i, s.units[span.from:span.to], before))
	}
	return chunks
}

// span is a run of units that make a chunk.
type span struct{ from, to int }

// pack groups units greedily.
func (s *splitter) pack() []span {
	var spans []span
	for from := 0; from < len(s.units); {
		to := s.fill(from)
		spans = append(spans, span{from, to})
		from = to
	}
	return spans
}

// fill returns the end of the chunk that begins with a unit. It always takes one unit at least.
func (s *splitter) fill(from int) int {
	sum := s.units[from].total()
	onlyHeadings := s.units[from].heading
	to := from + 1
	for ; to < len(s.units); to++ {
		next := &s.units[to]
		grown := sum + next.gap + next.total()
		if !s.fits(from, to, grown) {
			break
		}
		if !onlyHeadings && s.joint(to, sum, grown) {
			break
		}
		sum = grown
		onlyHeadings = onlyHeadings && next.heading
	}
	if to == len(s.units) || onlyHeadings {
		return to
	}
	for last := to; last > from+1; last-- { // a heading goes with what follows
		if !s.units[last-1].heading {
			return last
		}
	}
	return to
}

// fits reports whether the units up to and including one may be in one chunk.
func (s *splitter) fits(from, last, weight int) bool {
	if weight > s.limits.max || s.units[last].page-s.units[from].page > 1 || s.units[last].page < s.units[from].page {
		return false
	}
	return s.units[last].prefix == 0 // a piece of a table that needs its header again begins a chunk
}

// joint reports whether a chunk that may go on should rather end before a unit.
func (s *splitter) joint(next, sum, grown int) bool {
	u := &s.units[next]
	switch {
	case u.top:
		return true
	case u.main:
		return sum >= s.limits.target/4
	case u.heading:
		// A section that does not fit begins a chunk of its own, unless this one is too small to stand alone.
		return sum >= s.limits.target/4 && sum+s.section(next, s.limits.target) > s.limits.target
	default:
		return grown > s.limits.target && sum >= s.limits.target/2
	}
}

// section returns the weight of the units from a heading to the next heading that follows text, counting up to a limit.
func (s *splitter) section(from, limit int) int {
	sum, body := 0, false
	for i := from; i < len(s.units) && sum <= limit; i++ {
		if s.units[i].heading && body {
			break
		}
		body = body || !s.units[i].heading
		sum += s.units[i].gap + s.units[i].total()
	}
	return sum
}

// mergeSmall joins what is left over at the end of a section to the chunk before it, where both are of one top-level
// section and fit together.
func (s *splitter) mergeSmall(spans []span) []span {
	merged := make([]span, 0, len(spans))
	for _, next := range spans {
		if len(merged) > 0 {
			last := &merged[len(merged)-1]
			first, both := &s.units[next.from], s.sum(span{last.from, next.to})
			small := s.sum(next) < s.limits.target/8 || s.sum(*last) < s.limits.target/8
			if small && !first.top && first.prefix == 0 && s.fits(last.from, next.to-1, both) {
				last.to = next.to
				continue
			}
		}
		merged = append(merged, next)
	}
	return merged
}

// sum is the weight of the units of a span with what stands between them.
func (s *splitter) sum(p span) int {
	sum := s.units[p.from].total()
	for i := p.from + 1; i < p.to; i++ {
		sum += s.units[i].gap + s.units[i].total()
	}
	return sum
}

// chunk makes a chunk of units; before are those of the chunk before it.
func (s *splitter) chunk(index int, units, before []unit) Chunk {
	first, last := &units[0], &units[len(units)-1]
	start := s.overlap(first, last, before)
	text := s.text[start:last.end]
	if first.prefix > 0 {
		text = s.text[first.block:first.block+first.prefix] + "\n" + text
	}
	return Chunk{
		Index:    index,
		Text:     text,
		Page:     first.page,
		EndPage:  last.page,
		Headings: headings(units),
		Start:    start,
		End:      last.end,
		Tokens:   Tokens(text),
	}
}

// headings returns the path under which most of the text stands, the first of equals: small sections share a chunk, and a citation
// should name the one that it rests on. In a chunk of headings only it is that of the last with itself.
func headings(units []unit) []string {
	var most []string
	weight := 0
	for i := range units {
		if units[i].heading {
			continue
		}
		sum := 0
		for j := range units {
			if !units[j].heading && samePath(units[i].path, units[j].path) {
				sum += units[j].weight
			}
		}
		if sum > weight {
			most, weight = units[i].path, sum
		}
	}
	if weight > 0 {
		return most
	}
	last := &units[len(units)-1]
	return append(slices.Clip(last.path), last.title)
}

// overlap returns where a chunk starts when the end of the text before it is repeated: at the first of as many whole
// sentences as the overlap allows. Only running text under the same headings on the same page is repeated.
func (s *splitter) overlap(first, last *unit, before []unit) int {
	room := min(s.limits.overlap, s.limits.max-weigh(s.text[first.start:last.end])-first.prefixWeight)
	start := first.start
	if first.heading || !first.prose || first.prefix > 0 {
		return start
	}
	for i := len(before) - 1; i > 0; i-- { // never all of the chunk before
		u := &before[i]
		if !u.prose || u.page != first.page || !samePath(u.path, first.path) {
			break
		}
		at := u.start
		if weigh(s.text[at:first.start]) > room {
			return lastSentences(s.text, u.start, u.end, start, first.start, room)
		}
		start = at
	}
	if len(before) == 1 && before[0].prose && before[0].page == first.page && samePath(before[0].path, first.path) {
		return lastSentences(s.text, before[0].start, before[0].end, start, first.start, room)
	}
	return start
}

// lastSentences returns the earliest sentence start in text[from:to], its own start excepted, from which the text up to end
// weighs at most room; otherwise is returned when there is none.
func lastSentences(text string, from, to, otherwise, end, room int) int {
	rest := text[from:to]
	for cut := range sentenceStarts(rest) {
		if cut > 0 && weigh(text[from+cut:end]) <= room {
			return from + cut
		}
	}
	return otherwise
}

// samePath reports whether two blocks stand under the same headings.
func samePath(a, b []string) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a[i] != b[i] {
			return false
		}
	}
	return true
}
