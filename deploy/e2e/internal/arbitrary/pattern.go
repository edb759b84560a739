package arbitrary

import (
	"errors"
	"fmt"
	"math/rand/v2"
	"regexp"
	"regexp/syntax"
	"strings"
)

// errNoMatch says that no text was found that a pattern matches.
var errNoMatch = errors.New("arbitrary: no text found for the pattern")

// matching makes up a text that a regular expression matches.
func matching(r *rand.Rand, pattern string) (string, error) {
	parsed, err := syntax.Parse(pattern, syntax.Perl)
	if err != nil {
		return "", fmt.Errorf("arbitrary: read the pattern: %w", err)
	}
	whole, err := regexp.Compile(pattern)
	if err != nil {
		return "", fmt.Errorf("arbitrary: read the pattern: %w", err)
	}
	// What an expression asks of its surroundings is not made, only checked.
	for range 10 {
		var out strings.Builder
		follow(r, &out, parsed.Simplify())
		if whole.MatchString(out.String()) {
			return out.String(), nil
		}
	}
	return "", errNoMatch
}

func follow(r *rand.Rand, out *strings.Builder, expression *syntax.Regexp) {
	const more = 5 // repetitions of what may be repeated for ever
	switch expression.Op {
	case syntax.OpLiteral:
		out.WriteString(string(expression.Rune))
	case syntax.OpCharClass:
		out.WriteRune(oneOf(r, expression.Rune))
	case syntax.OpAnyChar, syntax.OpAnyCharNotNL:
		out.WriteByte(byte('a' + r.IntN(26)))
	case syntax.OpCapture, syntax.OpConcat:
		for _, sub := range expression.Sub {
			follow(r, out, sub)
		}
	case syntax.OpAlternate:
		follow(r, out, pick(r, expression.Sub))
	case syntax.OpQuest:
		repeat(r, out, expression.Sub[0], 0, 1)
	case syntax.OpStar:
		repeat(r, out, expression.Sub[0], 0, more)
	case syntax.OpPlus:
		repeat(r, out, expression.Sub[0], 1, more)
	case syntax.OpRepeat:
		most := expression.Max
		if most < 0 {
			most = expression.Min + more
		}
		repeat(r, out, expression.Sub[0], expression.Min, most)
	default: // anchors and the like write nothing
	}
}

func repeat(r *rand.Rand, out *strings.Builder, expression *syntax.Regexp, least, most int) {
	for range least + r.IntN(most-least+1) {
		follow(r, out, expression)
	}
}

// oneOf chooses a character of a class, one that can be typed when there is one: a class may be all that is no slash.
func oneOf(r *rand.Rand, ranges []rune) rune {
	var typed []rune
	for i := 0; i+1 < len(ranges); i += 2 {
		for c := max(ranges[i], ' '+1); c <= min(ranges[i+1], '~'); c++ {
			typed = append(typed, c)
		}
	}
	if len(typed) > 0 {
		return pick(r, typed)
	}
	return ranges[0]
}
