package store

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"

	"github.com/tarento/copilot/pkg/fault"
)

// Revision tells two states of a row apart: its updated_at in microseconds, which grows with every change.
type Revision int64

// RevisionAt is the revision of a row that was last changed then.
func RevisionAt(updated time.Time) Revision { return Revision(updated.UnixMicro()) }

// Match are the revisions that a change may be made to. Nil is any.
type Match []Revision

func (m Match) admits(r Revision) bool { return m == nil || slices.Contains(m, r) }

// later is the time of a change to a row that was last changed at the given one: always after it, whatever the clock says, so that no
// revision comes twice.
func (tx *Tx) later(last time.Time) time.Time {
	now := tx.db.NowFunc()
	if now.After(last) {
		return now
	}
	return last.Add(time.Microsecond)
}

// create writes a new row into the tenant and audits it. What the row is called is the noun of its audit entries.
func create[T any](tx *Tx, noun string, row *T, id, organization *uuid.UUID) error {
	if err := tx.own(id, organization); err != nil {
		return err
	}
	if err := tx.db.Create(row).Error; err != nil {
		return explain(err, "create "+wordsOf(noun))
	}
	after, err := snapshot(tx.db, row)
	if err != nil {
		return err
	}
	tx.Audit(noun, "create", *id, nil, after.told(nil))
	return nil
}

// edit changes one row of the tenant under its lock and audits what became different; when nothing did, nothing is written. The
// verb names the change in the audit log: update, delete, activate. A row that is not there is fault.NotFound, one that is at
// another revision fault.Precondition "precondition.failed". The omitted columns are neither read nor written.
func edit[T any](tx *Tx, noun, verb string, id uuid.UUID, match Match, change func(*T) error, omit ...string) (*T, error) {
	return editThen(tx, noun, verb, id, match, change, nil, omit...)
}

// editThen is edit with a last touch to a row that became different, such as a version that counts up.
func editThen[T any](
	tx *Tx, noun, verb string, id uuid.UUID, match Match, change func(*T) error, finish func(*T), omit ...string,
) (*T, error) {
	row, err := take[T](within[T](tx).Where("id = ?", id).Omit(omit...).Clauses(forUpdate()), noun)
	if err != nil {
		return nil, err
	}
	table, err := tableOf(tx.db, row)
	if err != nil {
		return nil, err
	}
	value, ctx := reflect.ValueOf(row).Elem(), tx.db.Statement.Context
	stamp := table.LookUpField(columnUpdatedAt)
	last, _ := stamp.ValueOf(ctx, value)
	updated, ok := last.(time.Time)
	if !ok {
		return nil, fmt.Errorf("store: %s has no updated_at", table.Table)
	}
	if !match.admits(RevisionAt(updated)) {
		return nil, outdated(noun)
	}
	before, err := snapshot(tx.db, row)
	if err != nil {
		return nil, err
	}
	if err := change(row); err != nil {
		return nil, err
	}
	after, err := snapshot(tx.db, row)
	if err != nil {
		return nil, err
	}
	changed := before.differing(after)
	if len(changed) == 0 {
		return row, nil
	}
	if finish != nil {
		finish(row)
		if after, err = snapshot(tx.db, row); err != nil {
			return nil, err
		}
		changed = before.differing(after)
	}
	if err := stamp.Set(ctx, value, tx.later(updated)); err != nil {
		return nil, fmt.Errorf("store: stamp %s: %w", noun, err)
	}
	write := within[T](tx).Where("id = ?", id).Select(append(changed, columnUpdatedAt)).UpdateColumns(row)
	if err := touched(write, verb+" "+wordsOf(noun), noun); err != nil {
		return nil, err
	}
	tx.Audit(noun, verb, id, before.told(changed), after.told(changed))
	return row, nil
}

func outdated(noun string) error {
	return fault.New(fault.Precondition, "precondition.failed",
		"The %s was changed by somebody else in the meantime. Read it again and repeat your change.", wordsOf(noun))
}

// notKept stands in the audit log for a value that it does not repeat.
const notKept = "[not kept]"

// columns are a row's values by column name.
type columns struct {
	table  *schema.Schema
	values map[string]json.RawMessage
}

func tableOf(db *gorm.DB, row any) (*schema.Schema, error) {
	statement := &gorm.Statement{DB: db}
	if err := statement.Parse(row); err != nil {
		return nil, fmt.Errorf("store: read the columns of %T: %w", row, err)
	}
	return statement.Schema, nil
}

func snapshot(db *gorm.DB, row any) (columns, error) {
	table, err := tableOf(db, row)
	if err != nil {
		return columns{}, err
	}
	c := columns{table, make(map[string]json.RawMessage, len(table.Fields))}
	for _, field := range table.Fields {
		value, _ := field.ValueOf(db.Statement.Context, reflect.ValueOf(row).Elem())
		if stored, ok := value.(JSON); ok {
			// The database writes it in its own way: only what it says counts.
			value = json.RawMessage(nil)
			_ = json.Unmarshal(stored, &value) // what cannot be read is refused by the column
		}
		if c.values[field.DBName], err = json.Marshal(value); err != nil {
			return columns{}, fmt.Errorf("store: encode %s.%s: %w", table.Table, field.DBName, err)
		}
	}
	return c, nil
}

// differing names the columns that have another value in the other snapshot, in the table's order.
func (c columns) differing(other columns) []string {
	var names []string
	for _, name := range c.table.DBNames {
		if name != columnUpdatedAt && string(c.values[name]) != string(other.values[name]) {
			names = append(names, name)
		}
	}
	return names
}

// silent are columns that the audit log does not repeat: the times, which the entry has itself.
func silent(name string) bool {
	return name == columnCreatedAt || name == columnUpdatedAt || name == "organization_id"
}

// told is what the audit log keeps of the named columns, or of all that say something when none are named. A column whose field
// is tagged audit:"-" is only said to have changed.
func (c columns) told(names []string) map[string]any {
	all := names == nil
	if all {
		names = c.table.DBNames
	}
	told := make(map[string]any, len(names))
	for _, name := range names {
		if silent(name) {
			continue
		}
		text := c.values[name]
		if all && empty(text) {
			continue
		}
		if c.table.LookUpField(name).Tag.Get("audit") == "-" {
			told[name] = notKept
			continue
		}
		told[name] = redact(text)
	}
	return told
}

// zeroID is what no id is.
const zeroID = "00000000-0000-0000-0000-000000000000"

func empty(text json.RawMessage) bool {
	switch string(text) {
	case "null", `""`, "{}", "[]", "0", "false", `"` + zeroID + `"`:
		return true
	default:
		return false
	}
}
