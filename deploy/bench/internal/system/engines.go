package system

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Engines are the addresses of the servers that the system stands on.
type Engines struct {
	// Database is Postgres, as a superuser.
	Database string
	// NATS has JetStream.
	NATS string
	// Redis holds rate limits.
	Redis string
	// Qdrant or its stand-in, by gRPC.
	Qdrant string
	// Gemini or its stand-in.
	Gemini string
}

// hint is what to do when something is missing.
const hint = "run it under the launcher: make bench, " +
	"or go run ./deploy/devstack/cmd/devstack exec --durable -- go run ./deploy/bench/cmd/bench"

// EnginesFromEnv reads the addresses by means of a function such as os.Getenv. The error names what is missing and says what to do.
func EnginesFromEnv(getenv func(string) string) (Engines, error) {
	var (
		e       Engines
		missing []string
	)
	for _, variable := range []struct {
		name  string
		value *string
	}{
		{"TEST_DATABASE_URL", &e.Database},
		{"TEST_NATS_URL", &e.NATS},
		{"TEST_REDIS_URL", &e.Redis},
		{"TEST_QDRANT_URL", &e.Qdrant},
		{"TEST_GEMINI_URL", &e.Gemini},
	} {
		if *variable.value = getenv(variable.name); *variable.value == "" {
			missing = append(missing, variable.name)
		}
	}
	if len(missing) > 0 {
		return e, fmt.Errorf("the engines are not there (%s is not set): %s", strings.Join(missing, ", "), hint)
	}
	return e, nil
}

// Durable reports whether Postgres brings every commit to the disk before it answers.
func (e Engines) Durable(ctx context.Context) (durable bool, err error) {
	err = e.onPostgres(ctx, func(conn *pgx.Conn) error {
		return conn.QueryRow(ctx,
			"SELECT current_setting('fsync') = 'on' AND current_setting('synchronous_commit') <> 'off'").Scan(&durable)
	})
	if err != nil {
		return false, fmt.Errorf("ask Postgres whether it is durable: %w", err)
	}
	return durable, nil
}

// ErrVolatile says that Postgres does not bring commits to the disk, and what to do.
var ErrVolatile = errors.New("this Postgres runs without fsync, so nothing measured on it would be true: " + hint)

// statement runs a statement outside of any system's database.
func (e Engines) statement(ctx context.Context, sql string) error {
	return e.onPostgres(ctx, func(conn *pgx.Conn) error {
		_, err := conn.Exec(ctx, sql)
		return err
	})
}

func (e Engines) onPostgres(ctx context.Context, do func(*pgx.Conn) error) error {
	return onDatabase(ctx, e.Database, do)
}

func onDatabase(ctx context.Context, address string, do func(*pgx.Conn) error) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	return errors.Join(do(conn), conn.Close(context.WithoutCancel(ctx)))
}

// database names another database of the server. A role is entered at the start of each session, as a login of its own would:
// so the roles, which all databases of the server share, need no password.
func (e Engines) database(name, role string) (string, error) {
	u, err := url.Parse(e.Database)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return "", errors.New("TEST_DATABASE_URL is no URL of the form postgres://user:password@host:port/database")
	}
	u.Path = "/" + name
	if role != "" {
		query := u.Query()
		query.Set("role", role)
		u.RawQuery = query.Encode()
	}
	return u.String(), nil
}
