package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/crypto/bcrypt"

	"github.com/tarento/copilot/migrations"
	"github.com/tarento/copilot/pkg/storetest"
)

const insufficientPrivilege = "42501"

// rowsOfTables are one row in each table that the demonstration data leaves empty, for the organization $1, parents first.
func rowsOfTables() []string {
	return []string{
		`INSERT INTO job_limits (organization_id) VALUES ($1)`,
		`INSERT INTO permissions (organization_id, name, resource, action) VALUES ($1, 'own:thing', 'own', 'thing')`,
		`INSERT INTO refresh_tokens (id, organization_id, user_id, family_id, token_hash, expires_at)
			SELECT gen_random_uuid(), $1, id, gen_random_uuid(), sha256(organization_id::text::bytea), now()
			FROM users WHERE organization_id = $1 LIMIT 1`,
		`INSERT INTO conversations (id, organization_id, user_id)
			SELECT gen_random_uuid(), $1, id FROM users WHERE organization_id = $1 LIMIT 1`,
		`INSERT INTO messages (id, organization_id, conversation_id, role)
			SELECT gen_random_uuid(), $1, id, 'user' FROM conversations WHERE organization_id = $1`,
		`INSERT INTO documents (id, organization_id, title) VALUES (gen_random_uuid(), $1, 'Secret')`,
		`INSERT INTO document_chunks (id, organization_id, document_id, chunk_index, text)
			SELECT gen_random_uuid(), $1, id, 0, 'secret' FROM documents WHERE organization_id = $1`,
		`INSERT INTO jobs (id, organization_id, kind, input) VALUES (gen_random_uuid(), $1, 'agent.run', '{}')`,
		`INSERT INTO job_events (job_id, organization_id, seq, type)
			SELECT id, $1, 1, 'job.state' FROM jobs WHERE organization_id = $1`,
		`INSERT INTO run_steps (job_id, organization_id, step_no, kind, started_at, finished_at)
			SELECT id, $1, 1, 'model', now(), now() FROM jobs WHERE organization_id = $1`,
		`INSERT INTO idempotency_keys (organization_id, scope, key, body_hash, expires_at)
			VALUES ($1, 'POST /', 'key', '', now())`,
		`INSERT INTO api_keys (id, organization_id, user_id, name, prefix, key_hash, scopes)
			SELECT gen_random_uuid(), $1, id, 'key', 'ck_', sha256(organization_id::text::bytea), '{jobs:read}'
			FROM users WHERE organization_id = $1 LIMIT 1`,
		`INSERT INTO webhooks (id, organization_id, url, event_types, secret)
			VALUES (gen_random_uuid(), $1, 'https://example.com', '{job.failed}', '')`,
		`INSERT INTO webhook_feeds (organization_id, xid, job_id, seq) VALUES ($1, '1', gen_random_uuid(), 0)`,
		`INSERT INTO webhook_deliveries (id, organization_id, webhook_id, message_id, event_type, payload, job_id)
			SELECT gen_random_uuid(), $1, id, 'msg_1', 'job.failed', '{}', gen_random_uuid() FROM webhooks WHERE organization_id = $1`,
		`INSERT INTO agent_schedules (id, organization_id, agent_config_id, user_id, name, cron, timezone, next_run_at)
			SELECT gen_random_uuid(), $1, a.id, u.id, 'nightly', '0 2 * * *', 'UTC', now()
			FROM agent_configs a JOIN users u USING (organization_id) WHERE organization_id = $1 LIMIT 1`,
		`INSERT INTO audit_logs (organization_id, seq, id, action, resource_type, hash)
			VALUES ($1, 1, gen_random_uuid(), 'thing.create', 'thing', sha256(''))`,
		`INSERT INTO audit_heads (organization_id, seq, hash) VALUES ($1, 1, sha256(''))`,
	}
}

