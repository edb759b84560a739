package geminilocal

import (
	"encoding/json"
	"math"
	"slices"
	"strings"
)

// schema is the subset of JSON Schema (and of Gemini's OpenAPI dialect, whose types are upper case) that the service reads.
type schema struct {
	Type        typeNames          `json:"type,omitempty"`
	Format      string             `json:"format,omitempty"`
	Const       any                `json:"const,omitempty"`
	Enum        []any              `json:"enum,omitempty"`
	Properties  map[string]*schema `json:"properties,omitempty"`
	Required    []string           `json:"required,omitempty"`
	Items       *schema            `json:"items,omitempty"`
	PrefixItems []*schema          `json:"prefixItems,omitempty"`
	MinItems    count              `json:"minItems,omitempty"`
	MinLength   count              `json:"minLength,omitempty"`
	MaxLength   count              `json:"maxLength,omitempty"`
	Minimum     *float64           `json:"minimum,omitempty"`
	Maximum     *float64           `json:"maximum,omitempty"`
	AnyOf       []*schema          `json:"anyOf,omitempty"`
	OneOf       []*schema          `json:"oneOf,omitempty"`
	Ref         string             `json:"$ref,omitempty"`
	Defs        map[string]*schema `json:"$defs,omitempty"`
}

// typeNames is a type or a list of types.
type typeNames []string

func (t *typeNames) UnmarshalJSON(data []byte) error {
	var one string
	if err := json.Unmarshal(data, &one); err == nil {
		*t = typeNames{strings.ToLower(one)}
		return nil
	}
	var many []string
	if err := json.Unmarshal(data, &many); err != nil {
		return err
	}
	for i := range many {
		many[i] = strings.ToLower(many[i])
	}
	*t = many
	return nil
}

// count is a number that Gemini's dialect writes as a string.
type count int

func (c *count) UnmarshalJSON(data []byte) error {
	var n json.Number
	if err := json.Unmarshal([]byte(strings.Trim(string(data), `"`)), &n); err != nil {
		return err
	}
	v, err := n.Int64()
	if err != nil {
		return err
	}
	*c = count(v)
	return nil
}

// maxSchemaDepth ends the unrolling of schemas that refer to themselves.
const maxSchemaDepth = 16

// fit returns the smallest value that satisfies the schema: every required property (or all of them when none is), as few
// items as allowed, and text for every free string.
func (s *schema) fit(text string) any {
	return s.value(s, text, 0)
}

func (s *schema) value(root *schema, text string, depth int) any {
	if s == nil || depth > maxSchemaDepth {
		return nil
	}
	if s.Ref != "" {
		name := s.Ref[strings.LastIndexByte(s.Ref, '/')+1:]
		if target, ok := root.Defs[name]; ok {
			return target.value(root, text, depth+1)
		}
		if s.Ref == "#" {
			return root.value(root, text, depth+1)
		}
		return nil
	}
	switch {
	case s.Const != nil:
		return s.Const
	case len(s.Enum) > 0:
		return s.Enum[0]
	case len(s.AnyOf) > 0:
		return s.AnyOf[0].value(root, text, depth+1)
	case len(s.OneOf) > 0:
		return s.OneOf[0].value(root, text, depth+1)
	}
	switch s.kind() {
	case "object":
		return s.object(root, text, depth)
	case "array":
		return s.array(root, text, depth)
	case "integer":
		return math.Ceil(s.number())
	case "number":
		return s.number()
	case "boolean":
		return true
	case "null":
		return nil
	default:
		return s.text(text)
	}
}

// kind is the first type that is not null, or what the other keywords imply.
func (s *schema) kind() string {
	for _, t := range s.Type {
		if t != "null" {
			return t
		}
	}
	switch {
	case len(s.Type) > 0:
		return "null"
	case s.Properties != nil:
		return "object"
	case s.Items != nil || s.PrefixItems != nil:
		return "array"
	default:
		return "string"
	}
}

func (s *schema) object(root *schema, text string, depth int) map[string]any {
	value := make(map[string]any, len(s.Properties))
	for name, property := range s.Properties {
		if len(s.Required) == 0 && depth < 2 || slices.Contains(s.Required, name) {
			value[name] = property.value(root, text, depth+1)
		}
	}
	return value
}

func (s *schema) array(root *schema, text string, depth int) []any {
	value := make([]any, 0, len(s.PrefixItems)+int(s.MinItems))
	for _, item := range s.PrefixItems {
		value = append(value, item.value(root, text, depth+1))
	}
	for len(value) < int(s.MinItems) {
		value = append(value, s.Items.value(root, text, depth+1))
	}
	return value
}

func (s *schema) number() float64 {
	n := 0.0
	if s.Minimum != nil {
		n = max(n, *s.Minimum)
	}
	if s.Maximum != nil {
		n = min(n, *s.Maximum)
	}
	return n
}

func (s *schema) text(text string) string {
	switch s.Format {
	case "date-time":
		return "2000-01-01T00:00:00Z"
	case "date":
		return "2000-01-01"
	case "time":
		return "00:00:00Z"
	case "duration":
		return "PT0S"
	case "uuid":
		return "00000000-0000-4000-8000-000000000000"
	case "email":
		return "standin@example.com"
	case "uri":
		return "https://example.com/"
	}
	runes := []rune(text)
	if s.MaxLength > 0 && len(runes) > int(s.MaxLength) {
		runes = runes[:s.MaxLength]
	}
	for len(runes) < int(s.MinLength) {
		runes = append(runes, '.')
	}
	return string(runes)
}
