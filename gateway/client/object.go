package client

import (
	"encoding/json"
	"maps"
)

// decodeOpen fills known from an object and returns the fields that are not named, which known does not have.
func decodeOpen(data []byte, known any, names ...string) (rest map[string]any, err error) {
	if err := json.Unmarshal(data, known); err != nil {
		return nil, err
	}
	if err := json.Unmarshal(data, &rest); err != nil {
		return nil, err
	}
	for _, name := range names {
		delete(rest, name)
	}
	return rest, nil
}

// encodeOpen writes the fields of known and those of rest as one object; where both have a field, known wins.
func encodeOpen(known any, rest map[string]any) ([]byte, error) {
	text, err := json.Marshal(known)
	if err != nil || len(rest) == 0 {
		return text, err
	}
	all := maps.Clone(rest)
	if err := json.Unmarshal(text, &all); err != nil {
		return nil, err
	}
	return json.Marshal(all)
}

// Nullable is a field of a change that can also be emptied. The zero value leaves it as it is.
type Nullable[T any] struct {
	value *T
	sent  bool
}

// Set sets a field.
func Set[T any](value T) Nullable[T] { return Nullable[T]{&value, true} }

// Null empties a field.
func Null[T any]() Nullable[T] { return Nullable[T]{sent: true} }

// IsZero reports whether the field is left as it is; encoding/json leaves it out then.
func (n Nullable[T]) IsZero() bool { return !n.sent }

// MarshalJSON implements json.Marshaler.
func (n Nullable[T]) MarshalJSON() ([]byte, error) { return json.Marshal(n.value) }

// UnmarshalJSON implements json.Unmarshaler.
func (n *Nullable[T]) UnmarshalJSON(data []byte) error {
	n.sent = true
	return json.Unmarshal(data, &n.value)
}
