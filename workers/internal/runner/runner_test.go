package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"os"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
	"github.com/tarento/copilot/workers/internal/runner"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// patience bounds every wait in these tests; none takes nearly as long.
const patience = 20 * time.Second

// bench is one runner on a database and a NATS namespace of its own, with a dispatcher that is as simple as can be.
type bench struct {
	t      *testing.T
	store  *store.Store
	engine *store.Engine
	bus    *bus.Bus
	tenant tenant.ID
	stop   context.CancelFunc // asks the runner to shut down
	done   chan error         // what Run returned
}

type handler func(ctx context.Context, run *runner.Run) (runner.Outcome, error)

func (handler) Kind() events.Kind { return events.KindEmbeddingCreate }

func (h handler) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) { return h(ctx, run) }

func start(t *testing.T, cfg runner.Config, h handler) *bench {
	t.Helper()
	natsURL := os.Getenv("TEST_NATS_URL")
	if natsURL == "" {
		t.Fatal("TEST_NATS_URL is not set: run `make test`, or go run ./deploy/devstack/cmd/devstack exec -- go test ./...")
	}
	db := storetest.NewSeeded(t)
	log := slog.New(slog.NewTextHandler(io.Discard, nil))
	b := &bench{t: t, done: make(chan error, 1)}
	var err error
	if b.tenant, err = tenant.Parse("01900000-0000-7000-8000-000000000a00"); err != nil {
		t.Fatal(err)
	}
	if b.bus, err = bus.Connect(bus.Config{URL: natsURL, Namespace: "t" + strings.ReplaceAll(uuid.NewString(), "-", ""), Log: log}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.bus.Close() })
	if b.store, err = store.Open(t.Context(), store.Config{URL: db.AppURL, MaxConns: 4, Committed: b.bus.Committed}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.store.Close() })
	if b.engine, err = store.OpenEngine(t.Context(), store.Config{URL: db.EngineURL, MaxConns: 4, Committed: b.bus.Committed}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.engine.Close() })

	cfg.Worker = "test"
	r := runner.New(cfg, h, b.store, b.engine, b.bus, log, prometheus.NewRegistry())
	ctx, stop := context.WithCancel(t.Context())
	b.stop = stop
	go func() { b.done <- r.Run(ctx) }()
	dispatched := make(chan struct{})
	go func() {
		defer close(dispatched)
		b.dispatch(ctx)
	}()
	t.Cleanup(func() {
		stop()
		<-dispatched
		select {
		case <-b.done:
		case <-time.After(patience):
			t.Error("the runner did not stop")
		}
	})
	return b
}

func (b *bench) dispatch(ctx context.Context) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		jobs, err := b.engine.Dispatch(ctx, events.KindEmbeddingCreate, 16)
		if err != nil || len(jobs) == 0 {
			continue
		}
		msgs := make([]events.Dispatch, len(jobs))
		for i, j := range jobs {
			msgs[i] = events.Dispatch{JobID: j.JobID.String(), TenantID: j.Tenant.String(), Kind: j.Kind, Number: j.Number}
		}
		if _, err := b.bus.Dispatch(ctx, func(i int) events.Class { return jobs[i].Class }, msgs); err != nil {
			_ = b.engine.Undispatch(ctx, jobs)
		}
	}
}

