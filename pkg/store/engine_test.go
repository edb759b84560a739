package store_test

import (
	"context"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

const lockJob = "SELECT FROM jobs WHERE id = ? FOR UPDATE"

// untilBlocked waits until so many statements of this database wait for a lock.
func (w *engineWorld) untilBlocked(statements int) {
	w.t.Helper()
	conn := w.db.Conn(w.t, w.db.OwnerURL)
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		var blocked int
		err := conn.QueryRow(w.t.Context(), `SELECT count(*) FROM pg_stat_activity
			WHERE datname = current_database() AND cardinality(pg_blocking_pids(pid)) > 0`).Scan(&blocked)
		if err != nil {
			w.t.Fatal(err)
		}
		if blocked >= statements {
			return
		}
		<-tick.C
	}
	w.t.Fatal("nothing waits for a lock")
}

func TestRenewingLeasesMeetsACancelOfTheSameJobsWithoutDeadlock(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	first, second := w.submit(w.acme, store.NewJob{}), w.submit(w.acme, store.NewJob{})
	// Claimed the other way round, so that their rows do not lie in the order of their ids.
	high, low := w.claim(second.ID), w.claim(first.ID)
	type renewal struct {
		held map[uuid.UUID]bool
		err  error
	}
	renewed := make(chan renewal, 1)
	// Like the cancel of a parent, this locks jobs in the order of their ids, while the worker lists its leases in any.
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.DB().Exec(lockJob, low.ID).Error; err != nil {
			return err
		}
		go func() {
			held, err := w.engine.Renew(t.Context(), []store.Lease{high.Lease(), low.Lease()}, leaseTTL)
			renewed <- renewal{held, err}
		}()
		w.untilBlocked(1)
		return tx.DB().Exec(lockJob, high.ID).Error
	})
	if r := <-renewed; r.err != nil || !r.held[low.ID] || !r.held[high.ID] {
		t.Errorf("renewed %v, %v", r.held, r.err)
	}
}

func TestRenewingLeasesMeetsTheFailureOfOneOfTheirSiblingsWithoutDeadlock(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	_, kids := w.family(3)
	claimed := make([]*store.Job, len(kids))
	leases := make([]store.Lease, len(kids))
	for i, kid := range kids {
		claimed[i] = w.claim(kid.ID)
		leases[i] = claimed[i].Lease()
	}
	last := claimed[len(claimed)-1]
	var group errgroup.Group
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.DB().Exec(lockJob, kids[0].ID).Error; err != nil {
			return err
		}
		group.Go(func() error {
			_, err := w.engine.Renew(t.Context(), leases, leaseTTL)
			return err
		})
		w.untilBlocked(1)
		group.Go(func() error {
			return w.end(last, store.Fail(events.Failure{Code: "x.bad", Message: "Bad text."}, false))
		})
		w.untilBlocked(2)
		return nil
	})
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestAJobThatIsBeingChangedDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	busy, other := w.submit(w.acme, store.NewJob{}), w.submit(w.startup, store.NewJob{})
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.DB().Exec(lockJob, busy.ID).Error; err != nil {
			return err
		}
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		held, err := w.engine.Claim(ctx, busy.ID, "w", leaseTTL)
		if err != nil || held != nil {
			t.Errorf("claimed %v, %v", held, err)
		}
		if held, err = w.engine.Claim(ctx, other.ID, "w", leaseTTL); err != nil || held == nil {
			t.Errorf("claimed %v, %v", held, err)
		}
		return nil
	})
	if w.claim(busy.ID) == nil {
		t.Error("cannot be claimed afterwards")
	}
}

func TestWhenAJobIsDueIsTheDatabasesToSay(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	w.in(w.acme, func(tx *store.Tx) error {
		jobs := make([]*store.Job, 2)
		for i, at := range []time.Time{{}, time.Now().Add(time.Hour)} {
			var err error
			if jobs[i], err = tx.Jobs().Submit(store.NewJob{Kind: events.KindEmbeddingCreate, Input: struct{}{}, RunAt: at}); err != nil {
				return err
			}
		}
		var now time.Time
		if err := tx.DB().Raw("SELECT now()").Scan(&now).Error; err != nil {
			return err
		}
		if !jobs[0].RunAt.Equal(now) || jobs[0].WaitingOn != events.WaitingDispatch {
			t.Errorf("a job for now runs at %v and waits on %s; the transaction began at %v", jobs[0].RunAt, jobs[0].WaitingOn, now)
		}
		if jobs[1].RunAt.Before(now.Add(50*time.Minute)) || jobs[1].WaitingOn != events.WaitingSchedule {
			t.Errorf("a job for later runs at %v and waits on %s", jobs[1].RunAt, jobs[1].WaitingOn)
		}
		return nil
	})
}

func TestAJobEndsAtTheMomentOfItsLastEvent(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	failed, left := w.family(2)
	succeeded, cancelled := w.submit(w.acme, store.NewJob{}), w.submit(w.acme, store.NewJob{})
	overdue := w.submit(w.acme, store.NewJob{})
	w.asOwner("UPDATE jobs SET deadline_at = now() - interval '1 second' WHERE id = $1", overdue.ID)
	for _, err := range []error{
		w.end(w.claim(left[0].ID), store.Fail(events.Failure{Code: "x.bad", Message: "Bad text."}, false)),
		w.end(w.claim(succeeded.ID), store.Succeed(nil)),
	} {
		if err != nil {
			t.Fatal(err)
		}
	}
	w.in(w.acme, func(tx *store.Tx) error { _, err := tx.Jobs().Cancel(cancelled.ID); return err })
	w.in(w.acme, func(tx *store.Tx) error { return tx.Jobs().Expire(overdue.ID) })
	for name, id := range map[string]uuid.UUID{
		"a failed part": left[0].ID, "its parent": failed.ID, "the other part": left[1].ID,
		"one that succeeded": succeeded.ID, "one that was cancelled": cancelled.ID, "one whose deadline has passed": overdue.ID,
	} {
		job := w.get(w.acme, id)
		w.in(w.acme, func(tx *store.Tx) error {
			last, err := tx.Jobs().Events(id, job.LastSeq-1, 1)
			if err == nil && (job.FinishedAt == nil || len(last) != 1 || !last[0].Time.Equal(*job.FinishedAt)) {
				t.Errorf("%s finished at %v, and its last event says %v", name, job.FinishedAt, last)
			}
			return err
		})
	}
}

func TestACancelThatWaitedForAClaimComesAfterIt(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	job := w.submit(w.acme, store.NewJob{})
	w.in(w.acme, func(tx *store.Tx) error {
		w.claim(job.ID) // since the transaction began
		_, err := tx.Jobs().Cancel(job.ID)
		return err
	})
	if job = w.get(w.acme, job.ID); job.FinishedAt.Before(*job.StartedAt) {
		t.Errorf("finished at %v, and started at %v", job.FinishedAt, job.StartedAt)
	}
}
