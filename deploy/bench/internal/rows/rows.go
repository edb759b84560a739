package rows

import (
	"context"
	"embed"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed sql
var scripts embed.FS

// tables are those that are filled. Each has a script with its name.
func tables() []string { return []string{"documents", "messages", "audit_logs", "conversations"} }

// Known are ids of rows that lists can be narrowed to.
type Known struct {
	// Conversation has a twentieth of all messages. It is the seeded Member's.
	Conversation string
	// Project and Agent are the seeded tenant's; the seeded Member is in the project.
	Project, Agent string
	// User is the seeded Member.
	User string
	// Document is one of the seeded tenant's; an audit entry tells of it.
	Document string
	// Since and Until are moments in the middle of the year that the rows are from, in RFC 3339.
	Since, Until string
}

// The words that texts can be searched for: Common is in every fifth or so, Rare in eight of all, Absent in none. Type and Tag are
// those of every eighth and every eleventh document, Action of every fifth audit entry.
const (
	Common = "contract"
	Rare   = "zeppelin"
	Absent = "pterodactyl"
	Type   = "manual"
	Tag    = "tag-3"
	Action = "agent_config.update"
)

// Database runs something on a connection of its own, as a superuser.
type Database func(ctx context.Context, do func(*pgx.Conn) error) error

// Load writes n rows into each table and brings the planner's statistics up to date. A table that the schema does not have yet is
// left out. The database must have no rows but the seeded ones.
func Load(ctx context.Context, on Database, n int) (k Known, err error) {
	const least = 100 // fewer make no long conversation
	if n < least {
		return k, fmt.Errorf("load rows: %d are too few, %d the least", n, least)
	}
	if err := on(ctx, func(conn *pgx.Conn) error { return transaction(ctx, conn, n, prepare) }); err != nil {
		return k, fmt.Errorf("prepare rows: %w", err)
	}
	var (
		all    sync.WaitGroup
		failed = make([]error, len(tables()))
	)
	for i, table := range tables() {
		all.Go(func() {
			if err := on(ctx, func(conn *pgx.Conn) error { return fill(ctx, conn, n, table) }); err != nil {
				failed[i] = fmt.Errorf("load %s: %w", table, err)
			}
		})
	}
	all.Wait()
	if err := errors.Join(failed...); err != nil {
		return k, err
	}
	err = on(ctx, func(conn *pgx.Conn) (err error) {
		for _, statement := range []string{"DROP SCHEMA loading CASCADE", "VACUUM (ANALYZE)"} {
			if _, err := conn.Exec(ctx, statement); err != nil {
				return fmt.Errorf("tidy up after the rows: %w", err)
			}
		}
		k, err = find(ctx, conn)
		return err
	})
	return k, err
}

// transaction runs something where rows can be written fast: they fit each other as they are made, so that no foreign key needs a
// look and no trigger has anything to say.
func transaction(ctx context.Context, conn *pgx.Conn, n int, do func(context.Context, pgx.Tx) error) error {
	return pgx.BeginFunc(ctx, conn, func(tx pgx.Tx) error {
		for _, setting := range [][2]string{
			{"bench.rows", strconv.Itoa(n)},
			{"synchronous_commit", "off"},
			{"maintenance_work_mem", "256MB"},
			{"work_mem", "64MB"},
			{"session_replication_role", "replica"},
		} {
			if _, err := tx.Exec(ctx, "SELECT set_config($1, $2, true)", setting[0], setting[1]); err != nil {
				return fmt.Errorf("set %s: %w", setting[0], err)
			}
		}
		return do(ctx, tx)
	})
}

// prepare makes what all rows are put together from.
func prepare(ctx context.Context, tx pgx.Tx) error { return script(ctx, tx, "prepare") }

func script(ctx context.Context, tx pgx.Tx, name string) error {
	text, err := scripts.ReadFile("sql/" + name + ".sql")
	if err != nil {
		return fmt.Errorf("read the script: %w", err)
	}
	_, err = tx.Exec(ctx, string(text))
	return err
}

// fill writes the rows of a table that exists.
func fill(ctx context.Context, conn *pgx.Conn, n int, table string) error {
	return transaction(ctx, conn, n, func(ctx context.Context, tx pgx.Tx) error {
		var exists bool
		if err := tx.QueryRow(ctx, "SELECT to_regclass($1) IS NOT NULL", table).Scan(&exists); err != nil || !exists {
			return err
		}
		return withoutIndexes(ctx, tx, table, func(ctx context.Context, tx pgx.Tx) error { return script(ctx, tx, table) })
	})
}

// withoutIndexes writes rows. The table's indexes, but for those that a constraint needs, are made anew when the rows are there, which
// takes a fraction of the time.
func withoutIndexes(ctx context.Context, tx pgx.Tx, table string, write func(context.Context, pgx.Tx) error) error {
	rows, err := tx.Query(ctx, `SELECT i.indexrelid::regclass::text, pg_get_indexdef(i.indexrelid) FROM pg_index i
		WHERE i.indrelid = to_regclass($1) AND NOT EXISTS (SELECT FROM pg_constraint c WHERE c.conindid = i.indexrelid)`, table)
	if err != nil {
		return err
	}
	indexes, err := pgx.CollectRows(rows, pgx.RowToStructByPos[struct{ Name, Definition string }])
	if err != nil {
		return err
	}
	for _, index := range indexes {
		if _, err := tx.Exec(ctx, "DROP INDEX "+index.Name); err != nil {
			return err
		}
	}
	if err := write(ctx, tx); err != nil {
		return err
	}
	for _, index := range indexes {
		if _, err := tx.Exec(ctx, index.Definition); err != nil {
			return fmt.Errorf("make index %s: %w", index.Name, err)
		}
	}
	return nil
}

// find looks the known rows up.
func find(ctx context.Context, conn *pgx.Conn) (k Known, err error) {
	err = conn.QueryRow(ctx, `
		SELECT u.id::text,
			(SELECT id::text FROM conversations c WHERE c.user_id = u.id ORDER BY message_count DESC, id LIMIT 1),
			(SELECT project_id::text FROM project_members m JOIN projects p ON p.id = m.project_id
				WHERE m.user_id = u.id AND p.name LIKE 'Measured%' ORDER BY project_id LIMIT 1),
			(SELECT id::text FROM agent_configs a WHERE a.organization_id = u.organization_id AND a.name LIKE 'Measured%'
				ORDER BY id LIMIT 1),
			(SELECT id::text FROM documents d WHERE d.organization_id = u.organization_id ORDER BY id LIMIT 1)
		FROM users u WHERE u.email = 'member@acme.com'`).Scan(&k.User, &k.Conversation, &k.Project, &k.Agent, &k.Document)
	if errors.Is(err, pgx.ErrNoRows) {
		return k, errors.New("load rows: there are no seeded users")
	}
	if err != nil {
		return k, fmt.Errorf("find loaded rows: %w", err)
	}
	const month = 30 * 24 * time.Hour
	now := time.Now().UTC()
	k.Since, k.Until = now.Add(-8*month).Format(time.RFC3339), now.Add(-4*month).Format(time.RFC3339)
	return k, nil
}
