package store

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"maps"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/jackc/pgx/v5/stdlib"
	"gorm.io/driver/postgres"
	"gorm.io/gorm"
	"gorm.io/gorm/logger"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/tenant"
)

// Config says where the database is and as whom to connect.
type Config struct {
	// URL is a Postgres connection string. The Store wants the application role, the Engine the engine role.
	URL string
	// MaxConns caps the pool; zero means 10.
	MaxConns int32
	// Committed is told of every transaction that added to the logs of jobs, right after its commit; nil means nobody listens. It
	// must not block: the caller of the transaction waits for it.
	Committed func(events.Commit)
	// AccessChanged is told right after the commit of a transaction that changed what somebody of the tenant may do: a user, a
	// role, a membership, a session, an API key, the organization. Nil means nobody listens. The caller of the transaction
	// waits for it, so that a change counts when its answer is out.
	AccessChanged func(context.Context, tenant.ID)
}

// Store reads and writes tenants' data as the application role, always inside a tenant. It is safe for concurrent use.
type Store struct {
	pool      *pgxpool.Pool
	sql       *sql.DB
	db        *gorm.DB
	committed func(events.Commit)
	access    func(context.Context, tenant.ID)
	agents    flight[agentKey, *AgentConfig]
}

// Open connects a pool. It succeeds without a reachable server; Ready tells.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	pool, err := openPool(ctx, cfg, nil)
	if err != nil {
		return nil, err
	}
	sqlDB := stdlib.OpenDBFromPool(pool) // pgx does the pooling
	db, err := gorm.Open(postgres.New(postgres.Config{Conn: sqlDB}), &gorm.Config{
		// The pgx pool caches statements already; GORM's own cache on top costs twice the time per insert.
		PrepareStmt:            false,
		SkipDefaultTransaction: true,
		DisableAutomaticPing:   true,
		Logger:                 logger.Discard,
		NowFunc:                func() time.Time { return events.Time(time.Now()) },
		TranslateError:         false,
	})
	if err != nil {
		pool.Close()
		return nil, fmt.Errorf("store: open gorm: %w", err)
	}
	if err := db.Callback().Query().Replace("gorm:query", query); err != nil {
		pool.Close()
		return nil, fmt.Errorf("store: set up gorm: %w", err)
	}
	access := cfg.AccessChanged
	if access == nil {
		access = func(context.Context, tenant.ID) {}
	}
	s := &Store{pool: pool, sql: sqlDB, db: db, committed: listener(cfg), access: access}
	s.agents.read = s.readAgent
	return s, nil
}

// Close waits for running transactions and closes the pool.
func (s *Store) Close() error {
	err := s.sql.Close()
	s.pool.Close()
	return err
}

// Ready returns nil when the server answers and its schema can be read.
func (s *Store) Ready(ctx context.Context) error { return ready(ctx, s.pool) }

// InTenant runs fn in one transaction that sees only this tenant's rows, and commits when fn returns nil. The zero tenant is
// refused with tenant.ErrNone. The Tx must not be used after fn returned.
func (s *Store) InTenant(ctx context.Context, t tenant.ID, fn func(*Tx) error) error {
	if t.IsZero() {
		return tenant.ErrNone
	}
	tx := &Tx{tenant: t, actor: actorOf(ctx)}
	if err := s.transaction(ctx, t, func(db *gorm.DB) error {
		tx.db = db
		if err := fn(tx); err != nil {
			return err
		}
		// Last, because the head of the organization's chain stays locked until the commit.
		return tx.writeAudit()
	}); err != nil {
		return err
	}
	if len(tx.told.Events) > 0 {
		s.committed(tx.told)
	}
	if tx.accessChanged {
		tx.changedIn = append(tx.changedIn, t)
	}
	for _, where := range tx.changedIn {
		s.access(context.WithoutCancel(ctx), where)
	}
	return nil
}

// View runs fn to read: every statement of fn is a transaction of its own that sees only this tenant's rows and takes one round
// trip, so two of them may see different moments. What tries to write fails, and so does GORM's Scan: Find reads the same. The
// zero tenant is refused with tenant.ErrNone, and the Tx must not be used after fn returned.
func (s *Store) View(ctx context.Context, t tenant.ID, fn func(*Tx) error) error {
	if t.IsZero() {
		return tenant.ErrNone
	}
	tx := s.view(ctx, t)
	tx.agents = &s.agents
	return fn(tx)
}

func (s *Store) view(ctx context.Context, t tenant.ID) *Tx {
	db := s.db.WithContext(ctx)
	db.Statement.ConnPool = newViewed(s.pool, t)
	return &Tx{db: db, tenant: t}
}

