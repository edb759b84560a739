package store_test

import (
	"bytes"
	"context"
	"crypto/sha256"
	"encoding/json"
	"strings"
	"testing"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// audited returns the tenant's audit log, oldest first.
func (w *world) audited() (entries []store.AuditEntry) {
	w.t.Helper()
	w.in(w.acme, func(tx *store.Tx) error { return tx.DB().Order("seq").Find(&entries).Error })
	return entries
}

func TestAChangeIsToldWithItsActorAndWhatBecameDifferent(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	ctx := store.WithActor(t.Context(), store.Actor{UserID: adminAcme, IP: "192.0.2.1", UserAgent: "test", RequestID: "r1"})
	rename := func(name string, match store.Match) (agent *store.AgentConfig, err error) {
		err = w.InTenant(ctx, w.acme, func(tx *store.Tx) error {
			agent, err = tx.AgentConfigs().Update(analyzer, match, func(a *store.AgentConfig) error {
				a.Name = name
				a.Parameters = store.JSON(`{"max_tokens":5,"api_key":"hush"}`)
				return nil
			})
			return err
		})
		return agent, err
	}
	first, err := rename("Second name", nil)
	if err != nil || first.Version != 2 {
		t.Fatalf("%+v, %v", first, err)
	}
	if again, err := rename("Second name", nil); err != nil || !again.UpdatedAt.Equal(first.UpdatedAt) {
		t.Errorf("a change of nothing: %v, %v", again, err)
	}
	_, err = rename("Third name", store.Match{store.RevisionAt(first.UpdatedAt) - 1})
	if !fault.Is(err, fault.Precondition) {
		t.Errorf("a change of another revision: %v", err)
	}
	if _, err := rename("Third name", store.Match{store.RevisionAt(first.UpdatedAt)}); err != nil {
		t.Error(err)
	}
	entries := w.audited()
	if len(entries) != 2 {
		t.Fatalf("%d entries, want one for each change", len(entries))
	}
	e := entries[0]
	if *e.ActorID != adminAcme || e.IP != "192.0.2.1" || e.RequestID != "r1" || e.Action != "agent_config.update" || *e.ResourceID != analyzer {
		t.Errorf("got %+v", e)
	}
	if before, after := string(e.Before), string(e.After); !strings.Contains(before, `"name":"Document Analyzer"`) ||
		!strings.Contains(after, `"name":"Second name"`) || !strings.Contains(after, `"max_tokens":5`) ||
		strings.Contains(after, "hush") || strings.Contains(after, "system_prompt") {
		t.Errorf("before %s, after %s", before, after)
	}
}

func TestTheChainOfTheAuditLogHolds(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 8)
	var writers errgroup.Group
	for range 8 {
		writers.Go(func() error {
			for range 5 {
				agent := full()
				if err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error { return tx.AgentConfigs().Create(&agent) }); err != nil {
					return err
				}
			}
			return nil
		})
	}
	if err := writers.Wait(); err != nil {
		t.Fatal(err)
	}
	var last []byte
	for i, e := range w.audited() {
		link := sha256.Sum256(append(last, e.Digest()...))
		if e.Seq != int64(i+1) || !bytes.Equal(link[:], e.Hash) {
			t.Fatalf("entry %d: seq %d, the chain breaks", i, e.Seq)
		}
		last = e.Hash
	}
	err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error { return tx.DB().Exec("DELETE FROM audit_logs").Error })
	if err == nil {
		t.Error("the application deleted from the audit log")
	}
	if _, err := w.db.Conn(t, w.db.OwnerURL).Exec(t.Context(), "UPDATE audit_logs SET action = 'x'"); err == nil {
		t.Error("the owner changed the audit log")
	}
}

func TestAFailedChangeLeavesNoEntry(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
		agent := full()
		if err := tx.AgentConfigs().Create(&agent); err != nil {
			return err
		}
		return context.Canceled
	})
	if err == nil || len(w.audited()) != 0 {
		t.Errorf("%v, %d entries", err, len(w.audited()))
	}
}

func TestListsGoOnWhereAPageEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.in(w.startup, func(tx *store.Tx) error {
		for i := range 25 {
			agent := store.AgentConfig{Name: string(rune('a' + i%5)), Description: "many"}
			if err := tx.AgentConfigs().Create(&agent); err != nil {
				return err
			}
		}
		return nil
	})
	for name, sort := range map[string]store.Sort{
		"newest first": {}, "oldest first": {Ascending: true},
		"by name": {By: "name", Ascending: true}, "by name backwards": {By: "name"}, "by time": {By: "updated_at"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			seen := map[uuid.UUID]bool{}
			page := store.Page{Limit: 7, Sort: sort}
			for pages := 1; ; pages++ {
				var got store.Listed[store.AgentConfig]
				err := w.View(t.Context(), w.startup, func(tx *store.Tx) (err error) {
					got, err = tx.AgentConfigs().List(store.AgentConfigFilter{Search: "many", Page: page})
					return err
				})
				if err != nil {
					t.Fatal(err)
				}
				for _, a := range got.Rows {
					if seen[a.ID] {
						t.Errorf("%s comes twice", a.Name)
					}
					seen[a.ID] = true
				}
				if got.Next == nil {
					if pages != 4 || len(seen) != 25 {
						t.Errorf("%d rows on %d pages", len(seen), pages)
					}
					return
				}
				page.After = got.Next
			}
		})
	}
	w.refused(w.startup, fault.Invalid, "sort.unknown", func(tx *store.Tx) error {
		_, err := tx.AgentConfigs().List(store.AgentConfigFilter{Page: store.Page{Sort: store.Sort{By: "system_prompt"}}})
		return err
	})
}

func TestKeptAnswersAreRepeated(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	w.in(w.acme, func(tx *store.Tx) error {
		if first, err := tx.Idempotency().Reserve("POST /x", "k", []byte("h")); first != nil || err != nil {
			t.Errorf("got %v, %v", first, err)
		}
		return tx.Idempotency().Keep("POST /x", "k", 201, json.RawMessage(`{"Location":"/x/1"}`), json.RawMessage(`{"id":1}`))
	})
	w.in(w.acme, func(tx *store.Tx) error {
		first, err := tx.Idempotency().Reserve("POST /x", "k", []byte("h"))
		if err != nil || first == nil || string(first.Response) != `{"id": 1}` {
			t.Errorf("got %+v, %v", first, err)
		}
		return nil
	})
}

func TestABrokenChainIsFoundWhereItBreaks(t *testing.T) {
	t.Parallel()
	for name, tc := range map[string]struct {
		damage string
		broken int64
	}{
		"untouched":             {"SELECT 1", 0},
		"an entry was altered":  {"UPDATE audit_logs SET actor_id = NULL, ip = '192.0.2.9' WHERE seq = 2", 2},
		"an entry was removed":  {"DELETE FROM audit_logs WHERE seq = 2", 2},
		"the newest is missing": {"DELETE FROM audit_logs WHERE seq = 4", 4},
		"all are missing":       {"DELETE FROM audit_logs", 1},
		"the head was moved":    {"UPDATE audit_heads SET hash = sha256('')", 5},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t, 2)
			for range 4 {
				w.in(w.acme, func(tx *store.Tx) error { agent := full(); return tx.AgentConfigs().Create(&agent) })
			}
			w.asOwner("ALTER TABLE audit_logs DISABLE TRIGGER append_only")
			w.asOwner(tc.damage)
			checked := int64(0)
			got, err := w.VerifyAudit(t.Context(), w.acme, func(n int64) { checked = n })
			if err != nil || got.Broken != tc.broken || (got.Reason == "") != (tc.broken == 0) {
				t.Errorf("got %+v, %v; want a break at %d", got, err, tc.broken)
			}
			if tc.broken == 0 && (got.Entries != 4 || checked != 4) {
				t.Errorf("checked %d of 4 entries, told %d", got.Entries, checked)
			}
		})
	}
}

func TestThePlatformKnowsAllItsTenants(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 2)
	got, err := w.Tenants(t.Context())
	if err != nil || len(got) != 2 || got[0] != w.acme || got[1] != w.startup {
		t.Errorf("got %v, %v", got, err)
	}
}
