package floor

import (
	"context"
	"fmt"

	"github.com/jackc/pgx/v5"
)

// table is like the system's jobs, reduced to what an application without its promises would keep: the row, its key, and the index
// by which a worker would find what is open.
const table = `
CREATE SCHEMA floor;
CREATE TABLE floor.jobs (
    id         uuid PRIMARY KEY,
    created_by uuid        NOT NULL,
    kind       text        NOT NULL,
    status     text        NOT NULL DEFAULT 'queued',
    input      jsonb       NOT NULL,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now()
);
CREATE INDEX jobs_open_idx ON floor.jobs (kind, id) WHERE status = 'queued';`

// Prepare makes the table in a database that does not have it yet.
func Prepare(ctx context.Context, conn *pgx.Conn) error {
	if _, err := conn.Exec(ctx, table); err != nil {
		return fmt.Errorf("make the floor's table: %w", err)
	}
	return nil
}
