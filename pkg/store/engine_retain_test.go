package store_test

import (
	"encoding/binary"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

const keep = 30 * 24 * time.Hour

// past is a job as it was left long ago.
type past struct {
	submitted time.Duration // ago
	ended     time.Duration // ago; 0 is not yet
	dead      bool
	parent    uuid.UUID
	// logged is how many events its row tells of; 0 is three.
	logged int64
}

// remember writes a job with three events and a step.
func (w *engineWorld) remember(p past) uuid.UUID {
	w.t.Helper()
	id := uuid.Must(uuid.NewV7())
	var at [8]byte
	binary.BigEndian.PutUint64(at[:], uint64(time.Now().Add(-p.submitted).UnixMilli()))
	copy(id[:6], at[2:])
	status := "succeeded"
	switch {
	case p.ended == 0:
		status = "waiting"
	case p.dead:
		status = "failed"
	}
	if p.logged == 0 {
		p.logged = 3
	}
	w.asOwner(`INSERT INTO jobs (id, organization_id, kind, input, status, dead, last_seq, parent_id, created_at, finished_at)
		VALUES ($1, $2, 'agent.run', '{}', $3, $4, $5, NULLIF($6, '00000000-0000-0000-0000-000000000000'::uuid), now() - $7::interval,
			CASE WHEN $8 > interval '0' THEN now() - $8::interval END)`,
		id, acmeID, status, p.dead, p.logged, p.parent, p.submitted, p.ended)
	w.asOwner(`INSERT INTO job_events (job_id, organization_id, seq, type, data)
		SELECT $1, $2, n, 'job.state', '{"status":"running"}' FROM generate_series(1, 3) AS n`, id, acmeID)
	w.asOwner(`INSERT INTO run_steps (job_id, organization_id, step_no, kind, started_at, finished_at)
		VALUES ($1, $2, 1, 'model_call', now(), now())`, id, acmeID)
	return id
}

// left are the jobs that a table still has something of.
func (w *engineWorld) left(column, table string) []uuid.UUID {
	w.t.Helper()
	rows, err := w.db.Conn(w.t, w.db.OwnerURL).Query(w.t.Context(), "SELECT DISTINCT "+column+" FROM "+table)
	if err != nil {
		w.t.Fatal(err)
	}
	ids, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		w.t.Fatal(err)
	}
	return ids
}

// pruneAll prunes until there is no more to look at, in batches of that many jobs.
func (w *engineWorld) pruneAll(batch int, rows bool) (total store.Pruned) {
	w.t.Helper()
	prune := w.engine.PruneEvents
	if rows {
		prune = w.engine.PruneJobs
	}
	for range 100 {
		p, err := prune(w.t.Context(), keep, total.Next, batch)
		if err != nil {
			w.t.Fatal(err)
		}
		total.Jobs, total.Events, total.Steps, total.Next = total.Jobs+p.Jobs, total.Events+p.Events, total.Steps+p.Steps, p.Next
		if p.Next == uuid.Nil {
			return total
		}
	}
	w.t.Fatal("pruning does not come to an end")
	return total
}

