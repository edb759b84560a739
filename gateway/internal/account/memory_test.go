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

	"github.com/tarento/copilot/pkg/tenant"
)

func newTenant() tenant.ID { return tenant.FromUUID(uuid.New()) }

func TestACredentialIsLookedUpOnceWithinItsTime(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		m := newMemory(time.Second)
		org, ada, bob := newTenant(), credentialID{1}, credentialID{2}
		var asked atomic.Int32
		ask := func(context.Context) (*standing, error) {
			asked.Add(1)
			time.Sleep(10 * time.Millisecond) //nolint:forbidigo // the bubble's clock
			return &standing{}, nil
		}
		look := func(id credentialID, want int32) {
			t.Helper()
			if _, _, err := m.get(t.Context(), org, id, ask); err != nil || asked.Load() != want {
				t.Errorf("asked %d times, want %d (%v)", asked.Load(), want, err)
			}
		}
		var crowd errgroup.Group
		for range 50 {
			crowd.Go(func() error { _, _, err := m.get(t.Context(), org, ada, ask); return err })
		}
		if err := crowd.Wait(); err != nil {
			t.Fatal(err)
		}
		look(ada, 1)
		look(bob, 2)
		time.Sleep(time.Second) //nolint:forbidigo // the bubble's clock
		look(ada, 3)
		m.forget(newTenant())
		look(ada, 3)
		m.forget(org)
		look(ada, 4)
	})
}

func TestWhatWasReadBeforeAChangeIsNotRememberedAfterIt(t *testing.T) {
	t.Parallel()
	m := newMemory(time.Hour)
	org, id := newTenant(), credentialID{1}
	reading, changed := make(chan struct{}), make(chan struct{})
	before, after := &standing{}, &standing{}
	var early errgroup.Group
	early.Go(func() error {
		got, _, err := m.get(t.Context(), org, id, func(context.Context) (*standing, error) {
			close(reading)
			<-changed
			return before, nil
		})
		if got != before {
			t.Errorf("who waited got %p, want what was read", got)
		}
		return err
	})
	<-reading
	m.forget(org)
	// Nobody joins the look-up from before the change, although it still goes on.
	got, _, err := m.get(t.Context(), org, id, func(context.Context) (*standing, error) { return after, nil })
	if got != after || err != nil {
		t.Errorf("after the change: %p, %v", got, err)
	}
	close(changed)
	if err := early.Wait(); err != nil {
		t.Fatal(err)
	}
	got, known, _ := m.get(t.Context(), org, id, func(context.Context) (*standing, error) { return nil, errors.New("asked again") })
	if got != after || !known {
		t.Errorf("remembered %p, want what was read after the change", got)
	}
}

func TestWhoeverWaitsForAChangeIsWoken(t *testing.T) {
	t.Parallel()
	m := newMemory(0)
	org := newTenant()
	changed, elsewhere := m.changed(org), m.changed(newTenant())
	m.forget(org)
	<-changed
	select {
	case <-elsewhere:
		t.Error("a change elsewhere woke, too")
	default:
	}
}

func TestMemoryIsBounded(t *testing.T) {
	t.Parallel()
	m := newMemory(time.Hour)
	for i := range memoryMax + 10 {
		_, _, err := m.get(t.Context(), newTenant(), credentialID{byte(i)}, func(context.Context) (*standing, error) { return &standing{}, nil })
		if err != nil {
			t.Fatal(err)
		}
	}
	if len(m.rooms) > memoryMax {
		t.Errorf("%d rooms are remembered", len(m.rooms))
	}
}

func TestAFailedLookUpIsNotRemembered(t *testing.T) {
	t.Parallel()
	m := newMemory(time.Hour)
	org, id := newTenant(), credentialID{1}
	away := errors.New("away")
	if _, _, err := m.get(t.Context(), org, id, func(context.Context) (*standing, error) { return nil, away }); !errors.Is(err, away) {
		t.Errorf("got %v", err)
	}
	want := &standing{}
	got, _, err := m.get(t.Context(), org, id, func(context.Context) (*standing, error) { return want, nil })
	if got != want || err != nil {
		t.Errorf("got %v, %v", got, err)
	}
}

func TestWithoutATimeNothingIsRemembered(t *testing.T) {
	t.Parallel()
	m := newMemory(0)
	asked := 0
	for range 3 {
		_, _, _ = m.get(t.Context(), newTenant(), credentialID{}, func(context.Context) (*standing, error) { asked++; return nil, nil }) //nolint:nilnil // nobody looks
	}
	if asked != 3 {
		t.Errorf("asked %d times", asked)
	}
}
