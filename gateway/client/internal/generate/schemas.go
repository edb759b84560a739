package main

import (
	"fmt"
	"maps"
	"slices"
	"strings"
)

// use is how the operations use a schema, which decides what its optional fields look like.
type use struct {
	sent, answered bool
	changes        bool     // it is the body of a PUT or PATCH: what is left out stays as it is
	by             []string // the methods that take or answer it itself
	parts          []string // the schemas that it is a part of
	tags           map[string]bool
}

// enum is a set of values with a name.
type enum struct {
	name   string
	values []string
	about  string
	tags   map[string]bool
}

// pagePrefix begins the names of the schemas of pages, which differ only in what they hold.
const pagePrefix = "Page"

// item is what a page holds; empty if the schema is no page.
func (g *generator) item(name string) string {
	s := g.doc.Components.Schemas[name]
	if s == nil || !strings.HasPrefix(name, pagePrefix) || s.Properties["data"] == nil || s.Properties["has_more"] == nil {
		return ""
	}
	if items := s.Properties["data"].Items; items != nil {
		return items.refName()
	}
	return ""
}

// mark notes that a schema, and all that it refers to, is used so.
func (g *generator) mark(s *schema, sent, changes bool, by, tag string) {
	if s == nil {
		return
	}
	if name := s.refName(); name != "" {
		g.markNamed(name, "", sent, changes, by, tag)
		return
	}
	for _, part := range s.parts() {
		g.mark(part, sent, changes, by, tag)
	}
}

func (g *generator) markNamed(name, within string, sent, changes bool, by, tag string) {
	u := g.uses[name]
	if u == nil {
		u = &use{tags: map[string]bool{}}
		g.uses[name] = u
	}
	if by != "" && !slices.Contains(u.by, by) {
		u.by = append(u.by, by)
	}
	if within != "" && !slices.Contains(u.parts, within) {
		u.parts = append(u.parts, within)
	}
	known := u.tags[tag] && (u.sent || !sent) && (u.answered || sent) && (u.changes || !changes)
	u.sent, u.answered, u.changes, u.tags[tag] = u.sent || sent, u.answered || !sent, u.changes || changes, true
	if known {
		return
	}
	for _, part := range g.doc.Components.Schemas[name].parts() {
		g.markPart(part, name, sent, tag)
	}
}

func (g *generator) markPart(s *schema, within string, sent bool, tag string) {
	if name := s.refName(); name != "" {
		// A part is written as a whole, also in a change.
		g.markNamed(name, within, sent, false, "", tag)
		return
	}
	for _, part := range s.parts() {
		g.markPart(part, within, sent, tag)
	}
}

// parts are the schemas that stand directly in this one, in the order of their names.
func (s *schema) parts() []*schema {
	if s == nil {
		return nil
	}
	var parts []*schema
	for _, name := range slices.Sorted(maps.Keys(s.Properties)) {
		parts = append(parts, s.Properties[name])
	}
	if s.Items != nil {
		parts = append(parts, s.Items)
	}
	if s.Additional.Schema != nil {
		parts = append(parts, s.Additional.Schema)
	}
	return slices.Concat(parts, s.OneOf, s.AnyOf, s.AllOf)
}

// collectEnums names the enumerations in the schemas. Those with the same values are one; the name is that of an answer, which
// shows all values, and of the shortest owner.
func (g *generator) collectEnums() {
	owners := slices.Collect(maps.Keys(g.uses))
	slices.SortFunc(owners, func(a, b string) int {
		if x, y := g.uses[a].answered, g.uses[b].answered; x != y {
			if x {
				return -1
			}
			return 1
		}
		if len(a) != len(b) {
			return len(a) - len(b)
		}
		return strings.Compare(a, b)
	})
	for _, owner := range owners {
		s := g.doc.Components.Schemas[owner]
		if g.item(owner) != "" || g.byHand.types[owner] {
			continue
		}
		for _, field := range slices.Sorted(maps.Keys(s.Properties)) {
			p, _ := s.Properties[field].plain()
			if p.Items != nil {
				p, _ = p.Items.plain()
			}
			values := p.values()
			if len(values) < 2 {
				continue
			}
			e := g.enumOf(field, values)
			if e == nil {
				e = &enum{name: g.free(owner, field), values: values, about: s.Properties[field].Description, tags: map[string]bool{}}
				g.enums = append(g.enums, e)
				g.enumFields[e] = map[string]bool{}
			}
			g.enumFields[e][field] = true
			maps.Copy(e.tags, g.uses[owner].tags)
		}
	}
}

