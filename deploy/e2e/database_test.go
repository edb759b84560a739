package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tarento/copilot/events"
)

// makeTemplate migrates and seeds a database with the program that operators use, and returns its name.
func (s *suite) makeTemplate(ctx context.Context) (string, error) {
	name := fmt.Sprintf("copilot_e2e_%d_%d", time.Now().Unix(), os.Getpid())
	if err := onServer(ctx, s.engines.database, "CREATE DATABASE "+pgx.Identifier{name}.Sanitize()); err != nil {
		return "", fmt.Errorf("make the template database: %w; %s", err, hint)
	}
	owner, err := databaseURL(s.engines.database, name, "")
	if err != nil {
		return "", err
	}
	for _, command := range []string{"up", "seed"} {
		cmd := exec.CommandContext(ctx, filepath.Join(s.bin, "migrate"), command)
		cmd.Env = []string{"MIGRATE_DATABASE_URL=" + owner, "ENVIRONMENT=development"}
		if out, err := cmd.CombinedOutput(); err != nil {
			return "", fmt.Errorf("migrate %s: %w\n%s", command, err, out)
		}
	}
	return name, nil
}

// cloneDatabase gives the test a database of its own and drops it at the end.
func (s *suite) cloneDatabase(t *testing.T) *database {
	t.Helper()
	name := fmt.Sprintf("%s_%s", s.template, randomName(t))
	clone := fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", pgx.Identifier{name}.Sanitize(), pgx.Identifier{s.template}.Sanitize())
	if err := onServer(t.Context(), s.engines.database, clone); err != nil {
		t.Fatalf("clone the template database: %v", err)
	}
	t.Cleanup(func() {
		if err := dropDatabase(context.WithoutCancel(t.Context()), s.engines.database, name); err != nil {
			t.Error(err)
		}
	})
	db := &database{t: t}
	for role, address := range map[string]*string{"": &db.owner, "copilot_app": &db.app, "copilot_engine": &db.engine} {
		var err error
		if *address, err = databaseURL(s.engines.database, name, role); err != nil {
			t.Fatal(err)
		}
	}
	var err error
	if db.pool, err = pgxpool.New(t.Context(), db.owner); err != nil {
		t.Fatalf("connect to the test's database: %v", err)
	}
	t.Cleanup(db.pool.Close)
	return db
}

func dropDatabase(ctx context.Context, server, name string) error {
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	if err := onServer(ctx, server, "DROP DATABASE IF EXISTS "+pgx.Identifier{name}.Sanitize()+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop a test's database: %w", err)
	}
	return nil
}

func onServer(ctx context.Context, address, statement string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return err
	}
	_, err = conn.Exec(ctx, statement)
	return errors.Join(err, conn.Close(context.WithoutCancel(ctx)))
}

// databaseURL names another database of the server. A role is entered at the start of each session, as a login of its own
// would: so the roles, which other databases of the server share, need no password.
func databaseURL(server, database, role string) (string, error) {
	u, err := url.Parse(server)
	if err != nil || !strings.HasPrefix(u.Scheme, "postgres") {
		return "", errors.New("TEST_DATABASE_URL is no URL of the form postgres://user:password@host:port/database")
	}
	u.Path = "/" + database
	if role != "" {
		q := u.Query()
		q.Set("role", role)
		u.RawQuery = q.Encode()
	}
	return u.String(), nil
}

// database is a test's own database, read as its owner: it shows what no client may see.
type database struct {
	t                  *testing.T
	owner, app, engine string
	pool               *pgxpool.Pool
}

// scan reads one row.
func (db *database) scan(query string, args []any, into ...any) {
	db.t.Helper()
	if err := db.pool.QueryRow(db.t.Context(), query, args...).Scan(into...); err != nil {
		db.t.Fatalf("%s: %v", query, err)
	}
}

// count reads one number.
func (db *database) count(query string, args ...any) (n int) {
	db.t.Helper()
	db.scan(query, args, &n)
	return n
}

// list reads rows into structs by position.
func list[T any](db *database, query string, args ...any) []T {
	db.t.Helper()
	rows, err := db.pool.Query(db.t.Context(), query, args...)
	if err != nil {
		db.t.Fatalf("%s: %v", query, err)
	}
	all, err := pgx.CollectRows(rows, pgx.RowToStructByPos[T])
	if err != nil {
		db.t.Fatalf("%s: %v", query, err)
	}
	return all
}

// jobRow is what the record says of a job.
type jobRow struct {
	ID       string
	Kind     events.Kind
	Status   events.Status
	Attempt  int
	LastSeq  int64
	Epoch    int64
	Finished *time.Time
}

