package migrations

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/stdlib"
)

const (
	// lockTimeout bounds how long a migration may wait for a table lock while others queue up behind it.
	lockTimeout = 10 * time.Second
	retryPause  = 250 * time.Millisecond
)

// Open connects to the database as its owner and returns once a statement has run there. A server that is not up yet is
// waited for, at most for wait; a refusal that time does not heal (wrong password, no such database) is returned at once.
// Errors name host and port and never contain the password. The caller closes the returned handle.
func Open(ctx context.Context, url string, wait time.Duration) (*sql.DB, error) {
	cfg, err := pgx.ParseConfig(url)
	if err != nil {
		// The parser's own message would be safe only by the parser's care: say what is known without it.
		return nil, errors.New("the database URL cannot be read: expected postgres://user:password@host:port/database")
	}
	cfg.RuntimeParams["application_name"] = "copilot-migrate"
	cfg.RuntimeParams["lock_timeout"] = strconv.FormatInt(lockTimeout.Milliseconds(), 10)

	db := stdlib.OpenDB(*cfg)
	db.SetMaxOpenConns(4)
	if err := awaitServer(ctx, db, wait); err != nil {
		_ = db.Close()
		where := net.JoinHostPort(cfg.Host, strconv.Itoa(int(cfg.Port)))
		return nil, fmt.Errorf("no usable Postgres at %s (database %s, user %s): %w", where, cfg.Database, cfg.User, err)
	}
	return db, nil
}

// awaitServer pings until the server answers, refuses for good, or wait is over.
func awaitServer(ctx context.Context, db *sql.DB, wait time.Duration) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	var last error
	for {
		err := db.PingContext(ctx)
		if err == nil {
			return nil
		}
		if last == nil || ctx.Err() == nil {
			last = err
		}
		if refusedForGood(err) {
			return plainReason(err)
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("gave up after %s: %w", wait, plainReason(last))
		case <-time.After(retryPause):
		}
	}
}

// refusedForGood reports whether the server is up and said no. A server that is starting (57P03) or full (53300) is not.
func refusedForGood(err error) bool {
	var refusal *pgconn.PgError
	return errors.As(err, &refusal) && refusal.Code != "57P03" && refusal.Code != "53300"
}

// plainReason reduces a connection error to its innermost cause: the driver's own text repeats the connection settings.
func plainReason(err error) error {
	if refusal, ok := errors.AsType[*pgconn.PgError](err); ok {
		return fmt.Errorf("%s (SQLSTATE %s)", refusal.Message, refusal.Code)
	}
	if lookup, ok := errors.AsType[*net.DNSError](err); ok {
		return lookup
	}
	if op, ok := errors.AsType[*net.OpError](err); ok {
		return op.Err
	}
	return err
}