// enumOf finds the enumeration of a field: one with the same values, or one of the same name that has all of them.
func (g *generator) enumOf(field string, values []string) *enum {
	for _, e := range g.enums {
		if len(e.values) == len(values) && contained(values, e.values) {
			return e
		}
	}
	for _, e := range g.enums {
		if g.enumFields[e][field] && contained(values, e.values) {
			return e
		}
	}
	return nil
}

func contained(some, all []string) bool {
	return !slices.ContainsFunc(some, func(v string) bool { return !slices.Contains(all, v) })
}

// free is a name for an enumeration that nothing else has.
func (g *generator) free(owner, field string) string {
	taken := func(name string) bool {
		return g.doc.Components.Schemas[name] != nil || g.byHand.types[name] ||
			slices.ContainsFunc(g.enums, func(e *enum) bool { return e.name == name })
	}
	if name := under(owner, field); !taken(name) {
		return name
	}
	return owner + exported(field)
}

// goType is the Go type for a schema. The field is the one that it stands in, for the name of an enumeration.
func (g *generator) goType(s *schema, field string) (string, error) {
	s, _ = s.plain()
	if name := s.refName(); name != "" {
		if item := g.item(name); item != "" {
			return pagePrefix + "[" + item + "]", nil
		}
		return name, nil
	}
	if values := s.values(); len(values) > 1 {
		if e := g.enumOf(field, values); e != nil {
			return e.name, nil
		}
		return "string", nil
	}
	if len(s.OneOf)+len(s.AnyOf)+len(s.AllOf) > 0 {
		return rawMessage, nil
	}
	switch s.kind() {
	case "string":
		switch s.Format {
		case "date-time":
			return "time.Time", nil
		case "binary":
			return "File", nil
		default:
			return "string", nil
		}
	case "integer":
		return "int", nil
	case "number":
		return "float64", nil
	case "boolean":
		return "bool", nil
	case "array":
		if s.Items == nil {
			return "[]any", nil
		}
		element, err := g.goType(s.Items, field)
		return "[]" + strings.ReplaceAll(element, rawMessage, "any"), err
	case "object":
		return g.mapType(s, field)
	case "":
		return rawMessage, nil
	default:
		return "", fmt.Errorf("field %s: a schema of the type %q is not known", field, s.kind())
	}
}

// rawMessage is the type of what can be anything.
const rawMessage = "json.RawMessage"

func (g *generator) mapType(s *schema, field string) (string, error) {
	if len(s.Properties) > 0 {
		return "", fmt.Errorf("field %s: an object with properties needs a name of its own in components.schemas", field)
	}
	if s.Additional.Schema == nil {
		return "map[string]any", nil
	}
	element, err := g.goType(s.Additional.Schema, field)
	return "map[string]" + strings.ReplaceAll(element, rawMessage, "any"), err
}

// fieldType is the Go type of a property, and how its tag goes on.
func (g *generator) fieldType(owner *schema, name string, u *use) (goType, tag string, err error) {
	declared := owner.Properties[name]
	s, nullable := declared.plain()
	if goType, err = g.goType(declared, name); err != nil {
		return "", "", err
	}
	required := slices.Contains(owner.Required, name)
	if !required {
		tag = ",omitzero"
	}
	bare := strings.HasPrefix(goType, "[]") || strings.HasPrefix(goType, "map[") || goType == rawMessage || goType == "any"
	switch {
	case required && nullable, !required && u.changes && !nullable:
		return pointer(goType, !bare), tag, nil
	case required:
		return goType, tag, nil
	case u.changes:
		return "Nullable[" + goType + "]", tag, nil
	case !u.sent:
		return pointer(goType, !bare && (nullable || g.isStruct(s, goType))), tag, nil
	default:
		return pointer(goType, !bare && (nullable || g.isStruct(s, goType) || zeroMeansSomething(s))), tag, nil
	}
}

func pointer(goType string, is bool) string {
	if is {
		return "*" + goType
	}
	return goType
}

func (g *generator) isStruct(s *schema, goType string) bool {
	return s.refName() != "" || goType == "time.Time"
}

// zeroMeansSomething reports whether sending the zero value may differ from sending nothing.
func zeroMeansSomething(s *schema) bool {
	switch s.kind() {
	case "boolean":
		return string(s.Default) == "true"
	case "integer", "number":
		if s.Minimum != nil && *s.Minimum > 0 {
			return false
		}
		return string(s.Default) != "0"
	default:
		return false
	}
}

