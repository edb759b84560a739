package chunk

import "unicode/utf8"

// The weight of a character, in eighths of a token. Embedding models do not agree on what a token is, and asking one for
// the number costs a call. These weights follow what today's subword vocabularies do: about four Latin letters or two
// letters of another alphabet to a token, a space belongs to the word after it, digits go one by one, ideographs too. For
// English prose the sum is a little high, which is the safe side.
const (
	token             = 8
	weightLatin       = 2
	weightSpace       = 1
	weightPunctuation = 4
	weightDigit       = 6
	weightLetter      = 4 // of other alphabets, accented Latin letters among them
	weightIdeograph   = 8 // and everything above: emoji, rare scripts
)

// Tokens estimates how many tokens a text is for an embedding model; see the weights in this file. It never decreases when
// text is added, and is 0 only for the empty text.
func Tokens(text string) int { return (weigh(text) + token - 1) / token }

// weigh returns the weight of a text. It is additive: the weight of two texts joined is the sum of theirs.
func weigh(text string) int {
	sum := 0
	for _, r := range text {
		sum += weight(r)
	}
	return sum
}

func weight(r rune) int {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z':
		return weightLatin
	case r == ' ', r == '\n', r == '\t':
		return weightSpace
	case r >= '0' && r <= '9':
		return weightDigit
	case r < utf8.RuneSelf:
		return weightPunctuation
	case r < 0x2e80:
		return weightLetter
	default:
		return weightIdeograph
	}
}
