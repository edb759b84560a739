package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/caarlos0/env/v11"
)

// Validator is implemented by a configuration struct, the outer or a nested one, whose values must fit together. Validate
// is called after all variables of the struct were read without a problem. It returns nil, an error made with [Invalid], any
// other error, or several joined with errors.Join.
type Validator interface {
	Validate() error
}

// Invalid returns the error by which Validate blames a variable. The name is the one in the struct's own env tag, without
// prefixes from outside. The format's arguments must not hold a secret.
func Invalid(variable, format string, args ...any) error {
	return &Problem{Variable: variable, Reason: fmt.Sprintf(format, args...)}
}

// Problem is one thing that is wrong with a configuration.
type Problem struct { //nolint:errname // it is one of the problems that an Error holds
	// Variable is its full name; empty when the problem is not one variable's.
	Variable string
	// Reason says what is wrong; it never holds a secret's value.
	Reason string
	// Purpose is the variable's description.
	Purpose string
}

// Error says the problem in one line.
func (p *Problem) Error() string {
	if p.Variable == "" {
		return p.Reason
	}
	return p.Variable + " " + p.Reason
}

// Error holds everything that is wrong with a configuration.
type Error struct {
	// Problems are in the order of the struct's fields; there is at least one.
	Problems []*Problem
}

// Error lists the problems, one to a line, each followed by what the variable is for.
func (e *Error) Error() string {
	var b strings.Builder
	if len(e.Problems) == 1 {
		b.WriteString("the configuration has a problem:")
	} else {
		fmt.Fprintf(&b, "the configuration has %d problems:", len(e.Problems))
	}
	for _, p := range e.Problems {
		b.WriteString("\n  " + p.Error())
		if p.Purpose != "" {
			b.WriteString("\n    " + p.Purpose)
		}
	}
	return b.String()
}

// ExitCode is 2, the status of a program that was called wrongly.
func (e *Error) ExitCode() int { return 2 }

// Environ returns the process's environment as Load takes it.
func Environ() map[string]string { return env.ToMap(os.Environ()) }

// Load fills the struct that cfg points to from environ and checks it. Fields without a value or a default keep what they
// held. The error is an *Error with all problems, or one that says the struct itself is made wrongly.
func Load(cfg any, environ map[string]string) error {
	v := reflect.ValueOf(cfg)
	if v.Kind() != reflect.Pointer || v.IsNil() || v.Elem().Kind() != reflect.Struct {
		return errNotStruct
	}
	root, err := inspect(v.Elem())
	if err != nil {
		return err
	}
	problems := root.load(environ)
	if len(problems) == 0 {
		return nil
	}
	return &Error{Problems: problems}
}

// load fills and validates a group. Inner groups are validated before outer ones, and a group with a problem anywhere in it
// is not asked whether its values fit together, because it would complain about values nobody gave.
func (g *group) load(environ map[string]string) []*Problem {
	var problems []*Problem
	for _, p := range g.parts {
		if p.group != nil {
			problems = append(problems, p.group.load(environ)...)
			continue
		}
		if reason := p.leaf.load(environ); reason != "" {
			problems = append(problems, &Problem{
				Variable: p.leaf.variable.Name, Reason: reason, Purpose: p.leaf.variable.Description,
			})
		}
	}
	if len(problems) > 0 {
		return unique(problems)
	}
	if validator, ok := reflect.TypeAssert[Validator](g.value.Addr()); ok {
		problems = g.explain(validator.Validate())
	}
	return unique(problems)
}

// explain turns what Validate returned into problems with full names and purposes.
func (g *group) explain(err error) []*Problem {
	if err == nil {
		return nil
	}
	if joined, ok := err.(interface{ Unwrap() []error }); ok {
		var problems []*Problem
		for _, e := range joined.Unwrap() {
			problems = append(problems, g.explain(e)...)
		}
		return problems
	}
	blamed, ok := errors.AsType[*Problem](err)
	if !ok {
		return []*Problem{{Reason: err.Error()}}
	}
	p := &Problem{Variable: g.prefix + blamed.Variable, Reason: blamed.Reason}
	for l := range g.leaves() {
		if l.variable.Name == p.Variable {
			p.Purpose = l.variable.Description
		}
	}
	return []*Problem{p}
}

