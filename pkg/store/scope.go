package store

import (
	"context"
	"database/sql"
	"database/sql/driver"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgtype"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"

	"github.com/tarento/copilot/pkg/tenant"
)

// A single statement of a tenant needs no transaction of several round trips: sent together with the statement that names the
// tenant, both run in one implicit transaction, which ends with them. GORM speaks database/sql, which has no word for that, so
// it happens below: in a driver around pgx's own.

// enter names the tenant for the rest of the transaction, and forbids it to write.
const enter = "SELECT set_config('app.tenant_id', $1, true), set_config('transaction_read_only', 'on', true)"

// enterToSearch also has the next statement planned for its arguments, each time: a plan that serves a rare word is ruinous for a
// frequent one, and the other way round.
const enterToSearch = enter + ", set_config('plan_cache_mode', 'force_custom_plan', true)"

// connector makes connections that know of tenants.
type connector struct{ driver.Connector }

// openSQL is stdlib.OpenDBFromPool with connections that know of tenants. Like there, pgx's pool does the pooling.
func openSQL(pool *pgxpool.Pool) *sql.DB {
	db := sql.OpenDB(connector{stdlib.GetPoolConnector(pool)})
	db.SetMaxIdleConns(0)
	return db
}

// Connect implements driver.Connector.
func (c connector) Connect(ctx context.Context) (driver.Conn, error) {
	made, err := c.Connector.Connect(ctx)
	if err != nil {
		return nil, err
	}
	inner, ok := made.(*stdlib.Conn)
	if !ok {
		return nil, fmt.Errorf("store: unexpected driver %T", made)
	}
	return &conn{inner}, nil
}

// conn is a connection that runs statements of a viewed tenant inside of it.
type conn struct{ *stdlib.Conn }

// survey shows all organizations for the rest of the transaction, as the platform's policy allows, and forbids it to write.
const survey = "SELECT set_config('app.platform', 'on', true), set_config('transaction_read_only', 'on', true)"

// viewed is the pool that GORM uses to read: whatever runs on it runs right after the statement that says what can be seen.
type viewed struct {
	*sql.DB

	entry
}

// entry is what runs before a statement: enter, enterToSearch or survey.
type entry struct {
	statement string
	args      []any
}

type viewedKey struct{}

func newViewed(db *sql.DB, t tenant.ID) *viewed { return &viewed{db, entry{enter, []any{t.String()}}} }

func newSurvey(db *sql.DB) *viewed { return &viewed{db, entry{statement: survey}} }

// QueryContext implements gorm.ConnPool.
func (v *viewed) QueryContext(ctx context.Context, query string, args ...any) (*sql.Rows, error) {
	return v.DB.QueryContext(context.WithValue(ctx, viewedKey{}, v.entry), query, plain(args)...)
}

// QueryRowContext implements gorm.ConnPool.
func (v *viewed) QueryRowContext(ctx context.Context, query string, args ...any) *sql.Row {
	return v.DB.QueryRowContext(context.WithValue(ctx, viewedKey{}, v.entry), query, plain(args)...)
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

var errViewOnly = errors.New("store: a View reads; changes need InTenant")

// ExecContext implements gorm.ConnPool by refusing: nothing that is executed has rows to read.
func (v *viewed) ExecContext(context.Context, string, ...any) (sql.Result, error) {
	return nil, errViewOnly
}

// PrepareContext implements gorm.ConnPool by refusing: pgx prepares by itself.
func (v *viewed) PrepareContext(context.Context, string) (*sql.Stmt, error) { return nil, errViewOnly }

// QueryContext implements driver.QueryerContext.
func (c *conn) QueryContext(ctx context.Context, query string, named []driver.NamedValue) (driver.Rows, error) {
	in, ok := ctx.Value(viewedKey{}).(entry)
	if !ok {
		return c.Conn.QueryContext(ctx, query, named)
	}
	args := make([]any, len(named))
	for i, n := range named {
		args[i] = n.Value
	}
	var both pgx.Batch
	both.Queue(in.statement, in.args...)
	both.Queue(query, args...)
	sent := c.Conn.Conn().SendBatch(ctx, &both)
	if _, err := sent.Exec(); err != nil {
		return nil, errors.Join(err, sent.Close())
	}
	rows, err := sent.Query()
	if err != nil {
		return nil, errors.Join(err, sent.Close())
	}
	return newRows(rows, sent, c.Conn.Conn().TypeMap()), nil
}

// rows are the rows of the second statement of a batch.
type rows struct {
	pgx.Rows

	batch  pgx.BatchResults
	fields []pgconn.FieldDescription
	read   []func([]byte) (driver.Value, error)
}

func newRows(from pgx.Rows, batch pgx.BatchResults, m *pgtype.Map) *rows {
	r := &rows{Rows: from, batch: batch, fields: from.FieldDescriptions()}
	r.read = make([]func([]byte) (driver.Value, error), len(r.fields))
	for i, f := range r.fields {
		r.read[i] = reader(m, f.DataTypeOID, f.Format)
	}
	return r
}

// Columns implements driver.Rows.
func (r *rows) Columns() []string {
	names := make([]string, len(r.fields))
	for i, f := range r.fields {
		names[i] = f.Name
	}
	return names
}

// Close implements driver.Rows.
func (r *rows) Close() error {
	r.Rows.Close()
	return r.batch.Close()
}

// Next implements driver.Rows.
func (r *rows) Next(dest []driver.Value) error {
	if !r.Rows.Next() {
		if err := r.Err(); err != nil {
			return err
		}
		return io.EOF
	}
	for i, raw := range r.RawValues() {
		dest[i] = nil
		if raw == nil {
			continue
		}
		var err error
		if dest[i], err = r.read[i](raw); err != nil {
			return fmt.Errorf("store: read column %s: %w", r.fields[i].Name, err)
		}
	}
	return nil
}

// reader returns what makes a value for database/sql of a column's bytes, which do not outlive the row.
func reader(m *pgtype.Map, oid uint32, format int16) func([]byte) (driver.Value, error) {
	switch oid {
	case pgtype.BoolOID:
		return value[bool](m, oid, format)
	case pgtype.Int2OID, pgtype.Int4OID, pgtype.Int8OID:
		return value[int64](m, oid, format)
	case pgtype.Float4OID, pgtype.Float8OID:
		return value[float64](m, oid, format)
	case pgtype.TimestamptzOID, pgtype.TimestampOID, pgtype.DateOID:
		return value[time.Time](m, oid, format)
	case pgtype.ByteaOID, pgtype.JSONOID, pgtype.JSONBOID:
		return value[[]byte](m, oid, format)
	case pgtype.UUIDOID:
		return func(raw []byte) (driver.Value, error) {
			var id [16]byte
			if err := m.Scan(oid, format, raw, &id); err != nil {
				return nil, err
			}
			return id[:], nil // a Scanner of UUIDs takes the sixteen bytes as they are
		}
	case pgtype.TextArrayOID:
		return value[[]string](m, oid, format)
	default:
		return value[string](m, oid, format)
	}
}

func value[T any](m *pgtype.Map, oid uint32, format int16) func([]byte) (driver.Value, error) {
	var target T
	plan := m.PlanScan(oid, format, &target)
	return func(raw []byte) (driver.Value, error) {
		var v T
		if err := plan.Scan(raw, &v); err != nil {
			return nil, err
		}
		return v, nil
	}
}
