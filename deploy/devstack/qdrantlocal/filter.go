package qdrantlocal

import (
	"slices"

	"github.com/qdrant/go-client/qdrant"
)

// predicate decides about one point. The payload is the point's own, or that of a nested object.
type predicate func(p *point, in payload) bool

func always(*point, payload) bool { return true }

// selection is a compiled filter: where to look, and what to ask there.
type selection struct {
	match predicate
	// slots are the only ones worth asking, ascending; everything when narrowed is false.
	slots    []uint32
	narrowed bool
}

// each calls yield with every point that the selection holds until it returns false.
func (s selection) each(c *collection, yield func(*point) bool) {
	if !s.narrowed {
		for _, p := range c.bySlot {
			if p != nil && s.match(p, p.payload) && !yield(p) {
				return
			}
		}
		return
	}
	for _, slot := range s.slots {
		p := c.bySlot[slot]
		if p != nil && s.match(p, p.payload) && !yield(p) {
			return
		}
	}
}

// selectPoints compiles a filter; nil selects everything. The caller holds mu, and the selection is valid as long as it does.
func (c *collection) selectPoints(filters ...*qdrant.Filter) (selection, error) {
	s := selection{match: always}
	var lists [][]uint32
	best := -1
	for _, f := range filters {
		if f == nil {
			continue
		}
		match, err := c.filter(f, true)
		if err != nil {
			return selection{}, err
		}
		s.match = both(s.match, match)
		for _, cond := range f.GetMust() {
			found, ok := c.candidates(cond)
			if !ok {
				continue
			}
			if size := totalLen(found); best < 0 || size < best {
				best, lists, s.narrowed = size, found, true
			}
		}
	}
	s.slots = union(lists)
	return s, nil
}

func both(a, b predicate) predicate {
	return func(p *point, in payload) bool { return a(p, in) && b(p, in) }
}

// candidates returns slot lists outside of which the condition is false for certain, if it knows such.
func (c *collection) candidates(cond *qdrant.Condition) ([][]uint32, bool) {
	switch v := cond.GetConditionOneOf().(type) {
	case *qdrant.Condition_Field:
		index, ok := c.indexes[v.Field.GetKey()]
		if !ok || index.slots == nil || v.Field.GetMatch() == nil {
			return nil, false
		}
		return index.lookup(v.Field.GetMatch())
	case *qdrant.Condition_HasId:
		slots := make([]uint32, 0, len(v.HasId.GetHasId()))
		for _, id := range v.HasId.GetHasId() {
			if parsed, err := parsePointID(id); err == nil {
				if p, ok := c.byID[parsed]; ok {
					slots = append(slots, p.slot)
				}
			}
		}
		slices.Sort(slots)
		return [][]uint32{slices.Compact(slots)}, true
	case *qdrant.Condition_Filter:
		for _, inner := range v.Filter.GetMust() {
			if found, ok := c.candidates(inner); ok {
				return found, true
			}
		}
	}
	return nil, false
}

func totalLen(lists [][]uint32) int {
	n := 0
	for _, list := range lists {
		n += len(list)
	}
	return n
}

// union merges ascending lists into one. A single list is returned as it is.
func union(lists [][]uint32) []uint32 {
	switch len(lists) {
	case 0:
		return nil
	case 1:
		return lists[0]
	}
	out := slices.Concat(lists...)
	slices.Sort(out)
	return slices.Compact(out)
}

// filter compiles a filter. All of its parts that are given must hold. Stored says that it will be asked only about points as they are in
// the collection, with their own payload, for as long as the caller holds mu: then indexes answer for what they hold.
func (c *collection) filter(f *qdrant.Filter, stored bool) (predicate, error) {
	must, err := c.conditions(f.GetMust(), stored)
	if err != nil {
		return nil, err
	}
	should, err := c.conditions(f.GetShould(), stored)
	if err != nil {
		return nil, err
	}
	mustNot, err := c.conditions(f.GetMustNot(), stored)
	if err != nil {
		return nil, err
	}
	atLeast, err := c.conditions(f.GetMinShould().GetConditions(), stored)
	if err != nil {
		return nil, err
	}
	minCount := int(min(f.GetMinShould().GetMinCount(), 1<<30))
	return func(p *point, in payload) bool {
		for _, holds := range must {
			if !holds(p, in) {
				return false
			}
		}
		for _, holds := range mustNot {
			if holds(p, in) {
				return false
			}
		}
		return (len(should) == 0 || reaches(should, 1, p, in)) && reaches(atLeast, minCount, p, in)
	}, nil
}

// reaches reports whether at least n of the conditions hold.
func reaches(conditions []predicate, n int, p *point, in payload) bool {
	for _, holds := range conditions {
		if n <= 0 {
			break
		}
		if holds(p, in) {
			n--
		}
	}
	return n <= 0
}