func TestWhatEndedLongAgoGoesAndNothingElse(t *testing.T) {
	t.Parallel()
	const long, lately = keep + time.Hour, keep - time.Hour
	for name, batch := range map[string]int{"all at once": 1000, "in the smallest batches": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEngineWorld(t)
			var log, row []uuid.UUID // of which jobs it must stay
			stays := func(id uuid.UUID, logStays, rowStays bool) uuid.UUID {
				if logStays {
					log = append(log, id)
				}
				if rowStays {
					row = append(row, id)
				}
				return id
			}
			stays(w.remember(past{submitted: 3 * keep, ended: 2 * keep}), false, false)
			stays(w.remember(past{submitted: long, ended: long}), false, false)
			stays(w.remember(past{submitted: 3 * keep, ended: lately}), true, true)
			stays(w.remember(past{submitted: lately, ended: lately}), true, true)
			stays(w.remember(past{submitted: 3 * keep}), true, true)
			stays(w.remember(past{submitted: 3 * keep, ended: long, dead: true}), true, false)
			family := stays(w.remember(past{submitted: 3 * keep, ended: long}), false, false)
			stays(w.remember(past{submitted: 3*keep - time.Hour, ended: 2 * keep, parent: family}), false, false)
			waiting := stays(w.remember(past{submitted: 3 * keep}), true, true)
			stays(w.remember(past{submitted: 3 * keep, ended: long, parent: waiting}), true, true)
			odd := stays(w.remember(past{submitted: 3 * keep, ended: long}), true, true)
			stays(w.remember(past{submitted: 3 * keep, parent: odd}), true, true)

			if p := w.pruneAll(batch, false); p.Jobs != 0 || p.Events != 3*4 || p.Steps != 4 {
				t.Errorf("the events of four jobs come to %+v", p)
			}
			for table, column := range map[string]string{"job_events": "job_id", "run_steps": "job_id"} {
				if got := w.left(column, table); !same(got, log) {
					t.Errorf("%s are left of %v, want %v", table, got, log)
				}
			}
			if got := w.left("id", "jobs"); len(got) != 12 {
				t.Errorf("%d jobs are left, want all of them", len(got))
			}
			if p := w.pruneAll(batch, true); p.Jobs != 5 || p.Events != 3 || p.Steps != 1 {
				t.Errorf("five jobs, one of them with its events, come to %+v", p)
			}
			if got := w.left("id", "jobs"); !same(got, row) {
				t.Errorf("left are %v, want %v", got, row)
			}
			if p := w.pruneAll(batch, true); p != (store.Pruned{}) {
				t.Errorf("once more deletes %+v", p)
			}
		})
	}
}

func same(a, b []uuid.UUID) bool {
	byBytes := func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) }
	return slices.Equal(slices.SortedFunc(slices.Values(a), byBytes), slices.SortedFunc(slices.Values(b), byBytes))
}

func TestABatchLetsGoOfLongLogs(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	for i := range 5 {
		w.remember(past{submitted: 3*keep - time.Duration(i)*time.Hour, ended: 2 * keep, logged: 15_000})
	}
	for _, c := range []struct {
		rows bool
		from uuid.UUID
	}{{rows: false}, {rows: true}} {
		var batches []int64
		for from := c.from; ; {
			prune := w.engine.PruneEvents
			if c.rows {
				prune = w.engine.PruneJobs
			}
			p, err := prune(t.Context(), keep, from, 100)
			if err != nil {
				t.Fatal(err)
			}
			batches = append(batches, p.Jobs+p.Steps)
			if from = p.Next; from == uuid.Nil {
				break
			}
		}
		if !slices.Equal(batches, []int64{2, 2, 1}) {
			t.Errorf("batches of %v jobs, want two at once and one", batches)
		}
	}
}

func TestPruningLeavesAloneWhatIsBeingChanged(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	busy := w.remember(past{submitted: 3 * keep, ended: 2 * keep})
	w.remember(past{submitted: 3 * keep, ended: 2 * keep})
	w.in(w.acme, func(tx *store.Tx) error {
		if err := tx.DB().Exec(lockJob, busy).Error; err != nil {
			return err
		}
		if p := w.pruneAll(10, false); p.Steps != 1 {
			t.Errorf("the events of %d jobs were deleted", p.Steps)
		}
		if p := w.pruneAll(10, true); p.Jobs != 1 {
			t.Errorf("%d jobs were deleted", p.Jobs)
		}
		return nil
	})
	if got := w.left("job_id", "job_events"); !slices.Equal(got, []uuid.UUID{busy}) {
		t.Errorf("left are the events of %v, want those of %v", got, busy)
	}
}

func TestAParentStaysWithAChildThatIsBeingChanged(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	for _, age := range []time.Duration{3*keep - time.Hour, 3*keep + time.Hour} { // one is older than its parent, by its clock
		parent := w.remember(past{submitted: 3 * keep, ended: 2 * keep})
		child := w.remember(past{submitted: age, ended: 2 * keep, parent: parent})
		w.in(w.acme, func(tx *store.Tx) error {
			if err := tx.DB().Exec(lockJob, child).Error; err != nil {
				return err
			}
			w.pruneAll(1000, true)
			return nil
		})
		if jobs, logs := w.left("id", "jobs"), w.left("job_id", "job_events"); !same(jobs, logs) || !slices.Contains(jobs, parent) {
			t.Errorf("jobs %v are left, and events of %v", jobs, logs)
		}
		w.pruneAll(1000, true)
		if jobs, logs := w.left("id", "jobs"), w.left("job_id", "job_events"); len(jobs) > 0 || len(logs) > 0 {
			t.Errorf("jobs %v are left, and events of %v", jobs, logs)
		}
	}
}

