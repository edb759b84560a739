package store

import (
	"bytes"
	"database/sql/driver"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
)

// Object is a jsonb column that holds an object. A nil Object is stored as {}.
type Object map[string]any //nolint:recvcheck // a Valuer works on the value, a Scanner on a pointer

// Value implements driver.Valuer.
func (o Object) Value() (driver.Value, error) {
	if o == nil {
		return "{}", nil
	}
	return encode(o)
}

// Scan implements sql.Scanner.
func (o *Object) Scan(src any) error { return decode(src, (*map[string]any)(o)) }

// List is a jsonb column that holds an array. A nil List is stored as [].
type List[T any] []T

// Value implements driver.Valuer.
func (l List[T]) Value() (driver.Value, error) {
	if l == nil {
		return "[]", nil
	}
	return encode(l)
}

// Scan implements sql.Scanner.
func (l *List[T]) Scan(src any) error { return decode(src, (*[]T)(l)) }

func encode(v any) (driver.Value, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("store: encode jsonb: %w", err)
	}
	return string(text), nil
}

func decode(src, into any) error {
	text, err := textOf(src)
	if err != nil {
		return err
	}
	if err := json.Unmarshal([]byte(text), into); err != nil {
		return fmt.Errorf("store: decode jsonb: %w", err)
	}
	return nil
}

// JSON is a jsonb column that is passed on as it is, for rows that are read more often than looked into. An empty JSON is stored
// as {}.
type JSON []byte //nolint:recvcheck // a Valuer works on the value, a Scanner on a pointer

// EncodeJSON is the JSON of a value that can be encoded.
func EncodeJSON(v any) (JSON, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("store: encode jsonb: %w", err)
	}
	return text, nil
}

// Value implements driver.Valuer.
func (j JSON) Value() (driver.Value, error) {
	if len(j) == 0 {
		return "{}", nil
	}
	return string(j), nil
}

// Scan implements sql.Scanner.
func (j *JSON) Scan(src any) error {
	switch v := src.(type) {
	case []byte:
		*j = bytes.Clone(v)
	case string:
		*j = JSON(v)
	default:
		return fmt.Errorf("store: cannot read a column from %T", src)
	}
	return nil
}

// MarshalJSON implements json.Marshaler.
func (j JSON) MarshalJSON() ([]byte, error) {
	if len(j) == 0 {
		return []byte("{}"), nil
	}
	return j, nil
}

// UnmarshalJSON implements json.Unmarshaler.
func (j *JSON) UnmarshalJSON(data []byte) error {
	*j = bytes.Clone(data)
	return nil
}

// StringArray is a text[] column of one dimension without nulls. A nil StringArray is stored as an empty array.
type StringArray []string //nolint:recvcheck // a Valuer works on the value, a Scanner on a pointer

// Value implements driver.Valuer with the array's text form.
func (a StringArray) Value() (driver.Value, error) { return a.literal(), nil }

// literal writes the text form of the array: every element quoted, so that none needs to be looked into.
func (a StringArray) literal() string {
	var b strings.Builder
	b.WriteByte('{')
	for i, s := range a {
		if i > 0 {
			b.WriteByte(',')
		}
		b.WriteByte('"')
		for j := range len(s) {
			if s[j] == '"' || s[j] == '\\' {
				b.WriteByte('\\')
			}
			b.WriteByte(s[j])
		}
		b.WriteByte('"')
	}
	b.WriteByte('}')
	return b.String()
}

var errArrayText = errors.New("store: malformed text form of an array")

// Scan implements sql.Scanner.
func (a *StringArray) Scan(src any) error {
	if elements, ok := src.([]string); ok {
		*a = elements
		return nil
	}
	text, err := textOf(src)
	if err != nil {
		return err
	}
	body, opened := strings.CutPrefix(text, "{")
	body, closed := strings.CutSuffix(body, "}")
	if !opened || !closed {
		return errArrayText
	}
	*a = StringArray{}
	for body != "" {
		element, rest, err := nextElement(body)
		if err != nil {
			return err
		}
		*a = append(*a, element)
		body = rest
	}
	return nil
}

// nextElement takes the first element off the inside of an array's text form.
func nextElement(body string) (element, rest string, err error) {
	if body[0] != '"' {
		element, rest, _ = strings.Cut(body, ",")
		return element, rest, nil
	}
	var b strings.Builder
	for i := 1; i < len(body); i++ {
		switch body[i] {
		case '\\':
			i++
			if i == len(body) {
				return "", "", errArrayText
			}
			b.WriteByte(body[i])
		case '"':
			return b.String(), strings.TrimPrefix(body[i+1:], ","), nil
		default:
			b.WriteByte(body[i])
		}
	}
	return "", "", errArrayText
}

func textOf(src any) (string, error) {
	switch v := src.(type) {
	case string:
		return v, nil
	case []byte:
		return string(v), nil
	default:
		return "", fmt.Errorf("store: cannot read a column from %T", src)
	}
}