// writeSchema writes the type of a schema.
func (g *generator) writeSchema(w *text, name string) error {
	s, u := g.doc.Components.Schemas[name], g.uses[name]
	w.comment(g.describe(name, s, u))
	if len(s.Properties) == 0 {
		goType, err := g.goType(s, name)
		w.line("type %s %s", name, goType)
		w.line("")
		return err
	}
	w.line("type %s struct {", name)
	names := fieldOrder(s)
	if err := g.writeFields(w, s, u, names); err != nil {
		return fmt.Errorf("schema %s: %w", name, err)
	}
	open := s.Additional.Allowed && s.Additional.Schema == nil
	if open {
		w.line("// Rest holds the fields that have no name here.")
		w.line("Rest map[string]any `json:\"-\"`")
	}
	w.line("}")
	w.line("")
	if open {
		plain := "plain" + name
		w.line("type %s %s", plain, name)
		w.line("")
		w.line("// MarshalJSON implements json.Marshaler.")
		w.line("func (v %s) MarshalJSON() ([]byte, error) { return encodeOpen(%s(v), v.Rest) }", name, plain)
		w.line("")
		w.line("// UnmarshalJSON implements json.Unmarshaler.")
		w.line("func (v *%s) UnmarshalJSON(data []byte) (err error) {", name)
		w.line("v.Rest, err = decodeOpen(data, (*%s)(v), %q%s)", plain, names[0], quoted(names[1:]))
		w.line("return err")
		w.line("}")
		w.line("")
	}
	return nil
}

func (g *generator) writeFields(w *text, s *schema, u *use, names []string) error {
	for _, name := range names {
		goType, tag, err := g.fieldType(s, name, u)
		if err != nil {
			return err
		}
		w.comment(sentence(s.Properties[name].Description))
		w.line("%s %s `json:\"%s%s\"`", exported(name), goType, name, tag)
	}
	return nil
}

// fieldOrder is how a struct reads best: the id, then the rest by name, and what every resource has at the end.
func fieldOrder(s *schema) []string {
	rank := func(name string) int {
		switch name {
		case "id", "data", "file":
			return 0
		case "created_at", "updated_at", "links":
			return 2
		default:
			return 1
		}
	}
	names := slices.Sorted(maps.Keys(s.Properties))
	slices.SortStableFunc(names, func(a, b string) int { return rank(a) - rank(b) })
	return names
}

// describe says what a schema is, by its own description or by its use.
func (g *generator) describe(name string, s *schema, u *use) string {
	if s.Description != "" {
		return name + ": " + lower(sentence(s.Description))
	}
	link := func(names []string, prefix string) string {
		names = slices.Clone(names)
		for i, n := range names {
			names[i] = "[" + prefix + n + "]"
		}
		if len(names) > 3 {
			names = append(names[:3], "others")
		}
		if len(names) == 1 {
			return names[0]
		}
		return strings.Join(names[:len(names)-1], ", ") + " and " + names[len(names)-1]
	}
	plural := func(n int) string {
		if n == 1 {
			return "s"
		}
		return ""
	}
	switch {
	case len(u.by) > 0 && u.sent:
		return name + " is what " + link(u.by, "Client.") + " take" + plural(len(u.by)) + "."
	case len(u.by) > 0:
		return name + " is what " + link(u.by, "Client.") + " answer" + plural(len(u.by)) + "."
	case len(u.parts) > 0:
		parts := slices.Clone(u.parts)
		for i, p := range parts {
			if item := g.item(p); item != "" {
				parts[i] = pagePrefix
			}
		}
		slices.Sort(parts)
		return name + " is a part of " + link(slices.Compact(parts), "") + "."
	default:
		return name + " is a schema of the API."
	}
}

// writeEnum writes the type and the constants of an enumeration.
func writeEnum(w *text, e *enum) {
	about := "the values of one or more fields"
	if e.about != "" {
		about = lower(strings.TrimSuffix(e.about, "."))
	}
	w.comment(e.name + ": " + about + ". Others may come with a later server.")
	w.line("type %s string", e.name)
	w.line("")
	w.line("// The values of [%s].", e.name)
	w.line("const (")
	for _, v := range e.values {
		w.line("%s%s %s = %q", e.name, exported(v), e.name, v)
	}
	w.line(")")
	w.line("")
}

func quoted(names []string) string {
	var b strings.Builder
	for _, n := range names {
		fmt.Fprintf(&b, ", %q", n)
	}
	return b.String()
}
