package storetest

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/bcrypt"

	"github.com/tarento/copilot/migrations"
)

// EnvURL is the environment variable that names the test server.
const EnvURL = "TEST_DATABASE_URL"

const hint = "these tests need a Postgres server: run `make test`, " +
	"or `go run ./deploy/devstack/cmd/devstack exec -- go test ./...`"

// patience bounds everything a test waits for here, the building of the template by another process included.
const patience = 60 * time.Second

// DB is one test's own database.
type DB struct {
	// OwnerURL connects as the owner: it sees everything and may change the schema.
	OwnerURL string
	// AppURL connects as the application role, under row-level security.
	AppURL string
	// EngineURL connects as the engine role, which sees the jobs of all tenants and nothing else.
	EngineURL string
}

// New returns a fresh database with the schema and no data but the shipped permissions. It is dropped when tb ends.
func New(tb testing.TB) *DB {
	tb.Helper()
	return create(tb, migrated)
}

// NewSeeded is New with the demonstration data of the migrate command in it. The passwords are hashed at bcrypt's lowest cost.
func NewSeeded(tb testing.TB) *DB {
	tb.Helper()
	return create(tb, seeded)
}

// NewEmpty returns a fresh database without any schema, for tests of the migrations themselves.
func NewEmpty(tb testing.TB) *DB {
	tb.Helper()
	return create(tb, empty)
}

// Conn connects to one of the database's URLs. The connection closes when tb ends.
func (db *DB) Conn(tb testing.TB, address string) *pgx.Conn {
	tb.Helper()
	conn, err := pgx.Connect(tb.Context(), address)
	if err != nil {
		tb.Fatalf("storetest: connect: %v", err)
	}
	tb.Cleanup(func() { _ = conn.Close(context.WithoutCancel(tb.Context())) })
	return conn
}

// content is what a new database starts with; its value is part of the template's name.
type content string

const (
	empty    content = ""
	migrated content = "schema"
	seeded   content = "seeded"
)

func create(tb testing.TB, holds content) *DB {
	tb.Helper()
	base := os.Getenv(EnvURL)
	if base == "" {
		tb.Fatalf("storetest: %s is not set; %s", EnvURL, hint)
	}
	ctx, cancel := context.WithTimeout(tb.Context(), patience)
	defer cancel()
	srv, err := connect(ctx, base)
	if err != nil {
		tb.Fatalf("storetest: %v; %s", err, hint)
	}
	defer srv.close(ctx)

	template := "template0"
	if holds != empty {
		if template, err = srv.ensureTemplate(ctx, holds); err != nil {
			tb.Fatalf("storetest: build the template database: %v", err)
		}
	}
	name := cloneName(time.Now())
	if err := srv.exec(ctx, "CREATE DATABASE %s TEMPLATE %s", name, template); err != nil {
		tb.Fatalf("storetest: clone the template database: %v", err)
	}
	tb.Cleanup(func() {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(tb.Context()), patience)
		defer cancel()
		if err := drop(ctx, base, name); err != nil {
			tb.Errorf("storetest: %v", err)
		}
	})
	return &DB{
		OwnerURL:  srv.urlOf(name, ""),
		AppURL:    srv.urlOf(name, "copilot_app"),
		EngineURL: srv.urlOf(name, "copilot_engine"),
	}
}

// server is a connection to the database that TEST_DATABASE_URL names; from there others are created and dropped.
type server struct {
	conn *pgx.Conn
	base *url.URL
}

func connect(ctx context.Context, base string) (*server, error) {
	parsed, err := url.Parse(base)
	if err != nil || !strings.HasPrefix(parsed.Scheme, "postgres") {
		// The parse error would repeat the URL, and with it the password.
		return nil, fmt.Errorf("%s is no URL of the form postgres://user:password@host:port/database", EnvURL)
	}
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	conn, err := pgx.Connect(ctx, base)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", parsed.Host, err)
	}
	return &server{conn: conn, base: parsed}, nil
}

func (s *server) close(ctx context.Context) { _ = s.conn.Close(context.WithoutCancel(ctx)) }

// exec runs a statement with identifiers in the place of %s.
func (s *server) exec(ctx context.Context, statement string, identifiers ...string) error {
	quoted := make([]any, len(identifiers))
	for i, id := range identifiers {
		quoted[i] = pgx.Identifier{id}.Sanitize()
	}
	_, err := s.conn.Exec(ctx, fmt.Sprintf(statement, quoted...))
	return err
}

