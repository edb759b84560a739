package store

import (
	"fmt"
	"slices"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// The columns that most tables have, by which most lists can be sorted.
const (
	columnName        = "name"
	columnDescription = "description"
	columnCreatedAt   = "created_at"
	columnUpdatedAt   = "updated_at"
)

// within narrows a query on T to the transaction's tenant. An organization is its own tenant.
func within[T any](tx *Tx) *gorm.DB {
	column := "organization_id"
	if _, itself := any((*T)(nil)).(*Organization); itself {
		column = "id"
	}
	return tx.db.Model(new(T)).Where(column+" = ?", tx.tenant.UUID())
}

// columnsOf lists the columns of T for a statement that is written out and calls the table by an alias. The table may have others,
// which are for the database alone.
func columnsOf[T any](tx *Tx, alias string) (string, error) {
	table, err := tableOf(tx.db, new(T))
	if err != nil {
		return "", err
	}
	return qualified(table, alias), nil
}

// qualified lists a table's columns under an alias, without the omitted ones.
func qualified(table *schema.Schema, alias string, omit ...string) string {
	names := slices.DeleteFunc(slices.Clone(table.DBNames), func(name string) bool { return slices.Contains(omit, name) })
	return alias + "." + strings.Join(names, ", "+alias+".")
}

// holding narrows to the rows that hold the text in one of the columns, in either case. It looks at every row that is left: it is for
// tables that stay small.
func holding(q *gorm.DB, text string, columns ...string) *gorm.DB {
	if text == "" {
		return q
	}
	return q.Where("("+strings.Join(columns, " ILIKE @text OR ")+" ILIKE @text)", map[string]any{"text": containing(text)})
}

// own makes a new row the tenant's, and gives it an id where it has none.
func (tx *Tx) own(id, organization *uuid.UUID) error {
	*organization = tx.tenant.UUID()
	if *id != uuid.Nil {
		return nil
	}
	made, err := uuid.NewV7()
	if err != nil {
		return fmt.Errorf("store: make an id: %w", err)
	}
	*id = made
	return nil
}

// exec runs a statement on the transaction itself, past GORM: slices reach Postgres as arrays, in the binary protocol.
func (tx *Tx) exec(query string, args ...any) (int64, error) {
	result, err := tx.db.Statement.ConnPool.ExecContext(tx.db.Statement.Context, query, args...)
	if err != nil {
		return 0, err
	}
	return result.RowsAffected()
}

// containing is the ILIKE pattern for text that holds s as it is.
func containing(s string) string {
	return "%" + strings.NewReplacer(`\`, `\\`, `%`, `\%`, `_`, `\_`).Replace(s) + "%"
}

// wordsOf writes a noun of several words as people do.
func wordsOf(noun string) string { return strings.ReplaceAll(noun, "_", " ") }
