package arbitrary

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// Spoil returns a value that differs from the given one in one place, mostly so that the schema no longer allows it, and says how. The
// given value is left as it is.
func (g *Generator) Spoil(s openapi.Schema, value any) (spoiled any, what string) {
	all := places(nil, nil, s, value, 0)
	p := pick(g.Rand, all)
	replacement, what := g.spoil(p)
	return replace(value, p.path, replacement), what + " at " + p.String()
}

// place is somewhere in a value.
type place struct {
	path   []int // the index in the array or the object, from the outermost
	names  []string
	schema openapi.Schema
	value  any
}

// String is the place as people write it.
func (p place) String() string {
	if len(p.names) == 0 {
		return "the top"
	}
	return strings.Join(p.names, ".")
}

// places lists the value itself and all values in it.
func places(path []int, names []string, s openapi.Schema, value any, depth int) []place {
	all := []place{{path, names, s, value}}
	if depth > maxDepth {
		return all
	}
	inner := func(i int, name string, s openapi.Schema, value any) []place {
		return places(append(slices.Clone(path), i), append(slices.Clone(names), name), s, value, depth+1)
	}
	switch v := value.(type) {
	case Object:
		for i, field := range v {
			all = append(all, inner(i, field.Name, s.Property(field.Name), field.Value)...)
		}
	case []any:
		for i, item := range v[:min(len(v), 3)] {
			all = append(all, inner(i, strconv.Itoa(i), s.Items(), item)...)
		}
	}
	return all
}

// replace returns a copy of the value with another one at the path.
func replace(value any, path []int, with any) any {
	if len(path) == 0 {
		return with
	}
	switch v := value.(type) {
	case Object:
		v = slices.Clone(v)
		v[path[0]].Value = replace(v[path[0]].Value, path[1:], with)
		return v
	case []any:
		v = slices.Clone(v)
		v[path[0]] = replace(v[path[0]], path[1:], with)
		return v
	default:
		return value
	}
}

// spoil makes up what to put at a place.
func (g *Generator) spoil(p place) (replacement any, what string) {
	switch v := p.value.(type) {
	case Object:
		return g.spoilObject(p.schema, v)
	case []any:
		return g.spoilArray(p.schema, v)
	case string:
		if g.Rand.IntN(4) > 0 {
			return g.spoilText(p.schema)
		}
	case bool, nil:
	default: // a number
		if g.Rand.IntN(4) > 0 {
			number := pick(g.Rand, rawNumbers())
			return Raw(number.Text), number.What
		}
	}
	return g.otherType(p.value)
}

func (g *Generator) spoilText(s openapi.Schema) (replacement any, what string) {
	most, bounded := s.Number("maxLength")
	switch g.Rand.IntN(8) {
	case 0:
		if bounded && most < 1<<20 {
			return strings.Repeat("y", int(most)+1), "one character too many"
		}
		return strings.Repeat("y", 100_000), "a very long text"
	case 1:
		if bounded && most < 1<<20 {
			// As long as is allowed for those who count characters, too long for those who count bytes.
			return strings.Repeat("é", int(most)), "the most characters, of two bytes each"
		}
		return strings.Repeat("é", 100_000), "a very long text of two bytes a character"
	case 2, 3:
		raw := pick(g.Rand, rawTexts())
		return Raw(raw.Text), raw.What
	case 4:
		if s.Text("format") == "uuid" {
			return pick(g.Rand, BadIDs(g.Rand)).Text, "an id that is none"
		}
		fallthrough
	default:
		odd := Nasty(g.Rand)
		return odd.Text, odd.What
	}
}

// BadIDs are texts that are no ids, though some readers take them for one.
func BadIDs(r interface{ Uint32() uint32 }) []Oddity {
	id := fmt.Sprintf("0190%04x-0000-7000-8000-000000000000", r.Uint32()&0xffff)
	return []Oddity{
		{"a number", "42"},
		{"a word", "latest"},
		{"half an id", id[:18]},
		{"an id and more", id + "0"},
		{"an id in braces", "{" + id + "}"},
		{"an id as a URN", "urn:uuid:" + id},
		{"an id without its dashes", strings.ReplaceAll(id, "-", "")},
		{"an id with a letter that is none", strings.Replace(id, "8", "g", 1)},
		{"an id with NUL", id[:35] + "\x00"},
		{"an id with a quote", id[:35] + "'"},
	}
}

func (g *Generator) spoilObject(s openapi.Schema, o Object) (replacement any, what string) {
	o = slices.Clone(o)
	switch n := g.Rand.IntN(10); {
	case n < 3 && len(o) > 0:
		i := g.Rand.IntN(len(o))
		return slices.Delete(o, i, i+1), "no " + o[i].Name
	case n < 5:
		unknown := pick(g.Rand, []string{"unknown_field", "__proto__", "id", "", "organization_id", "is_superuser", "\x00"})
		return append(o, Field{unknown, "x"}), "a field that is unknown"
	case n < 7 && len(o) > 0:
		again := pick(g.Rand, o)
		return append(o, Field{again.Name, g.value(s.Property(again.Name), again.Name, 1)}), again.Name + " twice"
	case n == 7 && len(o) > 0:
		i := g.Rand.IntN(len(o))
		name := o[i].Name
		o[i].Name = strings.ToUpper(name)
		return o, name + " in capitals"
	case n == 8:
		for i := range 3000 {
			o = append(o, Field{fmt.Sprintf("unknown_%d", i), i})
		}
		return o, "three thousand fields that are unknown"
	default:
		return g.otherType(Object{})
	}
}

func (g *Generator) spoilArray(s openapi.Schema, items []any) (replacement any, what string) {
	most, bounded := s.Number("maxItems")
	switch g.Rand.IntN(5) {
	case 0:
		return []any{}, "no items"
	case 1:
		n := 2000
		if bounded && most < 10_000 {
			n = int(most) + 1
		}
		many := make([]any, n)
		item := g.value(s.Items(), "", maxDepth)
		for i := range many {
			many[i] = item
		}
		return many, "too many items"
	case 2:
		return append(slices.Clone(items), nil), "an item that is null"
	case 3:
		if len(items) > 0 {
			return append(slices.Clone(items), items[0]), "an item twice"
		}
		fallthrough
	default:
		return g.otherType(items)
	}
}

// otherType returns something that is not of the value's type.
func (g *Generator) otherType(value any) (replacement any, what string) {
	options := []struct {
		what  string
		value any
	}{
		{"null", nil},
		{"a number", 42},
		{"a text", "text"},
		{"true", true},
		{"an array", []any{}},
		{"an array of it", []any{value}},
		{"an object", Object{}},
		{"an object of it", Object{{"value", value}}},
		{"a value that nests 200 deep", nested(200)},
	}
	fits := func(i int) bool {
		switch value.(type) {
		case string:
			return i == 2
		case bool:
			return i == 3
		case nil:
			return i == 0
		case []any:
			return i == 4
		case Object:
			return i == 6
		default:
			return i == 1
		}
	}
	for {
		if i := g.Rand.IntN(len(options)); !fits(i) {
			return options[i].value, options[i].what
		}
	}
}

// nested is an array in an array, and so on.
func nested(depth int) Raw { return Raw(strings.Repeat("[", depth) + strings.Repeat("]", depth)) }
