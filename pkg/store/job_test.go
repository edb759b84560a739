package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
	"github.com/tarento/copilot/pkg/wiretest"
)

const leaseTTL = 30 * time.Second

// engineWorld adds the engine to a seeded world and records what was committed.
type engineWorld struct {
	*world
	engine *store.Engine

	mu        sync.Mutex
	committed []events.Event
}

func newEngineWorld(t *testing.T) *engineWorld {
	t.Helper()
	w := &engineWorld{world: newWorld(t, 4)}
	heard := func(c events.Commit) {
		w.mu.Lock()
		defer w.mu.Unlock()
		w.committed = append(w.committed, c.Events...)
	}
	var err error
	if w.engine, err = store.OpenEngine(t.Context(), store.Config{URL: w.db.EngineURL, MaxConns: 4, Committed: heard}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.engine.Close() })
	return w
}

func (w *engineWorld) submit(id tenant.ID, n store.NewJob) *store.Job {
	w.t.Helper()
	if n.Kind == "" {
		n.Kind = events.KindEmbeddingCreate
	}
	if n.Input == nil {
		n.Input = events.EmbeddingCreateInput{Texts: []string{"x"}}
	}
	var job *store.Job
	w.in(id, func(tx *store.Tx) (err error) {
		job, err = tx.Jobs().Submit(n)
		return err
	})
	return job
}

func (w *engineWorld) claim(id uuid.UUID) *store.Job {
	w.t.Helper()
	job, err := w.engine.Claim(w.t.Context(), id, "test", leaseTTL)
	if err != nil {
		w.t.Fatal(err)
	}
	return job
}

func (w *engineWorld) end(job *store.Job, e store.Ending) error {
	return w.InTenant(w.t.Context(), job.Tenant(), func(tx *store.Tx) error { return tx.Jobs().End(job.Lease(), e) })
}

func (w *engineWorld) get(id tenant.ID, job uuid.UUID) *store.Job {
	w.t.Helper()
	var got *store.Job
	w.in(id, func(tx *store.Tx) (err error) {
		got, err = tx.Jobs().Get(job)
		return err
	})
	return got
}

// log returns the statuses of a job's log after checking that its numbers have no gap.
func (w *engineWorld) log(id tenant.ID, job uuid.UUID) (statuses []events.Status) {
	w.t.Helper()
	w.in(id, func(tx *store.Tx) error {
		log, err := tx.Jobs().Events(job, 0, 1000)
		if err != nil {
			return err
		}
		for i, e := range log {
			if e.Seq != int64(i+1) {
				return fmt.Errorf("event %d has number %d", i+1, e.Seq)
			}
			if e.Type != events.TypeJobState {
				continue
			}
			var s events.JobState
			if err := json.Unmarshal(e.Data, &s); err != nil {
				return err
			}
			statuses = append(statuses, s.Status)
		}
		return nil
	})
	return statuses
}

func (w *engineWorld) expire(job uuid.UUID) {
	w.t.Helper()
	conn := w.db.Conn(w.t, w.db.OwnerURL)
	if _, err := conn.Exec(w.t.Context(), "UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = $1", job); err != nil {
		w.t.Fatal(err)
	}
}

