package config

import (
	"encoding"
	"errors"
	"fmt"
	"net/url"
	"reflect"
	"slices"
	"strings"
	"time"

	"github.com/tarento/copilot/pkg/secret"
)

// Variable describes one environment variable of a configuration.
type Variable struct {
	// Name is the full name, prefixes included.
	Name string
	// Type says in words what kind of value it takes: "duration", "whole number", "list of text".
	Type string
	// Default is the value it has when it is not set; empty when there is none.
	Default string
	// Required reports that there is no configuration without it.
	Required bool
	// Secret reports that its value is never printed, and that Name_FILE may give it.
	Secret bool
	// Description says what it is for.
	Description string
}

// FileVariable returns the name of the variable that may give a secret as the path of a file: its own name and "_FILE".
func (v Variable) FileVariable() string { return v.Name + "_FILE" }

// Describe lists the variables of the configuration that cfg, a struct or a pointer to one, stands for, in the order of its
// fields. A variable that several parts read is listed once. It panics when the struct's tags are wrong, because that is a
// mistake in the program that no value can mend; Load reports the same mistake as an error.
func Describe(cfg any) []Variable {
	t := reflect.TypeOf(cfg)
	for t != nil && t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t == nil || t.Kind() != reflect.Struct {
		panic(fmt.Sprintf("config: cannot describe %T, it is not a struct", cfg))
	}
	root, err := inspect(reflect.New(t).Elem())
	if err != nil {
		panic(err.Error())
	}
	var vars []Variable
	for l := range root.leaves() {
		if !slices.ContainsFunc(vars, func(v Variable) bool { return v.Name == l.variable.Name }) {
			vars = append(vars, l.variable)
		}
	}
	return vars
}

// group is a struct of the configuration: its variables, its nested structs, and itself for validation.
type group struct {
	value  reflect.Value
	prefix string
	parts  []part
}

// part is one field of a group, in the order of the source: either a variable or a nested group.
type part struct {
	leaf  *leaf
	group *group
}

// leaf is a field that is a variable.
type leaf struct {
	variable Variable
	value    reflect.Value
	field    reflect.StructField
	prefix   string
}

// leaves walks all variables of a group and those below it.
func (g *group) leaves() func(yield func(*leaf) bool) {
	return func(yield func(*leaf) bool) { g.walk(yield) }
}

func (g *group) walk(yield func(*leaf) bool) bool {
	for _, p := range g.parts {
		if p.leaf != nil && !yield(p.leaf) || p.group != nil && !p.group.walk(yield) {
			return false
		}
	}
	return true
}

// inspect reads the tags of a struct and all below it. The value must be addressable.
func inspect(v reflect.Value) (*group, error) {
	root, err := inspectGroup(v, "")
	if err != nil {
		return nil, fmt.Errorf("config: %s: %w", v.Type(), err)
	}
	seen := map[string]Variable{}
	for l := range root.leaves() {
		before, found := seen[l.variable.Name]
		if found && before != l.variable {
			return nil, fmt.Errorf("config: %s: %s is declared twice and differently", v.Type(), l.variable.Name)
		}
		seen[l.variable.Name] = l.variable
	}
	return root, nil
}

func inspectGroup(v reflect.Value, prefix string) (*group, error) {
	g := &group{value: v, prefix: prefix}
	for i := range v.NumField() {
		field := v.Type().Field(i)
		name, options, tagged := cutTag(field.Tag.Get("env"))
		switch {
		case name == "-" || !field.IsExported() && !tagged:
			continue
		case !field.IsExported():
			return nil, fmt.Errorf("field %s has an env tag but is not exported", field.Name)
		case tagged:
			l, err := newLeaf(v.Field(i), field, prefix, name, options)
			if err != nil {
				return nil, err
			}
			g.parts = append(g.parts, part{leaf: l})
		case field.Type.Kind() == reflect.Struct:
			nested, err := inspectGroup(v.Field(i), prefix+field.Tag.Get("envPrefix"))
			if err != nil {
				return nil, fmt.Errorf("%s: %w", field.Name, err)
			}
			g.parts = append(g.parts, part{group: nested})
		default:
			return nil, fmt.Errorf(`field %s is neither a variable nor a group; tag it env:"NAME" or env:"-"`, field.Name)
		}
	}
	return g, nil
}

func cutTag(tag string) (name, options string, tagged bool) {
	name, options, _ = strings.Cut(tag, ",")
	return name, options, name != ""
}

func newLeaf(v reflect.Value, field reflect.StructField, prefix, name, options string) (*leaf, error) {
	l := &leaf{value: v, field: field, prefix: prefix, variable: Variable{
		Name:        prefix + name,
		Type:        typeName(field.Type),
		Default:     field.Tag.Get("envDefault"),
		Secret:      isSecret(field.Type),
		Description: field.Tag.Get("desc"),
	}}
	for option := range strings.SplitSeq(options, ",") {
		switch option {
		case "":
		case "required":
			l.variable.Required = true
		default:
			return nil, fmt.Errorf("%s has the unknown option %q", l.variable.Name, option)
		}
	}
	switch {
	case l.variable.Description == "":
		return nil, fmt.Errorf("%s has no desc tag", l.variable.Name)
	case l.variable.Required && l.variable.Default != "":
		return nil, fmt.Errorf("%s is required and has a default; choose one", l.variable.Name)
	case l.variable.Secret && l.variable.Default != "":
		return nil, fmt.Errorf("%s is a secret and has a default; a secret in the source is none", l.variable.Name)
	case l.variable.Type == "":
		return nil, fmt.Errorf("%s has a type that no text can fill: %s", l.variable.Name, field.Type)
	}
	return l, nil
}

var (
	secretType   = reflect.TypeFor[secret.Text]()
	durationType = reflect.TypeFor[time.Duration]()
	urlType      = reflect.TypeFor[url.URL]()
	textType     = reflect.TypeFor[encoding.TextUnmarshaler]()

	errNotStruct = errors.New("config: Load needs a pointer to a struct")
)

// element returns what a pointer, slice or map holds in the end.
func element(t reflect.Type) reflect.Type {
	for !reflect.PointerTo(t).Implements(textType) &&
		(t.Kind() == reflect.Pointer || t.Kind() == reflect.Slice || t.Kind() == reflect.Map) {
		t = t.Elem()
	}
	return t
}

func isSecret(t reflect.Type) bool { return element(t) == secretType }

// typeName says what a type takes, in words; empty when text cannot fill it.
func typeName(t reflect.Type) string {
	switch {
	case t == secretType:
		return "secret"
	case t == durationType:
		return "duration"
	case t == urlType:
		return "URL"
	case reflect.PointerTo(t).Implements(textType):
		return strings.ToLower(t.Name())
	}
	switch t.Kind() {
	case reflect.Bool:
		return "true or false"
	case reflect.Int, reflect.Int8, reflect.Int16, reflect.Int32, reflect.Int64,
		reflect.Uint, reflect.Uint8, reflect.Uint16, reflect.Uint32, reflect.Uint64:
		return "whole number"
	case reflect.Float32, reflect.Float64:
		return "number"
	case reflect.String:
		return "text"
	case reflect.Pointer:
		return typeName(t.Elem())
	case reflect.Slice:
		if of := typeName(t.Elem()); of != "" {
			return "list of " + of
		}
	case reflect.Map:
		if of := typeName(t.Elem()); of != "" {
			return "list of " + typeName(t.Key()) + ":" + of
		}
	default:
	}
	return ""
}
