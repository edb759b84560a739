package rows

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
)

//go:embed load.sql
var load string

// Known are ids of rows that lists can be narrowed to.
type Known struct {
	// Conversation has a twentieth of all messages. It is the seeded Member's.
	Conversation string
	// Project and Agent are the seeded tenant's; the seeded Member is in the project.
	Project, Agent string
	// User is the seeded Member.
	User string
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

// Load writes n rows into each table and brings the planner's statistics up to date. A table that the schema does not have yet is
// left out. The database must have no rows but the seeded ones.
func Load(ctx context.Context, conn *pgx.Conn, n int) (Known, error) {
	const least = 100 // fewer make no long conversation
	if n < least {
		return Known{}, fmt.Errorf("load rows: %d are too few, %d the least", n, least)
	}
	if _, err := conn.Exec(ctx, "SELECT set_config('bench.rows', $1, false)", strconv.Itoa(n)); err != nil {
		return Known{}, fmt.Errorf("load rows: %w", err)
	}
	if _, err := conn.Exec(ctx, load); err != nil {
		return Known{}, fmt.Errorf("load rows: %w", err)
	}
	if _, err := conn.Exec(ctx, "VACUUM (ANALYZE)"); err != nil {
		return Known{}, fmt.Errorf("bring statistics up to date: %w", err)
	}
	return find(ctx, conn)
}

// find looks the known rows up.
func find(ctx context.Context, conn *pgx.Conn) (k Known, err error) {
	err = conn.QueryRow(ctx, `
		SELECT u.id::text,
			(SELECT id::text FROM conversations c WHERE c.user_id = u.id ORDER BY message_count DESC, id LIMIT 1),
			(SELECT project_id::text FROM project_members m JOIN projects p ON p.id = m.project_id
				WHERE m.user_id = u.id AND p.name LIKE 'Measured%' ORDER BY project_id LIMIT 1),
			(SELECT id::text FROM agent_configs a WHERE a.organization_id = u.organization_id AND a.name LIKE 'Measured%'
				ORDER BY id LIMIT 1)
		FROM users u WHERE u.email = 'member@acme.com'`).Scan(&k.User, &k.Conversation, &k.Project, &k.Agent)
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
