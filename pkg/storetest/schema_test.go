package storetest_test

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"golang.org/x/crypto/bcrypt"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/migrations"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/storetest"
)

func TestMigrationsGoUpAndDownAndUpAgain(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t)
	owner := open(t, db)

	first := up(t, owner)
	if len(first) == 0 {
		t.Fatal("nothing was applied")
	}
	fresh := objects(t, db)
	if again := up(t, owner); len(again) != 0 {
		t.Errorf("the second up applied %d migrations, want none", len(again))
	}
	back, err := migrations.Down(t.Context(), owner, 0)
	if err != nil || len(back) != len(first) {
		t.Fatalf("took back %d of %d: %v", len(back), len(first), err)
	}
	if left := objects(t, db); len(left) != 0 {
		t.Errorf("down left behind %q", left)
	}
	up(t, owner)
	if got := objects(t, db); !slices.Equal(got, fresh) {
		t.Errorf("after up, down and up the schema differs:\n%q\nwant\n%q", got, fresh)
	}
}

func TestEachMigrationCanBeTakenBackAlone(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t)
	owner := open(t, db)
	for version := int64(len(up(t, owner))) - 1; version >= 0; version-- {
		if _, err := migrations.Down(t.Context(), owner, version); err != nil {
			t.Fatalf("down to %d: %v", version, err)
		}
		up(t, owner)
		states, err := migrations.Status(t.Context(), owner)
		if err != nil {
			t.Fatal(err)
		}
		for _, s := range states {
			if !s.Applied || s.AppliedAt.IsZero() {
				t.Errorf("%s is not applied after down to %d and up", s.Name, version)
			}
		}
	}
}

func TestParallelMigrationsOfOneDatabaseDoNotMeet(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t)
	group, ctx := errgroup.WithContext(t.Context())
	applied := make([]int, 3)
	for i := range applied {
		group.Go(func() error {
			owner, err := migrations.Open(ctx, db.OwnerURL, time.Minute)
			if err != nil {
				return err
			}
			steps, err := migrations.Up(ctx, owner)
			applied[i] = len(steps)
			return errors.Join(err, owner.Close())
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	slices.Sort(applied)
	if applied[0] != 0 || applied[1] != 0 || applied[2] == 0 {
		t.Errorf("applied %v migrations, want all of them once", applied)
	}
}

func TestOwnerWhoIsNoSuperuserMigratesAndSeeds(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t)
	owner := openURL(t, db.PlainOwner(t))
	first := up(t, owner)
	seed := func() error {
		return migrations.Seed(t.Context(), owner, migrations.SeedOptions{PasswordCost: bcrypt.MinCost})
	}
	if err := seed(); err != nil {
		t.Fatal(err)
	}
	conn := db.Conn(t, db.OwnerURL)
	before := contents(t, conn)
	reference := storetest.NewSeeded(t)
	for _, table := range []string{"organizations", "roles", "role_permissions", "users", "projects", "project_members", "agent_configs"} {
		if got, want := rowCount(t, conn, table), rowCount(t, reference.Conn(t, reference.OwnerURL), table); got != want {
			t.Errorf("%d %s, and %d when a superuser seeds", got, table, want)
		}
	}
	if err := seed(); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, conn); before != after {
		t.Errorf("the second seed changed the data:\n%s\nwas\n%s", after, before)
	}
	if back, err := migrations.Down(t.Context(), owner, 0); err != nil || len(back) != len(first) {
		t.Fatalf("took back %d of %d: %v", len(back), len(first), err)
	}
	if left := objects(t, db); len(left) != 0 {
		t.Errorf("down left behind %q", left)
	}
	up(t, owner)
}

func TestSeedTellsABoundOwnerWhichRowIsInTheWay(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t)
	owner := openURL(t, db.PlainOwner(t))
	up(t, owner)
	if _, err := db.Conn(t, db.OwnerURL).Exec(t.Context(),
		"INSERT INTO organizations (id, name, domain) VALUES (gen_random_uuid(), 'Another Acme', 'ACME.com')"); err != nil {
		t.Fatal(err)
	}
	err := migrations.Seed(t.Context(), owner, migrations.SeedOptions{PasswordCost: bcrypt.MinCost})
	if err == nil || !containsAll(err.Error(), "its own row", "organizations_domain_key") {
		t.Errorf("got %v, want the constraint that is in the way", err)
	}
}

