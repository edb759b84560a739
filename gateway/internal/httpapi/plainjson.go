package httpapi

import (
	"bytes"
	"encoding/json"
	"strconv"
	"strings"
	"unicode"
	"unicode/utf8"

	"github.com/tarento/copilot/pkg/fault"
)

// What a JSON body may be, beside its size.
const (
	// maxDepth is how many arrays and objects may stand in one another.
	maxDepth = 64
	// maxValues is how many values a body may hold.
	maxValues = 50_000
)

// checkJSON refuses a body that readers do not all take for the same thing, or that cannot be stored. It reads the body once and
// keeps nothing of it. Beside what breaks the grammar, these are refused: a key that stands twice in an object (also when the two
// differ only in case, because decoding ignores that), bytes that are not UTF-8, escapes that are half a character, NUL characters,
// and bodies nested too deep or with too many values. The problem says where, and repeats keys but no values.
func checkJSON(body []byte) *Problem {
	s := jsonScan{data: body, utf8: utf8.Valid(body)}
	s.space()
	if p := s.value(); p != nil {
		return p
	}
	s.space()
	if s.at < len(s.data) {
		return s.malformed("expected nothing after the end of the value")
	}
	return nil
}

// jsonScan is one pass over a body. It holds no slices of its own, so that it needs no memory beside the stack.
type jsonScan struct {
	data   []byte
	at     int
	utf8   bool // all of data is UTF-8
	values int
	// path is the way from the body down to here, in so many steps.
	path  [maxDepth]jsonStep
	depth int
	// keys are those of the open objects, outer ones first; held says how many there are.
	keys [48]span
	held int
}

// jsonStep is one step from the body down to a value: a key, or an index where index is not negative.
type jsonStep struct {
	key   span
	index int
}

// span is where something stands in the body.
type span struct{ start, end int }

func (s *jsonScan) value() *Problem {
	if s.values++; s.values > maxValues {
		return s.malformed("expected at most " + strconv.Itoa(maxValues) + " values")
	}
	switch c := s.peek(); {
	case c == '"':
		_, p := s.text()
		return p
	case c == '{' || c == '[':
		if s.depth == maxDepth {
			return s.malformed("expected at most " + strconv.Itoa(maxDepth) + " levels")
		}
		if c == '{' {
			return s.object()
		}
		return s.array()
	case c == '-' || isDigit(c):
		return s.number()
	default:
		for word := range strings.SplitSeq("true false null", " ") {
			if bytes.HasPrefix(s.data[s.at:], []byte(word)) {
				s.at += len(word)
				return nil
			}
		}
		return s.malformed("expected a value")
	}
}

func (s *jsonScan) object() *Problem {
	outer := s.held
	var many map[string]bool
	s.at++
	if s.space(); s.peek() == '}' {
		s.at++
		return nil
	}
	for {
		if s.space(); s.peek() != '"' {
			return s.malformed("expected a key")
		}
		key, p := s.text()
		if p != nil {
			return p
		}
		s.path[s.depth] = jsonStep{key: key, index: -1}
		s.depth++
		var again bool
		if again, many = s.seen(outer, many, key); again {
			return s.malformed("expected each key once, in one spelling")
		}
		if s.space(); s.peek() != ':' {
			return s.malformed("expected a colon after the key")
		}
		s.at++
		s.space()
		if p := s.value(); p != nil {
			return p
		}
		s.depth--
		last, p := s.separated('}', "expected a comma or the end of the object")
		if last {
			s.held = outer
		}
		if last || p != nil {
			return p
		}
	}
}

func (s *jsonScan) array() *Problem {
	s.at++
	if s.space(); s.peek() == ']' {
		s.at++
		return nil
	}
	for i := 0; ; i++ {
		s.path[s.depth] = jsonStep{index: i}
		s.depth++
		s.space()
		if p := s.value(); p != nil {
			return p
		}
		s.depth--
		if last, p := s.separated(']', "expected a comma or the end of the array"); last || p != nil {
			return p
		}
	}
}

// separated reads what stands behind a value of an object or an array: a comma or, behind the last one, what closes it.
func (s *jsonScan) separated(closing byte, expected string) (last bool, p *Problem) {
	s.space()
	switch s.peek() {
	case ',':
		s.at++
		return false, nil
	case closing:
		s.at++
		return true, nil
	default:
		return false, s.malformed(expected)
	}
}

// text reads a string and returns what stands between its quotes.
func (s *jsonScan) text() (span, *Problem) {
	s.at++
	start := s.at
	for s.at < len(s.data) {
		switch c := s.data[s.at]; {
		case c == '"':
			text := span{start, s.at}
			s.at++
			if !s.utf8 && !utf8.Valid(s.data[start:text.end]) {
				return span{}, s.malformed("expected UTF-8")
			}
			return text, nil
		case c == '\\':
			if p := s.escape(); p != nil {
				return span{}, p
			}
		case c < ' ':
			return span{}, s.malformed("expected control characters to be escaped")
		default:
			s.at++
		}
	}
	return span{}, s.malformed("expected the end of a string")
}

