package store_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
)

// A view through which a table is searched stands beside its policy, so it is held to the same.
func TestWhatIsSearchedKeepsToItsTenant(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t)
	migrateAndSeed(t, db.PlainOwner(t))
	admin := db.Conn(t, db.OwnerURL)
	occupy(t, admin, acmeID, startupID)
	views := searchViews(t, admin)
	if len(views) < 2 {
		t.Fatalf("only the views %q found", views)
	}
	app := db.Conn(t, db.AppURL)
	for i, setting := range []string{"", "", acmeID} {
		if i > 0 {
			enter(t, app, setting)
		}
		for view, definition := range views {
			i := intruder{t: t, name: fmt.Sprintf("%s in tenant %q", view, setting), admin: admin, conn: app}
			want := 0
			if setting == acmeID {
				want = count(t, admin, strings.TrimPrefix(view, "searchable_"), "organization_id", acmeID)
			}
			i.sees(view, "organization_id", acmeID, want)
			i.sees(view, "organization_id", startupID, 0)
			i.refused("INSERT INTO "+view+" (organization_id) VALUES ($1)", acmeID)
			i.refused("UPDATE "+view+" SET organization_id = $1", acmeID)
			i.refused("DELETE FROM "+view+" WHERE organization_id = $1", acmeID)
			const own = "organization_id = (NULLIF(current_setting('app.tenant_id'::text, true), ''::text))::uuid);"
			if !strings.HasSuffix(definition, own) {
				t.Errorf("%s is not kept to its tenant: %s", view, definition)
			}
		}
	}
	if _, err := app.Exec(t.Context(), "SELECT searchable('users')"); !hasState(err, insufficientPrivilege) {
		t.Errorf("searchable as the application: got %v, want SQLSTATE 42501", err)
	}
}