const jobColumns = "id::text, kind, status, attempt, last_seq, lease_epoch, finished_at"

func (db *database) job(id string) jobRow {
	db.t.Helper()
	rows := list[jobRow](db, "SELECT "+jobColumns+" FROM jobs WHERE id = $1", id)
	if len(rows) != 1 {
		db.t.Fatalf("%d jobs have the id %s", len(rows), id)
	}
	return rows[0]
}

// children returns a job's parts by id, in the order in which they were made.
func (db *database) children(parent string) []jobRow {
	db.t.Helper()
	return list[jobRow](db, "SELECT "+jobColumns+" FROM jobs WHERE parent_id = $1 ORDER BY id", parent)
}

// awaitAllEnded returns when no job is open.
func (db *database) awaitAllEnded(within time.Duration) {
	db.t.Helper()
	eventually(db.t, within, "every job has ended", func() (bool, string) {
		open := list[struct {
			Kind, Status, On string
			N                int
		}](db, "SELECT kind, status, waiting_on, count(*) FROM jobs WHERE finished_at IS NULL GROUP BY 1, 2, 3")
		return len(open) == 0, fmt.Sprintf("open: %+v", open)
	})
}

// verify checks the promises that hold for every job at every time when none is open: each has ended exactly once, its log has no
// gap and ends with the end, no step is journalled twice, and every document that was completed has each of its chunks once,
// each with its vector.
func (db *database) verify() {
	db.t.Helper()
	for what, query := range map[string]string{
		"jobs are open": "SELECT count(*) FROM jobs WHERE finished_at IS NULL",
		"logs have gaps or doubles": `SELECT count(*) FROM jobs j WHERE j.last_seq <> (SELECT count(*) FROM job_events WHERE job_id = j.id)
			OR j.last_seq <> (SELECT coalesce(max(seq), 0) FROM job_events WHERE job_id = j.id)`,
		"jobs have not ended exactly once": `SELECT count(*) FROM jobs j WHERE 1 <> (SELECT count(*) FROM job_events e
			WHERE e.job_id = j.id AND e.type = 'job.state' AND e.data->>'status' IN ('succeeded', 'failed', 'cancelled'))`,
		"logs do not end with their job's status": `SELECT count(*) FROM jobs j JOIN job_events e ON e.job_id = j.id AND e.seq = j.last_seq
			WHERE e.type <> 'job.state' OR e.data->>'status' <> j.status`,
		"steps were finished twice": `SELECT count(*) FROM (SELECT job_id, data->>'step' FROM job_events WHERE type = 'step.finished'
			GROUP BY 1, 2 HAVING count(*) > 1) doubled`,
		"steps are told of but not journalled, or the other way round": `SELECT count(*) FROM
			(SELECT job_id, (data->>'step')::int AS step_no FROM job_events WHERE type = 'step.finished') told
			FULL JOIN run_steps s USING (job_id, step_no) WHERE told.step_no IS NULL OR s.step_no IS NULL`,
		"steps begin again after they were finished": `SELECT count(*) FROM job_events b JOIN job_events f ON f.job_id = b.job_id
			AND f.type = 'step.finished' AND f.data->>'step' = b.data->>'step' WHERE b.type = 'step.started' AND b.seq > f.seq`,
		"completed documents lack chunks or have some twice": `SELECT count(*) FROM documents d WHERE processing_status = 'completed' AND
			(chunk_count = 0 OR (chunk_count, chunk_count, chunk_count - 1) IS DISTINCT FROM
			(SELECT ROW(count(*)::int, count(DISTINCT chunk_index)::int, max(chunk_index)) FROM document_chunks WHERE document_id = d.id))`,
		"chunks of completed documents are not embedded": `SELECT count(*) FROM document_chunks c JOIN documents d ON d.id = c.document_id
			WHERE d.processing_status = 'completed' AND c.embedded_at IS NULL`,
		"completed documents do not name each chunk's vector once": `SELECT count(*) FROM documents d WHERE processing_status = 'completed'
			AND (SELECT array_agg(v ORDER BY v) FROM unnest(vector_ids) v) IS DISTINCT FROM
			(SELECT array_agg(point_id::text ORDER BY point_id::text) FROM document_chunks WHERE document_id = d.id)`,
		"messages answer the same job": `SELECT count(*) FROM (SELECT msg_metadata->>'job_id' FROM messages WHERE role = 'assistant'
			GROUP BY 1 HAVING count(*) > 1) doubled`,
	} {
		if n := db.count(query); n != 0 {
			db.t.Errorf("%d %s", n, what)
		}
	}
}
