package store_test

import (
	"reflect"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"gorm.io/gorm/schema"

	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
)

// models are all rows that the store maps, one for each table.
func models() []any {
	return []any{
		&store.Organization{}, &store.Permission{}, &store.Role{}, &store.RolePermission{}, &store.User{}, &store.Project{},
		&store.ProjectMember{}, &store.RefreshToken{}, &store.AgentConfig{}, &store.Conversation{}, &store.Message{},
		&store.Document{}, &store.Chunk{}, &store.Job{}, &store.JobEvent{}, &store.RunStep{}, &store.IdempotencyKey{},
		&store.AuditEntry{}, &store.AuditHead{}, &store.APIKey{}, &store.JobLimit{},
		&store.Webhook{}, &store.WebhookFeed{}, &store.WebhookDelivery{}, &store.AgentSchedule{},
	}
}

type column struct {
	Name     string
	Type     string
	Nullable bool
}

func TestModelsMatchTheMigratedSchema(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	conn := db.Conn(t, db.OwnerURL)
	rows, err := conn.Query(t.Context(), `SELECT table_name, column_name, udt_name, is_nullable = 'YES'
		FROM information_schema.columns JOIN information_schema.tables USING (table_schema, table_name)
		WHERE table_schema = 'public' AND table_type = 'BASE TABLE' AND table_name <> 'goose_db_version'
			AND udt_name NOT IN ('tsvector', 'xid8', 'pg_snapshot') -- which are for indexes, and are in no row that is read`)
	if err != nil {
		t.Fatal(err)
	}
	tables := map[string]map[string]column{}
	var table string
	var c column
	_, err = pgx.ForEachRow(rows, []any{&table, &c.Name, &c.Type, &c.Nullable}, func() error {
		if tables[table] == nil {
			tables[table] = map[string]column{}
		}
		tables[table][c.Name] = c
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}

	var cache sync.Map
	for _, model := range models() {
		parsed, err := schema.Parse(model, &cache, schema.NamingStrategy{})
		if err != nil {
			t.Fatal(err)
		}
		columns := tables[parsed.Table]
		delete(tables, parsed.Table)
		for _, field := range parsed.Fields {
			if field.DBName == "" { // beside the row
				continue
			}
			c, exists := columns[field.DBName]
			delete(columns, field.DBName)
			if !exists {
				t.Errorf("%s.%s: the table %s has no column %q", parsed.Name, field.Name, parsed.Table, field.DBName)
				continue
			}
			goType, nullable := field.FieldType, false
			if goType.Kind() == reflect.Pointer {
				goType, nullable = goType.Elem(), true
			}
			if !fits(goType, c.Type) {
				t.Errorf("%s.%s: a %s does not hold a %s", parsed.Name, field.Name, goType, c.Type)
			}
			// Raw JSON is nil where the column is null.
			nullable = nullable || (goType.Kind() == reflect.Slice && strings.HasPrefix(c.Type, "json") && c.Nullable)
			if nullable != c.Nullable {
				t.Errorf("%s.%s: nullable is %t, and %t in the database", parsed.Name, field.Name, nullable, c.Nullable)
			}
		}
		for name := range columns {
			t.Errorf("%s has no field for the column %s.%s", parsed.Name, parsed.Table, name)
		}
	}
	for name := range tables {
		t.Errorf("no model for the table %s", name)
	}
}

// fits reports whether a Go type holds every value of a Postgres type.
func fits(goType reflect.Type, pgType string) bool {
	switch pgType {
	case "uuid":
		return goType == reflect.TypeFor[uuid.UUID]()
	case "timestamptz":
		return goType == reflect.TypeFor[time.Time]()
	case "_text":
		return goType == reflect.TypeFor[store.StringArray]()
	case "json", "jsonb":
		return goType.Kind() == reflect.Map || goType.Kind() == reflect.Slice
	case "bytea":
		return goType == reflect.TypeFor[[]byte]()
	case "text":
		return goType.Kind() == reflect.String
	case "bool":
		return goType.Kind() == reflect.Bool
	case "int2":
		return goType.Kind() == reflect.Int16
	case "int4":
		return goType.Kind() == reflect.Int
	case "int8":
		return goType.Kind() == reflect.Int64
	default:
		return false
	}
}

// The API's index column, table by table: each must be the leading part of some index, an index of the tenant's rows included.
func TestIndexesOfTheAPIExist(t *testing.T) {
	t.Parallel()
	db := storetest.New(t)
	rows, err := db.Conn(t, db.OwnerURL).Query(t.Context(), `SELECT tablename, indexdef FROM pg_indexes WHERE schemaname = 'public'`)
	if err != nil {
		t.Fatal(err)
	}
	definitions := map[string][]string{}
	var table, definition string
	if _, err := pgx.ForEachRow(rows, []any{&table, &definition}, func() error {
		definitions[table] = append(definitions[table], definition)
		return nil
	}); err != nil {
		t.Fatal(err)
	}
	for table, wanted := range map[string][]string{
		"organizations": {"(name)", "(lower(domain))", "(is_active)"},
		"users":         {"(lower(email))", "(lower(username))", "(organization_id, id)", "(organization_id, is_active)"},
		"roles":         {"(organization_id, name)"},
		"permissions":   {"(resource, action)"},
		"projects":      {"(organization_id, id)", "(created_by)", "(organization_id, is_active)"},
		"agent_configs": {
			"(organization_id, id)", "(project_id)", "(organization_id, agent_type)", "(organization_id, is_active)",
		},
		"conversations": {
			"(organization_id, user_id, id)", "(organization_id, project_id, id)", "(organization_id, agent_config_id, id)",
			"(organization_id, is_active, id)",
		},
		"messages":  {"(organization_id, conversation_id, id)", "(organization_id, conversation_id, role, id)"},
		"documents": {"(organization_id, id)", "(organization_id, document_type, id)", "(organization_id, is_active, id)"},
		"jobs": {
			"(kind, organization_id, class DESC, priority, id) WHERE ((status = 'queued'::text) AND (waiting_on = 'fairness'::text))",
			"(lease_expires_at) WHERE (status = 'running'::text)",
			"(organization_id, kind) WHERE ((status = 'waiting'::text) OR",
			"(organization_id, id)", "(created_by, id)", "(parent_id)", "(document_id)", "(agent_config_id)", "(conversation_id)",
		},
	} {
		for _, index := range wanted {
			if !strings.Contains(strings.Join(definitions[table], "\n"), index) {
				t.Errorf("%s has no index %s", table, index)
			}
		}
	}
}