func (c *collection) conditions(conds []*qdrant.Condition, stored bool) ([]predicate, error) {
	out := make([]predicate, 0, len(conds))
	for _, cond := range conds {
		holds, err := c.condition(cond, stored)
		if err != nil {
			return nil, err
		}
		out = append(out, holds)
	}
	return out, nil
}

func (c *collection) condition(cond *qdrant.Condition, stored bool) (predicate, error) {
	switch v := cond.GetConditionOneOf().(type) {
	case *qdrant.Condition_Field:
		holds, err := fieldCondition(v.Field)
		if err != nil || !stored {
			return holds, err
		}
		if known, ok := c.indexed(v.Field); ok {
			holds = known
		}
		return holds, nil
	case *qdrant.Condition_IsEmpty:
		return isEmpty(v.IsEmpty.GetKey())
	case *qdrant.Condition_IsNull:
		return isNull(v.IsNull.GetKey())
	case *qdrant.Condition_HasId:
		ids, err := parsePointIDs(v.HasId.GetHasId())
		if err != nil {
			return nil, err
		}
		set := make(map[pointID]bool, len(ids))
		for _, id := range ids {
			set[id] = true
		}
		return func(p *point, _ payload) bool { return set[p.id] }, nil
	case *qdrant.Condition_HasVector:
		name := v.HasVector.GetHasVector()
		return func(p *point, _ payload) bool { return c.hasVector(name, p.slot) }, nil
	case *qdrant.Condition_Filter:
		return c.filter(v.Filter, stored)
	case *qdrant.Condition_Nested:
		return c.nested(v.Nested)
	default:
		return nil, errInput("malformed condition: nothing is set")
	}
}

// indexed answers a match from the index of its field, if there is one, without a look at any payload.
func (c *collection) indexed(f *qdrant.FieldCondition) (predicate, bool) {
	index, ok := c.indexes[f.GetKey()]
	if !ok || index.slots == nil || f.GetMatch() == nil {
		return nil, false
	}
	lists, ok := index.lookup(f.GetMatch())
	if !ok {
		return nil, false
	}
	const word = 64
	held := make([]uint64, len(c.bySlot)/word+1)
	for _, list := range lists {
		for _, slot := range list {
			held[slot/word] |= 1 << (slot % word)
		}
	}
	return func(p *point, _ payload) bool { return held[p.slot/word]&(1<<(p.slot%word)) != 0 }, true
}

// nested holds when one object of a list fulfills a whole filter by itself.
func (c *collection) nested(n *qdrant.NestedCondition) (predicate, error) {
	p, err := parsePath(n.GetKey())
	if err != nil {
		return nil, err
	}
	inner, err := c.filter(n.GetFilter(), false)
	if err != nil {
		return nil, err
	}
	return func(pt *point, in payload) bool {
		return p.visitElements(in, func(v *qdrant.Value) bool {
			object, ok := v.GetKind().(*qdrant.Value_StructValue)
			return ok && inner(pt, object.StructValue.GetFields())
		})
	}, nil
}

func isEmpty(key string) (predicate, error) {
	p, err := parsePath(key)
	if err != nil {
		return nil, err
	}
	return func(_ *point, in payload) bool {
		return !p.visit(in, func(v *qdrant.Value) bool {
			switch k := v.GetKind().(type) {
			case *qdrant.Value_NullValue:
				return false
			case *qdrant.Value_ListValue:
				return len(k.ListValue.GetValues()) > 0
			default:
				return true
			}
		})
	}, nil
}

func isNull(key string) (predicate, error) {
	p, err := parsePath(key)
	if err != nil {
		return nil, err
	}
	return func(_ *point, in payload) bool {
		return p.visitElements(in, func(v *qdrant.Value) bool {
			_, null := v.GetKind().(*qdrant.Value_NullValue)
			return null
		})
	}, nil
}

