package store

import (
	"strconv"
	"strings"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/schema"
)

// Row-level security lets an index answer only what cannot leak a row to somebody who may not see it. Postgres knows that of
// comparisons of ids and times, and of no search in text: such a condition is tried on one row of the tenant after the other. So a
// table that can be searched has a view of its rows beside it, whose condition on the tenant is an ordinary one, and an
// index of its words that may be used through the view. Decision 0010 argues it.
//
// To make a table searchable, do what migration 00015 says, and list it by
//
//	return find[Thing](tx, wanted{text: f.Search}, f.narrow, f.Page, nounThing, ThingSorts())
//
// where narrow applies the other filters. A short table does with what migration 00010 says, and with searching[Thing](tx, f.Search)
// instead of within[Thing](tx) for what it lists. Where rows are read otherwise, leave out wordsColumn, which no model has:
// within[Thing](tx).Omit(wordsColumn).

// wordsColumn holds the words of a row.
const wordsColumn = "words"

// Conditions on a row's words. An index answers the others than the first, through the view.
const (
	hasWords    = wordsColumn + " @@ search_query(?)"
	hasTerms    = "search_terms(organization_id, " + wordsColumn + ") @@ search_query(?::uuid, ?)"
	hasOwnTerms = "search_terms(user_id, " + wordsColumn + ") @@ search_query(?::uuid, ?)"
)

// wanted are the words that are looked for.
type wanted struct {
	text string
	// owner is the user whose rows alone narrow admits, for tables with an index of own terms; nil is everybody.
	owner *uuid.UUID
}

// terms narrows a query on the view to the rows that the index finds.
func (w wanted) terms(tx *Tx, q *gorm.DB) *gorm.DB {
	if w.owner == nil {
		return q.Where(hasTerms, tx.tenant.String(), w.text)
	}
	return q.Where(hasOwnTerms, w.owner.String(), w.text)
}

// look is one way of looking for the first rows with given words in the order of a list. A walk goes through the rows in that order
// and tries each: it soon has a page of what is frequent. The index gathers what matches before it knows which comes first: it
// soon has all of what is rare. The planner would choose by what it believes, and where it is wrong, walk through everything;
// so each look is bounded, and another one follows where it was not enough.
type look struct {
	walk bool
	// most is how many rows are walked through or gathered; 0 is all.
	most int
}

// looks are made one after the other. What the walks do not find is rare enough to be gathered, as long as it is spread evenly; if
// it is not, the last look takes its time. A row that is gathered costs some four times as much as one that is walked past.
func (w wanted) looks() []look {
	first := 300
	if w.owner != nil {
		// An owner's rows lie far apart, and what matches of them is soon gathered.
		first = 150
	}
	return []look{{walk: true, most: first}, {most: 3000}, {walk: true, most: 20000}, {}}
}

// often is how many of the tenant's rows the first look finds of what another walk has a page of before the index has gathered it all.
const often = 2

func (l look) limit() string {
	if l.most == 0 {
		return ""
	}
	return " LIMIT " + strconv.Itoa(l.most)
}

// find reads one page of the tenant's rows that narrow admits and that hold all words of the text, in any order and in either case. The
// last word may be the beginning of one if it has at least three letters. A text without words finds nothing; an empty one is
// no search, and find is list then. The omitted columns are not read, and narrow must not need them.
func find[T any](
	tx *Tx, w wanted, narrow func(*gorm.DB) *gorm.DB, page Page, noun string, sortable []string, omit ...string,
) (out Listed[T], err error) {
	if w.text == "" {
		return list[T](narrow(within[T](tx)), page, noun, sortable, omit...)
	}
	w.text = storable(w.text)
	s := search[T]{tx: tx.searching(), wanted: w, narrow: narrow, page: page}
	if s.table, err = tableOf(tx.db, new(T)); err != nil {
		return out, err
	}
	if s.key, err = keyOf(s.table, page.Sort, sortable); err != nil {
		return out, err
	}
	s.columns = qualified(s.table, s.table.Table, omit...)
	ways := w.looks()
	if page.Skip > 0 {
		ways = ways[len(ways)-1:]
	}
	doing := "search " + wordsOf(noun) + "s"
	for i, l := range ways {
		if i == 1 && w.owner == nil && len(out.Rows) >= often {
			continue // frequent enough to walk on
		}
		var enough bool
		if out, enough, err = s.look(l); err != nil {
			return out, explain(err, doing)
		}
		if enough {
			break
		}
	}
	if page.Count && out.Total == nil {
		return out, explain(s.narrow(s.terms(s.tx, s.indexed())).Count(out.count()).Error, doing)
	}
	return out, nil
}

// search is what find looks for.
type search[T any] struct {
	wanted

	tx      *Tx
	narrow  func(*gorm.DB) *gorm.DB
	page    Page
	table   *schema.Schema
	key     sortKey
	columns string // to read
}

