package store_test

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/pkg/storetest"
)

// tenantTables lists the tables that hold tenants' rows, with the column that names the tenant, from the catalog: a new table
// is tested as soon as it exists.
func tenantTables(t *testing.T, owner *pgx.Conn) map[string]string {
	t.Helper()
	rows, err := owner.Query(t.Context(), `SELECT table_name, column_name
		FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
		WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND (column_name = 'organization_id' OR table_name = 'organizations' AND column_name = 'id')`)
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

// policiesBeside are all policies but the tenant's own.
func policiesBeside() map[string]string {
	return map[string]string{
		"jobs.engine":             "ALL {copilot_engine}",
		"job_events.engine":       "ALL {copilot_engine}",
		"run_steps.engine":        "ALL {copilot_engine}",
		"idempotency_keys.engine": "ALL {copilot_engine}",
		"job_limits.engine":       "SELECT {copilot_engine}",
		"webhook_feeds.engine":    "SELECT {copilot_engine}",
		"agent_schedules.engine":  "SELECT {copilot_engine}",
		"users.auth":              "SELECT {copilot_auth}",
		"refresh_tokens.auth":     "SELECT {copilot_auth}",
		"organizations.platform":  "SELECT {copilot_app}",
		"organizations.engine":    "SELECT {copilot_engine}",
		"permissions.shipped":     "SELECT {public}",
		"conversations.search":    "SELECT {copilot_search}",
		"documents.search":        "SELECT {copilot_search}",
		"messages.search":         "SELECT {copilot_search}",
		"users.search":            "SELECT {copilot_search}",
	}
}

func TestEveryTenantTableIsForcedIntoItsTenant(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	owner := db.Conn(t, db.OwnerURL)
	tables := tenantTables(t, owner)
	for table := range tables {
		var enabled, forced bool
		if err := owner.QueryRow(t.Context(), "SELECT relrowsecurity, relforcerowsecurity FROM pg_class WHERE oid = $1::regclass",
			table).Scan(&enabled, &forced); err != nil {
			t.Fatal(err)
		}
		if !enabled || !forced {
			t.Errorf("%s: row-level security is enabled: %t, forced: %t; want both", table, enabled, forced)
		}
	}
	rows, err := owner.Query(t.Context(), `SELECT tablename, policyname, permissive, cmd, roles::text, coalesce(qual, ''), coalesce(with_check, '')
		FROM pg_policies WHERE schemaname = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	guarded := map[string]string{}
	beside := map[string]string{}
	var table, name, permissive, command, roles, qual, check string
	if _, err := pgx.ForEachRow(rows, []any{&table, &name, &permissive, &command, &roles, &qual, &check}, func() error {
		if name != "tenant" {
			beside[table+"."+name] = command + " " + roles
			return nil
		}
		guarded[table] = tables[table]
		own := fmt.Sprintf("(%s = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid)", tables[table])
		// What is written may have to meet more than that.
		if permissive != "PERMISSIVE" || command != "ALL" || roles != "{public}" || qual != own || !strings.Contains(check, own) {
			t.Errorf("%s: the tenant's policy is %s for %s to %s using %s with check %s; want it for everything and everybody, using %s",
				table, permissive, command, roles, qual, check, own)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	if !maps.Equal(guarded, tables) {
		t.Errorf("tables with a tenant's policy:\n%v, want those with tenants' rows:\n%v", guarded, tables)
	}
	if want := policiesBeside(); !maps.Equal(beside, want) {
		t.Errorf("policies beside the tenant's:\n%v, want\n%v", beside, want)
	}
	t.Logf("%d tables", len(tables))
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
		WHERE relnamespace = 'public'::regnamespace AND (relkind IN ('r', 'p', 'm', 'f')
				OR relkind = 'v' AND NOT (relname LIKE 'searchable\_%' AND relowner = 'copilot_search'::regrole))
			AND has_any_column_privilege('copilot_app', oid, 'SELECT') AND NOT (relrowsecurity AND relforcerowsecurity)`)
	if err != nil {
		t.Fatal(err)
	}
	unguarded, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Equal(unguarded, []string{"forgotten"}) {
		t.Errorf("tables without forced row-level security: %q, want only the one this test made", unguarded)
	}
	var goose bool
	const reads = "SELECT has_table_privilege('copilot_app', 'goose_db_version', 'SELECT')"
	if err := owner.QueryRow(t.Context(), reads).Scan(&goose); err != nil || goose {
		t.Errorf("the application can read goose's table: %t, %v", goose, err)
	}
}

func TestIsolateIsAllThatANewTableNeeds(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	owner, app := db.Conn(t, db.OwnerURL), db.Conn(t, db.AppURL)
	for _, statement := range []string{
		`CREATE TABLE "Odd name" (organization_id uuid NOT NULL)`,
		`REVOKE ALL ON "Odd name" FROM copilot_app`,
		`SELECT isolate('"Odd name"')`,
		`INSERT INTO "Odd name" SELECT id FROM organizations`,
	} {
		if _, err := owner.Exec(t.Context(), statement); err != nil {
			t.Fatalf("%s: %v", statement, err)
		}
	}
	for _, c := range []struct {
		tenant string
		want   int
	}{{"", 0}, {acmeID, 1}} {
		enter(t, app, c.tenant)
		i := intruder{t: t, name: "the new table in tenant " + c.tenant, admin: owner, conn: app}
		i.sees(`"Odd name"`, "organization_id", acmeID, c.want)
		i.check(`"Odd name"`, "organization_id", c.tenant)
	}
	if _, err := app.Exec(t.Context(), "SELECT isolate('users')"); !hasState(err, insufficientPrivilege) {
		t.Errorf("isolate as the application: got %v, want SQLSTATE 42501", err)
	}
}

func TestLoginRoleReadsItsColumnsAndNothingElse(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	owner := db.Conn(t, db.OwnerURL)
	rows, err := owner.Query(t.Context(), `SELECT concat_ws(' ', privilege_type, table_name, column_name)
		FROM information_schema.column_privileges WHERE grantee = 'copilot_auth'
		UNION ALL SELECT concat_ws(' ', privilege_type, table_name) FROM information_schema.table_privileges WHERE grantee = 'copilot_auth'
		UNION ALL SELECT proname || ' for copilot_app: ' || has_function_privilege('copilot_app', oid, 'EXECUTE')
			|| ', for copilot_engine: ' || has_function_privilege('copilot_engine', oid, 'EXECUTE')
			FROM pg_proc WHERE proowner = 'copilot_auth'::regrole
		UNION ALL SELECT proname || ' works as its owner' FROM pg_proc
			WHERE prosecdef AND pronamespace = 'public'::regnamespace AND proowner <> 'copilot_auth'::regrole
		UNION ALL SELECT 'may make tables' WHERE has_schema_privilege('copilot_auth', 'public', 'CREATE')
		UNION ALL SELECT 'may log in' FROM pg_roles WHERE rolname = 'copilot_auth' AND (rolcanlogin OR rolbypassrls OR rolsuper)
		UNION ALL SELECT 'may be used by ' || member::regrole FROM pg_auth_members
			WHERE roleid = 'copilot_auth'::regrole AND pg_has_role(member, 'copilot_auth', 'USAGE')
		ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	want := []string{
		"SELECT refresh_tokens organization_id", "SELECT refresh_tokens token_hash", "SELECT refresh_tokens user_id",
		"SELECT users email", "SELECT users id", "SELECT users organization_id", "SELECT users username",
		"auth_find_account for copilot_app: true, for copilot_engine: false",
		"auth_find_refresh_token for copilot_app: true, for copilot_engine: false",
		"auth_find_user for copilot_app: true, for copilot_engine: false",
	}
	slices.Sort(got)
	if !slices.Equal(got, want) {
		t.Errorf("copilot_auth may\n%q, want\n%q", got, want)
	}
}

// Policies must not turn the one query that every login waits for into a scan of all users.
func TestLoginRoleFindsPeopleByIndex(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	owner := db.Conn(t, db.OwnerURL)
	if _, err := owner.Exec(t.Context(), "SET enable_seqscan = off; SET ROLE copilot_auth"); err != nil {
		t.Fatal(err)
	}
	for index, query := range map[string]string{
		"users_email_key":               "SELECT id, organization_id FROM users WHERE lower(email) = lower('a@b')",
		"users_username_key":            "SELECT id, organization_id FROM users WHERE lower(username) = lower('ab')",
		"refresh_tokens_token_hash_key": "SELECT user_id, organization_id FROM refresh_tokens WHERE token_hash = ''",
	} {
		rows, err := owner.Query(t.Context(), "EXPLAIN "+query)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if lines := strings.Join(plan, "\n"); !strings.Contains(lines, index) || strings.Contains(lines, "Filter") {
			t.Errorf("%s: want a search of %s and no filter, the plan is\n%s", query, index, lines)
		}
	}
}

// platformWide are the unique keys that tenants share, with the reason why the refusal of a duplicate may tell one tenant about
// another.
func platformWide() map[string]string {
	return map[string]string{
		"users_email_key":          "a login names one account of the platform, and does not say which organization it is in",
		"users_username_key":       "as users_email_key",
		"organizations_domain_key": "people join an organization by the domain of their address: it belongs to one",
	}
}

// A duplicate that is refused tells that the other row exists. So a unique key carries the tenant, or something that nobody can
// guess: a random id, or the hash of a secret.
func TestUniqueKeysRevealNothingOfOtherTenants(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	owner := db.Conn(t, db.OwnerURL)
	tables := tenantTables(t, owner)
	rows, err := owner.Query(t.Context(), `SELECT c.relname, i.indexrelid::regclass::text,
			ARRAY(SELECT a.attname::text || ' ' || format_type(a.atttypid, NULL) FROM unnest(i.indkey) WITH ORDINALITY AS k (attnum, place)
				JOIN pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum AND k.place <= i.indnkeyatts ORDER BY k.place)
		FROM pg_index i JOIN pg_class c ON c.oid = i.indrelid
		WHERE i.indisunique AND c.relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	exceptions := platformWide()
	keys := 0
	var table, index string
	var columns []string
	if _, err := pgx.ForEachRow(rows, []any{&table, &index, &columns}, func() error {
		if _, ok := tables[table]; !ok {
			return nil
		}
		keys++
		if !slices.ContainsFunc(columns, func(column string) bool {
			return strings.HasSuffix(column, " uuid") || strings.HasSuffix(column, "_hash bytea")
		}) && exceptions[index] == "" {
			t.Errorf("%s: the unique key %s on %q tells a tenant what others have", table, index, columns)
		}
		delete(exceptions, index)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for index := range exceptions {
		t.Errorf("%s is an exception and does not exist", index)
	}
	t.Logf("%d unique keys", keys)
}

// withoutTenant are the foreign keys between tenants' tables that do not carry the tenant, with the reason.
func withoutTenant() map[string]string {
	return map[string]string{
		"role_permissions_permission_id_fkey": "the permissions that ship belong to no tenant; the policy of role_permissions looks at the others",
	}
}

func TestForeignKeysCarryTheTenant(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	owner := db.Conn(t, db.OwnerURL)
	tables := tenantTables(t, owner)
	rows, err := owner.Query(t.Context(), `SELECT c.conrelid::regclass::text, c.conname, c.confrelid::regclass::text,
			ARRAY(SELECT a.attname || '=' || f.attname FROM unnest(c.conkey, c.confkey) AS k (own, theirs)
				JOIN pg_attribute a ON a.attrelid = c.conrelid AND a.attnum = k.own
				JOIN pg_attribute f ON f.attrelid = c.confrelid AND f.attnum = k.theirs)
		FROM pg_constraint c WHERE c.contype = 'f' AND c.connamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	exceptions := withoutTenant()
	keys := 0
	var table, name, target string
	var pairs []string
	if _, err := pgx.ForEachRow(rows, []any{&table, &name, &target, &pairs}, func() error {
		theirs, tenants := tables[target]
		if !tenants {
			return nil
		}
		keys++
		if !slices.Contains(pairs, tables[table]+"="+theirs) && exceptions[name] == "" {
			t.Errorf("%s: the foreign key %s (%q of %s) reaches into other tenants", table, name, pairs, target)
		}
		delete(exceptions, name)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for name := range exceptions {
		t.Errorf("%s is an exception and does not exist", name)
	}
	t.Logf("%d foreign keys", keys)
}