// searchViews are the definitions of all views, by name; each must show what its table has, and belong to the role that searches.
func searchViews(t *testing.T, admin *pgx.Conn) map[string]string {
	t.Helper()
	rows, err := admin.Query(t.Context(), `SELECT c.relname, pg_get_viewdef(c.oid), c.relowner = 'copilot_search'::regrole,
			ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = c.oid AND attnum > 0 AND NOT attisdropped ORDER BY attname)
				= ARRAY(SELECT attname::text FROM pg_attribute WHERE attrelid = to_regclass(substr(c.relname, length('searchable_') + 1))
					AND attnum > 0 AND NOT attisdropped ORDER BY attname)
		FROM pg_class c WHERE c.relkind = 'v' AND c.relnamespace = 'public'::regnamespace`)
	if err != nil {
		t.Fatal(err)
	}
	views := map[string]string{}
	var name, definition string
	var owned, whole bool
	if _, err := pgx.ForEachRow(rows, []any{&name, &definition, &owned, &whole}, func() error {
		views[name] = definition
		if !owned {
			t.Errorf("%s does not belong to copilot_search", name)
		}
		if !whole {
			t.Errorf("%s lacks a column of its table: call searchable() after adding one", name)
		}
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	return views
}

// The role behind the views reads what is searched, and nobody is it.
func TestSearchRoleIsNobodys(t *testing.T) {
	t.Parallel()
	db := storetest.NewEmpty(t)
	migrateAndSeed(t, db.PlainOwner(t))
	admin := db.Conn(t, db.OwnerURL)
	rows, err := admin.Query(t.Context(), `
		SELECT 'is bound by no policy' FROM pg_roles WHERE rolname = 'copilot_search' AND (rolbypassrls OR rolsuper OR rolcanlogin)
		UNION ALL SELECT 'is used by ' || member::regrole FROM pg_auth_members
			WHERE roleid = 'copilot_search'::regrole AND pg_has_role(member, 'copilot_search', 'USAGE')
		UNION ALL SELECT 'may make tables' WHERE has_schema_privilege('copilot_search', 'public', 'CREATE')
		UNION ALL SELECT privilege_type || ' on ' || table_name FROM information_schema.table_privileges
			WHERE grantee = 'copilot_search' AND privilege_type <> 'SELECT' AND table_name NOT LIKE 'searchable\_%'
		UNION ALL SELECT 'reads ' || table_name FROM information_schema.table_privileges
			WHERE grantee = 'copilot_search' AND table_name NOT LIKE 'searchable\_%'
				AND to_regclass('searchable_' || table_name) IS NULL`)
	if err != nil {
		t.Fatal(err)
	}
	excess, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil || len(excess) > 0 {
		t.Errorf("copilot_search %q (%v), want nothing of that", excess, err)
	}
}

// With row-level security between, an index of words would not be used.
func TestSearchesUseTheIndexOfWords(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	admin, app := db.Conn(t, db.OwnerURL), db.Conn(t, db.AppURL)
	if _, err := admin.Exec(t.Context(), `
		INSERT INTO conversations (id, organization_id, user_id, title)
			SELECT gen_random_uuid(), organization_id, id, 'common ' || n
			FROM users, generate_series(1, 2000) n WHERE username = 'admin_acme';
		INSERT INTO messages (id, organization_id, conversation_id, role, content)
			SELECT gen_random_uuid(), organization_id, id, 'user', title FROM conversations;
		ANALYZE conversations, messages`); err != nil {
		t.Fatal(err)
	}
	enter(t, app, acmeID)
	if _, err := app.Exec(t.Context(), "SET enable_seqscan = off"); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ view, of, id string }{
		{"searchable_conversations", "organization_id", acmeID},
		{"searchable_conversations", "user_id", adminAcme.String()},
		{"searchable_messages", "organization_id", acmeID},
	} {
		rows, err := app.Query(t.Context(), "EXPLAIN SELECT id FROM "+c.view+" WHERE "+c.of+" = $1 AND search_terms("+c.of+
			", words) @@ search_query($1, '777') ORDER BY id DESC LIMIT 21", c.id)
		if err != nil {
			t.Fatal(err)
		}
		plan, err := pgx.CollectRows(rows, pgx.RowTo[string])
		if err != nil {
			t.Fatal(err)
		}
		if text := strings.Join(plan, "\n"); !strings.Contains(text, "Index Cond: (search_terms("+c.of+", words) @@") {
			t.Errorf("%s by %s: want the terms in the condition of an index, the plan is\n%s", c.view, c.of, text)
		}
	}
}

func TestSearchFindsWords(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	made := store.Conversation{
		UserID: adminAcme, Title: "Travel policy für Köln", Description: "mail ada@acme.com, file report_2024-03.final.pdf, the others' files",
	}
	w.in(w.acme, func(tx *store.Tx) error { return tx.Conversations().Create(&made) })
	for search, found := range map[string]bool{
		"travel":              true,
		"TRAVEL policy":       true,
		"policy travel":       true, // in any order
		"pol":                 true, // the beginning of the last word
		"po":                  false,
		"pol travel":          false, // only the last word may be a beginning
		"ravel":               false,
		"travel budget":       false,
		"köln":                true,
		"FÜR":                 true,
		"acme":                true,
		"ada@acme.com":        true,
		"report":              true,
		"2024-03":             true,
		"report_2024":         true,
		"final.pdf":           true,
		"others' files":       true,
		"'travel' | :* & ! (": true, // nothing is an operator
		"travel:*":            true,
		"policy\\":            true,
		"!":                   false,
		"\x00":                false,
		"' OR true --":        false,
	} {
		t.Run(search, func(t *testing.T) {
			t.Parallel()
			for name, tenant := range map[string]bool{"in its organization": true, "in another": false} {
				in := w.acme
				if !tenant {
					in = w.startup
				}
				err := w.View(t.Context(), in, func(tx *store.Tx) error {
					got, err := tx.Conversations().List(store.ConversationFilter{Search: search, UserID: &adminAcme})
					if err == nil && (len(got.Rows) == 1) != (found && tenant) {
						t.Errorf("%s: %q finds %d, want it found: %t", name, search, len(got.Rows), found && tenant)
					}
					return err
				})
				if err != nil {
					t.Error(err)
				}
			}
		})
	}
}