func TestAParentCannotBeDeletedBeforeItsChild(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	parent := w.remember(past{submitted: 2 * keep, ended: keep})
	child := w.remember(past{submitted: 2 * keep, ended: keep, parent: parent})
	engine := w.db.Conn(t, w.db.EngineURL)
	if _, err := engine.Exec(t.Context(), "DELETE FROM jobs WHERE id = $1", parent); !hasState(err, "23503") {
		t.Errorf("a parent alone: got %v, want a violated foreign key", err)
	}
	if _, err := engine.Exec(t.Context(), "DELETE FROM jobs WHERE id = ANY($1)", []uuid.UUID{parent, child}); err != nil {
		t.Errorf("a parent with its child: %v", err)
	}
}

func TestTheOldestThatIsKeptIsKnown(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	if job, log, err := w.engine.Oldest(t.Context()); err != nil || !job.IsZero() || !log.IsZero() {
		t.Errorf("of nothing the oldest is %v and %v: %v", job, log, err)
	}
	w.remember(past{submitted: 3 * keep, ended: 2 * keep})
	w.remember(past{submitted: keep})
	w.pruneAll(10, false)
	job, log, err := w.engine.Oldest(t.Context())
	if ago := time.Since(job); err != nil || ago < 3*keep || ago > 3*keep+time.Hour || time.Since(log) > time.Hour {
		t.Errorf("the oldest are %v and %v: %v", job, log, err)
	}
}

// The row tells the same end as the log did, to the byte.
func TestALogThatIsGoneStillSaysHowItsJobEnded(t *testing.T) {
	t.Parallel()
	failure := events.Failure{Code: "x.broken", Message: "It broke."}
	for name, end := range map[string]func(w *engineWorld, job *store.Job) error{
		"with success":           func(w *engineWorld, job *store.Job) error { return w.end(job, store.Succeed(1)) },
		"with success, together": func(w *engineWorld, job *store.Job) error { return w.engine.End(w.t.Context(), job, store.Succeed(1)) },
		"with a failure":         func(w *engineWorld, job *store.Job) error { return w.end(job, store.Fail(failure, false)) },
		"as dead": func(w *engineWorld, job *store.Job) error {
			return w.engine.End(w.t.Context(), job, store.Fail(failure, true))
		},
		"cancelled after a failed attempt": func(w *engineWorld, job *store.Job) error {
			return w.InTenant(w.t.Context(), w.acme, func(tx *store.Tx) error {
				if err := tx.Jobs().End(job.Lease(), store.Again(time.Now(), events.WaitingSchedule, failure)); err != nil {
					return err
				}
				_, err := tx.Jobs().Cancel(job.ID)
				return err
			})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEngineWorld(t)
			job := w.claim(w.submit(w.acme, store.NewJob{}).ID)
			if err := end(w, job); err != nil {
				t.Fatal(err)
			}
			read := func(after int64) (log []events.Event) {
				w.in(w.acme, func(tx *store.Tx) (err error) {
					log, err = tx.Jobs().Events(job.ID, after, 100)
					return err
				})
				return log
			}
			log := read(0)
			last := log[len(log)-1]
			if rest := read(last.Seq); len(rest) != 0 {
				t.Errorf("after the last event there are %v", rest)
			}
			w.asOwner("DELETE FROM job_events")
			got := read(0)
			if len(got) != 1 || got[0].Seq != last.Seq || got[0].Type != last.Type || string(got[0].Data) != string(last.Data) ||
				got[0].Time.Sub(last.Time).Abs() > time.Second {
				t.Errorf("without its log the job says %+v, the last event was %s", got, last.Data)
			}
			if got = read(last.Seq - 1); len(got) != 1 {
				t.Errorf("who has seen all but the last event is told %v", got)
			}
			if rest := read(last.Seq); len(rest) != 0 {
				t.Errorf("who has seen the last event is told %v", rest)
			}
		})
	}
}

func TestAJobThatRunsHasNoEndBesideItsLog(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	job := w.claim(w.submit(w.acme, store.NewJob{}).ID)
	w.asOwner("DELETE FROM job_events")
	w.in(w.acme, func(tx *store.Tx) error {
		log, err := tx.Jobs().Events(job.ID, 0, 100)
		if len(log) != 0 {
			t.Errorf("the log says %v", log)
		}
		return err
	})
}
