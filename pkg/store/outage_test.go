package store_test

import (
	"testing"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/wiretest"
)

func TestAConnectionThatBreaksOffMeansUnavailable(t *testing.T) {
	t.Parallel()
	db := storetest.NewSeeded(t)
	w := wiretest.Lay(t, db.AppURL)
	s, err := store.Open(t.Context(), store.Config{URL: w.Near})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	submit := func(tx *store.Tx) error {
		_, err := tx.Jobs().Submit(store.NewJob{Kind: events.KindEmbeddingCreate, Input: struct{}{}})
		return err
	}
	for name, work := range map[string]func(*store.Tx) error{
		"in a statement": func(tx *store.Tx) error {
			w.Break()
			return submit(tx)
		},
		"in the commit": func(tx *store.Tx) error {
			err := submit(tx)
			w.Break()
			return err
		},
	} {
		// One after the other: a cut is felt by all.
		if err := s.InTenant(t.Context(), parse(t, acmeID), work); !fault.Is(err, fault.Unavailable) {
			t.Errorf("%s: got %v, want unavailable", name, err)
		}
		if err := s.InTenant(t.Context(), parse(t, acmeID), submit); err != nil {
			t.Errorf("%s: the next transaction failed too: %v", name, err)
		}
	}
}
