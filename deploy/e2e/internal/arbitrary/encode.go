package arbitrary

import (
	"bytes"
	"encoding/json"
	"fmt"
)

// Object is a JSON object whose fields keep their order; a name may come twice, as it may on the wire.
type Object []Field

// Field is one field of an object.
type Field struct {
	Name  string
	Value any
}

// Raw is JSON text, or what claims to be; it is written as it is.
type Raw string

// Encode writes a value as JSON. It may be nil, a bool, a string, an int, a float64, a json.Number, a Raw, an []any, an Object or what
// encoding/json makes of JSON; anything else is a mistake of the caller and panics.
func Encode(value any) []byte {
	var out bytes.Buffer
	encode(&out, value)
	return out.Bytes()
}

func encode(out *bytes.Buffer, value any) {
	switch v := value.(type) {
	case Raw:
		out.WriteString(string(v))
	case []any:
		out.WriteByte('[')
		for i, item := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			encode(out, item)
		}
		out.WriteByte(']')
	case Object:
		out.WriteByte('{')
		for i, field := range v {
			if i > 0 {
				out.WriteByte(',')
			}
			encode(out, field.Name)
			out.WriteByte(':')
			encode(out, field.Value)
		}
		out.WriteByte('}')
	default:
		// The encoder, and not Marshal, because that escapes what is only dangerous in HTML.
		encoder := json.NewEncoder(out)
		encoder.SetEscapeHTML(false)
		if err := encoder.Encode(v); err != nil {
			panic(fmt.Sprintf("arbitrary: encode %T: %v", v, err))
		}
		out.Truncate(out.Len() - 1) // the line's end
	}
}

// Get returns the first field of that name.
func (o Object) Get(name string) (value any, ok bool) {
	for _, field := range o {
		if field.Name == name {
			return field.Value, true
		}
	}
	return nil, false
}

// Set gives the first field of that name a value; there must be one.
func (o Object) Set(name string, value any) {
	for i := range o {
		if o[i].Name == name {
			o[i].Value = value
			return
		}
	}
}
