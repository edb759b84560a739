package store_test

import (
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

func (w *engineWorld) ready(except ...uuid.UUID) (ids []uuid.UUID) {
	w.t.Helper()
	jobs, err := w.engine.ReadyJobs(w.t.Context(), store.ReadyQuery{
		Kind: events.KindEmbeddingCreate, Tenants: []tenant.ID{w.acme, w.startup}, Except: except, Limit: 10,
	})
	if err != nil {
		w.t.Fatal(err)
	}
	for _, j := range jobs {
		ids = append(ids, j.ID)
	}
	return ids
}

func TestReadyJobsComeInTheOrderOfTheirTurn(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	third := w.submit(w.acme, store.NewJob{})
	fourth := w.submit(w.acme, store.NewJob{})
	second := w.submit(w.acme, store.NewJob{Priority: 2})
	first := w.submit(w.acme, store.NewJob{Class: events.ClassInteractive, Priority: 9})
	other := w.submit(w.startup, store.NewJob{})
	w.submit(w.acme, store.NewJob{RunAt: time.Now().Add(time.Hour), Class: events.ClassInteractive})
	running := w.submit(w.startup, store.NewJob{Class: events.ClassInteractive})
	w.claim(running.ID)

	if got, want := w.ready(), []uuid.UUID{first.ID, second.ID, third.ID, fourth.ID, other.ID}; !slices.Equal(got, want) {
		t.Errorf("got %v, want %v", got, want)
	}
	if got, want := w.ready(first.ID, third.ID), []uuid.UUID{second.ID, fourth.ID, other.ID}; !slices.Equal(got, want) {
		t.Errorf("except two: got %v, want %v", got, want)
	}
	who, err := w.engine.ReadyTenants(t.Context())
	if err != nil || len(who) != 2 {
		t.Errorf("tenants with ready jobs: %v, %v", who, err)
	}
	all, err := w.engine.Running(t.Context())
	if err != nil || len(all) != 1 || all[0].ID != running.ID || all[0].Tenant != w.startup {
		t.Errorf("running: %+v, %v", all, err)
	}
	still, err := w.engine.StillReady(t.Context(), []uuid.UUID{first.ID, running.ID})
	if err != nil || len(still) != 1 || !still[first.ID] {
		t.Errorf("still ready: %v, %v", still, err)
	}
}

func TestJobsGetReadyWhenTheirTimeHasCome(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	later := w.submit(w.acme, store.NewJob{RunAt: time.Now().Add(time.Hour)})
	snoozed := w.claim(w.submit(w.acme, store.NewJob{}).ID)
	if err := w.end(snoozed, store.Snooze(time.Now().Add(50*time.Millisecond), events.WaitingProvider)); err != nil {
		t.Fatal(err)
	}
	if got := w.ready(); len(got) != 0 {
		t.Errorf("ready before their time: %v", got)
	}
	for len(w.ready()) == 0 {
		in, scheduled, err := w.engine.NextDue(t.Context())
		if err != nil || !scheduled || in > time.Second {
			t.Fatalf("the next job is due in %v, %v, %v", in, scheduled, err)
		}
		<-time.After(in)
		if _, err := w.engine.Release(t.Context(), 10); err != nil {
			t.Fatal(err)
		}
	}
	if got := w.ready(); len(got) != 1 || got[0] != snoozed.ID {
		t.Errorf("ready: %v, want %v", got, snoozed.ID)
	}
	if job := w.get(w.acme, snoozed.ID); job.WaitingOn != events.WaitingDispatch || job.Attempt != 0 {
		t.Errorf("a released job waits on %q after %d attempts", job.WaitingOn, job.Attempt)
	}
	if in, scheduled, err := w.engine.NextDue(t.Context()); err != nil || !scheduled || in < 50*time.Minute {
		t.Errorf("the next job is due in %v, %v, %v; want %v", in, scheduled, err, later.RunAt)
	}
}

func TestAJobFailsWhenItsDeadlineHasPassed(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	soon := w.submit(w.acme, store.NewJob{DeadlineAt: time.Now().Add(20 * time.Millisecond)})
	later := w.submit(w.acme, store.NewJob{DeadlineAt: time.Now().Add(time.Hour)})
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for {
		overdue, err := w.engine.Overdue(t.Context(), 10)
		if err != nil {
			t.Fatal(err)
		}
		if len(overdue) == 1 && overdue[0] == (store.Overdue{JobID: soon.ID, Tenant: w.acme}) {
			break
		}
		<-tick.C
	}
	if w.claim(soon.ID) != nil {
		t.Error("a job was claimed after its deadline")
	}
	for _, job := range []*store.Job{soon, soon, later} {
		w.in(w.acme, func(tx *store.Tx) error { return tx.Jobs().Expire(job.ID) })
	}
	if got := w.get(w.acme, soon.ID); got.Status != events.StatusFailed || *got.ErrorCode != "job.deadline" || got.Dead {
		t.Errorf("the job is %s", got.Status)
	}
	if got := w.get(w.acme, later.ID); got.Status != events.StatusQueued {
		t.Errorf("a job with time left is %s", got.Status)
	}
}
