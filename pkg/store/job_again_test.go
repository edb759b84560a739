package store_test

import (
	"errors"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

func (w *engineWorld) dead() *store.Job {
	w.t.Helper()
	job := w.claim(w.submit(w.acme, store.NewJob{Priority: 3, MaxAttempts: 2, DeadlineAt: time.Now().Add(time.Hour)}).ID)
	if err := w.end(job, store.Fail(events.Failure{Code: "test.broken", Message: "It broke."}, true)); err != nil {
		w.t.Fatal(err)
	}
	return job
}

func asItIs(*store.Job, *store.NewJob) error { return nil }

func TestAJobIsMadeAnewOnceHoweverManyAsk(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	old := w.dead()
	made := make(chan *store.Job, 8)
	var group errgroup.Group
	for range cap(made) {
		group.Go(func() error {
			err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
				job, err := tx.Jobs().Again(old.ID, asItIs)
				if err == nil {
					made <- job
				}
				return err
			})
			if fault.Is(err, fault.Conflict) && fault.Of(err).Code == "job.retried" {
				return nil
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(made) != 1 {
		t.Fatalf("%d jobs were made anew", len(made))
	}
	job := <-made
	anew, before := w.get(w.acme, job.ID), w.get(w.acme, old.ID)
	if anew.Status != events.StatusQueued || anew.RetryOf == nil || *anew.RetryOf != old.ID || anew.Attempt != 0 || anew.Priority != 3 ||
		anew.MaxAttempts != 2 || anew.DeadlineAt != nil || string(anew.Input) != string(before.Input) {
		t.Errorf("made anew as %+v", anew)
	}
	if before.Status != events.StatusFailed || before.Dead || before.RetriedAs == nil || *before.RetriedAs != job.ID || before.LastSeq != 3 ||
		!before.UpdatedAt.After(old.UpdatedAt) {
		t.Errorf("the old one is %+v", before)
	}
}

func TestARedriveLeavesAloneWhatWasDiscardedSinceItWasFound(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	old, dead := w.dead(), true
	err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
		found, _, err := tx.Jobs().List(store.JobFilter{Dead: &dead})
		if err != nil || len(found) != 1 {
			t.Fatalf("%d jobs are dead, %v", len(found), err)
		}
		if err := w.InTenant(t.Context(), w.acme, func(other *store.Tx) error {
			_, err := other.Jobs().Discard(old.ID)
			return err
		}); err != nil {
			return err
		}
		_, err = tx.Jobs().Redrive(old.ID, asItIs)
		return err
	})
	if !fault.Is(err, fault.Conflict) || fault.Of(err).Code != "job.not_dead" {
		t.Errorf("redriving it gives %v, want a conflict", err)
	}
	if job := w.get(w.acme, old.ID); job.RetriedAs != nil || job.DiscardedAt == nil {
		t.Errorf("it is %+v, want it discarded", job)
	}
}

func TestARefusalLeavesADeadJobAsItIs(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	old := w.dead()
	refusal := errors.New("not now")
	err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
		_, err := tx.Jobs().Again(old.ID, func(*store.Job, *store.NewJob) error { return refusal })
		return err
	})
	if !errors.Is(err, refusal) || !w.get(w.acme, old.ID).Dead {
		t.Errorf("%v, and it is %+v", err, w.get(w.acme, old.ID))
	}
	err = w.InTenant(t.Context(), w.startup, func(tx *store.Tx) error {
		_, err := tx.Jobs().Again(old.ID, asItIs)
		return err
	})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("another tenant got %v", err)
	}
}

func TestDeadJobsAreListedAndCountedUntilSomebodyDecides(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	first, second := w.dead(), w.dead()
	w.submit(w.acme, store.NewJob{})
	yes := true
	dead := func(f store.JobFilter) (ids []uuid.UUID) {
		f.Dead = &yes
		w.in(w.acme, func(tx *store.Tx) error {
			list, _, err := tx.Jobs().List(f)
			for _, job := range list {
				ids = append(ids, job.ID)
			}
			return err
		})
		return ids
	}
	for name, c := range map[string]struct {
		filter store.JobFilter
		want   int
	}{
		"all":              {store.JobFilter{}, 2},
		"for a reason":     {store.JobFilter{ErrorCode: "test.broken"}, 2},
		"for another":      {store.JobFilter{ErrorCode: "test.other"}, 0},
		"since a moment":   {store.JobFilter{Since: time.Now().Add(-time.Hour)}, 2},
		"since the future": {store.JobFilter{Since: time.Now().Add(time.Hour)}, 0},
		"until long ago":   {store.JobFilter{Until: time.Now().Add(-time.Hour)}, 0},
	} {
		if got := dead(c.filter); len(got) != c.want {
			t.Errorf("%s: %d jobs, want %d", name, len(got), c.want)
		}
	}
	counted := func() int {
		n, err := w.engine.Dead(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		return n[store.KindPlan{Kind: events.KindEmbeddingCreate, Plan: store.PlanEnterprise}]
	}
	if n := counted(); n != 2 {
		t.Errorf("%d dead jobs are counted, want 2", n)
	}
	for range 2 {
		w.in(w.acme, func(tx *store.Tx) error {
			job, err := tx.Jobs().Discard(first.ID)
			if err == nil && (job.Dead || job.DiscardedAt == nil) {
				t.Errorf("discarded as %+v", job)
			}
			return err
		})
	}
	if got := dead(store.JobFilter{}); len(got) != 1 || got[0] != second.ID || counted() != 1 {
		t.Errorf("dead are %v, %d", got, counted())
	}
	err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
		_, err := tx.Jobs().Discard(w.submit(w.acme, store.NewJob{}).ID)
		return err
	})
	if !fault.Is(err, fault.Conflict) {
		t.Errorf("a job that is not dead: %v", err)
	}
}

