package qdrantlocal

import (
	"slices"
	"strings"

	"github.com/qdrant/go-client/qdrant"
)

// path leads to a field of a payload: "a", "a.b", "a[].b".
type path []step

// step is one name on the way. With each, the value found is a list and the path goes on in every element.
type step struct {
	name string
	each bool
}

func parsePath(key string) (path, error) {
	if key == "" {
		return nil, errInput("payload key is empty")
	}
	if strings.ContainsRune(key, '"') {
		return nil, errLacks("quoted payload keys")
	}
	parts := strings.Split(key, ".")
	p := make(path, len(parts))
	for i, part := range parts {
		name, each := strings.CutSuffix(part, "[]")
		switch {
		case name == "":
			return nil, errInput("payload key %q has an empty part", key)
		case strings.ContainsAny(name, "[]"):
			return nil, errLacks("positions in payload keys")
		}
		p[i] = step{name: name, each: each}
	}
	return p, nil
}

// visit calls yield with every value the path leads to until one returns true, and reports whether one did.
func (p path) visit(in payload, yield func(*qdrant.Value) bool) bool {
	v, ok := in[p[0].name]
	if !ok {
		return false
	}
	if p[0].each {
		for _, element := range v.GetListValue().GetValues() {
			if p.descend(element, yield) {
				return true
			}
		}
		return false
	}
	return p.descend(v, yield)
}

func (p path) descend(v *qdrant.Value, yield func(*qdrant.Value) bool) bool {
	if len(p) == 1 {
		return yield(v)
	}
	return p[1:].visit(v.GetStructValue().GetFields(), yield)
}

// visitElements is visit, but a list found at the end counts as each of its elements.
func (p path) visitElements(in payload, yield func(*qdrant.Value) bool) bool {
	return p.visit(in, func(v *qdrant.Value) bool {
		list, ok := v.GetKind().(*qdrant.Value_ListValue)
		if !ok {
			return yield(v)
		}
		return slices.ContainsFunc(list.ListValue.GetValues(), yield)
	})
}

// projection keeps the part of a payload that a request asks for.
type projection struct {
	all     bool
	include map[string]bool
	exclude map[string]bool
}

// newProjection reads a payload selector; nil means the given default.
func newProjection(sel *qdrant.WithPayloadSelector, unset bool) (projection, error) {
	switch v := sel.GetSelectorOptions().(type) {
	case *qdrant.WithPayloadSelector_Enable:
		return projection{all: v.Enable}, nil
	case *qdrant.WithPayloadSelector_Include:
		fields, err := topLevel(v.Include.GetFields())
		return projection{include: fields}, err
	case *qdrant.WithPayloadSelector_Exclude:
		fields, err := topLevel(v.Exclude.GetFields())
		return projection{exclude: fields}, err
	default:
		return projection{all: unset}, nil
	}
}

func topLevel(fields []string) (map[string]bool, error) {
	out := make(map[string]bool, len(fields))
	for _, field := range fields {
		if strings.ContainsAny(field, `.["`) {
			return nil, errLacks("nested keys in a payload selector")
		}
		out[field] = true
	}
	return out, nil
}

func (p projection) of(in payload) payload {
	switch {
	case p.include != nil:
		out := make(payload, len(p.include))
		for k := range p.include {
			if v, ok := in[k]; ok {
				out[k] = v
			}
		}
		return out
	case p.exclude != nil:
		out := make(payload, len(in))
		for k, v := range in {
			if !p.exclude[k] {
				out[k] = v
			}
		}
		return out
	case p.all:
		return in
	default:
		return nil
	}
}