// escape reads what stands for one character, or for the two halves of one.
func (s *jsonScan) escape() *Problem {
	s.at++
	switch s.peek() {
	case '"', '\\', '/', 'b', 'f', 'n', 'r', 't':
		s.at++
		return nil
	case 'u':
	default:
		return s.malformed("expected an escape that JSON knows")
	}
	first, ok := s.unit()
	switch {
	case !ok:
		return s.malformed("expected four hexadecimal digits after \\u")
	case first == 0:
		return invalid(s.location(), "expected text without NUL characters, which cannot be stored")
	case first < 0xD800 || first > 0xDFFF:
		return nil
	}
	if s.peek() == '\\' && first < 0xDC00 {
		s.at++
		if second, ok := s.unit(); ok && second >= 0xDC00 && second <= 0xDFFF {
			return nil
		}
	}
	return s.malformed("expected both halves of a character")
}

// unit reads the u of an escape and its four digits.
func (s *jsonScan) unit() (u rune, ok bool) {
	if len(s.data)-s.at < 5 || s.data[s.at] != 'u' {
		return 0, false
	}
	for _, c := range s.data[s.at+1 : s.at+5] {
		switch lower := c | 0x20; {
		case isDigit(c):
			u = u<<4 | rune(c-'0')
		case lower >= 'a' && lower <= 'f':
			u = u<<4 | rune(lower-'a'+10)
		default:
			return 0, false
		}
	}
	s.at += 5
	return u, true
}

func (s *jsonScan) number() *Problem {
	if s.peek() == '-' {
		s.at++
	}
	whole := true
	if s.peek() == '0' {
		s.at++
	} else {
		whole = s.digits()
	}
	fraction, exponent := true, true
	if s.peek() == '.' {
		s.at++
		fraction = s.digits()
	}
	if s.peek()|0x20 == 'e' {
		s.at++
		if c := s.peek(); c == '+' || c == '-' {
			s.at++
		}
		exponent = s.digits()
	}
	if !whole || !fraction || !exponent {
		return s.malformed("expected a digit")
	}
	return nil
}

// digits reads as many as there are and reports whether there was one.
func (s *jsonScan) digits() bool {
	start := s.at
	for isDigit(s.peek()) {
		s.at++
	}
	return s.at > start
}

func (s *jsonScan) space() {
	for s.at < len(s.data) {
		switch s.data[s.at] {
		case ' ', '\t', '\r', '\n':
			s.at++
		default:
			return
		}
	}
}

// peek is the next byte; 0, which stands nowhere in JSON, at the end.
func (s *jsonScan) peek() byte {
	if s.at < len(s.data) {
		return s.data[s.at]
	}
	return 0
}

func isDigit(c byte) bool { return c >= '0' && c <= '9' }

// fewKeys is how many keys of an object are compared one by one.
const fewKeys = 16

// seen notes a key of the object whose keys begin at outer, and reports whether it stood there already. Objects with more than
// a few keys note them in a map, which is nil before.
func (s *jsonScan) seen(outer int, many map[string]bool, at span) (again bool, noted map[string]bool) {
	key := s.key(at)
	if many != nil {
		name := fold(key)
		again = many[name]
		many[name] = true
		return again, many
	}
	for _, k := range s.keys[outer:s.held] {
		if bytes.EqualFold(s.key(k), key) {
			return true, nil
		}
	}
	if s.held < len(s.keys) && s.held-outer < fewKeys {
		s.keys[s.held] = at
		s.held++
		return false, nil
	}
	many = map[string]bool{fold(key): true}
	for _, k := range s.keys[outer:s.held] {
		many[fold(s.key(k))] = true
	}
	return false, many
}

// fold gives keys that bytes.EqualFold takes for equal the same form.
func fold(key []byte) string {
	return strings.Map(func(r rune) rune {
		for {
			next := unicode.SimpleFold(r)
			if next <= r {
				return next
			}
			r = next
		}
	}, string(key))
}

// key is a key as it is meant; text has found its escapes to be good.
func (s *jsonScan) key(at span) []byte {
	key := s.data[at.start:at.end]
	if bytes.IndexByte(key, '\\') < 0 {
		return key
	}
	var meant string
	if err := json.Unmarshal(append(append([]byte{'"'}, key...), '"'), &meant); err != nil {
		return key
	}
	return []byte(meant)
}

// malformed says what would have been right at this place.
func (s *jsonScan) malformed(want string) *Problem {
	return newProblem(fault.Malformed, codeMalformed, "The body cannot be read as plain JSON; errors says where.",
		FieldError{Location: s.location(), Message: want + ", before byte " + strconv.Itoa(s.at+1)})
}

// location is the way from the body down to where the scan stands.
func (s *jsonScan) location() string {
	var b strings.Builder
	b.WriteString("body")
	for _, step := range s.path[:s.depth] {
		if step.index >= 0 {
			b.WriteString("[" + strconv.Itoa(step.index) + "]")
			continue
		}
		b.WriteString("." + brief(string(s.key(step.key))))
	}
	return b.String()
}