// occupy gives organizations a row in each table that the demonstration data leaves empty.
func occupy(t *testing.T, owner *pgx.Conn, organizations ...string) {
	t.Helper()
	for _, organization := range organizations {
		for _, insert := range rowsOfTables() {
			if _, err := owner.Exec(t.Context(), insert, organization); err != nil {
				t.Fatalf("%s: %v", insert, err)
			}
		}
	}
}

// Every role that could be given to the application, the owner included, meets every table in no tenant's and in one
// tenant's name.
func TestIsolationOfEveryTable(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t)
	plainOwner := db.PlainOwner(t)
	migrateAndSeed(t, plainOwner)
	admin := db.Conn(t, db.OwnerURL)
	occupy(t, admin, acmeID, startupID)
	tables := tenantTables(t, admin)
	if len(tables) < 17 {
		t.Fatalf("only %d tenant tables found", len(tables))
	}
	checks := 0
	for role, address := range map[string]string{"the application": db.AppURL, "the owner": plainOwner} {
		conn := db.Conn(t, address)
		// First as the session begins, when the setting does not exist, and then as a transaction leaves it, empty.
		for i, setting := range []string{"", "", acmeID} {
			if i > 0 {
				enter(t, conn, setting)
			}
			for table, column := range tables {
				i := intruder{t: t, name: fmt.Sprintf("%s as %s in tenant %q", table, role, setting), admin: admin, conn: conn}
				i.check(table, column, setting)
				checks += i.checks
			}
		}
	}
	t.Logf("%d tables, %d checks of isolation", len(tables), checks)
}

// intruder tries, in Acme's or in no tenant's name, to see and to write the rows of StartUp.
type intruder struct {
	t      *testing.T
	name   string
	admin  *pgx.Conn // sees everything
	conn   *pgx.Conn
	checks int
}

func (i *intruder) check(table, column, setting string) {
	i.t.Helper()
	want := 0
	if setting == acmeID {
		want = count(i.t, i.admin, table, column, acmeID)
	}
	i.sees(table, column, acmeID, want)
	i.sees(table, column, startupID, 0)

	i.inserts(table, i.row(table, column, startupID))
	if setting == "" {
		i.inserts(table, i.row(table, column, acmeID))
	}
	i.changesNothing(fmt.Sprintf("UPDATE %s SET %[2]s = %[2]s WHERE %[2]s = $1", table, column), startupID)
	i.changesNothing(fmt.Sprintf("DELETE FROM %s WHERE %s = $1", table, column), startupID)
	if setting == acmeID {
		i.refused(fmt.Sprintf("UPDATE %s SET %s = $1", table, column), startupID)
	}
}

// row returns a row of the organization as JSON.
func (i *intruder) row(table, column, organization string) (row string) {
	i.t.Helper()
	query := fmt.Sprintf("SELECT to_jsonb(r) FROM %s r WHERE %s = $1 LIMIT 1", table, column)
	if err := i.admin.QueryRow(i.t.Context(), query, organization).Scan(&row); err != nil {
		i.t.Fatalf("%s has no row to steal, add one to rowsOfTables: %v", table, err)
	}
	return row
}

func (i *intruder) sees(table, column, organization string, want int) {
	i.t.Helper()
	i.checks++
	if got := count(i.t, i.conn, table, column, organization); got != want {
		i.t.Errorf("%s: sees %d rows of %s, want %d", i.name, got, organization, want)
	}
}

func (i *intruder) inserts(table, row string) {
	i.t.Helper()
	var columns string // all but those that the database computes
	if err := i.admin.QueryRow(i.t.Context(), `SELECT string_agg(quote_ident(attname), ', ') FROM pg_attribute
		WHERE attrelid = $1::regclass AND attnum > 0 AND NOT attisdropped AND attgenerated = ''`, table).Scan(&columns); err != nil {
		i.t.Fatal(err)
	}
	i.refused(fmt.Sprintf("INSERT INTO %[1]s (%[2]s) SELECT %[2]s FROM jsonb_populate_record(NULL::%[1]s, $1)", table, columns), row)
}