func (b *bench) submit(n store.NewJob) uuid.UUID {
	b.t.Helper()
	n.Kind = events.KindEmbeddingCreate
	if n.Input == nil {
		n.Input = struct{}{}
	}
	var id uuid.UUID
	err := b.store.InTenant(b.t.Context(), b.tenant, func(tx *store.Tx) error {
		job, err := tx.Jobs().Submit(n)
		if err == nil {
			id = job.ID
		}
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return id
}

func (b *bench) get(id uuid.UUID) (job *store.Job) {
	b.t.Helper()
	err := b.store.InTenant(b.t.Context(), b.tenant, func(tx *store.Tx) (err error) {
		job, err = tx.Jobs().Get(id)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return job
}

func (b *bench) events(id uuid.UUID) (log []events.Event) {
	b.t.Helper()
	err := b.store.InTenant(b.t.Context(), b.tenant, func(tx *store.Tx) (err error) {
		log, err = tx.Jobs().Events(id, 0, 1000)
		return err
	})
	if err != nil {
		b.t.Fatal(err)
	}
	return log
}

// until waits for the job to satisfy ok.
func (b *bench) until(id uuid.UUID, what string, ok func(*store.Job) bool) *store.Job {
	b.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for {
		job := b.get(id)
		if ok(job) {
			return job
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.t.Fatalf("the job never became %s; it is %s on %q, attempt %d", what, job.Status, job.WaitingOn, job.Attempt)
		}
	}
}

func (b *bench) untilEnded(id uuid.UUID) *store.Job {
	b.t.Helper()
	return b.until(id, "terminal", func(j *store.Job) bool { return j.Status.Terminal() })
}

func TestWhatAHandlerReturnsDecidesHowItsJobEnds(t *testing.T) {
	t.Parallel()
	broken := fault.New(fault.Unavailable, "x.away", "It is away.")
	tests := map[string]struct {
		job     store.NewJob
		handle  func(attempt int) error
		status  events.Status
		attempt int
		dead    bool
		code    string
	}{
		"nothing wrong succeeds": {
			handle: func(int) error { return nil }, status: events.StatusSucceeded, attempt: 1,
		},
		"a fault that cannot be cured fails without another attempt": {
			handle: func(int) error { return fault.New(fault.Invalid, "x.bad", "Bad.") },
			status: events.StatusFailed, attempt: 1, code: "x.bad",
		},
		"a passing fault is tried again": {
			handle: func(attempt int) error {
				if attempt == 1 {
					return broken
				}
				return nil
			},
			status: events.StatusSucceeded, attempt: 2,
		},
		"a fault that stays ends as dead": {
			job: store.NewJob{MaxAttempts: 2}, handle: func(int) error { return broken },
			status: events.StatusFailed, attempt: 2, dead: true, code: "x.away",
		},
		"an unknown error reveals nothing": {
			job: store.NewJob{MaxAttempts: 1}, handle: func(int) error { return errors.New("password is swordfish") },
			status: events.StatusFailed, attempt: 1, dead: true, code: "internal",
		},
		"a panic is an attempt that failed": {
			job: store.NewJob{MaxAttempts: 1}, handle: func(int) error { panic("boom") },
			status: events.StatusFailed, attempt: 1, dead: true, code: "worker.panic",
		},
	}
	for name, test := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			b := start(t, runner.Config{}, func(_ context.Context, run *runner.Run) (runner.Outcome, error) {
				return runner.Outcome{Result: "ok"}, test.handle(run.Job().Attempt)
			})
			job := b.untilEnded(b.submit(test.job))
			code, message := "", ""
			if job.ErrorCode != nil {
				code, message = *job.ErrorCode, *job.ErrorMessage
			}
			if job.Status != test.status || job.Attempt != test.attempt || job.Dead != test.dead || code != test.code {
				t.Errorf("got %s, attempt %d, dead %v, code %q", job.Status, job.Attempt, job.Dead, code)
			}
			if strings.Contains(message, "swordfish") {
				t.Errorf("the message reveals the cause: %q", message)
			}
		})
	}
}

func TestARateLimitCostsNoAttempt(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	b := start(t, runner.Config{}, func(context.Context, *runner.Run) (runner.Outcome, error) {
		if calls.Add(1) <= 3 {
			return runner.Outcome{}, fault.New(fault.RateLimited, "provider.rate_limited", "Too fast.").After(10 * time.Millisecond)
		}
		return runner.Outcome{}, nil
	})
	if job := b.untilEnded(b.submit(store.NewJob{MaxAttempts: 1})); job.Status != events.StatusSucceeded || job.Attempt != 1 {
		t.Errorf("got %s after %d attempts", job.Status, job.Attempt)
	}
}

func TestAFinishedStepIsNotDoneAgainAfterAFailure(t *testing.T) {
	t.Parallel()
	var first, second atomic.Int32
	b := start(t, runner.Config{}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
		a, err := runner.Step(ctx, run, events.StepModelCall, "first", "same input",
			func(ctx context.Context, text *runner.Text) (string, *events.Usage, error) {
				first.Add(1)
				for _, piece := range []string{"Grüß", " Gott", "."} {
					if err := text.Write(ctx, piece); err != nil {
						return "", nil, err
					}
				}
				return "Grüß Gott.", &events.Usage{Model: "m", InputTokens: 3}, nil
			})
		if err != nil {
			return runner.Outcome{}, err
		}
		b, err := runner.Step(ctx, run, events.StepToolCall, "second", a,
			func(context.Context, *runner.Text) (int, *events.Usage, error) {
				if second.Add(1) == 1 {
					return 0, nil, fault.New(fault.Unavailable, "x", "Away.")
				}
				return len(a), nil, nil
			})
		return runner.Outcome{Result: b}, err
	})
	job := b.untilEnded(b.submit(store.NewJob{}))
	if job.Status != events.StatusSucceeded || string(job.Result) != "12" {
		t.Fatalf("got %s with %s", job.Status, job.Result)
	}
	if first.Load() != 1 || second.Load() != 2 {
		t.Errorf("the first step was done %d times and the second %d times, want 1 and 2", first.Load(), second.Load())
	}
	var text strings.Builder
	for _, e := range b.events(job.ID) {
		if e.Type != events.TypeTextDelta {
			continue
		}
		var d events.TextDelta
		if err := json.Unmarshal(e.Data, &d); err != nil {
			t.Fatal(err)
		}
		if d.Offset != text.Len() {
			t.Errorf("a delta begins at %d, want %d", d.Offset, text.Len())
		}
		text.WriteString(d.Text)
	}
	if text.String() != "Grüß Gott." {
		t.Errorf("the log holds the text %q", text.String())
	}
}