func TestOfManyClaimsOfOneJobExactlyOneWins(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	job := w.submit(w.acme, store.NewJob{})
	var won sync.Map
	var group errgroup.Group
	for i := range 16 {
		group.Go(func() error {
			got, err := w.engine.Claim(t.Context(), job.ID, fmt.Sprint("worker", i), leaseTTL)
			if got != nil {
				won.Store(i, got)
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	n := 0
	won.Range(func(any, any) bool { n++; return true })
	if n != 1 {
		t.Fatalf("%d workers hold the job, want 1", n)
	}
	if got := w.get(w.acme, job.ID); got.Attempt != 1 || got.LeaseEpoch != 1 {
		t.Errorf("attempt %d and epoch %d after one claim", got.Attempt, got.LeaseEpoch)
	}
}

func TestAWorkerThatLostItsLeaseWritesNothing(t *testing.T) {
	t.Parallel()
	tests := map[string]func(w *engineWorld, job *store.Job){
		"because another worker took over": func(w *engineWorld, job *store.Job) {
			w.expire(job.ID)
			if w.claim(job.ID) == nil {
				w.t.Fatal("an expired lease cannot be taken over")
			}
		},
		"because the job was cancelled": func(w *engineWorld, job *store.Job) {
			w.in(w.acme, func(tx *store.Tx) error { _, err := tx.Jobs().Cancel(job.ID); return err })
		},
		"because the sweeper requeued the job": func(w *engineWorld, job *store.Job) {
			w.expire(job.ID)
			if got, err := w.engine.Sweep(w.t.Context(), 10); err != nil || len(got) != 1 {
				w.t.Fatalf("sweep: %v, %v", got, err)
			}
		},
	}
	for name, lose := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEngineWorld(t)
			zombie := w.claim(w.submit(w.acme, store.NewJob{}).ID)
			lose(w, zombie)
			before := w.get(w.acme, zombie.ID)
			writes := map[string]func(tx *store.Tx) error{
				"append": func(tx *store.Tx) error {
					_, err := tx.Jobs().Append(zombie.Lease(), events.JobProgress{Stage: "zombie", Done: 1, Total: 1})
					return err
				},
				"journal": func(tx *store.Tx) error {
					step := store.RunStep{StepNo: 1, Kind: events.StepToolCall, Name: "x", Output: json.RawMessage(`{}`)}
					_, err := tx.Jobs().Journal(zombie.Lease(), step)
					return err
				},
				"end": func(tx *store.Tx) error { return tx.Jobs().End(zombie.Lease(), store.Succeed("zombie")) },
			}
			for name, write := range writes {
				if err := w.InTenant(t.Context(), w.acme, write); !errors.Is(err, store.ErrLeaseLost) {
					t.Errorf("%s: %v, want ErrLeaseLost", name, err)
				}
			}
			after := w.get(w.acme, zombie.ID)
			if after.LastSeq != before.LastSeq || after.Status != before.Status || after.ProgressStage != "" {
				t.Errorf("the job changed from %+v to %+v", before, after)
			}
			held, err := w.engine.Renew(t.Context(), []store.Lease{zombie.Lease()}, leaseTTL)
			if err != nil || held[zombie.ID] {
				t.Errorf("a lost lease was renewed (%v, %v)", held, err)
			}
		})
	}
}

func TestEndingsMoveTheJobAndItsLog(t *testing.T) {
	t.Parallel()
	soon := time.Now().Add(time.Hour)
	failure := events.Failure{Code: "x.broken", Message: "It broke."}
	tests := map[string]struct {
		ending    store.Ending
		status    events.Status
		waitingOn events.WaitingOn
		attempt   int
		dead      bool
		code      string
	}{
		"success":          {ending: store.Succeed(map[string]int{"n": 1}), status: events.StatusSucceeded, attempt: 1},
		"failure for good": {ending: store.Fail(failure, false), status: events.StatusFailed, attempt: 1, code: "x.broken"},
		"out of attempts":  {ending: store.Fail(failure, true), status: events.StatusFailed, attempt: 1, dead: true, code: "x.broken"},
		"another attempt": {
			ending: store.Again(soon, events.WaitingSchedule, failure),
			status: events.StatusQueued, waitingOn: events.WaitingSchedule, attempt: 1, code: "x.broken",
		},
		"snooze": {
			ending: store.Snooze(soon, events.WaitingProvider), status: events.StatusQueued, waitingOn: events.WaitingProvider,
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			w := newEngineWorld(t)
			job := w.claim(w.submit(w.acme, store.NewJob{}).ID)
			if err := w.end(job, test.ending); err != nil {
				t.Fatal(err)
			}
			got := w.get(w.acme, job.ID)
			code := ""
			if got.ErrorCode != nil {
				code = *got.ErrorCode
			}
			if got.Status != test.status || got.WaitingOn != test.waitingOn || got.Attempt != test.attempt ||
				got.Dead != test.dead || code != test.code {
				t.Errorf("got %s on %q, attempt %d, dead %v, code %q", got.Status, got.WaitingOn, got.Attempt, got.Dead, code)
			}
			if want := []events.Status{events.StatusQueued, events.StatusRunning, test.status}; !slices.Equal(w.log(w.acme, job.ID), want) {
				t.Errorf("the log says %v, want %v", w.log(w.acme, job.ID), want)
			}
			if again := w.claim(job.ID); again != nil {
				t.Error("the job could be claimed although it ended or its time has not come")
			}
		})
	}
}