// fieldCondition compiles the one check that a field condition carries.
func fieldCondition(f *qdrant.FieldCondition) (predicate, error) {
	switch {
	case f.GetGeoBoundingBox() != nil, f.GetGeoRadius() != nil, f.GetGeoPolygon() != nil:
		return nil, errLacks("geo conditions")
	case f.GetDatetimeRange() != nil:
		return nil, errLacks("datetime ranges")
	}
	p, err := parsePath(f.GetKey())
	if err != nil {
		return nil, err
	}
	var checks []predicate
	if f.GetMatch() != nil {
		test, err := matchTest(f.GetMatch())
		if err != nil {
			return nil, err
		}
		checks = append(checks, func(_ *point, in payload) bool { return p.visitElements(in, test) })
	}
	if f.GetRange() != nil {
		test := rangeTest(f.GetRange())
		checks = append(checks, func(_ *point, in payload) bool { return p.visitElements(in, test) })
	}
	if f.GetValuesCount() != nil {
		test := countTest(f.GetValuesCount())
		checks = append(checks, func(_ *point, in payload) bool { return p.visit(in, test) })
	}
	if f.IsEmpty != nil {
		check, err := isEmpty(f.GetKey())
		if err != nil {
			return nil, err
		}
		checks = append(checks, expect(check, f.GetIsEmpty()))
	}
	if f.IsNull != nil {
		check, err := isNull(f.GetKey())
		if err != nil {
			return nil, err
		}
		checks = append(checks, expect(check, f.GetIsNull()))
	}
	switch len(checks) {
	case 0:
		return nil, errInput("at least one field condition must be specified for key %s", f.GetKey())
	case 1:
		return checks[0], nil
	default:
		return nil, errLacks("several checks in one field condition")
	}
}

func expect(check predicate, want bool) predicate {
	return func(p *point, in payload) bool { return check(p, in) == want }
}

// matchTest compiles a match.
func matchTest(m *qdrant.Match) (func(*qdrant.Value) bool, error) {
	switch v := m.GetMatchValue().(type) {
	case *qdrant.Match_Keyword:
		return textIn(v.Keyword), nil
	case *qdrant.Match_Keywords:
		return textIn(v.Keywords.GetStrings()...), nil
	case *qdrant.Match_ExceptKeywords:
		return except(textIn(v.ExceptKeywords.GetStrings()...)), nil
	case *qdrant.Match_Integer:
		return numberIn(v.Integer), nil
	case *qdrant.Match_Integers:
		return numberIn(v.Integers.GetIntegers()...), nil
	case *qdrant.Match_ExceptIntegers:
		return except(numberIn(v.ExceptIntegers.GetIntegers()...)), nil
	case *qdrant.Match_Boolean:
		return func(value *qdrant.Value) bool {
			b, ok := value.GetKind().(*qdrant.Value_BoolValue)
			return ok && b.BoolValue == v.Boolean
		}, nil
	case *qdrant.Match_Text, *qdrant.Match_Phrase, *qdrant.Match_TextAny:
		return nil, errLacks("full-text match conditions")
	default:
		return nil, errInput("malformed match condition: nothing is set")
	}
}

// except holds for every value but null that the test does not hold for, also for values of another type.
func except(test func(*qdrant.Value) bool) func(*qdrant.Value) bool {
	return func(value *qdrant.Value) bool {
		_, null := value.GetKind().(*qdrant.Value_NullValue)
		return !null && !test(value)
	}
}

func textIn(texts ...string) func(*qdrant.Value) bool {
	set := make(map[string]bool, len(texts))
	for _, s := range texts {
		set[s] = true
	}
	return func(value *qdrant.Value) bool {
		s, ok := value.GetKind().(*qdrant.Value_StringValue)
		return ok && set[s.StringValue]
	}
}

func numberIn(numbers ...int64) func(*qdrant.Value) bool {
	set := make(map[int64]bool, len(numbers))
	for _, n := range numbers {
		set[n] = true
	}
	return func(value *qdrant.Value) bool {
		n, ok := value.GetKind().(*qdrant.Value_IntegerValue)
		return ok && set[n.IntegerValue]
	}
}

func rangeTest(r *qdrant.Range) func(*qdrant.Value) bool {
	return func(value *qdrant.Value) bool {
		var x float64
		switch v := value.GetKind().(type) {
		case *qdrant.Value_IntegerValue:
			x = float64(v.IntegerValue)
		case *qdrant.Value_DoubleValue:
			x = v.DoubleValue
		default:
			return false
		}
		return (r.Lt == nil || x < r.GetLt()) && (r.Lte == nil || x <= r.GetLte()) &&
			(r.Gt == nil || x > r.GetGt()) && (r.Gte == nil || x >= r.GetGte())
	}
}

// countTest counts the values of a field: the elements of a list, none for null, one for anything else.
func countTest(r *qdrant.ValuesCount) func(*qdrant.Value) bool {
	return func(value *qdrant.Value) bool {
		n := uint64(1)
		switch v := value.GetKind().(type) {
		case *qdrant.Value_NullValue:
			n = 0
		case *qdrant.Value_ListValue:
			n = uint64(len(v.ListValue.GetValues()))
		}
		return (r.Lt == nil || n < r.GetLt()) && (r.Lte == nil || n <= r.GetLte()) &&
			(r.Gt == nil || n > r.GetGt()) && (r.Gte == nil || n >= r.GetGte())
	}
}
