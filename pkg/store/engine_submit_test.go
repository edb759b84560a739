package store_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

func embedding() store.NewJob {
	return store.NewJob{Kind: events.KindEmbeddingCreate, Class: events.ClassInteractive, Input: events.EmbeddingCreateInput{Texts: []string{"x"}}}
}

func TestSubmitsOfTheSameMomentAreAllTakenInWithTheirFirstEvents(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	jobs := make([]*store.Job, 200)
	var group errgroup.Group
	for i := range jobs {
		group.Go(func() error {
			s := store.Submission{Tenant: w.acme, Work: []store.NewJob{embedding()}}
			if i%2 == 1 {
				s.Tenant = w.startup
			}
			made, known, err := w.engine.Submit(t.Context(), s)
			if err != nil || known {
				return fmt.Errorf("known %v: %w", known, err)
			}
			jobs[i] = made[0]
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	for _, job := range jobs {
		kept := w.get(job.Tenant(), job.ID)
		if kept.Status != events.StatusQueued || string(kept.Input) != `{"texts": ["x"]}` || kept.RunAt.IsZero() || kept.MaxAttempts != 5 {
			t.Fatalf("kept as %+v", kept)
		}
		if log := w.log(job.Tenant(), job.ID); len(log) != 1 || log[0] != events.StatusQueued {
			t.Fatalf("the log says %v", log)
		}
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.committed) != len(jobs) {
		t.Errorf("%d events were told of %d jobs", len(w.committed), len(jobs))
	}
}

func TestOneKeyTakesWorkInOnce(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	once := store.Once{Scope: "POST /x", Key: "k", Hash: []byte("body")}
	var group errgroup.Group
	taken := make(chan uuid.UUID, 64)
	for range 64 {
		group.Go(func() error {
			made, known, err := w.engine.Submit(t.Context(), store.Submission{Tenant: w.acme, Work: []store.NewJob{embedding()}, Once: once})
			if err == nil && !known {
				taken <- made[0].ID
			}
			return err
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	if len(taken) != 1 {
		t.Fatalf("%d jobs were made", len(taken))
	}
	first := func(hash string) (f *store.First, err error) {
		err = w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
			f, err = tx.Idempotency().First(once.Scope, once.Key, []byte(hash))
			return err
		})
		return f, err
	}
	if f, err := first("body"); err != nil || f.JobID != <-taken {
		t.Errorf("the key stands for %v, %v", f, err)
	}
	if _, err := first("another body"); !fault.Is(err, fault.Invalid) {
		t.Errorf("another body: %v", err)
	}
	// The same key of another tenant is another key.
	if _, known, err := w.engine.Submit(t.Context(), store.Submission{Tenant: w.startup, Work: []store.NewJob{embedding()}, Once: once}); err != nil || known {
		t.Errorf("known to another tenant: %v, %v", known, err)
	}
}

func TestAKeyOfManyJobsRemembersAllOfThem(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	s := store.Submission{
		Tenant: w.acme, Work: []store.NewJob{embedding(), embedding(), embedding()}, Once: store.Once{Scope: "s", Key: "k", Hash: []byte("h")},
	}
	made, known, err := w.engine.Submit(t.Context(), s)
	if err != nil || known || len(made) != 3 {
		t.Fatalf("%d made, %v, %v", len(made), known, err)
	}
	if _, known, err = w.engine.Submit(t.Context(), s); err != nil || !known {
		t.Errorf("the second time known: %v, %v", known, err)
	}
	w.in(w.acme, func(tx *store.Tx) error {
		f, err := tx.Idempotency().First("s", "k", []byte("h"))
		if err != nil {
			return err
		}
		var ids []uuid.UUID
		if err := json.Unmarshal(f.Response, &ids); err != nil || len(ids) != 3 || ids[2] != made[2].ID {
			t.Errorf("remembered %v, %v", ids, err)
		}
		return nil
	})
}

func TestASubmissionHasABound(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	for _, n := range []int{2, 64} { // with the others, and alone
		work := make([]store.NewJob, n)
		for i := range work {
			work[i] = embedding()
			work[i].Input = events.EmbeddingCreateInput{Texts: []string{strings.Repeat("x", store.MaxSubmission/n)}}
		}
		if _, _, err := w.engine.Submit(t.Context(), store.Submission{Tenant: w.acme, Work: work}); !fault.Is(err, fault.TooLarge) {
			t.Errorf("%d jobs of more than may come: %v, want too large", n, err)
		}
		made, _, err := w.engine.Submit(t.Context(), store.Submission{Tenant: w.acme, Work: work[1:]})
		if err != nil || len(made) != n-1 {
			t.Fatalf("%d jobs of what may come: %d made, %v", n-1, len(made), err)
		}
	}
}

func TestListsReadOfAnInputWhatAJobIsShownWith(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	run := store.NewJob{Kind: events.KindAgentRun, Input: events.AgentRunInput{SystemPrompt: "long", MessageID: "m"}}
	made, _, err := w.engine.Submit(t.Context(), store.Submission{Tenant: w.acme, Work: []store.NewJob{run, embedding()}})
	if err != nil {
		t.Fatal(err)
	}
	err = w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
		all, err := tx.Jobs().GetAll([]uuid.UUID{made[0].ID, made[1].ID})
		if err != nil {
			return err
		}
		listed, _, err := tx.Jobs().List(store.JobFilter{Ascending: true})
		for _, jobs := range [][]*store.Job{all, listed} {
			if len(jobs) != 2 || string(jobs[0].Input) != `{"message_id": "m"}` || string(jobs[1].Input) != `{}` {
				t.Errorf("read %+v", jobs)
				continue
			}
			if jobs[0].CreatedAt.IsZero() || jobs[0].Kind != events.KindAgentRun || jobs[0].ID != made[0].ID {
				t.Errorf("the rest of the row: %+v", jobs[0])
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
}

func TestWorkThatTheDatabaseRefusesIsNotTheOthersUndoing(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	var group errgroup.Group
	for i := range 40 {
		group.Go(func() error {
			work := embedding()
			if i%10 == 3 {
				work.AgentConfigID = new(uuid.New())
			}
			_, _, err := w.engine.Submit(t.Context(), store.Submission{Tenant: w.acme, Work: []store.NewJob{work}})
			if (work.AgentConfigID != nil) != fault.Is(err, fault.Invalid) || work.AgentConfigID == nil && err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

// What hangs is not done again for each of those that were gathered, one after the other.
func TestADatabaseThatDoesNotAnswerIsAskedOnce(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	if _, err := w.db.Conn(t, w.db.OwnerURL).Exec(t.Context(), "BEGIN; LOCK TABLE jobs"); err != nil {
		t.Fatal(err)
	}
	began := time.Now()
	var group errgroup.Group
	for range 6 {
		group.Go(func() error {
			_, _, err := w.engine.Submit(t.Context(), store.Submission{Tenant: w.acme, Work: []store.NewJob{embedding()}})
			if !errors.Is(err, context.DeadlineExceeded) {
				return fmt.Errorf("a submit that Postgres did not answer came to %w", err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 20*time.Second { // twice the time that a statement has
		t.Errorf("answered after %s", took)
	}
}

func TestClaimsAndEndsOfTheSameMomentDoWhatSingleOnesDo(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	var group errgroup.Group
	failure := events.Failure{Code: "x.broken", Message: "It broke."}
	for i := range 60 {
		group.Go(func() error {
			made, _, err := w.engine.Submit(t.Context(), store.Submission{Tenant: w.acme, Work: []store.NewJob{embedding()}})
			if err != nil {
				return err
			}
			job, err := w.engine.Claim(t.Context(), made[0].ID, "w", leaseTTL)
			if err != nil || job == nil {
				return fmt.Errorf("claim: %v, %w", job, err)
			}
			ending, want := store.Succeed(map[string]int{"n": i}), events.StatusSucceeded
			if i%3 == 0 {
				ending, want = store.Fail(failure, true), events.StatusFailed
			}
			usage := events.Usage{Model: "m", InputTokens: i}
			if err := w.engine.End(t.Context(), job, ending, usage); err != nil {
				return err
			}
			if err := w.engine.End(t.Context(), job, ending); !errors.Is(err, store.ErrLeaseLost) {
				return fmt.Errorf("ended twice: %w", err)
			}
			got := w.get(w.acme, job.ID)
			if got.Status != want || got.Dead != (want == events.StatusFailed) || got.FinishedAt == nil || got.LeasedBy != nil || got.LastSeq != 4 {
				return fmt.Errorf("ended as %+v", got)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Fatal(err)
	}
	w.mu.Lock()
	told := w.committed
	w.mu.Unlock()
	for _, e := range told {
		var log []events.Event
		id := uuid.MustParse(e.JobID)
		w.in(w.acme, func(tx *store.Tx) (err error) {
			log, err = tx.Jobs().Events(id, e.Seq-1, 1)
			return err
		})
		if len(log) != 1 || log[0].Seq != e.Seq || string(log[0].Data) != string(e.Data) || !log[0].Time.Equal(e.Time) {
			t.Fatalf("event %d was told as %s at %v and is read as %+v", e.Seq, e.Data, e.Time, log)
		}
	}
}

func TestAnEndThatTheDatabaseRefusesIsNotTheOthersUndoing(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	var group errgroup.Group
	for i := range 20 {
		group.Go(func() error {
			job := w.claim(w.submit(w.acme, store.NewJob{}).ID)
			text := "fine"
			if i == 7 {
				text = "with a \x00 in it"
			}
			err := w.engine.End(t.Context(), job, store.Succeed(map[string]string{"text": text}))
			if (i == 7) != fault.Is(err, fault.Invalid) || i != 7 && err != nil {
				return fmt.Errorf("%d: %w", i, err)
			}
			return nil
		})
	}
	if err := group.Wait(); err != nil {
		t.Error(err)
	}
}

func TestAnExpiredKeyIsFreeAgain(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	s := store.Submission{Tenant: w.acme, Work: []store.NewJob{embedding()}, Once: store.Once{Scope: "s", Key: "k", Hash: []byte("h")}}
	if _, known, err := w.engine.Submit(t.Context(), s); err != nil || known {
		t.Fatal(known, err)
	}
	w.in(w.acme, func(tx *store.Tx) error {
		return tx.DB().Exec("UPDATE idempotency_keys SET expires_at = ?", time.Now().Add(-time.Second)).Error
	})
	if _, known, err := w.engine.Submit(t.Context(), s); err != nil || known {
		t.Errorf("an expired key is known: %v, %v", known, err)
	}
}
