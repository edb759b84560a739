package store

import (
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// Row-level security lets an index answer only what cannot leak a row to somebody who may not see it. Postgres knows that of
// comparisons of ids and times, and of no search in text: such a condition would be tried on every row of the tenant. So a table
// that can be searched has a view of its rows beside it, whose condition on the tenant is an ordinary one that the planner combines
// with the others as it likes. Decision 0010 argues it.
//
// To make a table searchable, do what migration 00010 says, and narrow its list by
//
//	q := searching[Thing](tx, f.Search)
//
// where it says within[Thing](tx) otherwise. Everything else stays as it is: filters, order, cursor, the call of list. Where rows are
// read without list, leave out wordsColumn, which no model has: within[Thing](tx).Omit(wordsColumn).

// tabler is a pointer to a row that says where it is stored.
type tabler[T any] interface {
	*T
	schema.Tabler
}

// wordsColumn holds the words of a row for the index.
const wordsColumn = "words"

// searching narrows a query on T to the tenant's rows that hold all words of the text, in any order and in either case. The last
// word may be the beginning of one if it has at least three letters. A text without words finds nothing. The rows can be read
// and neither locked nor changed.
func searching[T any, P tabler[T]](tx *Tx, text string) *gorm.DB {
	table := P(new(T)).TableName()
	return through[T, P](tx).Where(table+"."+wordsColumn+" @@ search_query(?)", storable(text))
}

// through narrows a query on T to the tenant's rows as the view shows them, for conditions that row-level security keeps from the
// index of the table.
func through[T any, P tabler[T]](tx *Tx) *gorm.DB {
	table := P(new(T)).TableName()
	return within[T](tx.searching()).Table("searchable_" + table + " AS " + table)
}

// searching returns the transaction for statements that search. In a View each is planned for its arguments, because what serves a
// rare word is ruinous for a frequent one, and the other way round.
func (tx *Tx) searching() *Tx {
	v, ok := tx.db.Statement.ConnPool.(*viewed)
	if !ok {
		return tx
	}
	db := tx.db.WithContext(tx.db.Statement.Context)
	db.Statement.ConnPool = &viewed{v.DB, entry{enterToSearch, v.args}}
	return &Tx{db: db, tenant: tx.tenant}
}
