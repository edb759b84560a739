package store

import (
	"context"
	"database/sql"
	"encoding/json"
	"errors"
	"reflect"
	"slices"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"gorm.io/gorm"
	"gorm.io/gorm/callbacks"

	"github.com/tarento/copilot/pkg/tenant"
)

// A single statement of a tenant needs no transaction of several round trips: sent together with the statement that names the
// tenant, both run in one implicit transaction, which ends with them. GORM speaks database/sql, which has no word for that, so
// its query to read is replaced by one that speaks to pgx. That also saves what database/sql does about each query, a goroutine
// among it, which was a tenth of what reading a row cost the gateway.

// enter names the tenant for the rest of the transaction, and forbids it to write.
const enter = "SELECT set_config('app.tenant_id', $1, true), set_config('transaction_read_only', 'on', true)"

// enterToSearch also has the next statement planned for its arguments, each time: a plan that serves a rare word is ruinous for a
// frequent one, and the other way round.
const enterToSearch = enter + ", set_config('plan_cache_mode', 'force_custom_plan', true)"

// survey shows all organizations for the rest of the transaction, as the platform's policy allows, and forbids it to write.
const survey = "SELECT set_config('app.platform', 'on', true), set_config('transaction_read_only', 'on', true)"

// viewed is the pool that GORM uses to read: whatever runs on it runs right after the statement that says what can be seen. Only
// GORM's queries do, which are Find, Take, Count and Pluck; Raw goes with Find.
type viewed struct {
	pool *pgxpool.Pool
	// What is said before each statement: enter, enterToSearch or survey.
	entry string
	args  []any
}

func newViewed(pool *pgxpool.Pool, t tenant.ID) *viewed {
	return &viewed{pool, enter, []any{t.String()}}
}

func newSurvey(pool *pgxpool.Pool) *viewed {
	return &viewed{pool: pool, entry: survey}
}

var (
	errViewOnly = errors.New("store: a View reads; changes need InTenant")
	errFindOnly = errors.New("store: a View reads with Find, Take, Count and Pluck")
)

// ExecContext implements gorm.ConnPool by refusing: nothing that is executed has rows to read.
func (v *viewed) ExecContext(context.Context, string, ...any) (sql.Result, error) {
	return nil, errViewOnly
}

// PrepareContext implements gorm.ConnPool by refusing: pgx prepares by itself.
func (v *viewed) PrepareContext(context.Context, string) (*sql.Stmt, error) { return nil, errFindOnly }

// QueryContext implements gorm.ConnPool by refusing: query takes another way.
func (v *viewed) QueryContext(context.Context, string, ...any) (*sql.Rows, error) {
	return nil, errFindOnly
}

// QueryRowContext implements gorm.ConnPool by having no row; gorm.DB.Row gives nil then.
func (v *viewed) QueryRowContext(context.Context, string, ...any) *sql.Row { return nil }

// query is GORM's own query, which leaves views to read.
func query(db *gorm.DB) {
	v, ok := db.Statement.ConnPool.(*viewed)
	if !ok || db.Error != nil {
		callbacks.Query(db)
		return
	}
	callbacks.BuildQuerySQL(db)
	if db.DryRun || db.Error != nil {
		return
	}
	rows, err := v.read(db.Statement.Context, db.Statement.SQL.String(), db.Statement.Vars)
	if err != nil {
		_ = db.AddError(err) // it is kept there
		return
	}
	defer func() { _ = db.AddError(rows.Close()) }()
	gorm.Scan(rows, db, 0)
}

// read runs a statement. The rows must be closed.
func (v *viewed) read(ctx context.Context, statement string, args []any) (*rows, error) {
	conn, err := v.pool.Acquire(ctx)
	if err != nil {
		return nil, err
	}
	var both pgx.Batch
	both.Queue(v.entry, v.args...)
	both.Queue(statement, plain(args)...)
	r := &rows{conn: conn, batch: conn.SendBatch(ctx, &both)}
	if _, err := r.batch.Exec(); err != nil {
		return nil, errors.Join(err, r.Close())
	}
	if r.Rows, err = r.batch.Query(); err != nil { //nolint:gocritic // Close does
		return nil, errors.Join(err, r.Close())
	}
	r.fields = r.FieldDescriptions()
	return r, nil
}

// plain has ids travel as the sixteen bytes they are, which the protocol takes, instead of as text.
func plain(args []any) []any {
	for i, arg := range args {
		if id, ok := arg.(uuid.UUID); ok {
			args[i] = [16]byte(id)
		}
	}
	return args
}

// rows are the rows of the second statement of a batch.
type rows struct {
	pgx.Rows

	conn   *pgxpool.Conn
	batch  pgx.BatchResults
	fields []pgconn.FieldDescription
	// left is what of a row pgx has yet to read.
	left []any
}

var _ gorm.Rows = (*rows)(nil)

// Columns implements gorm.Rows.
func (r *rows) Columns() ([]string, error) {
	names := make([]string, len(r.fields))
	for i, f := range r.fields {
		names[i] = f.Name
	}
	return names, nil
}

// ColumnTypes implements gorm.Rows by knowing none: only maps without a model are made by them.
func (r *rows) ColumnTypes() ([]*sql.ColumnType, error) { return nil, nil }

// Close implements gorm.Rows. It gives the connection back.
func (r *rows) Close() error {
	defer r.conn.Release()
	if r.Rows != nil {
		r.Rows.Close()
	}
	return r.batch.Close()
}

// Scan implements gorm.Rows. As with database/sql, a pointer is made for what is not null.
func (r *rows) Scan(dest ...any) error {
	r.left = slices.Grow(r.left[:0], len(dest))
	for i, raw := range r.RawValues() {
		target := dest[i]
		if p := reflect.ValueOf(target).Elem(); p.Kind() == reflect.Pointer {
			if raw == nil {
				p.SetZero()
				r.left = append(r.left, nil)
				continue
			}
			p.Set(reflect.New(p.Type().Elem()))
			target = p.Interface()
		}
		left, err := readColumn(r.fields[i], raw, target)
		if err != nil {
			return err
		}
		r.left = append(r.left, left)
	}
	return r.Rows.Scan(r.left...)
}

// readColumn reads what this package knows best: ids, JSON and whatever else reads itself from bytes. It returns what pgx is to read
// into instead, or nil.
func readColumn(f pgconn.FieldDescription, raw []byte, target any) (left any, err error) {
	asIs := f.Format == pgx.TextFormatCode || f.DataTypeOID == pgtype.UUIDOID
	switch t := target.(type) {
	case *StringArray:
		return (*[]string)(t), nil
	case *json.RawMessage:
		return (*[]byte)(t), nil
	case sql.Scanner:
		if asIs && raw != nil {
			return nil, t.Scan(raw)
		}
	}
	return target, nil
}
