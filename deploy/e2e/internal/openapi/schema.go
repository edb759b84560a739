package openapi

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/big"
	"net/url"
	"slices"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Schema is a JSON Schema (2020-12) in the document. The zero value allows everything.
type Schema struct {
	doc             *Document
	node            map[string]any
	request, answer *jsonschema.Schema
}

// schema compiles the schema at a place of the document; where there is none, everything is allowed.
func (d *Document) schema(pointer []string, node any) (Schema, error) {
	fields, ok := node.(map[string]any)
	if !ok {
		return Schema{doc: d}, nil
	}
	escaped := make([]string, len(pointer))
	for i, token := range pointer {
		escaped[i] = url.PathEscape(strings.NewReplacer("~", "~0", "/", "~1").Replace(token))
	}
	at := location + "#/" + strings.Join(escaped, "/")
	request, err := d.requests.Compile(at)
	if err != nil {
		return Schema{}, fmt.Errorf("compile %s: %w", at, err)
	}
	answer, err := d.answers.Compile(at)
	if err != nil {
		return Schema{}, fmt.Errorf("compile %s: %w", at, err)
	}
	return Schema{doc: d, node: fields, request: request, answer: answer}, nil
}

// Fits tells whether a JSON text is allowed, formats aside: what is an email address is a matter of taste. A null stands for a field
// that is not there where the field may be left out, as it does for the API. A number that nobody can hold is not judged, and fits.
func (s Schema) Fits(data []byte) bool {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return false
	}
	if s.request == nil || beyond(value) {
		return true
	}
	err = s.request.Validate(value)
	return err == nil || s.request.Validate(s.withoutNulls(value, 0)) == nil
}

// FitsString is Fits for the text of a parameter, which may stand for a number or a truth value.
func (s Schema) FitsString(value string) bool {
	quoted, err := json.Marshal(value)
	if err != nil {
		return false
	}
	return s.Fits(quoted) || json.Valid([]byte(value)) && s.Fits([]byte(value))
}

// withoutNulls leaves out the fields of an object that are null and not required, down to a depth that no request has.
func (s Schema) withoutNulls(value any, depth int) any {
	const deepest = 32
	if depth > deepest {
		return value
	}
	switch v := value.(type) {
	case map[string]any:
		kept := make(map[string]any, len(v))
		required := s.Required()
		for name, field := range v {
			if field != nil || slices.Contains(required, name) {
				kept[name] = s.Property(name).withoutNulls(field, depth+1)
			}
		}
		return kept
	case []any:
		kept := make([]any, len(v))
		for i, item := range v {
			kept[i] = s.Items().withoutNulls(item, depth+1)
		}
		return kept
	default:
		return value
	}
}

// beyond tells whether a value has a number that is too large to be compared with another.
func beyond(value any) bool {
	switch v := value.(type) {
	case json.Number:
		_, ok := new(big.Rat).SetString(v.String())
		return !ok
	case []any:
		return slices.ContainsFunc(v, beyond)
	case map[string]any:
		return slices.ContainsFunc(slices.Collect(maps.Values(v)), beyond)
	default:
		return false
	}
}

// promised is what Fits is for answers: formats count, and a null is a null.
func (s Schema) promised(data []byte) error {
	value, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return fmt.Errorf("it is no JSON: %w", err)
	}
	if s.answer == nil {
		return nil
	}
	if beyond(value) {
		return errors.New("it has a number that nobody can hold")
	}
	err = s.answer.Validate(value)
	if invalid, ok := errors.AsType[*jsonschema.ValidationError](err); ok {
		return errors.New(firstCause(invalid))
	}
	return err
}

// firstCause says where the first thing is that is wrong, and what.
func firstCause(err *jsonschema.ValidationError) string {
	for len(err.Causes) > 0 {
		err = err.Causes[0]
	}
	lines := strings.Split(err.Error(), "\n")
	_, what, _ := strings.Cut(lines[len(lines)-1], "': ")
	return "/" + strings.Join(err.InstanceLocation, "/") + ": " + what
}

// at is the schema of a part of this one.
func (s Schema) at(node any) Schema {
	if s.doc == nil {
		return Schema{}
	}
	_, fields := s.doc.follow(nil, object(node))
	return Schema{doc: s.doc, node: fields}
}

// resolved is the schema that a reference leads to.
func (s Schema) resolved() map[string]any {
	if s.doc == nil {
		return nil
	}
	_, fields := s.doc.follow(nil, s.node)
	return fields
}

// Types are the types that a value may have; empty means any.
func (s Schema) Types() []string {
	switch t := s.resolved()["type"].(type) {
	case string:
		return []string{t}
	case []any:
		types := make([]string, len(t))
		for i := range t {
			types[i] = text(t[i])
		}
		return types
	default:
		return nil
	}
}

// Alternatives are the schemas of which a value must fit one, or any.
func (s Schema) Alternatives() []Schema {
	fields := s.resolved()
	nodes := append(slices.Clone(list(fields["oneOf"])), list(fields["anyOf"])...)
	schemas := make([]Schema, len(nodes))
	for i, node := range nodes {
		schemas[i] = s.at(node)
	}
	return schemas
}

// Property is the schema of an object's field; that of further fields when the object does not name it.
func (s Schema) Property(name string) Schema {
	fields := s.resolved()
	if node, ok := object(fields["properties"])[name]; ok {
		return s.at(node)
	}
	return s.at(fields["additionalProperties"])
}

// Properties are the names of an object's fields, sorted.
func (s Schema) Properties() []string {
	names := make([]string, 0, 8)
	for name := range object(s.resolved()["properties"]) {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

// Required are the fields that an object must have.
func (s Schema) Required() []string { return texts(s.resolved()["required"]) }

// Open tells whether an object may have fields that it does not name.
func (s Schema) Open() bool {
	further, said := s.resolved()["additionalProperties"]
	refused := further == any(false)
	return said && !refused
}

// Items is the schema of an array's items.
func (s Schema) Items() Schema { return s.at(s.resolved()["items"]) }

// Values are the only values there are, if the schema lists them, or else nothing.
func (s Schema) Values() []any {
	fields := s.resolved()
	if value, ok := fields["const"]; ok {
		return []any{value}
	}
	return list(fields["enum"])
}

// Examples are values that the document gives as examples or as default.
func (s Schema) Examples() []any {
	fields := s.resolved()
	examples := slices.Clone(list(fields["examples"]))
	for _, name := range []string{"example", "default"} {
		if value, ok := fields[name]; ok {
			examples = append(examples, value)
		}
	}
	return examples
}

// Text returns a keyword whose value is a text, such as format or pattern; empty when it is not there.
func (s Schema) Text(keyword string) string { return text(s.resolved()[keyword]) }

// Number returns a keyword whose value is a number, such as minimum or maxLength.
func (s Schema) Number(keyword string) (value float64, ok bool) {
	number, ok := s.resolved()[keyword].(json.Number)
	if !ok {
		return 0, false
	}
	value, err := number.Float64()
	return value, err == nil
}

func texts(v any) []string {
	items := list(v)
	all := make([]string, len(items))
	for i := range items {
		all[i] = text(items[i])
	}
	return all
}
