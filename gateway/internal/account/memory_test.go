package account

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestAnAccountIsLookedUpOnceWithinItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(time.Second)
		ada, bob := identity{tenant.FromUUID(uuid.New()), uuid.New()}, identity{tenant.FromUUID(uuid.New()), uuid.New()}
		var asked atomic.Int32
		ask := func(context.Context) (*store.Principal, error) {
			asked.Add(1)
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the bubble's clock
			return &store.Principal{}, nil
		}
		look := func(id identity, want int32) {
			t.Helper()
			if _, err := m.get(t.Context(), id, ask); err != nil || asked.Load() != want {
				t.Errorf("asked %d times, want %d (%v)", asked.Load(), want, err)
			}
		}
		var crowd errgroup.Group
		for range 50 {
			crowd.Go(func() error { _, err := m.get(t.Context(), ada, ask); return err })
		}
		if err := crowd.Wait(); err != nil {
			t.Fatal(err)
		}
		look(ada, 1)
		look(bob, 2)
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		look(ada, 3)
	})
}

func TestAFailedLookUpIsNotRemembered(t *testing.T) {
	t.Parallel()
	m := newMemory(time.Hour)
	id := identity{tenant.FromUUID(uuid.New()), uuid.New()}
	away := errors.New("away")
	if _, err := m.get(t.Context(), id, func(context.Context) (*store.Principal, error) { return nil, away }); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	want := &store.Principal{}
	got, err := m.get(t.Context(), id, func(context.Context) (*store.Principal, error) { return want, nil })
	if got != want || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestWithoutATimeNothingIsRemembered(t *testing.T) {
	t.Parallel()
	m := newMemory(0)
	asked := 0
	for range 3 {
		_, _ = m.get(t.Context(), identity{}, func(context.Context) (*store.Principal, error) { asked++; return nil, nil }) //nolint:nilnil // nobody looks
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}