// transaction runs fn in a transaction that is bound to the tenant. Beginning and binding take one round trip together.
func (s *Store) transaction(ctx context.Context, t tenant.ID, fn func(*gorm.DB) error) (err error) {
	conn, err := s.sql.Conn(ctx)
	if err != nil {
		return explain(err, "connect")
	}
	// A connection that is not idle when it is given back, because the rollback failed too, is closed by the pool.
	defer func() { _ = conn.Close() }()
	// Several statements at once cannot have parameters. A tenant's text is a UUID's, so nothing else gets in.
	begin := "BEGIN; SELECT set_config('app.tenant_id', '" + t.String() + "', true)" //nolint:gosec // see above
	if _, err := conn.ExecContext(ctx, begin); err != nil {
		return explain(err, "begin a transaction")
	}
	committed := false
	defer func() { // also when fn panics
		if !committed {
			ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), rollbackTimeout)
			defer cancel()
			_, _ = conn.ExecContext(ctx, "ROLLBACK")
		}
	}()
	db := s.db.WithContext(ctx)
	db.Statement.ConnPool = conn
	if err := fn(db); err != nil {
		return err
	}
	committed = true
	return explain(commit(ctx, conn), "commit a transaction")
}

const rollbackTimeout = 5 * time.Second

// commit also notices that the server rolled back instead, because a statement had failed and fn went on.
func commit(ctx context.Context, on *sql.Conn) error {
	return on.Raw(func(driver any) error {
		c, ok := driver.(*stdlib.Conn)
		if !ok {
			return fmt.Errorf("store: unexpected driver %T", driver)
		}
		tag, err := c.Conn().Exec(ctx, "COMMIT")
		if err == nil && tag.String() == "ROLLBACK" {
			err = pgx.ErrTxCommitRollback
		}
		return err
	})
}

// Tx is a transaction inside one tenant. Its repositories add the tenant to every statement, and row-level security holds
// underneath should one forget.
type Tx struct {
	db     *gorm.DB
	tenant tenant.ID
	actor  Actor
	// told is what there is to tell after the commit.
	told events.Commit
	// changes wait for the end of the transaction to be audited.
	changes []change
	// accessChanged says that somebody of the tenant may do more or less from now on.
	accessChanged bool
	// agents lets readers share what they read; nil in a transaction, which reads for itself.
	agents *flight[agentKey, *AgentConfig]
	// changedIn are the tenants that were entered and of whose people the same is true.
	changedIn []tenant.ID
}

// DB returns the GORM session of the transaction, for statements that no repository has.
func (tx *Tx) DB() *gorm.DB { return tx.db }

// Tenant returns the tenant that the transaction is bound to.
func (tx *Tx) Tenant() tenant.ID { return tx.tenant }

// Enter runs fn in the same transaction inside another tenant and comes back: who founds an organization writes its rows there and
// the answer to repeat at home, both or neither. When fn fails the whole transaction must.
func (tx *Tx) Enter(t tenant.ID, fn func(*Tx) error) error {
	if t.IsZero() {
		return tenant.ErrNone
	}
	if err := tx.bind(t); err != nil {
		return err
	}
	inner := &Tx{db: tx.db, tenant: t, actor: tx.actor}
	if err := fn(inner); err != nil {
		return err
	}
	if err := inner.writeAudit(); err != nil {
		return err
	}
	tx.told.Add(inner.told)
	tx.changedIn = append(tx.changedIn, inner.changedIn...)
	if inner.accessChanged {
		tx.changedIn = append(tx.changedIn, t)
	}
	return tx.bind(tx.tenant)
}

// bind says which tenant the transaction is in from here on.
func (tx *Tx) bind(t tenant.ID) error {
	_, err := tx.exec("SELECT set_config('app.tenant_id', $1, true)", t.String())
	return explain(err, "enter a tenant")
}

// openPool connects a pool whose sessions have the settings.
func openPool(ctx context.Context, cfg Config, settings map[string]string) (*pgxpool.Pool, error) {
	pc, err := pgxpool.ParseConfig(cfg.URL)
	if err != nil {
		// pgx names the malformed part and leaves the password out.
		return nil, fmt.Errorf("store: read database URL: %w", err)
	}
	pc.MaxConns = cfg.MaxConns
	if pc.MaxConns <= 0 {
		pc.MaxConns = 10
	}
	pc.MaxConnIdleTime = 5 * time.Minute
	pc.AfterConnect = registerUUID
	pc.ConnConfig.RuntimeParams["timezone"] = "UTC"
	// A process that is frozen in the middle of a transaction must not keep its row locks: its jobs could not be taken over.
	pc.ConnConfig.RuntimeParams["idle_in_transaction_session_timeout"] = "10s"
	maps.Copy(pc.ConnConfig.RuntimeParams, settings)
	pool, err := pgxpool.NewWithConfig(ctx, pc)
	if err != nil {
		return nil, fmt.Errorf("store: open pool: %w", err)
	}
	return pool, nil
}

func ready(ctx context.Context, pool *pgxpool.Pool) error {
	var exists bool
	if err := pool.QueryRow(ctx, "SELECT to_regclass('jobs') IS NOT NULL").Scan(&exists); err != nil {
		return fmt.Errorf("store: reach the database: %w", err)
	}
	if !exists {
		return errors.New("store: the schema is missing; run `migrate up`")
	}
	return nil
}

func listener(cfg Config) func(events.Commit) {
	if cfg.Committed != nil {
		return cfg.Committed
	}
	return func(events.Commit) {}
}