// urlOf names another database of the server. A role is entered at the start of the session, so that no password has to be
// given to the roles, which other databases of the server share.
func (s *server) urlOf(database, role string) string {
	u := *s.base
	u.Path = "/" + database
	if role != "" {
		q := u.Query()
		q.Set("role", role)
		u.RawQuery = q.Encode()
	}
	return u.String()
}

// templateLock is the advisory lock under which templates are built: "storetst" in ASCII.
const templateLock int64 = 0x73746f7265747374

// ensureTemplate returns the name of a template with that content, and builds it when nobody has.
func (s *server) ensureTemplate(ctx context.Context, holds content) (string, error) {
	fingerprint, err := migrations.Fingerprint()
	if err != nil {
		return "", err
	}
	name := fmt.Sprintf("copilot_template_%s_%s", holds, fingerprint)
	if found, err := s.exists(ctx, name); found || err != nil {
		return name, err
	}
	if _, err := s.conn.Exec(ctx, "SELECT pg_advisory_lock($1)", templateLock); err != nil {
		return "", fmt.Errorf("lock: %w", err)
	}
	defer func() { _, _ = s.conn.Exec(ctx, "SELECT pg_advisory_unlock($1)", templateLock) }()
	if found, err := s.exists(ctx, name); found || err != nil {
		return name, err
	}
	if err := s.sweep(ctx); err != nil {
		return "", err
	}
	return name, s.build(ctx, name, holds)
}

func (s *server) exists(ctx context.Context, database string) (found bool, err error) {
	err = s.conn.QueryRow(ctx, "SELECT EXISTS (SELECT FROM pg_database WHERE datname = $1)", database).Scan(&found)
	if err != nil {
		return false, fmt.Errorf("look for the template: %w", err)
	}
	return found, nil
}

// build fills a database under another name and renames it when it is complete: a name that exists is a whole template.
func (s *server) build(ctx context.Context, name string, holds content) error {
	draft := name + "_draft"
	if err := s.exec(ctx, "DROP DATABASE IF EXISTS %s WITH (FORCE)", draft); err != nil {
		return err
	}
	if err := s.exec(ctx, "CREATE DATABASE %s TEMPLATE template0", draft); err != nil {
		return err
	}
	if err := fill(ctx, s.urlOf(draft, ""), holds); err != nil {
		return err
	}
	// Nobody may connect from here on: a template in use cannot be cloned.
	if err := s.exec(ctx, "ALTER DATABASE %s ALLOW_CONNECTIONS false", draft); err != nil {
		return err
	}
	return s.exec(ctx, "ALTER DATABASE %s RENAME TO %s", draft, name)
}

func fill(ctx context.Context, address string, holds content) (err error) {
	db, err := migrations.Open(ctx, address, patience)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	if _, err := migrations.Up(ctx, db); err != nil {
		return err
	}
	if holds != seeded {
		return nil
	}
	return migrations.Seed(ctx, db, migrations.SeedOptions{Environment: "test", PasswordCost: bcrypt.MinCost})
}

const clonePrefix = "copilot_test_"

// cloneName starts with the time, so that what a killed test left behind can be told from what is in use.
func cloneName(now time.Time) string {
	random := uuid.New()
	return fmt.Sprintf("%s%d_%x", clonePrefix, now.Unix(), random[:6])
}

// sweep drops the databases of tests that were killed more than an hour ago.
func (s *server) sweep(ctx context.Context) error {
	rows, err := s.conn.Query(ctx, `SELECT datname FROM pg_database
		WHERE starts_with(datname, $1) AND split_part(substr(datname, length($1) + 1), '_', 1)::bigint < $2`,
		clonePrefix, time.Now().Add(-time.Hour).Unix())
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	left, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		return fmt.Errorf("look for leftovers: %w", err)
	}
	for _, name := range left {
		if err := s.exec(ctx, "DROP DATABASE IF EXISTS %s WITH (FORCE)", name); err != nil {
			return fmt.Errorf("drop leftover: %w", err)
		}
	}
	return nil
}

func drop(ctx context.Context, base, name string) error {
	srv, err := connect(ctx, base)
	if err != nil {
		return err
	}
	defer srv.close(ctx)
	if err := srv.exec(ctx, "DROP DATABASE IF EXISTS %s WITH (FORCE)", name); err != nil {
		return fmt.Errorf("drop the test's database: %w", err)
	}
	return nil
}