func TestJobsAreReadInTheOrderAskedFor(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	ids := []uuid.UUID{w.submit(w.acme, store.NewJob{}).ID, w.submit(w.acme, store.NewJob{}).ID}
	ids[0], ids[1] = ids[1], ids[0]
	w.in(w.acme, func(tx *store.Tx) error {
		jobs, err := tx.Jobs().GetAll(ids)
		if err == nil && (jobs[0].ID != ids[0] || jobs[1].ID != ids[1]) {
			t.Errorf("got %v, %v", jobs[0].ID, jobs[1].ID)
		}
		return err
	})
	err := w.InTenant(t.Context(), w.startup, func(tx *store.Tx) error {
		_, err := tx.Jobs().GetAll(ids)
		return err
	})
	if !fault.Is(err, fault.NotFound) {
		t.Errorf("another tenant got %v", err)
	}
}

func TestALargeSubmissionIsTakenInOnce(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	work := make([]store.NewJob, 1000)
	for i := range work {
		work[i] = embedding()
	}
	once := store.Once{Scope: "POST /x", Key: "k", Hash: []byte("body")}
	taken := make(chan []*store.Job, 4)
	var group errgroup.Group
	for range cap(taken) {
		group.Go(func() error {
			made, known, err := w.engine.Submit(t.Context(), store.Submission{Tenant: w.acme, Work: work, Once: once})
			if err == nil && !known {
				taken <- made
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(taken) != 1 {
		t.Fatalf("it was taken in %d times", len(taken))
	}
	if made := <-taken; len(made) != 1000 || w.get(w.acme, made[999].ID).Status != events.StatusQueued {
		t.Errorf("%d jobs were made", len(made))
	}
}

func TestATenantsShareIsTheUsualOneUntilItIsChanged(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	w.in(w.acme, func(tx *store.Tx) error {
		usual, err := tx.JobLimits().Get()
		if err != nil || usual.Weight != 1 || usual.MaxRunning != 0 || !usual.UpdatedAt.IsZero() {
			t.Errorf("the usual share is %+v, %v", usual, err)
		}
		_, err = tx.JobLimits().Update(store.Match{store.RevisionAt(usual.UpdatedAt)}, func(l *store.JobLimit) { l.Weight = 4 })
		return err
	})
	err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
		_, err := tx.JobLimits().Update(store.Match{1}, func(l *store.JobLimit) { l.Weight = 5 })
		return err
	})
	if !fault.Is(err, fault.Precondition) {
		t.Errorf("a change of an old state: %v", err)
	}
	limits, err := w.engine.Limits(t.Context())
	if err != nil || len(limits) != 1 || limits[w.acme].Weight != 4 {
		t.Errorf("the engine sees %+v, %v", limits, err)
	}
	w.in(w.startup, func(tx *store.Tx) error {
		other, err := tx.JobLimits().Get()
		if err == nil && other.Weight != 1 {
			t.Errorf("another tenant's share is %+v", other)
		}
		return err
	})
}

func TestOfTwoFirstChangesOfALimitOneComesTooLate(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	change := func(tx *store.Tx, weight int) error {
		usual, err := tx.JobLimits().Get()
		if err != nil {
			return err
		}
		_, err = tx.JobLimits().Update(store.Match{store.RevisionAt(usual.UpdatedAt)}, func(l *store.JobLimit) { l.Weight = weight })
		return err
	}
	second := make(chan error, 1)
	w.in(w.acme, func(tx *store.Tx) error {
		if err := change(tx, 4); err != nil {
			return err
		}
		go func() {
			second <- w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error { return change(tx, 5) })
		}()
		w.untilBlocked(1)
		return nil
	})
	if err := <-second; !fault.Is(err, fault.Precondition) {
		t.Errorf("the second came to %v", err)
	}
}
