package store_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarento/copilot/pkg/storetest"
)

const insufficientPrivilege = "42501"

// occupy gives the organization $1 a row in each table that the demonstration data leaves empty.
const occupy = `
WITH author AS (SELECT id FROM users WHERE organization_id = $1 LIMIT 1),
permission AS (
	INSERT INTO permissions (organization_id, name, resource, action) VALUES ($1, 'own:thing', 'own', 'thing')),
token AS (
	INSERT INTO refresh_tokens (id, organization_id, user_id, family_id, token_hash, expires_at)
	SELECT gen_random_uuid(), $1, id, gen_random_uuid(), sha256($1::text::bytea), now() FROM author),
conversation AS (
	INSERT INTO conversations (id, organization_id, user_id) SELECT gen_random_uuid(), $1, id FROM author RETURNING id),
message AS (
	INSERT INTO messages (id, organization_id, conversation_id, role)
	SELECT gen_random_uuid(), $1, id, 'user' FROM conversation),
document AS (
	INSERT INTO documents (id, organization_id, title) VALUES (gen_random_uuid(), $1, 'Secret') RETURNING id),
chunk AS (
	INSERT INTO document_chunks (id, organization_id, document_id, chunk_index, text)
	SELECT gen_random_uuid(), $1, id, 0, 'secret' FROM document),
job AS (
	INSERT INTO jobs (id, organization_id, kind, input) VALUES (gen_random_uuid(), $1, 'agent.run', '{}') RETURNING id),
event AS (
	INSERT INTO job_events (job_id, organization_id, seq, type) SELECT id, $1, 1, 'job.state' FROM job),
step AS (
	INSERT INTO run_steps (job_id, organization_id, step_no, kind, started_at, finished_at)
	SELECT id, $1, 1, 'model', now(), now() FROM job)
INSERT INTO idempotency_keys (organization_id, scope, key, body_hash, expires_at)
VALUES ($1, 'POST /', 'key', '', now())`

// tenantTables lists the tables that hold tenants' rows, with the column that names the tenant, from the catalog: a new table
// is tested as soon as it exists.
func tenantTables(t *testing.T, owner *pgx.Conn) map[string]string {
	t.Helper()
	rows, err := owner.Query(t.Context(), `SELECT table_name, column_name FROM information_schema.columns
		WHERE table_schema = 'public' AND (column_name = 'organization_id' OR table_name = 'organizations' AND column_name = 'id')`)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]string{}
	var table, column string
	if _, err := pgx.ForEachRow(rows, []any{&table, &column}, func() error {
		tables[table] = column
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return tables
}

func TestApplicationRoleStaysInsideItsTenant(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	owner, app := db.Conn(t, db.OwnerURL), db.Conn(t, db.AppURL)
	for _, org := range []string{acmeID, startupID} {
		if _, err := owner.Exec(t.Context(), occupy, org); err != nil {
			t.Fatal(err)
		}
	}
	tables := tenantTables(t, owner)
	if len(tables) < 17 {
		t.Fatalf("only %d tenant tables found", len(tables))
	}
	for _, setting := range []string{"", acmeID} {
		enter(t, app, setting)
		for table, column := range tables {
			checkIsolation(t, owner, app, table, column, setting)
		}
	}
}

// checkIsolation tries, in Acme's or in no tenant's name, to see and to write the rows of StartUp.
func checkIsolation(t *testing.T, owner, app *pgx.Conn, table, column, setting string) {
	t.Helper()
	var foreign string
	query := fmt.Sprintf("SELECT to_jsonb(r) FROM %s r WHERE %s = $1 LIMIT 1", table, column)
	if err := owner.QueryRow(t.Context(), query, startupID).Scan(&foreign); err != nil {
		t.Fatalf("%s: the test needs a row of the other tenant: %v", table, err)
	}
	want := 0
	if setting != "" {
		want = count(t, owner, table, column, acmeID)
	}
	if got := count(t, app, table, column, acmeID); got != want {
		t.Errorf("%s in tenant %q: sees %d rows of its own, want %d", table, setting, got, want)
	}
	if got := count(t, app, table, column, startupID); got != 0 {
		t.Errorf("%s in tenant %q: sees %d rows of another", table, setting, got)
	}
	//nolint:unqueryvet // the row goes back whole
	insert := fmt.Sprintf("INSERT INTO %[1]s SELECT * FROM jsonb_populate_record(NULL::%[1]s, $1)", table)
	if _, err := app.Exec(t.Context(), insert, foreign); !hasState(err, insufficientPrivilege) {
		t.Errorf("%s in tenant %q: inserting a row of another: got %v, want SQLSTATE 42501", table, setting, err)
	}
	for _, statement := range []string{"UPDATE %s SET %[2]s = %[2]s WHERE %[2]s = $1", "DELETE FROM %s WHERE %s = $1"} {
		tag, err := app.Exec(t.Context(), fmt.Sprintf(statement, table, column), startupID)
		if err != nil || tag.RowsAffected() != 0 {
			t.Errorf("%s in tenant %q: %s: %d rows, %v; want none", table, setting, statement, tag.RowsAffected(), err)
		}
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
	if _, err := owner.Exec(t.Context(), occupy, startupID); err != nil {
		t.Fatal(err)
	}
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
	// Even the owner, whom no policy stops, cannot tie a conversation to another tenant's project.
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
	for _, org := range []string{acmeID, startupID} {
		if _, err := owner.Exec(t.Context(), occupy, org); err != nil {
			t.Fatal(err)
		}
	}
	open := []string{"jobs", "job_events", "idempotency_keys"}
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
	if _, err := engine.Exec(t.Context(), "SELECT auth_find_user('admin@acme.com')"); !hasState(err, insufficientPrivilege) {
		t.Errorf("auth_find_user: got %v, want SQLSTATE 42501", err)
	}
}

func TestNoTableIsOpenToTheApplicationWithoutAPolicy(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	owner := db.Conn(t, db.OwnerURL)
	// What a later migration adds is granted by default, so that this test finds it when its policy was forgotten.
	if _, err := owner.Exec(t.Context(), "CREATE TABLE forgotten (organization_id uuid)"); err != nil {
		t.Fatal(err)
	}
	rows, err := owner.Query(t.Context(), `SELECT relname FROM pg_class
		WHERE relnamespace = 'public'::regnamespace AND relkind IN ('r', 'p')
			AND has_table_privilege('copilot_app', oid, 'SELECT') AND NOT relrowsecurity`)
	if err != nil {
		t.Fatal(err)
	}
	unguarded, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(unguarded, []string{"forgotten"}) {
		t.Errorf("tables without row-level security: %q, want only the one this test made", unguarded)
	}
	var goose bool
	const reads = "SELECT has_table_privilege('copilot_app', 'goose_db_version', 'SELECT')"
	if err := owner.QueryRow(t.Context(), reads).Scan(&goose); err != nil || goose {
		t.Errorf("the application can read goose's table: %t, %v", goose, err)
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
