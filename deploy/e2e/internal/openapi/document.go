package openapi

import (
	"bytes"
	"cmp"
	"errors"
	"fmt"
	"maps"
	"net/http"
	"slices"
	"strconv"
	"strings"

	"github.com/santhosh-tekuri/jsonschema/v6"
)

// Document is an OpenAPI 3.1 document. It is read-only and safe for concurrent use.
type Document struct {
	// Operations are sorted by path and method.
	Operations []*Operation

	root map[string]any
	// requests checks the shape of values, answers their formats, too.
	requests, answers *jsonschema.Compiler
}

// Operation is one thing that the API can do.
type Operation struct {
	ID, Method string
	// Path is a template such as /api/v1/jobs/{id}.
	Path       string
	Parameters []Parameter
	// Body is what may be sent, by media type; empty when the operation takes no body.
	Body         map[string]Schema
	BodyRequired bool
	// Secured means that it takes a caller who is logged in.
	Secured bool

	responses map[string]response
}

// Parameter is a value in the path, the query or a header.
type Parameter struct {
	Name     string
	In       string
	Required bool
	Schema   Schema
}

// The places of a parameter.
const (
	InPath   = "path"
	InQuery  = "query"
	InHeader = "header"
)

// response is what the document says about one status.
type response struct {
	content map[string]Schema
	// headers are those that must be there.
	headers []string
}

// location is the name under which the compilers know the document.
const location = "openapi.json"

// Parse reads a document in JSON. An operation whose parts cannot be found, or with a schema that is none, is an error.
func Parse(data []byte) (*Document, error) {
	parsed, err := jsonschema.UnmarshalJSON(bytes.NewReader(data))
	if err != nil {
		return nil, fmt.Errorf("openapi: read the document: %w", err)
	}
	root, ok := parsed.(map[string]any)
	if !ok {
		return nil, errors.New("openapi: the document is not an object")
	}
	d := &Document{root: root, requests: jsonschema.NewCompiler(), answers: jsonschema.NewCompiler()}
	d.answers.AssertFormat()
	for _, compiler := range []*jsonschema.Compiler{d.requests, d.answers} {
		compiler.DefaultDraft(jsonschema.Draft2020)
		if err := compiler.AddResource(location, root); err != nil {
			return nil, fmt.Errorf("openapi: read the document: %w", err)
		}
	}
	for path, item := range object(root["paths"]) {
		for method, node := range object(item) {
			if !slices.Contains(methods(), strings.ToUpper(method)) {
				continue
			}
			op, err := d.operation(path, method, object(node))
			if err != nil {
				return nil, fmt.Errorf("openapi: %s %s: %w", strings.ToUpper(method), path, err)
			}
			d.Operations = append(d.Operations, op)
		}
	}
	if len(d.Operations) == 0 {
		return nil, errors.New("openapi: the document has no operations")
	}
	slices.SortFunc(d.Operations, func(a, b *Operation) int {
		return cmp.Or(cmp.Compare(a.Path, b.Path), cmp.Compare(a.Method, b.Method))
	})
	return d, nil
}

func methods() []string {
	return []string{http.MethodGet, http.MethodPut, http.MethodPost, http.MethodPatch, http.MethodDelete, http.MethodHead}
}

func (d *Document) operation(path, method string, node map[string]any) (*Operation, error) {
	op := &Operation{
		ID: text(node["operationId"]), Method: strings.ToUpper(method), Path: path,
		Body: map[string]Schema{}, responses: map[string]response{}, Secured: d.secured(node),
	}
	at := []string{"paths", path, method}
	for i, item := range list(node["parameters"]) {
		pointer, p := d.follow(append(slices.Clone(at), "parameters", strconv.Itoa(i)), object(item))
		schema, err := d.schema(append(pointer, "schema"), p["schema"])
		if err != nil {
			return nil, err
		}
		op.Parameters = append(op.Parameters, Parameter{
			Name: text(p["name"]), In: text(p["in"]), Required: truth(p["required"]), Schema: schema,
		})
	}
	if body, ok := node["requestBody"]; ok {
		pointer, b := d.follow(append(slices.Clone(at), "requestBody"), object(body))
		op.BodyRequired = truth(b["required"])
		if err := d.content(pointer, b, op.Body); err != nil {
			return nil, err
		}
	}
	for status, item := range object(node["responses"]) {
		pointer, r := d.follow(append(slices.Clone(at), "responses", status), object(item))
		known := response{content: map[string]Schema{}}
		if err := d.content(pointer, r, known.content); err != nil {
			return nil, err
		}
		for name, header := range object(r["headers"]) {
			if _, h := d.follow(nil, object(header)); truth(h["required"]) {
				known.headers = append(known.headers, name)
			}
		}
		op.responses[status] = known
	}
	return op, nil
}

// secured tells whether every way to call an operation takes credentials.
func (d *Document) secured(node map[string]any) bool {
	security, said := node["security"]
	if !said {
		security = d.root["security"]
	}
	ways := list(security)
	return len(ways) > 0 && !slices.ContainsFunc(ways, func(way any) bool { return len(object(way)) == 0 })
}

// content reads the schemas of a body by media type.
func (d *Document) content(pointer []string, node map[string]any, into map[string]Schema) error {
	for media, item := range object(node["content"]) {
		schema, err := d.schema(append(slices.Clone(pointer), "content", media, "schema"), object(item)["schema"])
		if err != nil {
			return err
		}
		into[strings.ToLower(media)] = schema
	}
	return nil
}

// follow returns what a reference leads to, and where that stands. What is no reference stands where it is.
func (d *Document) follow(pointer []string, node map[string]any) ([]string, map[string]any) {
	for {
		fragment, ok := strings.CutPrefix(text(node["$ref"]), "#/")
		if !ok {
			return pointer, node
		}
		pointer = strings.Split(fragment, "/")
		var found any = d.root
		for i, token := range pointer {
			pointer[i] = strings.ReplaceAll(strings.ReplaceAll(token, "~1", "/"), "~0", "~")
			found = object(found)[pointer[i]]
		}
		node = object(found)
	}
}

// Statuses are the statuses that the document knows for an operation, in order; "default" and ranges such as 4XX stand as they are.
func (op *Operation) Statuses() []string { return slices.Sorted(maps.Keys(op.responses)) }

// Streams tells whether a success of the operation is a stream of events, which ends when it likes.
func (op *Operation) Streams() bool {
	for _, r := range op.responses {
		if _, ok := r.content[mediaEvents]; ok {
			return true
		}
	}
	return false
}

// Switches tells whether a success of the operation goes on in another protocol, such as a WebSocket.
func (op *Operation) Switches() bool {
	_, ok := op.responses[strconv.Itoa(http.StatusSwitchingProtocols)]
	return ok
}

// Parameter finds a parameter by its place and its name.
func (op *Operation) Parameter(in, name string) (Parameter, bool) {
	for _, p := range op.Parameters {
		if p.In == in && strings.EqualFold(p.Name, name) {
			return p, true
		}
	}
	return Parameter{}, false
}

// object returns an object's fields; nothing when it is none.
func object(v any) map[string]any {
	o, _ := v.(map[string]any)
	return o
}

func list(v any) []any {
	l, _ := v.([]any)
	return l
}

func truth(v any) bool {
	b, _ := v.(bool)
	return b
}

func text(v any) string {
	s, _ := v.(string)
	return s
}