func TestARunThatDivergesIsStopped(t *testing.T) {
	t.Parallel()
	b := start(t, runner.Config{}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
		_, err := runner.Step(ctx, run, events.StepToolCall, "step", run.Job().Attempt,
			func(context.Context, *runner.Text) (int, *events.Usage, error) { return 1, nil, nil })
		if err == nil {
			err = fault.New(fault.Unavailable, "x", "Away.")
		}
		return runner.Outcome{}, err
	})
	if job := b.untilEnded(b.submit(store.NewJob{})); job.Status != events.StatusFailed || *job.ErrorCode != "run.diverged" {
		t.Errorf("got %s, %v", job.Status, *job.ErrorCode)
	}
}

func TestCancelStopsARunningHandlerAndFreesItsSlot(t *testing.T) {
	t.Parallel()
	started, stopped := make(chan struct{}, 2), make(chan error, 2)
	b := start(t, runner.Config{Slots: 1}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
		if run.Job().Priority == 9 {
			return runner.Outcome{}, nil
		}
		started <- struct{}{}
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return runner.Outcome{Result: "too late"}, nil
	})
	id := b.submit(store.NewJob{})
	<-started
	err := b.store.InTenant(t.Context(), b.tenant, func(tx *store.Tx) error { _, err := tx.Jobs().Cancel(id); return err })
	if err != nil {
		t.Fatal(err)
	}
	b.bus.PublishCancel(id.String())
	select {
	case cause := <-stopped:
		if !errors.Is(cause, store.ErrLeaseLost) {
			t.Errorf("stopped because of %v", cause)
		}
	case <-time.After(time.Second):
		t.Fatal("the handler did not stop within a second")
	}
	if job := b.get(id); job.Status != events.StatusCancelled || job.Result != nil {
		t.Errorf("the job is %s with %s", job.Status, job.Result)
	}
	b.untilEnded(b.submit(store.NewJob{Priority: 9}))
}

func TestALeaseIsRenewedWhileTheHandlerWorksAndNoticedWhenLost(t *testing.T) {
	t.Parallel()
	release, stopped := make(chan struct{}), make(chan error, 1)
	b := start(t, runner.Config{Lease: time.Second}, func(ctx context.Context, _ *runner.Run) (runner.Outcome, error) {
		select {
		case <-release:
		case <-ctx.Done():
			stopped <- context.Cause(ctx)
		}
		return runner.Outcome{}, nil
	})
	id := b.submit(store.NewJob{})
	claimed := b.until(id, "running", func(j *store.Job) bool { return j.Status == events.StatusRunning })
	b.until(id, "renewed twice", func(j *store.Job) bool {
		return j.LeaseExpiresAt.Sub(*claimed.LeaseExpiresAt) > 600*time.Millisecond
	})
	// Somebody else ends it, without a word over the bus.
	err := b.store.InTenant(t.Context(), b.tenant, func(tx *store.Tx) error { _, err := tx.Jobs().Cancel(id); return err })
	if err != nil {
		t.Fatal(err)
	}
	select {
	case cause := <-stopped:
		if !errors.Is(cause, store.ErrLeaseLost) {
			t.Errorf("stopped because of %v", cause)
		}
	case <-time.After(patience):
		t.Fatal("the lost lease was not noticed")
	}
	close(release)
}

func TestShutdownGivesUnfinishedJobsBackUncharged(t *testing.T) {
	t.Parallel()
	started := make(chan struct{})
	b := start(t, runner.Config{Grace: 50 * time.Millisecond}, func(ctx context.Context, _ *runner.Run) (runner.Outcome, error) {
		close(started)
		<-ctx.Done()
		return runner.Outcome{}, ctx.Err()
	})
	id := b.submit(store.NewJob{})
	<-started
	b.stop()
	select {
	case err := <-b.done:
		b.done <- err
		if err != nil {
			t.Error(err)
		}
	case <-time.After(patience):
		t.Fatal("the runner did not stop")
	}
	if job := b.get(id); job.Status != events.StatusQueued || job.Attempt != 0 || job.LeasedBy != nil {
		t.Errorf("the job is %s, attempt %d", job.Status, job.Attempt)
	}
}

func TestContentOfAnOutcomeCommitsWithTheEndOrNotAtAll(t *testing.T) {
	t.Parallel()
	b := start(t, runner.Config{}, func(_ context.Context, run *runner.Run) (runner.Outcome, error) {
		return runner.Outcome{Result: run.Job().Attempt, Also: func(tx *store.Tx) error {
			if err := tx.Projects().Create(&store.Project{Name: "from attempt"}); err != nil {
				return err
			}
			if run.Job().Attempt == 1 {
				return fault.New(fault.Conflict, "x.conflict", "It was changed meanwhile.")
			}
			return nil
		}}, nil
	})
	job := b.untilEnded(b.submit(store.NewJob{}))
	if job.Status != events.StatusFailed || *job.ErrorCode != "x.conflict" || job.Result != nil {
		t.Errorf("got %s with %s", job.Status, job.Result)
	}
	var n int64
	err := b.store.InTenant(t.Context(), b.tenant, func(tx *store.Tx) error {
		return tx.DB().Model(&store.Project{}).Where("name = ?", "from attempt").Count(&n).Error
	})
	if err != nil || n != 0 {
		t.Errorf("%d rows of the refused content were kept (%v)", n, err)
	}
}
