package arbitrary

import (
	"math/rand/v2"
	"strings"
)

// Oddity is something to send that few expect, and what it is in words.
type Oddity struct{ What, Text string }

// Oddities are texts that have broken programs before. All are UTF-8.
func Oddities() []Oddity {
	return []Oddity{
		{"an empty text", ""},
		{"a blank text", " "},
		{"line ends", "a\r\nb\nc\u2028d\u0085e"},
		{"NUL", "\x00"},
		{"NUL within", "a\x00b"},
		{"control characters", "\x01\x02\x08\x1b[31m\x7f"},
		{"text from right to left", "\u202eevil\u2066\u05e9\u05dc\u05d5\u05dd\u2069"},
		{"astral characters", "𝒳𐐷💥👩\u200d👩\u200d👧🏳️\u200d🌈"},
		{"a tower of combining characters", "e" + strings.Repeat("\u0301\u0327", 200)},
		{"characters that are none", "\ufeff\ufffe\uffff\U0001fffe"},
		{"the character for what cannot be shown", "\ufffd"},
		{"letters that grow and shrink with their case", "İıẞßﬀǅſK"},
		{"digits of other scripts", "١٢٣"},
		{"spaces of other kinds", "\u00a0\u2003\u200b\u3000"},
		{"SQL in quotes", "'; DROP TABLE users; --"},
		{"SQL that is always true", "' OR '1'='1"},
		{"wildcards", "%_%\\_*?[a-z]"},
		{"a backslash at the end", "a\\"},
		{"operators of a search language", "a & | ! ( <-> ) :* \"b"},
		{"a template", "{{7*7}}${7*7}#{7*7}<%= 7 %>"},
		{"markup", "<script>alert(1)</script>&amp;<!--"},
		{"a path upwards", "../../../../etc/passwd"},
		{"a path of another system", `..\..\windows\win.ini`},
		{"verbs of a format", "%s%n%x%d%v%*.9999f"},
		{"an encoded NUL", "%00"},
		{"an encoded slash", "%2f..%2f"},
		{"a lookup", "${jndi:ldap://127.0.0.1/a}"},
		{"the word null", "null"},
		{"the word undefined", "undefined"},
		{"a number as text", "1e309"},
		{"a negative number as text", "-1"},
		{"1 KiB", strings.Repeat("k", 1<<10)},
		{"64 KiB", strings.Repeat("K", 1<<16)},
		{"two bytes a character", strings.Repeat("é", 300)},
		{"four bytes a character", strings.Repeat("💥", 300)},
	}
}

// rawTexts are JSON strings that readers disagree about, and some that are none.
func rawTexts() []Oddity {
	return []Oddity{
		{"half a surrogate pair", `"\ud800"`},
		{"the other half", `"a\udc00b"`},
		{"a surrogate pair the wrong way round", `"\udc00\ud800"`},
		{"NUL as an escape", `"a\u0000b"`},
		{"an escape that is none", `"\x41"`},
		{"half an escape", `"\u00"`},
		{"a control character that is not escaped", "\"a\x01b\nc\""},
		{"bytes that are no UTF-8", "\"\xff\xfe\x80\""},
		{"an overlong encoding", "\"\xc0\x80\xe0\x80\xaf\""},
		{"a surrogate in UTF-8", "\"\xed\xa0\x80\""},
		{"a text without an end", `"abc`},
		{"single quotes", `'abc'`},
	}
}

// rawNumbers are numbers at the edges, and some that are none.
func rawNumbers() []Oddity {
	return []Oddity{
		{"minus one", "-1"},
		{"minus nothing", "-0"},
		{"a fraction", "1.5"},
		{"a whole number as a fraction", "1.0"},
		{"the largest int64", "9223372036854775807"},
		{"more than the largest int64", "9223372036854775808"},
		{"the least int64", "-9223372036854775808"},
		{"less than the least int64", "-9223372036854775809"},
		{"more than the largest int32", "2147483648"},
		{"thirty digits", "123456789012345678901234567890"},
		{"more than the largest float", "1e400"},
		{"less than the least float", "-1e400"},
		{"nearly nothing", "1e-400"},
		{"an exponent of many digits", "1e" + strings.Repeat("9", 50)},
		{"not a number", "NaN"},
		{"infinity", "-Infinity"},
		{"hexadecimal", "0x10"},
		{"a leading zero", "007"},
		{"a leading plus", "+1"},
	}
}

// Nasty chooses a text that few expect.
func Nasty(r *rand.Rand) Oddity { return pick(r, Oddities()) }
