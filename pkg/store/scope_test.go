package store_test

import (
	"context"
	"reflect"
	"testing"

	"github.com/google/uuid"
	"gorm.io/gorm"

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
			if err := tx.DB().Raw("SELECT count(*) FROM agent_configs WHERE id = ?", analyzer).Find(&n).Error; err != nil || n != 0 {
				t.Errorf("sees %d rows of another tenant: %v", n, err)
			}
			if err := tx.DB().Raw("DELETE FROM agent_configs RETURNING 1").Find(&n).Error; err == nil {
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

//nolint:tparallel // there is one connection, which each case is to find good
func TestAViewThatFailsLeavesItsConnectionGood(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 1)
	ended, cancel := context.WithCancel(t.Context())
	for name, c := range map[string]struct {
		ctx  context.Context //nolint:containedctx // it is what the case is about
		fail func(*gorm.DB) error
	}{
		"a statement fails": {t.Context(), func(db *gorm.DB) error {
			var n int
			return db.Raw("SELECT 1 / 0").Find(&n).Error
		}},
		"a later row fails": {t.Context(), func(db *gorm.DB) error {
			var n []int
			return db.Raw("SELECT 1 / (3 - i) FROM generate_series(1, 3) i").Find(&n).Error
		}},
		"a value fits nowhere": {t.Context(), func(db *gorm.DB) error {
			var n []int
			return db.Raw("SELECT 'three'").Find(&n).Error
		}},
		"its rows are asked for": {t.Context(), func(db *gorm.DB) error {
			var n int
			return db.Raw("SELECT 1").Scan(&n).Error
		}},
		"its caller has gone": {ended, func(db *gorm.DB) error {
			cancel()
			var n int
			return db.Raw("SELECT 1").Find(&n).Error
		}},
	} {
		t.Run(name, func(t *testing.T) {
			if w.View(c.ctx, w.acme, func(tx *store.Tx) error { return c.fail(tx.DB()) }) == nil {
				t.Fatal("it went well")
			}
			err := w.View(t.Context(), w.acme, func(tx *store.Tx) error { _, err := tx.AgentConfigs().Get(uuid.New()); return err })
			if !fault.Is(err, fault.NotFound) {
				t.Fatalf("got %v", err)
			}
		})
	}
}
