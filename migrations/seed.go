package migrations

import (
	"cmp"
	"context"
	"database/sql"
	_ "embed"
	"errors"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/crypto/bcrypt"
)

//go:embed seed.sql
var seedSQL string

// SeedPassword is the password of every seeded user.
const SeedPassword = "SecurePassword123!"

// defaultPasswordCost is the bcrypt cost that the service itself hashes passwords with.
const defaultPasswordCost = 12

// ErrProduction is returned by Seed in a production environment: the demonstration users have a published password.
var ErrProduction = errors.New("refusing to seed demonstration data: ENVIRONMENT is production")

// SeedOptions says where the seed runs and how.
type SeedOptions struct {
	// Environment is the value of ENVIRONMENT. "production", in any case, refuses the seed.
	Environment string
	// PasswordCost is the bcrypt cost for the users' passwords; zero means 12. Tests take bcrypt.MinCost, because 12 is a
	// quarter of a second for each user.
	PasswordCost int
}

// Seed writes the demonstration data: two organizations with their roles, three users, two projects and two agents. It is
// one transaction, and idempotent: a second run adds only what is missing and resets nothing, not even a changed password.
// The schema must be up to date.
func Seed(ctx context.Context, db *sql.DB, opts SeedOptions) error {
	if strings.EqualFold(strings.TrimSpace(opts.Environment), "production") {
		return ErrProduction
	}
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return fmt.Errorf("seed: begin: %w", err)
	}
	defer func() { _ = tx.Rollback() }()

	for _, organization := range []struct {
		id        string
		usernames []string
	}{
		{"01900000-0000-7000-8000-000000000a00", []string{"admin_acme", "member_acme"}},
		{"01900000-0000-7000-8000-000000000b00", []string{"admin_startup"}},
	} {
		if err := set(ctx, tx, "app.tenant_id", organization.id); err != nil {
			return err
		}
		if err := setPasswords(ctx, tx, organization.usernames, opts.PasswordCost); err != nil {
			return err
		}
		if _, err := tx.ExecContext(ctx, seedSQL); err != nil {
			return fmt.Errorf("seed organization %s: %w", organization.id, explain(err))
		}
	}
	if err := tx.Commit(); err != nil {
		return fmt.Errorf("seed: commit: %w", err)
	}
	return nil
}

// setPasswords hands each user's password hash to seed.sql as a setting of the transaction. Users that exist keep theirs,
// so nothing is spent on hashing for them.
func setPasswords(ctx context.Context, tx *sql.Tx, usernames []string, cost int) error {
	if cost == 0 {
		cost = defaultPasswordCost
	}
	for _, username := range usernames {
		var exists bool
		err := tx.QueryRowContext(ctx, "SELECT EXISTS (SELECT FROM users WHERE lower(username) = $1)", username).Scan(&exists)
		if err != nil {
			return fmt.Errorf("seed: look for user %s: %w", username, explain(err))
		}
		var hash []byte
		if !exists {
			if hash, err = bcrypt.GenerateFromPassword([]byte(SeedPassword), cost); err != nil {
				return fmt.Errorf("seed: hash password: %w", err)
			}
		}
		if err := set(ctx, tx, "seed."+username, string(hash)); err != nil {
			return err
		}
	}
	return nil
}

// set gives a setting a value for the rest of the transaction.
func set(ctx context.Context, tx *sql.Tx, name, value string) error {
	if _, err := tx.ExecContext(ctx, "SELECT set_config($1, $2, true)", name, value); err != nil {
		return fmt.Errorf("seed: set %s: %w", name, err)
	}
	return nil
}

// explain adds what to do to the errors that people run into.
func explain(err error) error {
	var refusal *pgconn.PgError
	if !errors.As(err, &refusal) {
		return err
	}
	switch refusal.Code {
	case "42P01": // undefined_table
		return fmt.Errorf("the schema is missing or old, run `migrate up` first: %w", err)
	case "23505": // unique_violation
		// To whom row-level security applies the server does not quote the row, only the constraint.
		return fmt.Errorf("the database already has its own row where the demonstration data would go (%s): %w",
			cmp.Or(refusal.Detail, refusal.ConstraintName), err)
	default:
		return err
	}
}
