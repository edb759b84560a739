package secret

import (
	"crypto/subtle"
	"fmt"
	"io"
	"log/slog"
)

// redacted stands wherever a secret would have been written.
const redacted = "[redacted]"

// Text is a piece of text that must not be seen. The zero Text is empty. It can be copied and used by many goroutines;
// only UnmarshalText, which fills it, needs the Text for itself.
//
// Two Texts do not compare with ==; use Equal.
type Text struct {
	_ [0]func() // makes == a compile error
	// value is behind a pointer because fmt cannot call the methods of a Text that sits in an unexported field: it
	// prints the fields instead, and a pointer inside a struct prints as an address.
	value *string
}

// New makes a secret of s.
func New(s string) Text {
	if s == "" {
		return Text{}
	}
	return Text{value: &s}
}

// Reveal returns the value itself. Keep the result out of anything that lives longer than the call it is needed for.
func (t Text) Reveal() string {
	if t.value == nil {
		return ""
	}
	return *t.value
}

// IsZero reports whether the secret is empty.
func (t Text) IsZero() bool { return t.value == nil }

// Len returns the length in bytes.
func (t Text) Len() int { return len(t.Reveal()) }

// Equal compares two secrets in a time that depends on their lengths only.
func (t Text) Equal(other Text) bool {
	return subtle.ConstantTimeCompare([]byte(t.Reveal()), []byte(other.Reveal())) == 1
}

// String returns "[redacted]".
func (t Text) String() string { return redacted }

// GoString returns "[redacted]".
func (t Text) GoString() string { return redacted }

// Format writes "[redacted]" under every verb, including those that would have printed the bytes.
func (t Text) Format(s fmt.State, _ rune) { _, _ = io.WriteString(s, redacted) }

// LogValue logs "[redacted]".
func (t Text) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText encodes "[redacted]".
func (t Text) MarshalText() ([]byte, error) { return []byte(redacted), nil }

// MarshalJSON encodes "[redacted]".
func (t Text) MarshalJSON() ([]byte, error) { return []byte(`"` + redacted + `"`), nil }

// UnmarshalText takes the text as the secret. It never fails.
func (t *Text) UnmarshalText(b []byte) error {
	*t = New(string(b))
	return nil
}