// family is a parent that waits for its children.
func (w *engineWorld) family(children int) (parent *store.Job, kids []*store.Job) {
	w.t.Helper()
	doc := &store.Document{Title: "T", FileName: "t.txt", DocumentType: "text", MIMEType: "text/plain"}
	w.in(w.acme, func(tx *store.Tx) error { return tx.Documents().Create(doc) })
	parent = w.claim(w.submit(w.acme, store.NewJob{
		Kind: events.KindDocumentIngest, DocumentID: &doc.ID, Input: events.DocumentIngestInput{DocumentID: doc.ID.String()},
	}).ID)
	news := make([]store.NewJob, children)
	for i := range news {
		news[i] = store.NewJob{Kind: events.KindEmbeddingCreate, DocumentID: &doc.ID, Weight: 10, Input: events.EmbeddingCreateInput{}}
	}
	if err := w.end(parent, store.WaitFor(news, events.DocumentIngestResult{Chunks: 10 * children})); err != nil {
		w.t.Fatal(err)
	}
	w.in(w.acme, func(tx *store.Tx) (err error) {
		kids, _, err = tx.Jobs().List(store.JobFilter{ParentID: &parent.ID, Limit: 100})
		return err
	})
	if len(kids) != children {
		w.t.Fatalf("%d children, want %d", len(kids), children)
	}
	return parent, kids
}

func (w *engineWorld) document(id uuid.UUID) (doc *store.Document) {
	w.t.Helper()
	w.in(w.acme, func(tx *store.Tx) (err error) {
		doc, err = tx.Documents().Get(id)
		return err
	})
	return doc
}

func TestTheLogGivesFactsBackToTheByte(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	job := w.claim(w.submit(w.acme, store.NewJob{}).ID)
	if err := w.end(job, store.Succeed(nil)); err != nil {
		t.Fatal(err)
	}
	var log []events.Event
	w.in(w.acme, func(tx *store.Tx) (err error) {
		log, err = tx.Jobs().Events(job.ID, 0, 100)
		return err
	})
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.committed) == 0 {
		t.Fatal("the engine told nothing")
	}
	for _, told := range w.committed {
		if read := log[told.Seq-1]; string(read.Data) != string(told.Data) {
			t.Errorf("event %d was told as %s and is read as %s", told.Seq, told.Data, read.Data)
		}
	}
}

