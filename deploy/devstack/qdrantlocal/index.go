package qdrantlocal

import (
	"slices"

	"github.com/qdrant/go-client/qdrant"
)

// fieldIndex maps the values of one payload field to the slots of the points that have them. A search that must match an
// indexed field looks at those points only: a tenant's search never touches the points of another.
type fieldIndex struct {
	request *qdrant.CreateFieldIndexCollection
	schema  qdrant.PayloadSchemaType
	path    path
	// slots holds ascending slots. It is nil for a field type that is accepted but speeds nothing up here.
	slots map[indexKey][]uint32
}

// indexKey is an indexed value. A field has one type, so the parts of different types never meet.
type indexKey struct {
	text string
	num  int64
}

func boolKey(b bool) indexKey {
	if b {
		return indexKey{num: 1}
	}
	return indexKey{}
}

func newFieldIndex(request *qdrant.CreateFieldIndexCollection) (*fieldIndex, error) {
	p, err := parsePath(request.GetFieldName())
	if err != nil {
		return nil, err
	}
	schema, err := schemaOf(request)
	if err != nil {
		return nil, err
	}
	index := &fieldIndex{request: request, schema: schema, path: p}
	if schema != qdrant.PayloadSchemaType_Float {
		index.slots = make(map[indexKey][]uint32)
	}
	return index, nil
}

func schemaOf(request *qdrant.CreateFieldIndexCollection) (qdrant.PayloadSchemaType, error) {
	if request.FieldType == nil {
		return 0, errInput("field_type is required")
	}
	switch request.GetFieldType() {
	case qdrant.FieldType_FieldTypeKeyword:
		return qdrant.PayloadSchemaType_Keyword, nil
	case qdrant.FieldType_FieldTypeUuid:
		return qdrant.PayloadSchemaType_Uuid, nil
	case qdrant.FieldType_FieldTypeInteger:
		return qdrant.PayloadSchemaType_Integer, nil
	case qdrant.FieldType_FieldTypeBool:
		return qdrant.PayloadSchemaType_Bool, nil
	case qdrant.FieldType_FieldTypeFloat:
		return qdrant.PayloadSchemaType_Float, nil
	default:
		return 0, errLacks("a payload index of type " + request.GetFieldType().String())
	}
}

// key returns the key under which a value is found, if a value of its type is in this index.
func (x *fieldIndex) key(v *qdrant.Value) (indexKey, bool) {
	switch k := v.GetKind().(type) {
	case *qdrant.Value_StringValue:
		return indexKey{text: k.StringValue},
			x.schema == qdrant.PayloadSchemaType_Keyword || x.schema == qdrant.PayloadSchemaType_Uuid
	case *qdrant.Value_IntegerValue:
		return indexKey{num: k.IntegerValue}, x.schema == qdrant.PayloadSchemaType_Integer
	case *qdrant.Value_BoolValue:
		return boolKey(k.BoolValue), x.schema == qdrant.PayloadSchemaType_Bool
	default:
		return indexKey{}, false
	}
}

func (x *fieldIndex) add(p *point) {
	if x.slots == nil {
		return
	}
	x.path.visitElements(p.payload, func(v *qdrant.Value) bool {
		if key, ok := x.key(v); ok {
			list := x.slots[key]
			// Slots are mostly handed out in ascending order, so this is an append far more often than an insert.
			if n := len(list); n == 0 || list[n-1] < p.slot {
				x.slots[key] = append(list, p.slot)
			} else if at, found := slices.BinarySearch(list, p.slot); !found {
				x.slots[key] = slices.Insert(list, at, p.slot)
			}
		}
		return false
	})
}

func (x *fieldIndex) remove(p *point) {
	if x.slots == nil {
		return
	}
	x.path.visitElements(p.payload, func(v *qdrant.Value) bool {
		key, ok := x.key(v)
		if !ok {
			return false
		}
		list := x.slots[key]
		if at, found := slices.BinarySearch(list, p.slot); found {
			if list = slices.Delete(list, at, at+1); len(list) == 0 {
				delete(x.slots, key)
			} else {
				x.slots[key] = list
			}
		}
		return false
	})
}

// lookup returns the slot lists that together hold every point that a match can be true for, and whether this index can
// say so.
func (x *fieldIndex) lookup(m *qdrant.Match) ([][]uint32, bool) {
	text := x.schema == qdrant.PayloadSchemaType_Keyword || x.schema == qdrant.PayloadSchemaType_Uuid
	number := x.schema == qdrant.PayloadSchemaType_Integer
	var lists [][]uint32
	switch v := m.GetMatchValue().(type) {
	case *qdrant.Match_Keyword:
		return append(lists, x.slots[indexKey{text: v.Keyword}]), text
	case *qdrant.Match_Keywords:
		for _, s := range v.Keywords.GetStrings() {
			lists = append(lists, x.slots[indexKey{text: s}])
		}
		return lists, text
	case *qdrant.Match_Integer:
		return append(lists, x.slots[indexKey{num: v.Integer}]), number
	case *qdrant.Match_Integers:
		for _, n := range v.Integers.GetIntegers() {
			lists = append(lists, x.slots[indexKey{num: n}])
		}
		return lists, number
	case *qdrant.Match_Boolean:
		return append(lists, x.slots[boolKey(v.Boolean)]), x.schema == qdrant.PayloadSchemaType_Bool
	default:
		return nil, false
	}
}
