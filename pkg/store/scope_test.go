package store_test

import (
	"reflect"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// full is an agent with a value of every type of column.
func full() store.AgentConfig {
	return store.AgentConfig{
		Name: "Full ☂", Description: "of everything", ProjectID: &acmeProject, AgentType: store.AgentHR,
		LLMConfig:      store.JSON(`{"model": "m", "temperature": 0.5, "deep": {"a": ["b", null]}}`),
		ToolsConfig:    store.JSON(`[{"name": "search_documents", "enabled": true}]`),
		KnowledgeBases: store.JSON(`["one", "two"]`), IsDefault: true, Version: 3,
	}
}

func TestAViewReadsWhatATransactionReads(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	agent, document := full(), store.Document{Title: "Doc", Tags: store.StringArray{"a", `odd "tag", {x}\`, ""}, FileSize: 1 << 40}
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.AgentConfigs().Create(&agent); err != nil {
			return err
		}
		return tx.Documents().Create(&document)
	})
	read := func(tx *store.Tx) (got []any, err error) {
		a, err := tx.AgentConfigs().Get(agent.ID)
		if err != nil {
			return nil, err
		}
		d, err := tx.Documents().Get(document.ID)
		if err != nil {
			return nil, err
		}
		u, err := tx.Users().Principal(memberAcme)
		return []any{a, d, u}, err
	}
	var inTransaction, inView []any
	w.in(w.acme, func(tx *store.Tx) (err error) { inTransaction, err = read(tx); return err })
	if err := w.View(t.Context(), w.acme, func(tx *store.Tx) (err error) { inView, err = read(tx); return err }); err != nil {
		t.Fatal(err)
	}
	if !reflect.DeepEqual(inTransaction, inView) {
		t.Errorf("a transaction reads\n%+v\na view\n%+v", inTransaction, inView)
	}
}

func TestAViewSeesItsTenantOnlyAndWritesNothing(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	// One connection: what one view leaves behind, the next would meet.
	for range 3 {
		err := w.View(t.Context(), w.startup, func(tx *store.Tx) error {
			if _, err := tx.AgentConfigs().Get(analyzer); !fault.Is(err, fault.NotFound) {
				t.Errorf("another tenant's agent: got %v", err)
			}
			var n int64
			// Even a query that forgot its tenant.
			if err := tx.DB().Raw("SELECT count(*) FROM agent_configs WHERE id = ?", analyzer).Scan(&n).Error; err != nil || n != 0 {
				t.Errorf("sees %d rows of another tenant: %v", n, err)
			}
			if err := tx.DB().Raw("DELETE FROM agent_configs RETURNING 1").Scan(&n).Error; err == nil {
				t.Error("a view deleted")
			}
			agent := full()
			if err := tx.AgentConfigs().Create(&agent); err == nil {
				t.Error("a view created")
			}
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		w.in(w.acme, func(tx *store.Tx) error { _, err := tx.AgentConfigs().Get(analyzer); return err })
	}
	if err := w.View(t.Context(), tenant.ID{}, func(*store.Tx) error { return nil }); err == nil {
		t.Error("a view of nobody")
	}
}

func TestAViewThatFailsLeavesItsConnectionGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	for range 3 {
		err := w.View(t.Context(), w.acme, func(tx *store.Tx) error {
			var n int
			return tx.DB().Raw("SELECT 1 / 0").Scan(&n).Error
		})
		if err == nil {
			t.Fatal("a division by zero went well")
		}
		err = w.View(t.Context(), w.acme, func(tx *store.Tx) error { _, err := tx.AgentConfigs().Get(uuid.New()); return err })
		if !fault.Is(err, fault.NotFound) {
			t.Fatalf("got %v", err)
		}
	}
}