func TestTheLastChildEndsItsParentAndCompletesTheDocument(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	parent, kids := w.family(12)
	if got := w.get(w.acme, parent.ID); got.Status != events.StatusWaiting || got.ProgressTotal != 120 || got.ChildrenOpen != 12 {
		t.Fatalf("the parent is %s with %d of %d", got.Status, got.ChildrenOpen, got.ProgressTotal)
	}
	var group errgroup.Group
	for _, kid := range kids {
		group.Go(func() error {
			job, err := w.engine.Claim(t.Context(), kid.ID, "w", leaseTTL)
			if err != nil {
				return err
			}
			return w.end(job, store.Succeed(nil))
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	got := w.get(w.acme, parent.ID)
	if got.Status != events.StatusSucceeded || got.ChildrenOpen != 0 || got.ProgressDone != 120 || len(got.Result) == 0 {
		t.Errorf("the parent is %s, %d open, %d done, result %s", got.Status, got.ChildrenOpen, got.ProgressDone, got.Result)
	}
	if doc := w.document(*parent.DocumentID); doc.ProcessingStatus != store.ProcessingCompleted || !doc.IsIndexed {
		t.Errorf("the document is %s", doc.ProcessingStatus)
	}
	want := []events.Status{events.StatusQueued, events.StatusRunning, events.StatusWaiting, events.StatusSucceeded}
	if log := w.log(w.acme, parent.ID); !slices.Equal(log, want) {
		t.Errorf("the log says %v, want %v", log, want)
	}
}

func TestAFailedChildFailsItsParentAndCancelsItsSiblings(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	parent, kids := w.family(3)
	running := w.claim(kids[1].ID)
	if err := w.end(w.claim(kids[0].ID), store.Fail(events.Failure{Code: "x.bad", Message: "Bad text."}, false)); err != nil {
		t.Fatal(err)
	}
	if got := w.get(w.acme, parent.ID); got.Status != events.StatusFailed || *got.ErrorCode != "x.bad" {
		t.Errorf("the parent is %s", got.Status)
	}
	for _, kid := range kids[1:] {
		if got := w.get(w.acme, kid.ID); got.Status != events.StatusCancelled {
			t.Errorf("a sibling is %s, want cancelled", got.Status)
		}
	}
	if err := w.end(running, store.Succeed(nil)); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("a cancelled sibling ended: %v", err)
	}
	if doc := w.document(*parent.DocumentID); doc.ProcessingStatus != store.ProcessingFailed || doc.ProcessingError != "Bad text." {
		t.Errorf("the document is %s: %v", doc.ProcessingStatus, doc.ProcessingError)
	}
}

func TestCancelReachesChildrenAndMeetsTheirEndsWithoutDeadlock(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	parent, kids := w.family(8)
	var group errgroup.Group
	for _, kid := range kids {
		group.Go(func() error {
			job, err := w.engine.Claim(t.Context(), kid.ID, "w", leaseTTL)
			if err != nil || job == nil {
				return err
			}
			if err := w.end(job, store.Succeed(nil)); !errors.Is(err, store.ErrLeaseLost) {
				return err
			}
			return nil
		})
	}
	group.Go(func() error {
		err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error { _, err := tx.Jobs().Cancel(parent.ID); return err })
		if fault.Is(err, fault.Conflict) { // the children were faster
			return nil
		}
		return err
	})
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	got := w.get(w.acme, parent.ID)
	if !got.Status.Terminal() {
		t.Errorf("the parent is %s", got.Status)
	}
	for _, kid := range kids {
		if s := w.get(w.acme, kid.ID).Status; !s.Terminal() {
			t.Errorf("a child is %s after its parent %s", s, got.Status)
		}
		if log := w.log(w.acme, kid.ID); len(slices.DeleteFunc(log, func(s events.Status) bool { return !s.Terminal() })) != 1 {
			t.Error("a child has not exactly one terminal state")
		}
	}
}

func TestAJobOutOfAttemptsIsLeftForItsTenantToEnd(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	job := w.claim(w.submit(w.acme, store.NewJob{MaxAttempts: 1}).ID)
	w.expire(job.ID)
	expired, err := w.engine.Sweep(t.Context(), 10)
	if err != nil || len(expired) != 1 || !expired[0].Exhausted {
		t.Fatalf("sweep: %+v, %v", expired, err)
	}
	dead := store.Fail(events.Failure{Code: "worker.lost", Message: "Lost."}, true).IfExpired()
	if err := w.end(job, dead); err != nil {
		t.Fatal(err)
	}
	if got := w.get(w.acme, job.ID); got.Status != events.StatusFailed || !got.Dead {
		t.Errorf("the job is %s, dead %v", got.Status, got.Dead)
	}
	alive := w.claim(w.submit(w.acme, store.NewJob{MaxAttempts: 1}).ID)
	if err := w.end(alive, dead); !errors.Is(err, store.ErrLeaseLost) {
		t.Errorf("a job whose worker is alive was ended: %v", err)
	}
}

func TestIdempotencyKeysNameOneJob(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	submit := func(key, body string) (id uuid.UUID, known bool, err error) {
		err = w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
			first, err := tx.Idempotency().Reserve("POST /x", key, []byte(body))
			if err != nil {
				return err
			}
			if known = first != nil; known {
				id = first.JobID
				return nil
			}
			job, err := tx.Jobs().Submit(store.NewJob{Kind: events.KindAgentRun, Input: struct{}{}})
			if err != nil {
				return err
			}
			id = job.ID
			return tx.Idempotency().Complete("POST /x", key, job.ID)
		})
		return id, known, err
	}
	var group errgroup.Group
	ids := make([]uuid.UUID, 16)
	for i := range ids {
		group.Go(func() (err error) {
			ids[i], _, err = submit("k", "body")
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if distinct := slices.Compact(ids); len(distinct) != 1 {
		t.Errorf("one key made the jobs %v", distinct)
	}
	if _, _, err := submit("k", "another body"); !fault.Is(err, fault.Invalid) {
		t.Errorf("another body under the same key: %v, want Invalid", err)
	}
}

func TestLeadershipIsHeldByOneAndPassesOn(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	leading, leave := make(chan struct{}), make(chan struct{})
	var group errgroup.Group
	group.Go(func() error {
		_, err := w.engine.Lead(t.Context(), store.Dispatching, func(context.Context) error {
			close(leading)
			<-leave
			return nil
		})
		return err
	})
	<-leading
	if led, err := w.engine.Lead(t.Context(), store.Dispatching, func(context.Context) error { return nil }); led || err != nil {
		t.Errorf("a second leader: %v, %v", led, err)
	}
	if led, err := w.engine.Lead(t.Context(), store.Pruning, func(context.Context) error { return nil }); !led || err != nil {
		t.Errorf("another duty waited for the leader's: %v, %v", led, err)
	}
	close(leave)
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if led, err := w.engine.Lead(t.Context(), store.Dispatching, func(context.Context) error { return nil }); !led || err != nil {
		t.Errorf("leadership did not pass on: %v, %v", led, err)
	}
}

// A leader that is frozen, or whose machine has lost the network, closes no connection.
func TestALeaderThatIsCutOffIsFollowed(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	line := wiretest.Lay(t, w.db.EngineURL)
	cutOff, err := store.OpenEngine(t.Context(), store.Config{URL: line.Near, MaxConns: 4})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cutOff.Close() })
	leading, left := make(chan struct{}), make(chan time.Time, 1)
	var group errgroup.Group
	group.Go(func() error {
		_, err := cutOff.Lead(t.Context(), store.Dispatching, func(ctx context.Context) error {
			close(leading)
			<-ctx.Done()
			left <- time.Now()
			return nil
		})
		return err
	})
	<-leading
	line.Freeze()
	deadline := time.Now().Add(30 * time.Second)
	for led := false; !led; {
		if led, err = w.engine.Lead(t.Context(), store.Dispatching, func(context.Context) error { return nil }); err != nil || time.Now().After(deadline) {
			t.Fatalf("nobody followed the leader that was cut off: %v", err)
		}
		if !led {
			<-time.After(50 * time.Millisecond)
		}
	}
	followed := time.Now()
	if at := <-left; at.After(followed) {
		t.Errorf("who was cut off led until %s after another one did", at.Sub(followed))
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
}

func TestWhoDoesNotLeadKeepsItsConnection(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	_, err := w.engine.Lead(t.Context(), store.Dispatching, func(context.Context) error {
		other, err := store.OpenEngine(t.Context(), store.Config{URL: w.db.EngineURL, MaxConns: 1})
		if err != nil {
			return err
		}
		defer other.Close()
		conn := w.db.Conn(t, w.db.OwnerURL)
		sessions := func() (pids string) {
			err := conn.QueryRow(t.Context(), `SELECT string_agg(pid::text, ',' ORDER BY pid) FROM pg_stat_activity
				WHERE datname = current_database()`).Scan(&pids)
			if err != nil {
				t.Error(err)
			}
			return pids
		}
		var first string
		for range 3 {
			if led, err := other.Lead(t.Context(), store.Dispatching, func(context.Context) error { return nil }); led || err != nil {
				t.Errorf("led %v, %v beside another one", led, err)
			}
			if now := sessions(); first == "" {
				first = now
			} else if now != first {
				t.Errorf("sessions %s, then %s", first, now)
			}
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestAFrozenProcessCannotKeepItsRowLocks(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	var limit string
	w.in(w.acme, func(tx *store.Tx) error {
		return tx.DB().Raw("SHOW idle_in_transaction_session_timeout").Scan(&limit).Error
	})
	if limit != "10s" {
		t.Errorf("a transaction may stand still for %q", limit)
	}
}
