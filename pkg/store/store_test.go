package store_test

import (
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// The ids of the demonstration data.
const (
	acmeID    = "01900000-0000-7000-8000-000000000a00"
	startupID = "01900000-0000-7000-8000-000000000b00"
)

var (
	adminAcme   = uuid.MustParse("01900000-0000-7000-8000-000000000a21")
	memberAcme  = uuid.MustParse("01900000-0000-7000-8000-000000000a22")
	acmeProject = uuid.MustParse("01900000-0000-7000-8000-000000000a31")
	analyzer    = uuid.MustParse("01900000-0000-7000-8000-000000000a41")
)

// world is a seeded database with a store on it.
type world struct {
	*store.Store

	t             *testing.T
	db            *storetest.DB
	acme, startup tenant.ID
}

func newWorld(t *testing.T, maxConns int32) *world {
	t.Helper()
	db := storetest.NewSeeded(t)
	s, err := store.Open(t.Context(), store.Config{URL: db.AppURL, MaxConns: maxConns})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return &world{Store: s, t: t, db: db, acme: parse(t, acmeID), startup: parse(t, startupID)}
}

// with is the same world for a subtest.
func (w *world) with(t *testing.T) *world {
	t.Helper()
	inner := *w
	inner.t = t
	return &inner
}

// in runs fn in one transaction of the tenant and fails the test when either does.
func (w *world) in(id tenant.ID, fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := w.InTenant(w.t.Context(), id, fn); err != nil {
		w.t.Fatal(err)
	}
}

// refused runs fn, which must fail with a fault of that kind and code.
func (w *world) refused(id tenant.ID, kind fault.Kind, code string, fn func(tx *store.Tx) error) {
	w.t.Helper()
	err := w.InTenant(w.t.Context(), id, fn)
	if !fault.Is(err, kind) || fault.Of(err).Code != code {
		w.t.Errorf("got %v, want %s %s", err, kind, code)
	}
}

// asOwner runs a statement past all policies.
func (w *world) asOwner(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.db.Conn(w.t, w.db.OwnerURL).Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

func parse(t *testing.T, id string) tenant.ID {
	t.Helper()
	parsed, err := tenant.Parse(id)
	if err != nil {
		t.Fatal(err)
	}
	return parsed
}
