package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
)

// document is what the generator reads of an OpenAPI document.
type document struct {
	Paths      map[string]map[string]*operation
	Tags       []struct{ Name, Description string }
	Components struct {
		Schemas map[string]*schema
	}
}

// operation is one operation, with what stands around it in the document.
type operation struct {
	ID          string `json:"operationId"`
	Summary     string
	Description string
	Tags        []string
	Deprecated  bool
	Parameters  []*parameter
	RequestBody *struct{ Content content } `json:"requestBody"`
	Responses   map[string]struct{ Content content }
	Security    []map[string][]string

	method, path string
}

// content maps media types to what is sent in them.
type content map[string]struct{ Schema *schema }

type parameter struct {
	Name        string
	In          string
	Description string
	Required    bool
	Schema      *schema
}

type schema struct {
	Ref         string `json:"$ref"`
	Type        types
	Format      string
	Description string
	Enum        []json.RawMessage
	Default     json.RawMessage
	Minimum     *float64
	Items       *schema
	Properties  map[string]*schema
	Required    []string
	Additional  additional `json:"additionalProperties"`
	OneOf       []*schema  `json:"oneOf"`
	AnyOf       []*schema  `json:"anyOf"`
	AllOf       []*schema  `json:"allOf"`
}

// types are the types that a value may have: one name, or a list of them.
type types []string

// UnmarshalJSON implements json.Unmarshaler.
func (t *types) UnmarshalJSON(data []byte) error {
	if data[0] == '[' {
		return json.Unmarshal(data, (*[]string)(t))
	}
	var one string
	err := json.Unmarshal(data, &one)
	*t = types{one}
	return err
}

// additional says whether an object may have properties that are not named, and which ones.
type additional struct {
	Allowed bool
	Schema  *schema
}

// UnmarshalJSON implements json.Unmarshaler.
func (a *additional) UnmarshalJSON(data []byte) error {
	if bytes.HasPrefix(data, []byte("{")) {
		a.Allowed = true
		return json.Unmarshal(data, &a.Schema)
	}
	return json.Unmarshal(data, &a.Allowed)
}

const null = "null"

// plain returns the schema without null, and whether null was allowed. A choice of which only one is left is that one.
func (s *schema) plain() (_ *schema, nullable bool) {
	choices := slices.Concat(s.OneOf, s.AnyOf)
	if len(choices) == 0 && len(s.AllOf) == 1 && s.Ref == "" && len(s.Properties) == 0 {
		return s.AllOf[0].plain()
	}
	some := slices.DeleteFunc(slices.Clone(choices), func(c *schema) bool { return slices.Equal(c.Type, types{null}) })
	if len(some) == 1 {
		one, inner := some[0].plain()
		return one, inner || len(some) < len(choices)
	}
	nullable = slices.Contains(s.Type, null) || len(some) < len(choices)
	return s, nullable
}

// kind is the one type that the schema has beside null; empty when it says nothing or has several.
func (s *schema) kind() string {
	kinds := slices.DeleteFunc(slices.Clone(s.Type), func(t string) bool { return t == null })
	if len(kinds) != 1 {
		return ""
	}
	return kinds[0]
}

// refName is the name of the schema that is referred to; empty without a reference.
func (s *schema) refName() string { return strings.TrimPrefix(s.Ref, "#/components/schemas/") }

// values are the strings of an enumeration; none for anything else.
func (s *schema) values() []string {
	var values []string
	for _, raw := range s.Enum {
		var v string
		if json.Unmarshal(raw, &v) == nil && string(raw) != null {
			values = append(values, v)
		}
	}
	return values
}

// methods are those that the generator knows, in the order in which they stand under a path.
var methods = []string{"get", "post", "put", "patch", "delete"}

func readDocument(in io.Reader) (*document, error) {
	var doc document
	if err := json.NewDecoder(in).Decode(&doc); err != nil {
		return nil, fmt.Errorf("read the OpenAPI document: %w", err)
	}
	for path, item := range doc.Paths {
		for method, op := range item {
			if !slices.Contains(methods, method) || op.ID == "" || len(op.Tags) == 0 {
				return nil, fmt.Errorf("%s %s: expected one of the methods %q, an operationId and a tag", method, path, methods)
			}
			op.method, op.path = strings.ToUpper(method), path
		}
	}
	if len(doc.Paths) == 0 {
		return nil, errors.New("the OpenAPI document has no operations")
	}
	return &doc, nil
}

// switching is the answer of what goes on in another protocol, such as a WebSocket: that is no call.
const switching = "101"

// operations lists the operations by path, and under each path by method.
func (d *document) operations() []*operation {
	var all []*operation
	for _, item := range d.Paths {
		for _, op := range item {
			if _, other := op.Responses[switching]; !other {
				all = append(all, op)
			}
		}
	}
	slices.SortFunc(all, func(a, b *operation) int {
		if c := strings.Compare(a.path, b.path); c != 0 {
			return c
		}
		return slices.Index(methods, strings.ToLower(a.method)) - slices.Index(methods, strings.ToLower(b.method))
	})
	return all
}
