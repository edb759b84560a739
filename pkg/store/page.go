package store

import (
	"fmt"
	"reflect"
	"slices"
	"strconv"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/tarento/copilot/pkg/fault"
)

// DefaultLimit is the page size where a filter names none.
const DefaultLimit = 20

// Page is a window onto a list. The zero Page is the newest DefaultLimit rows.
type Page struct {
	Limit int
	// Sort is the order; the zero Sort is newest first.
	Sort Sort
	// After is the last row of the page before; nil starts at the beginning.
	After *Position
	// Skip leaves out so many rows, for clients that know no cursors. It costs what is skipped; After costs nothing.
	Skip int
	// Count also counts all rows, which costs a look at each.
	Count bool
}

func (p Page) limit() int {
	if p.Limit <= 0 {
		return DefaultLimit
	}
	return p.Limit
}

// Sort orders a list by a column, and rows that are alike in it by id. The zero Sort is newest first: ids grow with time.
type Sort struct {
	// By is one of the columns that the list can be sorted by; empty is the id.
	By string
	// Ascending goes from the smallest to the largest. The zero value goes down.
	Ascending bool
}

// Position is where in a sorted list a row stands.
type Position struct {
	// Key is the row's value in the column that the list is sorted by; empty when that is the id.
	Key string
	ID  uuid.UUID
}

// Listed is one page of a list.
type Listed[T any] struct {
	Rows []T
	// Next is the position to go on after; nil when nothing follows.
	Next *Position
	// Total is how many rows there are in all; nil where they were not counted.
	Total *int64
}

// count returns where the total is kept, from here on.
func (l *Listed[T]) count() *int64 {
	if l.Total == nil {
		l.Total = new(int64)
	}
	return l.Total
}

// counted is a row beside the number of all rows.
type counted[T any] struct {
	Row   T `gorm:"embedded"`
	Total int64
}

// list reads one page of what q finds, in one statement. It can be sorted by the given columns, which must hold no nulls and have an
// index after organization_id where the list is long. The omitted columns are not read.
func list[T any](q *gorm.DB, page Page, noun string, sortable []string, omit ...string) (Listed[T], error) {
	table, err := tableOf(q, new(T))
	if err != nil {
		return Listed[T]{}, err
	}
	selected := qualified(table, table.Table, omit...)
	q = q.Session(&gorm.Session{})
	all := q
	key, err := keyOf(table, page.Sort, sortable)
	if err != nil {
		return Listed[T]{}, err
	}
	if q, err = key.after(q, page.After); err != nil {
		return Listed[T]{}, err
	}
	q = key.order(q).Offset(page.Skip).Limit(page.limit() + 1)
	doing := "list " + wordsOf(noun) + "s"
	var out Listed[T]
	if page.Count {
		var found []counted[T]
		if err := q.Select(selected+", (?) AS total", all.Select("count(*)")).Find(&found).Error; err != nil {
			return out, explain(err, doing)
		}
		out.Rows, out.Total = make([]T, len(found)), new(int64)
		for i := range found {
			out.Rows[i], *out.Total = found[i].Row, found[i].Total
		}
		if len(found) == 0 && (page.Skip > 0 || page.After != nil) {
			if err := all.Count(out.Total).Error; err != nil {
				return out, explain(err, doing)
			}
		}
	} else if err := q.Select(selected).Find(&out.Rows).Error; err != nil {
		return out, explain(err, doing)
	}
	if limit := page.limit(); len(out.Rows) > limit {
		out.Rows = out.Rows[:limit]
		out.Next, err = key.position(q, &out.Rows[limit-1])
	} else if out.Total == nil && page.After == nil && page.Skip == 0 {
		// The page is the list: its length is the total, for nothing.
		n := int64(len(out.Rows))
		out.Total = &n
	}
	return out, err
}

// sortKey is the column that a list is sorted by, with the id behind it.
type sortKey struct {
	table     *schema.Schema
	field     *schema.Field // nil when the id alone is the key
	direction string
	beyond    string
}

func keyOf(table *schema.Schema, s Sort, sortable []string) (sortKey, error) {
	k := sortKey{table: table, direction: " DESC", beyond: " < "}
	if s.Ascending {
		k.direction, k.beyond = " ASC", " > "
	}
	switch {
	case s.By == "" || s.By == "id":
		return k, nil
	case !slices.Contains(sortable, s.By):
		return k, fault.New(fault.Invalid, "sort.unknown", "The list cannot be sorted by that.")
	default:
		k.field = table.LookUpField(s.By)
		return k, nil
	}
}

func (k sortKey) id() string { return k.table.Table + ".id" }

func (k sortKey) column() string { return k.table.Table + "." + k.field.DBName }

// columns are those that the order is made of.
func (k sortKey) columns() []string {
	if k.field == nil {
		return []string{k.id()}
	}
	return []string{k.column(), k.id()}
}

func (k sortKey) order(q *gorm.DB) *gorm.DB { return q.Order(k.orderBy()) }

func (k sortKey) orderBy() string {
	if k.field == nil {
		return k.id() + k.direction
	}
	return k.column() + k.direction + ", " + k.id() + k.direction
}

// after narrows to the rows that follow a position.
func (k sortKey) after(q *gorm.DB, p *Position) (*gorm.DB, error) {
	if p == nil {
		return q, nil
	}
	if k.field == nil {
		return q.Where(k.id()+k.beyond+"?", p.ID), nil
	}
	value, err := k.parse(p.Key)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "cursor.invalid", "The cursor does not belong to this list.")
	}
	return q.Where("("+k.column()+", "+k.id()+")"+k.beyond+"(?, ?)", value, p.ID), nil
}

func (k sortKey) position(q *gorm.DB, row any) (*Position, error) {
	ctx, value := q.Statement.Context, reflect.ValueOf(row).Elem()
	raw, _ := k.table.LookUpField("id").ValueOf(ctx, value)
	id, ok := raw.(uuid.UUID)
	if !ok {
		return nil, fmt.Errorf("store: the id of %s is a %T", k.table.Table, raw)
	}
	p := &Position{ID: id}
	if k.field == nil {
		return p, nil
	}
	switch v, _ := k.field.ValueOf(ctx, value); v := v.(type) {
	case string:
		p.Key = v
	case time.Time:
		p.Key = v.UTC().Format(time.RFC3339Nano)
	default:
		p.Key = fmt.Sprint(v)
	}
	return p, nil
}

// parse reads the text that position writes.
func (k sortKey) parse(text string) (any, error) {
	switch k.field.FieldType.Kind() {
	case reflect.Int, reflect.Int16, reflect.Int64:
		return strconv.ParseInt(text, 10, 64)
	case reflect.Struct:
		return time.Parse(time.RFC3339Nano, text)
	default:
		return text, nil
	}
}
