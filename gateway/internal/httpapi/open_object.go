package httpapi

import (
	"encoding/json"
	"fmt"
	"maps"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarento/copilot/pkg/store"
)

// decodeOpen fills known from an object and returns the fields that are not named, which known does not have.
func decodeOpen(data []byte, known any, names ...string) (rest map[string]any, err error) {
	if err := json.Unmarshal(data, known); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
	}
	if err := json.Unmarshal(data, &rest); err != nil {
		return nil, fmt.Errorf("decode object: %w", err)
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
		return nil, fmt.Errorf("encode object: %w", err)
	}
	return json.Marshal(all)
}

// OpenObject is an object that goes from the record to the wire as it is.
type OpenObject struct{ store.JSON }

// Schema implements huma.SchemaProvider.
func (OpenObject) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeObject, AdditionalProperties: true}
}

// OpenList is an array that goes from the record to the wire as it is.
type OpenList struct{ store.JSON }

// Schema implements huma.SchemaProvider.
func (OpenList) Schema(huma.Registry) *huma.Schema {
	return &huma.Schema{Type: huma.TypeArray, Items: &huma.Schema{}}
}

// objectOf is the map form of what encodes as an object.
func objectOf(v any) (map[string]any, error) {
	text, err := json.Marshal(v)
	if err != nil {
		return nil, fmt.Errorf("encode object: %w", err)
	}
	var o map[string]any
	if err := json.Unmarshal(text, &o); err != nil {
		return nil, fmt.Errorf("encode object: %w", err)
	}
	return o, nil
}

// fromJSON fills v from a column. What does not fit is left out: the record may hold what an earlier release allowed.
func fromJSON(column store.JSON, v any) { _ = json.Unmarshal(column, v) }