func (i *intruder) refused(statement, argument string) {
	i.t.Helper()
	i.checks++
	if _, err := i.conn.Exec(i.t.Context(), statement, argument); !hasState(err, insufficientPrivilege) {
		i.t.Errorf("%s: %s: got %v, want SQLSTATE 42501", i.name, statement, err)
	}
}

// changesNothing accepts a refusal, too: what is append-only may not be changed by anybody.
func (i *intruder) changesNothing(statement, argument string) {
	i.t.Helper()
	i.checks++
	tag, err := i.conn.Exec(i.t.Context(), statement, argument)
	if tag.RowsAffected() != 0 || err != nil && !hasState(err, insufficientPrivilege) {
		i.t.Errorf("%s: %s: %d rows, %v; want none", i.name, statement, tag.RowsAffected(), err)
	}
}

func TestPlatformSeesOrganizationsAndNothingElse(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t)
	plainOwner := db.PlainOwner(t)
	migrateAndSeed(t, plainOwner)
	occupy(t, db.Conn(t, db.OwnerURL), acmeID, startupID)
	for _, c := range []struct {
		name, address, platform, tenant string
		want                            int
	}{
		{"the application on the platform's behalf", db.AppURL, "on", "", 2},
		{"the application on the platform's behalf inside a tenant", db.AppURL, "on", acmeID, 2},
		{"the application when the platform is off", db.AppURL, "off", "", 0},
		{"the application when the platform was reset", db.AppURL, "", "", 0},
		{"the owner, whom the setting does not help", plainOwner, "on", "", 0},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			admin, conn := db.Conn(t, db.OwnerURL), db.Conn(t, c.address)
			enter(t, conn, c.tenant)
			if _, err := conn.Exec(t.Context(), "SELECT set_config('app.platform', $1, false)", c.platform); err != nil {
				t.Fatal(err)
			}
			for table, column := range tenantTables(t, admin) {
				i := intruder{t: t, name: table, admin: admin, conn: conn}
				if table != "organizations" {
					i.sees(table, column, startupID, 0)
					continue
				}
				var n int
				if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM organizations").Scan(&n); err != nil || n != c.want {
					t.Errorf("sees %d organizations (%v), want %d", n, err, c.want)
				}
				i.inserts(table, i.row(table, column, startupID))
				i.changesNothing("UPDATE organizations SET name = 'mine' WHERE id = $1", startupID)
				i.changesNothing("DELETE FROM organizations WHERE id = $1", startupID)
			}
		})
	}
}

func TestShippedPermissionsAreReadableAndImmutable(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	app := db.Conn(t, db.AppURL)
	enter(t, app, acmeID)
	var n int
	if err := app.QueryRow(t.Context(), "SELECT count(*) FROM permissions WHERE is_system").Scan(&n); err != nil || n == 0 {
		t.Errorf("sees %d shipped permissions: %v", n, err)
	}
	for _, statement := range []string{"UPDATE permissions SET description = 'mine'", "DELETE FROM permissions"} {
		if tag, err := app.Exec(t.Context(), statement); err != nil || tag.RowsAffected() != 0 {
			t.Errorf("%s: %d rows, %v; want none", statement, tag.RowsAffected(), err)
		}
	}
	_, err := app.Exec(t.Context(), "INSERT INTO permissions (name, resource, action, is_system) VALUES ('a:b', 'a', 'b', true)")
	if !hasState(err, insufficientPrivilege) {
		t.Errorf("shipping a permission: got %v, want SQLSTATE 42501", err)
	}
}

func TestRoleCannotBeGivenAnotherTenantsPermission(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	owner, app := db.Conn(t, db.OwnerURL), db.Conn(t, db.AppURL)
	occupy(t, owner, startupID)
	var foreign string
	if err := owner.QueryRow(t.Context(), "SELECT id FROM permissions WHERE organization_id = $1", startupID).Scan(&foreign); err != nil {
		t.Fatal(err)
	}
	enter(t, app, acmeID)
	_, err := app.Exec(t.Context(), `INSERT INTO role_permissions (organization_id, role_id, permission_id)
		SELECT organization_id, id, $1 FROM roles WHERE name = 'Viewer'`, foreign)
	if !hasState(err, insufficientPrivilege) {
		t.Errorf("got %v, want SQLSTATE 42501", err)
	}
}