// indexed are the tenant's rows by way of the view.
func (s search[T]) indexed() *gorm.DB {
	return within[T](s.tx).Table("searchable_" + s.table.Table + " AS " + s.table.Table)
}

// tried is a row that a look came upon. A row without Hit only says whether there may be more than was looked at.
type tried[T any] struct {
	Row       T `gorm:"embedded"`
	Hit, More bool
}

// look returns what one look finds, and whether another one would find no other.
func (s search[T]) look(l look) (out Listed[T], enough bool, err error) {
	var found []tried[T]
	if l.walk {
		found, err = s.walk(l)
	} else {
		found, err = s.gather(l)
	}
	if err != nil {
		return out, false, err
	}
	all := true
	for i := range found {
		all = all && !found[i].More
		if found[i].Hit {
			out.Rows = append(out.Rows, found[i].Row)
		}
	}
	if limit := s.page.limit(); len(out.Rows) > limit {
		out.Rows = out.Rows[:limit]
		out.Next, err = s.key.position(s.tx.db, &out.Rows[limit-1])
		return out, all || l.walk, err
	}
	if s.page.After == nil && s.page.Skip == 0 {
		*out.count() = int64(len(out.Rows))
	}
	return out, all, nil
}

// walk tries the rows one after the other and stops with a full page. The last one that it may try is returned in any case.
func (s search[T]) walk(l look) (found []tried[T], err error) {
	rows, err := s.key.after(s.narrow(within[T](s.tx)), s.page.After)
	if err != nil {
		return nil, err
	}
	table, order := s.table.Table, s.key.orderBy()
	// Only what a row is tried and sorted by is read of each, and the whole row of those that are returned.
	rows = s.key.order(rows).Select(strings.Join(append(s.key.columns(), wordsColumn), ", "))
	if l.most > 0 {
		rows = rows.Limit(l.most)
	}
	q := s.tx.db.Raw(`SELECT `+s.columns+`, tried.hit, tried.more FROM (
			SELECT id, hit, more FROM (
				SELECT `+table+`.*, `+hasWords+` AS hit, row_number() OVER (ORDER BY `+order+`) = ? AS more
				FROM (?) AS `+table+`) AS `+table+`
			WHERE hit OR more ORDER BY `+order+` LIMIT ?) AS tried
		JOIN `+table+` ON `+table+`.organization_id = ? AND `+table+`.id = tried.id ORDER BY `+order,
		s.text, l.most, rows, s.page.limit()+1, s.tx.tenant.UUID())
	return found, q.Find(&found).Error
}

// gather reads what matches by way of the index, narrows and sorts it. There is at least one row, without a hit if nothing was found.
func (s search[T]) gather(l look) (found []tried[T], err error) {
	rows, err := s.key.after(s.indexed(), s.page.After)
	if err != nil {
		return nil, err
	}
	table := s.table.Table
	page := s.narrow(s.tx.db.Session(&gorm.Session{NewDB: true}).Table("gathered AS " + table).Select(s.columns + ", true AS hit"))
	page = s.key.order(page).Offset(s.page.Skip).Limit(s.page.limit() + 1)
	rows = s.terms(s.tx, rows).Select(s.columns)
	// What is materialized is planned for all its rows: the planner must not hope to be done early.
	q := s.tx.db.Raw(`WITH matching AS MATERIALIZED (?), gathered AS MATERIALIZED (TABLE matching`+l.limit()+`),
		seen AS (SELECT coalesce(count(*) = NULLIF(?, 0), false) AS more FROM gathered)
		SELECT `+table+`.*, seen.more FROM seen LEFT JOIN (?) AS `+table+` ON true
		ORDER BY `+s.key.orderBy(), rows, l.most, page)
	return found, q.Find(&found).Error
}

// tabler is a pointer to a row that says where it is stored.
type tabler[T any] interface {
	*T
	schema.Tabler
}

// searching narrows a query on T to the tenant's rows that hold all words of the text, as find does, and leaves it to the planner how. The
// rows can be read and neither locked nor changed.
func searching[T any, P tabler[T]](tx *Tx, text string) *gorm.DB {
	return through[T, P](tx).Where(P(new(T)).TableName()+"."+hasWords, storable(text))
}

// through narrows a query on T to the tenant's rows as the view shows them, for conditions that row-level security keeps from the
// index of the table.
func through[T any, P tabler[T]](tx *Tx) *gorm.DB {
	table := P(new(T)).TableName()
	return within[T](tx.searching()).Table("searchable_" + table + " AS " + table)
}

// searching returns the transaction for statements that search. In a View they are planned for their arguments.
func (tx *Tx) searching() *Tx {
	v, ok := tx.db.Statement.ConnPool.(*viewed)
	if !ok {
		return tx
	}
	db := tx.db.WithContext(tx.db.Statement.Context)
	db.Statement.ConnPool = &viewed{v.pool, enterToSearch, v.args}
	return &Tx{db: db, tenant: tx.tenant}
}