func TestSeedingTwiceChangesNothing(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	conn := db.Conn(t, db.OwnerURL)
	const change = "UPDATE users SET password_hash = 'changed by its owner' WHERE username = 'member_acme'"
	if _, err := conn.Exec(t.Context(), change); err != nil {
		t.Fatal(err)
	}
	before := contents(t, conn)
	if err := migrations.Seed(t.Context(), open(t, db), migrations.SeedOptions{PasswordCost: bcrypt.MinCost}); err != nil {
		t.Fatal(err)
	}
	if after := contents(t, conn); before != after {
		t.Errorf("the second seed changed the data:\n%s\nwas\n%s", after, before)
	}
}

func TestSeedRefuses(t *testing.T) {
	t.Parallel()
	t.Run("production", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		err := migrations.Seed(t.Context(), open(t, db), migrations.SeedOptions{Environment: "production"})
		if !errors.Is(err, migrations.ErrProduction) {
			t.Errorf("got %v, want ErrProduction", err)
		}
		var n int
		if err := db.Conn(t, db.OwnerURL).QueryRow(t.Context(), "SELECT count(*) FROM organizations").Scan(&n); err != nil || n != 0 {
			t.Errorf("%d organizations after a refused seed (%v)", n, err)
		}
	})
	t.Run("a database without the schema, and says what to do", func(t *testing.T) {
		t.Parallel()
		err := migrations.Seed(t.Context(), open(t, storetest.NewEmpty(t)), migrations.SeedOptions{})
		if err == nil || !containsAll(err.Error(), "migrate up") {
			t.Errorf("got %v, want a hint at migrate up", err)
		}
	})
	t.Run("a database whose own rows are in the way", func(t *testing.T) {
		t.Parallel()
		db := storetest.New(t)
		if _, err := db.Conn(t, db.OwnerURL).Exec(t.Context(),
			"INSERT INTO organizations (id, name, domain) VALUES (gen_random_uuid(), 'Another Acme', 'ACME.com')"); err != nil {
			t.Fatal(err)
		}
		err := migrations.Seed(t.Context(), open(t, db), migrations.SeedOptions{PasswordCost: bcrypt.MinCost})
		if err == nil || !containsAll(err.Error(), "its own row", "acme.com") {
			t.Errorf("got %v, want the row that is in the way", err)
		}
	})
}

func TestSeededPasswordsAreTheDocumentedOne(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	rows, err := db.Conn(t, db.OwnerURL).Query(t.Context(), "SELECT password_hash FROM users")
	if err != nil {
		t.Fatal(err)
	}
	hashes, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(hashes) != 3 {
		t.Fatalf("%d users: %v", len(hashes), err)
	}
	for _, hash := range hashes {
		if err := bcrypt.CompareHashAndPassword([]byte(hash), []byte(migrations.SeedPassword)); err != nil {
			t.Error(err)
		}
	}
}

func TestDatabaseKnowsExactlyThePermissionsOfTheAccessTable(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rows, err := db.Conn(t, db.OwnerURL).Query(t.Context(), "SELECT name FROM permissions WHERE organization_id IS NULL")
	if err != nil {
		t.Fatal(err)
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[access.Permission])
	if err != nil {
		t.Fatal(err)
	}
	want := access.Permissions()
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		t.Errorf("the database ships %q,\nwant %q", got, want)
	}
}