func TestForeignKeysDoNotReachIntoAnotherTenant(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	owner := db.Conn(t, db.OwnerURL)
	// Even a superuser, whom no policy stops, cannot tie a conversation to another tenant's project.
	_, err := owner.Exec(t.Context(), `INSERT INTO conversations (id, organization_id, user_id, project_id)
		SELECT gen_random_uuid(), u.organization_id, u.id, p.id FROM users u, projects p
		WHERE u.organization_id = $1 AND p.organization_id = $2 LIMIT 1`, acmeID, startupID)
	if !hasState(err, "23503") {
		t.Errorf("got %v, want a foreign key violation", err)
	}
}

func TestEngineRoleSeesJobsOfAllTenantsAndNoContent(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	owner, engine := db.Conn(t, db.OwnerURL), db.Conn(t, db.EngineURL)
	occupy(t, owner, acmeID, startupID)
	open := []string{
		"jobs", "job_events", "idempotency_keys", "job_limits", "run_steps", "webhook_feeds", "organizations", "agent_schedules",
	}
	for table := range tenantTables(t, owner) {
		var n int
		err := engine.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n)
		switch {
		case slices.Contains(open, table) && (err != nil || n != 2):
			t.Errorf("%s: sees %d rows (%v), want 2", table, n, err)
		case !slices.Contains(open, table) && !hasState(err, insufficientPrivilege):
			t.Errorf("%s: got %v, want SQLSTATE 42501", table, err)
		}
	}
	// Of journals it sees whose they are, so that it can delete them; of schedules, when they are due.
	for _, statement := range []string{
		"SELECT output FROM run_steps", "UPDATE run_steps SET name = 'mine'", "SELECT * FROM run_steps",
		"SELECT user_input FROM agent_schedules", "UPDATE agent_schedules SET next_run_at = now()",
	} {
		if _, err := engine.Exec(t.Context(), statement); !hasState(err, insufficientPrivilege) {
			t.Errorf("%s: got %v, want SQLSTATE 42501", statement, err)
		}
	}
	// Of organizations it sees which plan they are on.
	for _, statement := range []string{"SELECT name FROM organizations", "UPDATE organizations SET subscription_plan = 'starter'"} {
		if _, err := engine.Exec(t.Context(), statement); !hasState(err, insufficientPrivilege) {
			t.Errorf("%s: got %v, want SQLSTATE 42501", statement, err)
		}
	}
	if _, err := engine.Exec(t.Context(), "SELECT auth_find_user('admin@acme.com')"); !hasState(err, insufficientPrivilege) {
		t.Errorf("auth_find_user: got %v, want SQLSTATE 42501", err)
	}
}

// migrateAndSeed fills an empty database as its owner.
func migrateAndSeed(t *testing.T, owner string) {
	t.Helper()
	db, err := migrations.Open(t.Context(), owner, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = db.Close() }()
	if _, err := migrations.Up(t.Context(), db); err != nil {
		t.Fatal(err)
	}
	if err := migrations.Seed(t.Context(), db, migrations.SeedOptions{PasswordCost: bcrypt.MinCost}); err != nil {
		t.Fatal(err)
	}
}

// enter binds the session to a tenant; the empty one is none.
func enter(t *testing.T, conn *pgx.Conn, id string) {
	t.Helper()
	if _, err := conn.Exec(t.Context(), "SELECT set_config('app.tenant_id', $1, false)", id); err != nil {
		t.Fatal(err)
	}
}

func count(t *testing.T, conn *pgx.Conn, table, column, org string) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), fmt.Sprintf("SELECT count(*) FROM %s WHERE %s = $1", table, column), org).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func hasState(err error, state string) bool {
	refusal, ok := errors.AsType[*pgconn.PgError](err)
	return ok && refusal.Code == state
}
