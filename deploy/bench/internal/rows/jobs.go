package rows

import (
	"context"
	"fmt"
	"strconv"

	"github.com/jackc/pgx/v5"
)

// Jobs says what a table of jobs is filled with.
type Jobs struct {
	// Ended is how many jobs have ended in the year before now. Half of them are the seeded organization's.
	Ended int
	// Queued is how many wait for their turn, evenly spread over the tenants.
	Queued int
	// Tenants is how many organizations there are, the seeded one among them.
	Tenants int
}

const (
	// portion is how many rows are written before somebody is told.
	portion = 1_000_000
	// manyJobs is from how many rows on indexes are better made anew.
	manyJobs = 100_000
)

// LoadJobs fills the table of jobs and brings the planner's statistics up to date. Now and then it tells how many rows are written.
func LoadJobs(ctx context.Context, on Database, j Jobs, told func(written int)) error {
	return on(ctx, func(conn *pgx.Conn) error {
		write := func(ctx context.Context, tx pgx.Tx) error { return j.write(ctx, tx, told) }
		err := transaction(ctx, conn, max(j.Ended, j.Queued), func(ctx context.Context, tx pgx.Tx) error {
			if err := j.tenants(ctx, tx); err != nil {
				return err
			}
			if j.Ended+j.Queued < manyJobs {
				return write(ctx, tx)
			}
			return withoutIndexes(ctx, tx, "jobs", write)
		})
		if err != nil {
			return fmt.Errorf("load jobs: %w", err)
		}
		if _, err := conn.Exec(ctx, "VACUUM (ANALYZE) jobs"); err != nil {
			return fmt.Errorf("load jobs: tidy up: %w", err)
		}
		return nil
	})
}

// tenants makes organizations, unless they are there from a load before.
func (j Jobs) tenants(ctx context.Context, tx pgx.Tx) error {
	_, err := tx.Exec(ctx, `
		CREATE TEMPORARY TABLE loading_tenants ON COMMIT DROP AS
		SELECT 0 AS n, id FROM organizations WHERE domain = 'acme.com'
		UNION ALL
		SELECT n, md5('measured organization ' || n)::uuid FROM generate_series(1, `+strconv.Itoa(j.Tenants-1)+`) n;
		INSERT INTO organizations (id, name) SELECT id, 'Measured organization ' || n FROM loading_tenants WHERE n > 0
		ON CONFLICT (id) DO NOTHING;
		ANALYZE loading_tenants`)
	return err
}

// write writes the rows, a portion at a time.
func (j Jobs) write(ctx context.Context, tx pgx.Tx, told func(written int)) error {
	for _, part := range []struct {
		state string
		rows  int
	}{{"ended", j.Ended}, {"queued", j.Queued}} {
		for from := 1; from <= part.rows; from += portion {
			to := min(from+portion-1, part.rows)
			for name, value := range map[string]string{
				"bench.state": part.state, "bench.rows": strconv.Itoa(part.rows),
				"bench.from": strconv.Itoa(from), "bench.to": strconv.Itoa(to),
			} {
				if _, err := tx.Exec(ctx, "SELECT set_config($1, $2, true)", name, value); err != nil {
					return err
				}
			}
			if err := script(ctx, tx, "jobs"); err != nil {
				return err
			}
			told(to)
		}
	}
	return nil
}
