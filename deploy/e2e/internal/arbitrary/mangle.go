package arbitrary

import (
	"bytes"
	"math/rand/v2"
	"unicode/utf16"
	"unicode/utf8"
)

// TooLarge is more than the API takes as JSON, in bytes.
const TooLarge = 1<<20 + 4096

// Mangle returns a body that was damaged as a whole, and says how.
func Mangle(r *rand.Rand, body []byte) (mangled []byte, what string) {
	options := []struct {
		what string
		make func() []byte
	}{
		{"nothing", func() []byte { return nil }},
		{"only spaces", func() []byte { return []byte(" \n\t ") }},
		{"a part of it", func() []byte { return body[:r.IntN(max(1, len(body)))] }},
		{"something after it", func() []byte { return append(bytes.Clone(body), `,{"a":1}`...) }},
		{"it twice", func() []byte { return append(bytes.Clone(body), body...) }},
		{"a byte order mark before it", func() []byte { return append([]byte("\xef\xbb\xbf"), body...) }},
		{"NUL after it", func() []byte { return append(bytes.Clone(body), 0, 0) }},
		{"UTF-16", func() []byte { return wide(body) }},
		{"a byte that is no UTF-8", func() []byte { return insert(body, r.IntN(len(body)+1), "\xff") }},
		{"a bit that has tipped over", func() []byte { return flip(r, body) }},
		{"the word null", func() []byte { return []byte("null") }},
		{"an empty array", func() []byte { return []byte("[]") }},
		{"an empty object", func() []byte { return []byte("{}") }},
		{"a text", func() []byte { return []byte(`"text"`) }},
		{"a number", func() []byte { return []byte("1e999") }},
		{"a comment", func() []byte { return append([]byte("/* a comment */"), body...) }},
		{"a form", func() []byte { return []byte("a=1&b=2") }},
		{"markup", func() []byte {
			return []byte(`<?xml version="1.0"?><!DOCTYPE a [<!ENTITY b SYSTEM "file:///etc/hostname">]><a>&b;</a>`)
		}},
		{"arrays that nest 50000 deep", func() []byte { return bytes.Repeat([]byte("["), 50_000) }},
		{"objects that nest 20000 deep", func() []byte { return bytes.Repeat([]byte(`{"a":`), 20_000) }},
		{"spaces to more than is allowed", func() []byte { return append(bytes.Repeat([]byte(" "), TooLarge), body...) }},
		{"a text of more than is allowed", func() []byte {
			return append(append([]byte(`{"a":"`), bytes.Repeat([]byte("a"), TooLarge)...), `"}`...)
		}},
	}
	option := pick(r, options)
	return option.make(), option.what
}

// wide is the text in UTF-16.
func wide(body []byte) []byte {
	var out []byte
	for len(body) > 0 {
		c, n := utf8.DecodeRune(body)
		body = body[n:]
		for _, unit := range utf16.Encode([]rune{c}) {
			out = append(out, byte(unit), byte(unit>>8))
		}
	}
	return out
}

func insert(body []byte, at int, text string) []byte {
	return append(append(bytes.Clone(body[:at]), text...), body[at:]...)
}

func flip(r *rand.Rand, body []byte) []byte {
	flipped := bytes.Clone(body)
	if len(flipped) > 0 {
		flipped[r.IntN(len(flipped))] ^= 1 << r.IntN(8)
	}
	return flipped
}