// unique drops repeated problems: a variable may be read by two parts, and the Validate method of an embedded struct is also
// a method of the struct around it.
func unique(problems []*Problem) []*Problem {
	var kept []*Problem
	for _, p := range problems {
		if !slices.ContainsFunc(kept, func(k *Problem) bool { return *k == *p }) {
			kept = append(kept, p)
		}
	}
	return kept
}

// load fills one field, and says what is wrong in words that follow the variable's name; empty when nothing is.
func (l *leaf) load(environ map[string]string) string {
	value := environ[l.variable.Name]
	if l.variable.Secret {
		var reason string
		if value, reason = l.secretValue(environ); reason != "" {
			return reason
		}
	}
	if value == "" {
		value = l.variable.Default
	}
	switch {
	case value == "" && l.variable.Required && l.variable.Secret:
		return "is not set, and neither is " + l.variable.FileVariable()
	case value == "" && l.variable.Required:
		return "is not set"
	case value == "":
		return ""
	}
	if err := l.parse(value); err != nil {
		return l.refusal(value, err)
	}
	return ""
}

// secretValue returns a secret from its variable or from the file that the variable with _FILE names.
func (l *leaf) secretValue(environ map[string]string) (value, reason string) {
	value, path := environ[l.variable.Name], environ[l.variable.FileVariable()]
	switch {
	case path == "":
		return value, ""
	case value != "":
		return "", "is set, and so is " + l.variable.FileVariable() + "; set one of them"
	}
	content, err := os.ReadFile(path)
	if err != nil {
		return "", fmt.Sprintf("cannot be read from the file that %s names: %v", l.variable.FileVariable(), err)
	}
	return strings.TrimRight(string(content), "\r\n"), ""
}

// parse puts the text into the field. It hands env a struct of this one field, so that an error is known to be this field's;
// env's own errors over a whole struct name neither the variable nor the prefix.
func (l *leaf) parse(value string) error {
	field := l.field
	field.Anonymous, field.PkgPath, field.Offset, field.Index = false, "", 0, nil
	name, _, _ := cutTag(field.Tag.Get("env"))
	separator := field.Tag.Get("envSeparator")
	keySeparator := field.Tag.Get("envKeyValSeparator")
	field.Tag = reflect.StructTag(fmt.Sprintf(`env:%q envSeparator:%q envKeyValSeparator:%q`, name, separator, keySeparator))
	holder := reflect.New(reflect.StructOf([]reflect.StructField{field}))
	holder.Elem().Field(0).Set(l.value)
	err := env.ParseWithOptions(holder.Interface(), env.Options{
		Prefix:      l.prefix,
		Environment: map[string]string{l.variable.Name: value},
	})
	if err != nil {
		return fmt.Errorf("parse %s: %w", l.variable.Name, err)
	}
	l.value.Set(holder.Elem().Field(0))
	return nil
}

// refusal says that a value was not understood. It repeats the value only where it cannot hold a password.
func (l *leaf) refusal(value string, err error) string {
	switch {
	case l.variable.Secret || element(l.field.Type) == urlType:
		return "is not a " + l.variable.Type
	case l.field.Type.Kind() == reflect.Bool:
		return fmt.Sprintf("is %q, which is neither true nor false", value)
	}
	refused := fmt.Sprintf("is %q, which is not a %s", value, l.variable.Type)
	if element(l.field.Type) == durationType {
		return refused + `; write it like "90s" or "1h30m"`
	}
	parse, ok := errors.AsType[env.ParseError](err)
	if !ok {
		return refused
	}
	if number, isNumber := errors.AsType[*strconv.NumError](parse.Err); isNumber {
		if errors.Is(number.Err, strconv.ErrRange) {
			return refused + " in the range that is allowed"
		}
		return refused
	}
	return refused + ": " + parse.Err.Error()
}
