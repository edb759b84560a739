package arbitrary

import (
	"encoding/json"
	"fmt"
	"math"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// World knows what exists: values that mean something to the system.
type World interface {
	// ID chooses an id for a field or a parameter of that name; a made-up one when nothing of the kind exists.
	ID(r *rand.Rand, name string) string
	// Known returns a text for a field of that name that the system will recognize, such as a password.
	Known(r *rand.Rand, name string) (string, bool)
}

// Generator makes up values. It is not safe for concurrent use, because its source is not.
type Generator struct {
	Rand  *rand.Rand
	World World
	// Plain leaves out what is allowed but unusual: a value has the required fields, some others, and examples where there are some.
	Plain bool
	// Mark stands in every free text, so that it is recognized wherever it turns up.
	Mark string
}

// maxDepth is where values stop to nest of their own accord.
const maxDepth = 6

// Value makes up a value that fits the schema of a field of that name. Nothing is promised for schemas that combine others by allOf
// or not.
func (g *Generator) Value(s openapi.Schema, name string) any { return g.value(s, name, 0) }

func (g *Generator) value(s openapi.Schema, name string, depth int) any {
	if values := s.Values(); len(values) > 0 {
		return pick(g.Rand, values)
	}
	if options := s.Alternatives(); len(options) > 0 {
		return g.value(pick(g.Rand, options), name, depth)
	}
	examples := s.Examples()
	if name == "email" || name == "username" || name == "domain" {
		examples = nil // there can be one of each, and is after the first
	}
	switch g.kind(s) {
	case "object":
		return g.object(s, depth)
	case "array":
		if len(examples) > 0 && s.Items().Text("format") != "uuid" && g.oftenIfPlain() {
			return pick(g.Rand, examples)
		}
		return g.array(s, name, depth)
	case "string":
		return g.text(s, name, examples)
	case "integer":
		if len(examples) > 0 && g.oftenIfPlain() {
			return pick(g.Rand, examples)
		}
		return g.integer(s)
	case "number":
		if len(examples) > 0 && g.oftenIfPlain() {
			return pick(g.Rand, examples)
		}
		return g.number(s)
	case "boolean":
		return g.Rand.IntN(2) == 0
	case "null":
		return nil
	default:
		return g.anything(depth)
	}
}

// kind chooses one of the schema's types, null seldom; empty when there is no saying.
func (g *Generator) kind(s openapi.Schema) string {
	types := s.Types()
	if len(types) == 0 {
		if len(s.Properties()) > 0 {
			return "object"
		}
		return ""
	}
	if g.Plain || g.Rand.IntN(8) > 0 {
		types = slices.DeleteFunc(slices.Clone(types), func(t string) bool { return t == "null" && len(types) > 1 })
	}
	return pick(g.Rand, types)
}

func (g *Generator) oftenIfPlain() bool { return g.Rand.IntN(10) < 3 || g.Plain && g.Rand.IntN(10) < 8 }

func (g *Generator) object(s openapi.Schema, depth int) Object {
	o := Object{}
	required := s.Required()
	for _, name := range s.Properties() {
		if !slices.Contains(required, name) && (depth >= maxDepth || g.Rand.IntN(2) == 0) {
			continue
		}
		o = append(o, Field{name, g.value(s.Property(name), name, depth+1)})
	}
	if s.Open() && depth < maxDepth && !g.Plain {
		for i := range g.Rand.IntN(3) {
			name := fmt.Sprintf("extra_%d", i)
			o = append(o, Field{name, g.value(s.Property(name), name, depth+1)})
		}
	}
	// A field that repeats another to confirm it.
	for _, field := range o {
		if rest, ok := strings.CutPrefix(field.Name, "confirm_"); ok && g.Rand.IntN(10) > 0 {
			for _, original := range []string{rest, "new_" + rest} {
				if value, ok := o.Get(original); ok {
					o.Set(field.Name, value)
				}
			}
		}
	}
	return o
}

func (g *Generator) array(s openapi.Schema, name string, depth int) []any {
	least, _ := s.Number("minItems")
	most, bounded := s.Number("maxItems")
	if !bounded {
		most = least + 3
	}
	n := int(least) + g.Rand.IntN(int(min(most-least, 3))+1)
	if !g.Plain && bounded && most <= 100 && g.Rand.IntN(10) == 0 {
		n = int(most)
	}
	if depth >= maxDepth {
		n = int(least)
	}
	items := make([]any, n)
	for i := range items {
		// The items of project_ids are named as a project_id is.
		items[i] = g.value(s.Items(), strings.TrimSuffix(name, "s"), depth+1)
	}
	return items
}

func (g *Generator) integer(s openapi.Schema) any {
	least, most := bounds(s, 0, 100)
	switch {
	case g.Plain || g.Rand.IntN(3) > 0:
	case g.Rand.IntN(2) == 0:
		return int64(least)
	default:
		return int64(most)
	}
	span := int64(min(most-least, 1000))
	return int64(least) + g.Rand.Int64N(span+1)
}

func (g *Generator) number(s openapi.Schema) any {
	least, most := bounds(s, 0, 1)
	if !g.Plain && g.Rand.IntN(5) == 0 {
		return pick(g.Rand, []float64{least, most})
	}
	return math.Round((least+g.Rand.Float64()*(most-least))*1000) / 1000
}

// bounds are the least and the largest number that a schema allows, within what a number may be without a bound.
func bounds(s openapi.Schema, least, most float64) (low, high float64) {
	low, lower := s.Number("minimum")
	if v, ok := s.Number("exclusiveMinimum"); ok {
		low, lower = v+1, true
	}
	high, upper := s.Number("maximum")
	if v, ok := s.Number("exclusiveMaximum"); ok {
		high, upper = v-1, true
	}
	switch {
	case !lower && !upper:
		return least, most
	case !lower:
		low = min(least, high)
	case !upper:
		high = max(most, low)
	}
	return low, high
}

func (g *Generator) text(s openapi.Schema, name string, examples []any) any {
	if known, ok := g.known(name); ok {
		return known
	}
	format := s.Text("format")
	if format == "uuid" || strings.HasSuffix(name, "_id") && format == "" && len(examples) == 0 && g.Rand.IntN(4) > 0 {
		return g.id(name)
	}
	if pattern := s.Text("pattern"); pattern != "" && (len(examples) == 0 || g.Rand.IntN(2) == 0) {
		if text, err := matching(g.Rand, pattern); err == nil {
			return fit(text, s)
		}
	}
	if example, ok := g.example(examples); ok {
		return example
	}
	switch format {
	case "date-time":
		return time.Unix(1_700_000_000+g.Rand.Int64N(1<<25), 0).UTC().Format(time.RFC3339)
	case "date":
		return time.Unix(1_700_000_000+g.Rand.Int64N(1<<25), 0).UTC().Format(time.DateOnly)
	case "email", "idn-email":
		return fmt.Sprintf("fuzz.%08x%s@example.com", g.Rand.Uint32(), g.Mark)
	case "uri", "uri-reference", "url", "iri":
		return fmt.Sprintf("https://example.com/%08x", g.Rand.Uint32())
	case "hostname":
		return fmt.Sprintf("h%08x.example.com", g.Rand.Uint32())
	case "ipv4":
		return "192.0.2.1"
	case "ipv6":
		return "2001:db8::1"
	default:
		return g.freeText(s)
	}
}

// example repeats one of the document's examples.
func (g *Generator) example(examples []any) (any, bool) {
	if len(examples) == 0 || g.Mark != "" || !g.oftenIfPlain() {
		return nil, false
	}
	return pick(g.Rand, examples), true
}

func (g *Generator) known(name string) (string, bool) {
	if g.World == nil {
		return "", false
	}
	return g.World.Known(Branch(g.Rand), name)
}

func (g *Generator) id(name string) string {
	if g.World == nil {
		return UUID(g.Rand)
	}
	return g.World.ID(Branch(g.Rand), name)
}

// Branch takes one number out of a source and makes another source of it, for choices whose number depends on what exists: it changes
// nothing about those that follow.
func Branch(r *rand.Rand) *rand.Rand { return rand.New(rand.NewPCG(r.Uint64(), 0)) }

// freeText is a text within the schema's limits: mostly words, at times as long as is allowed, or of letters that few expect.
func (g *Generator) freeText(s openapi.Schema) string {
	const usual = 40
	words := fmt.Sprintf("%s%s %08x", g.Mark, pick(g.Rand, []string{"plain", "text", "of", "some", "words"}), g.Rand.Uint32())
	most, bounded := s.Number("maxLength")
	if !bounded {
		most = usual
	}
	if !g.Plain {
		switch g.Rand.IntN(10) {
		case 0:
			words = strings.Repeat("x", int(min(most, 20_000)))
		case 1:
			words += pick(g.Rand, []string{" Ünïcödé", " 日本語", " עברית", " 💥", " é", " \t\n", " '\"`\\", " %_", " <b>"})
		}
	}
	return fit(words, s)
}

// fit cuts and fills a text to the schema's limits of length, which count characters.
func fit(text string, s openapi.Schema) string {
	runes := []rune(text)
	if most, ok := s.Number("maxLength"); ok && len(runes) > int(most) {
		runes = runes[:int(most)]
	}
	if least, ok := s.Number("minLength"); ok && len(runes) < int(least) {
		runes = append(runes, []rune(strings.Repeat("x", int(least)-len(runes)))...)
	}
	return string(runes)
}

// anything is any JSON value.
func (g *Generator) anything(depth int) any {
	n := 6
	if depth >= maxDepth {
		n = 4
	}
	switch g.Rand.IntN(n) {
	case 0:
		return "text"
	case 1:
		return json.Number(strconv.Itoa(g.Rand.IntN(1000)))
	case 2:
		return g.Rand.IntN(2) == 0
	case 3:
		return nil
	case 4:
		return []any{g.anything(depth + 1)}
	default:
		return Object{{"key", g.anything(depth + 1)}}
	}
}

// UUID makes up an id of the kind that the system gives: version 7, of a time long gone, so that it never is one that exists.
func UUID(r *rand.Rand) string {
	a, b := r.Uint64(), r.Uint64()
	return fmt.Sprintf("0150%04x-%04x-7%03x-8%03x-%012x", a&0xffff, a>>16&0xffff, a>>32&0xfff, a>>44&0xfff, b&0xffffffffffff)
}

func pick[T any](r *rand.Rand, from []T) T { return from[r.IntN(len(from))] }