func TestSeededRolesAreThoseOfTheAccessTable(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	rows, err := db.Conn(t, db.OwnerURL).Query(t.Context(), `SELECT o.name, r.name, r.description, array_agg(p.name)
		FROM roles r JOIN organizations o ON o.id = r.organization_id
		JOIN role_permissions rp ON rp.role_id = r.id JOIN permissions p ON p.id = rp.permission_id
		WHERE r.is_system GROUP BY o.name, r.id`)
	if err != nil {
		t.Fatal(err)
	}
	found := 0
	var organization string
	var role access.Role
	_, err = pgx.ForEachRow(rows, []any{&organization, &role.Name, &role.Description, &role.Grants}, func() error {
		found++
		i := slices.IndexFunc(access.Roles(), func(r access.Role) bool { return r.Name == role.Name })
		if i < 0 {
			return fmt.Errorf("%s has the role %s, which does not ship", organization, role.Name)
		}
		want := access.Roles()[i]
		slices.Sort(want.Grants)
		slices.Sort(role.Grants)
		if role.Description != want.Description || !slices.Equal(role.Grants, want.Grants) {
			t.Errorf("%s is %q,\nwant %q", organization, role, want)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	if want := 2 * len(access.Roles()); found != want {
		t.Errorf("%d system roles in two organizations, want %d", found, want)
	}
}

func open(t *testing.T, db *storetest.DB) *sql.DB {
	t.Helper()
	return openURL(t, db.OwnerURL)
}

func openURL(t *testing.T, address string) *sql.DB {
	t.Helper()
	owner, err := migrations.Open(t.Context(), address, time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = owner.Close() })
	return owner
}

func up(t *testing.T, owner *sql.DB) []migrations.Step {
	t.Helper()
	steps, err := migrations.Up(t.Context(), owner)
	if err != nil {
		t.Fatal(err)
	}
	return steps
}

// objects lists everything that migrations make: columns with their defaults, indexes, constraints, policies and whether they are
// forced, functions with their owner, and grants.
func objects(t *testing.T, db *storetest.DB) []string {
	t.Helper()
	rows, err := db.Conn(t, db.OwnerURL).Query(t.Context(), `
		SELECT concat_ws(' ', table_name, column_name, udt_name, is_nullable, column_default) FROM information_schema.columns
			WHERE table_schema = 'public' AND table_name NOT LIKE 'goose%'
		UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' AND tablename NOT LIKE 'goose%'
		UNION ALL SELECT concat_ws(' ', conrelid::regclass, conname, pg_get_constraintdef(oid)) FROM pg_constraint
			WHERE connamespace = 'public'::regnamespace AND conrelid::regclass::text NOT LIKE 'goose%'
		UNION ALL SELECT concat_ws(' ', tablename, policyname, cmd, roles, qual, with_check) FROM pg_policies
		UNION ALL SELECT pg_get_functiondef(oid) FROM pg_proc WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT concat_ws(' ', proname, proowner::regrole, prosecdef, proacl) FROM pg_proc
			WHERE pronamespace = 'public'::regnamespace
		UNION ALL SELECT concat_ws(' ', relname, relrowsecurity, relforcerowsecurity) FROM pg_class
			WHERE relnamespace = 'public'::regnamespace AND relkind = 'r' AND relname NOT LIKE 'goose%'
		UNION ALL SELECT concat_ws(' ', grantee, table_name, privilege_type) FROM information_schema.table_privileges
			WHERE table_schema = 'public' AND grantee IN ('copilot_app', 'copilot_engine')
		UNION ALL SELECT concat_ws(' ', grantee, table_name, column_name, privilege_type) FROM information_schema.column_privileges
			WHERE table_schema = 'public' AND grantee = 'copilot_auth'
		UNION ALL SELECT 'schema ' || grantee::regrole || ' ' || privilege_type FROM pg_namespace, aclexplode(nspacl)
			WHERE nspname = 'public' AND grantee::regrole::text LIKE 'copilot_a%'
		UNION ALL SELECT defaclacl::text FROM pg_default_acl
		ORDER BY 1`)
	if err != nil {
		t.Fatal(err)
	}
	found, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		t.Fatal(err)
	}
	return found
}

// contents writes all rows of all seeded tables as text.
func contents(t *testing.T, conn *pgx.Conn) string {
	t.Helper()
	var all strings.Builder
	for _, table := range []string{
		"organizations", "permissions", "roles", "role_permissions", "users", "projects", "project_members", "agent_configs",
	} {
		var rows string
		query := "SELECT count(*) || ': ' || coalesce(string_agg(r::text, E'\n' ORDER BY r::text), '') FROM " + table + " r"
		if err := conn.QueryRow(context.WithoutCancel(t.Context()), query).Scan(&rows); err != nil {
			t.Fatal(err)
		}
		fmt.Fprintln(&all, table, rows)
	}
	return all.String()
}

func rowCount(t *testing.T, conn *pgx.Conn, table string) (n int) {
	t.Helper()
	if err := conn.QueryRow(t.Context(), "SELECT count(*) FROM "+table).Scan(&n); err != nil {
		t.Fatal(err)
	}
	return n
}

func containsAll(s string, parts ...string) bool {
	return !slices.ContainsFunc(parts, func(part string) bool { return !strings.Contains(s, part) })
}
