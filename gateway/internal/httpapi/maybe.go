package httpapi

import (
	"encoding/json"
	"reflect"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"
)

// Maybe is a field of a change that can also be emptied: left out it stays as it is, null empties it.
type Maybe[T any] struct {
	// Sent says whether the field was sent at all.
	Sent bool
	// Value is what was sent; nil for null.
	Value *T
}

// UnmarshalJSON implements json.Unmarshaler, which is called for null, too.
func (m *Maybe[T]) UnmarshalJSON(data []byte) error {
	m.Sent = true
	return json.Unmarshal(data, &m.Value)
}

// MarshalJSON implements json.Marshaler, so that equal changes hash alike.
func (m Maybe[T]) MarshalJSON() ([]byte, error) { return json.Marshal(m.Value) }

// IsZero leaves a field that was not sent out of what is marshaled with omitzero.
func (m Maybe[T]) IsZero() bool { return !m.Sent }

// Schema implements huma.SchemaProvider.
func (Maybe[T]) Schema(r huma.Registry) *huma.Schema {
	s := *huma.SchemaFromType(r, reflect.TypeFor[T]())
	s.Nullable = true
	if reflect.TypeFor[T]() == reflect.TypeFor[uuid.UUID]() {
		s.Format = "uuid" // which a field's tag cannot say for a type that has its own schema
	}
	return &s
}

// apply sets what was sent.
func (m Maybe[T]) apply(to **T) {
	if m.Sent {
		*to = m.Value
	}
}

// set replaces a value where a new one was sent.
func set[T any](to, sent *T) {
	if sent != nil {
		*to = *sent
	}
}
