package migrations

import (
	"context"
	"crypto/sha256"
	"database/sql"
	"embed"
	"encoding/hex"
	"fmt"
	"io/fs"
	"path"
	"time"

	"github.com/pressly/goose/v3"
	"github.com/pressly/goose/v3/lock"
)

//go:embed sql/*.sql
var files embed.FS

// Step is one migration that was applied or taken back.
type Step struct {
	// Version is the number the file's name starts with.
	Version int64
	// Name is the file's name without its folder.
	Name string
	// Took is how long the database worked on it.
	Took time.Duration
}

// State tells whether one migration is in the database.
type State struct {
	Version int64
	Name    string
	// Applied is false for a migration that Up would run.
	Applied bool
	// AppliedAt is zero while Applied is false.
	AppliedAt time.Time
}

// Up applies every migration that the database does not have yet, in order, and returns those it applied. Each is its own
// transaction: on an error the returned steps are in the database and the failed one is not. When another process is
// migrating the same database, Up waits for it, at most a minute.
func Up(ctx context.Context, db *sql.DB) ([]Step, error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	results, err := p.Up(ctx)
	if err != nil {
		return steps(results), fmt.Errorf("migrate up: %w", err)
	}
	return steps(results), nil
}

// Down takes back every migration newer than version to, newest first, and returns those it took back. Down to 0 leaves
// an empty schema, and with it no data.
func Down(ctx context.Context, db *sql.DB, to int64) ([]Step, error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	results, err := p.DownTo(ctx, to)
	if err != nil {
		return steps(results), fmt.Errorf("migrate down to %d: %w", to, err)
	}
	return steps(results), nil
}

// Status lists all known migrations, oldest first, with their state in the database.
func Status(ctx context.Context, db *sql.DB) ([]State, error) {
	p, err := provider(db)
	if err != nil {
		return nil, err
	}
	found, err := p.Status(ctx)
	if err != nil {
		return nil, fmt.Errorf("read migration status: %w", err)
	}
	states := make([]State, 0, len(found))
	for _, s := range found {
		states = append(states, State{
			Version: s.Source.Version, Name: path.Base(s.Source.Path),
			Applied: s.State == goose.StateApplied, AppliedAt: s.AppliedAt,
		})
	}
	return states, nil
}

// Fingerprint is a short hex digest of all that shapes a fresh database: the migrations and the demonstration data. Equal
// fingerprints mean equal databases, so tests may share a template named by it.
func Fingerprint() (string, error) {
	digest := sha256.New()
	err := fs.WalkDir(files, ".", func(name string, entry fs.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		content, err := fs.ReadFile(files, name)
		if err != nil {
			return err
		}
		digest.Write([]byte(name))
		digest.Write(content)
		return nil
	})
	if err != nil {
		return "", fmt.Errorf("hash the migrations: %w", err)
	}
	digest.Write([]byte(seedSQL))
	return hex.EncodeToString(digest.Sum(nil))[:16], nil
}

// provider builds a goose provider of its own for each call: goose closes over the database handle and remembers nothing.
func provider(db *sql.DB) (*goose.Provider, error) {
	sources, err := fs.Sub(files, "sql")
	if err != nil {
		return nil, fmt.Errorf("open the embedded migrations: %w", err)
	}
	locker, err := lock.NewPostgresSessionLocker(lock.WithLockTimeout(1, 60))
	if err != nil {
		return nil, fmt.Errorf("prepare the migration lock: %w", err)
	}
	p, err := goose.NewProvider(goose.DialectPostgres, db, sources,
		goose.WithSessionLocker(locker), goose.WithDisableGlobalRegistry(true))
	if err != nil {
		return nil, fmt.Errorf("read the embedded migrations: %w", err)
	}
	return p, nil
}

func steps(results []*goose.MigrationResult) []Step {
	done := make([]Step, 0, len(results))
	for _, r := range results {
		if r.Error == nil {
			done = append(done, Step{Version: r.Source.Version, Name: path.Base(r.Source.Path), Took: r.Duration})
		}
	}
	return done
}
