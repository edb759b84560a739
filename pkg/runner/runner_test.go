package runner_test

import (
	"context"
	"encoding/json"
	"errors"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/runnertest"
	"github.com/tarento/copilot/pkg/store"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

type handler func(ctx context.Context, run *runner.Run) (runner.Outcome, error)

func (handler) Kind() events.Kind { return events.KindEmbeddingCreate }

func (h handler) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
	return h(ctx, run)
}

func start(t *testing.T, cfg runner.Config, h handler) *runnertest.Bench {
	t.Helper()
	return runnertest.Start(t, cfg, h)
}

func TestWhatAHandlerReturnsDecidesHowItsJobEnds(t *testing.T) {
	t.Parallel()
	broken := fault.New(fault.Timeout, "x.late", "It is late.")
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
			status: events.StatusFailed, attempt: 2, dead: true, code: "x.late",
		},
		"a pause of the handler's own is kept, and the attempt charged": {
			job: store.NewJob{MaxAttempts: 2}, handle: func(int) error { return runner.After(time.Millisecond, broken) },
			status: events.StatusFailed, attempt: 2, dead: true, code: "x.late",
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
			job := b.UntilEnded(b.Submit(test.job))
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
	if job := b.UntilEnded(b.Submit(store.NewJob{MaxAttempts: 1})); job.Status != events.StatusSucceeded || job.Attempt != 1 {
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
					return 0, nil, fault.New(fault.Timeout, "x", "Late.")
				}
				return len(a), nil, nil
			})
		return runner.Outcome{Result: b}, err
	})
	job := b.UntilEnded(b.Submit(store.NewJob{}))
	if job.Status != events.StatusSucceeded || string(job.Result) != "12" {
		t.Fatalf("got %s with %s", job.Status, job.Result)
	}
	if first.Load() != 1 || second.Load() != 2 {
		t.Errorf("the first step was done %d times and the second %d times, want 1 and 2", first.Load(), second.Load())
	}
	var text strings.Builder
	for _, e := range b.Events(job.ID) {
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

func TestAStepThatBuildsOnAJournalledMessageIsRecognizedAgain(t *testing.T) {
	t.Parallel()
	var last atomic.Int32
	b := start(t, runner.Config{}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
		message, err := runner.Step(ctx, run, events.StepModelCall, "ask", "a question",
			func(context.Context, *runner.Text) (json.RawMessage, *events.Usage, error) {
				// The database gives a document back in its own order of keys and its own form of numbers.
				return json.RawMessage(`{"parts":[{"text":"<a> & b","score":1.5e2}],"role":"model"}`), nil, nil
			})
		if err != nil {
			return runner.Outcome{}, err
		}
		_, err = runner.Step(ctx, run, events.StepModelCall, "ask", []json.RawMessage{message},
			func(context.Context, *runner.Text) (int, *events.Usage, error) { return 1, nil, nil })
		if err == nil && last.Add(1) == 1 {
			err = fault.New(fault.Timeout, "x", "Late.")
		}
		return runner.Outcome{}, err
	})
	if job := b.UntilEnded(b.Submit(store.NewJob{})); job.Status != events.StatusSucceeded || job.Attempt != 2 {
		t.Errorf("got %s after %d attempts: %v", job.Status, job.Attempt, *job.ErrorCode)
	}
}

func TestARunThatDivergesIsStopped(t *testing.T) {
	t.Parallel()
	b := start(t, runner.Config{}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
		_, err := runner.Step(ctx, run, events.StepToolCall, "step", run.Job().Attempt,
			func(context.Context, *runner.Text) (int, *events.Usage, error) { return 1, nil, nil })
		if err == nil {
			err = fault.New(fault.Timeout, "x", "Late.")
		}
		return runner.Outcome{}, err
	})
	if job := b.UntilEnded(b.Submit(store.NewJob{})); job.Status != events.StatusFailed || *job.ErrorCode != "run.diverged" {
		t.Errorf("got %s, %v", job.Status, *job.ErrorCode)
	}
}

func TestCancelStopsARunningHandlerAndFreesItsSlot(t *testing.T) {
	t.Parallel()
	started, stopped := make(chan struct{}, 2), make(chan error, 2)
	// The lease is so long that only the message can be what stops the handler.
	b := start(t, runner.Config{Slots: 1, Lease: time.Hour}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
		if run.Job().Priority == 9 {
			return runner.Outcome{}, nil
		}
		started <- struct{}{}
		<-ctx.Done()
		stopped <- context.Cause(ctx)
		return runner.Outcome{Result: "too late"}, nil
	})
	id := b.Submit(store.NewJob{})
	<-started
	err := b.Store.InTenant(t.Context(), b.Tenant, func(tx *store.Tx) error { _, err := tx.Jobs().Cancel(id); return err })
	if err != nil {
		t.Fatal(err)
	}
	b.Bus.PublishCancel(id.String())
	select {
	case cause := <-stopped:
		if !errors.Is(cause, store.ErrLeaseLost) {
			t.Errorf("stopped because of %v", cause)
		}
	case <-time.After(runnertest.Patience):
		t.Fatal("the handler did not stop")
	}
	if job := b.Get(id); job.Status != events.StatusCancelled || job.Result != nil {
		t.Errorf("the job is %s with %s", job.Status, job.Result)
	}
	b.UntilEnded(b.Submit(store.NewJob{Priority: 9}))
}

func TestAWorkerIsToldHowManyJobsToRunAtOnce(t *testing.T) {
	t.Parallel()
	started, finish := make(chan struct{}, 2), make(chan struct{})
	b := start(t, runner.Config{Slots: 1}, func(ctx context.Context, _ *runner.Run) (runner.Outcome, error) {
		started <- struct{}{}
		select {
		case <-finish:
		case <-ctx.Done():
		}
		return runner.Outcome{}, nil
	})
	defer close(finish)
	b.Submit(store.NewJob{})
	b.Submit(store.NewJob{})
	<-started
	b.Bus.PublishResize(events.Resize{Worker: "another", Slots: 9})
	b.Bus.PublishResize(events.Resize{Worker: "test", Kind: events.KindAgentRun, Slots: 9})
	select {
	case <-started:
		t.Fatal("a worker that was not meant took a second job")
	case <-time.After(300 * time.Millisecond):
	}
	b.Bus.PublishResize(events.Resize{Worker: "test", Slots: 2})
	select {
	case <-started:
	case <-time.After(runnertest.Patience):
		t.Fatal("the second slot took no job")
	}
}

func TestSlotsBoundWhatRunsHoweverQuickJobsAre(t *testing.T) {
	t.Parallel()
	const slots, quick, slow = 2, 300, 6
	var running, most, over atomic.Int32
	through, finish := make(chan struct{}), make(chan struct{})
	b := start(t, runner.Config{Slots: slots}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
		most.Store(max(most.Load(), running.Add(1)))
		defer running.Add(-1)
		if run.Job().Priority == 9 {
			select {
			case <-finish:
			case <-ctx.Done():
			}
		} else if over.Add(1) == quick {
			close(through)
		}
		return runner.Outcome{}, nil
	})
	for range quick {
		b.Submit(store.NewJob{})
	}
	select {
	case <-through:
	case <-time.After(runnertest.Patience):
		t.Fatal("the quick jobs did not all run")
	}
	var ids []uuid.UUID
	for range slow {
		ids = append(ids, b.Submit(store.NewJob{Priority: 9}))
	}
	// Those that were claimed because the quick ones went by so fast go back, uncharged.
	for deadline := time.Now().Add(runnertest.Patience); ; <-time.After(10 * time.Millisecond) {
		held, waiting := 0, 0
		for _, id := range ids {
			switch job := b.Get(id); {
			case job.Status == events.StatusRunning:
				held++
			case job.Status == events.StatusQueued && job.Attempt == 0:
				waiting++
			}
		}
		if held == slots && waiting == slow-slots {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("%d are held, %d wait", held, waiting)
		}
	}
	close(finish)
	for _, id := range ids {
		if job := b.UntilEnded(id); job.Status != events.StatusSucceeded || job.Attempt != 1 {
			t.Errorf("a slow job %s in attempt %d", job.Status, job.Attempt)
		}
	}
	if most.Load() > slots {
		t.Errorf("%d jobs ran at once", most.Load())
	}
}

func TestALeaseIsRenewedWhileTheHandlerWorksAndNoticedWhenLost(t *testing.T) {
	t.Parallel()
	release, stopped := make(chan struct{}), make(chan error, 1)
	// It is renewed each third, and survives a machine that stands still for the rest.
	b := start(t, runner.Config{Lease: 9 * time.Second}, func(ctx context.Context, _ *runner.Run) (runner.Outcome, error) {
		select {
		case <-release:
		case <-ctx.Done():
			stopped <- context.Cause(ctx)
		}
		return runner.Outcome{}, nil
	})
	id := b.Submit(store.NewJob{})
	claimed := b.Until(id, "running", func(j *store.Job) bool { return j.Status == events.StatusRunning })
	b.Until(id, "renewed", func(j *store.Job) bool {
		return j.LeaseExpiresAt != nil && j.LeaseExpiresAt.After(*claimed.LeaseExpiresAt)
	})
	// Somebody else ends it, without a word over the bus.
	err := b.Store.InTenant(t.Context(), b.Tenant, func(tx *store.Tx) error { _, err := tx.Jobs().Cancel(id); return err })
	if err != nil {
		t.Fatal(err)
	}
	select {
	case cause := <-stopped:
		if !errors.Is(cause, store.ErrLeaseLost) {
			t.Errorf("stopped because of %v", cause)
		}
	case <-time.After(runnertest.Patience):
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
	id := b.Submit(store.NewJob{})
	<-started
	b.Stop()
	select {
	case err := <-b.Done:
		b.Done <- err
		if err != nil {
			t.Error(err)
		}
	case <-time.After(runnertest.Patience):
		t.Fatal("the runner did not stop")
	}
	if job := b.Get(id); job.Status != events.StatusQueued || job.Attempt != 0 || job.LeasedBy != nil {
		t.Errorf("the job is %s, attempt %d", job.Status, job.Attempt)
	}
}

// slowClaims has each claim take a second.
func slowClaims(t *testing.T, b *runnertest.Bench) (claiming func() bool) {
	t.Helper()
	conn := b.DB.Conn(t, b.DB.OwnerURL)
	if _, err := conn.Exec(t.Context(), `CREATE FUNCTION wait() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN
			PERFORM pg_sleep(1); RETURN NEW;
		END $$;
		CREATE TRIGGER wait BEFORE UPDATE ON jobs FOR EACH ROW WHEN (NEW.status = 'running') EXECUTE FUNCTION wait()`); err != nil {
		t.Fatal(err)
	}
	return func() (slow bool) {
		err := conn.QueryRow(t.Context(), `SELECT count(*) > 0 FROM pg_stat_activity
			WHERE datname = current_database() AND wait_event = 'PgSleep'`).Scan(&slow)
		if err != nil {
			t.Error(err)
		}
		return slow
	}
}

func TestAJobThatIsClaimedWhenTheGraceIsOverGoesBackToo(t *testing.T) {
	t.Parallel()
	b := start(t, runner.Config{Grace: 50 * time.Millisecond}, func(ctx context.Context, _ *runner.Run) (runner.Outcome, error) {
		<-ctx.Done()
		return runner.Outcome{}, ctx.Err()
	})
	claiming := slowClaims(t, b)
	id := b.Submit(store.NewJob{})
	b.Until(id, "is being claimed", func(*store.Job) bool { return claiming() })
	b.Stop()
	select {
	case err := <-b.Done:
		b.Done <- err
		if err != nil {
			t.Error(err)
		}
	case <-time.After(runnertest.Patience):
		t.Fatal("the runner did not stop")
	}
	if job := b.Get(id); job.Status != events.StatusQueued || job.Attempt != 0 {
		t.Errorf("the job is %s, attempt %d", job.Status, job.Attempt)
	}
}

func TestAFinishedStepIsJournalledAlsoWhenTheGraceIsOver(t *testing.T) {
	t.Parallel()
	begun := make(chan struct{})
	b := start(t, runner.Config{Grace: 50 * time.Millisecond}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
		_, err := runner.Step(ctx, run, events.StepModelCall, "generate", nil,
			func(ctx context.Context, _ *runner.Text) (int, *events.Usage, error) {
				close(begun)
				<-ctx.Done() // what it did is done
				return 1, nil, nil
			})
		return runner.Outcome{}, errors.Join(err, ctx.Err())
	})
	id := b.Submit(store.NewJob{})
	<-begun
	b.Stop()
	b.Done <- <-b.Done
	var steps []store.RunStep
	err := b.Store.InTenant(t.Context(), b.Tenant, func(tx *store.Tx) (err error) {
		steps, err = tx.Jobs().Steps(id)
		return err
	})
	if job := b.Get(id); err != nil || len(steps) != 1 || job.Status != events.StatusQueued || job.Attempt != 0 {
		t.Errorf("journalled %+v, %v; the job is %s, attempt %d", steps, err, job.Status, job.Attempt)
	}
}

func TestAnOutcomeThatPanicsFailsItsOwnJobOnly(t *testing.T) {
	t.Parallel()
	b := start(t, runner.Config{}, func(_ context.Context, run *runner.Run) (runner.Outcome, error) {
		if run.Job().MaxAttempts > 1 {
			return runner.Outcome{}, nil
		}
		return runner.Outcome{Also: func(*store.Tx) error { panic("boom") }}, nil
	})
	job := b.UntilEnded(b.Submit(store.NewJob{MaxAttempts: 1}))
	if job.Status != events.StatusFailed || !job.Dead || *job.ErrorCode != "worker.panic" {
		t.Errorf("got %s: %v", job.Status, job.ErrorCode)
	}
	if job := b.UntilEnded(b.Submit(store.NewJob{})); job.Status != events.StatusSucceeded {
		t.Errorf("the next job ended as %s", job.Status)
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
	job := b.UntilEnded(b.Submit(store.NewJob{}))
	if job.Status != events.StatusFailed || *job.ErrorCode != "x.conflict" || job.Result != nil {
		t.Errorf("got %s with %s", job.Status, job.Result)
	}
	var n int64
	err := b.Store.InTenant(t.Context(), b.Tenant, func(tx *store.Tx) error {
		return tx.DB().Model(&store.Project{}).Where("name = ?", "from attempt").Count(&n).Error
	})
	if err != nil || n != 0 {
		t.Errorf("%d rows of the refused content were kept (%v)", n, err)
	}
}

func TestAnOutageCostsNoAttempt(t *testing.T) {
	t.Parallel()
	var calls atomic.Int32
	b := start(t, runner.Config{}, func(context.Context, *runner.Run) (runner.Outcome, error) {
		if calls.Add(1) <= 2 {
			return runner.Outcome{}, fault.New(fault.Unavailable, "provider.unavailable", "It is away.")
		}
		return runner.Outcome{}, nil
	})
	if job := b.UntilEnded(b.Submit(store.NewJob{MaxAttempts: 1})); job.Status != events.StatusSucceeded || job.Attempt != 1 {
		t.Errorf("got %s after %d attempts", job.Status, job.Attempt)
	}
}

func TestAnOutageWhileTextIsWrittenCostsNeitherTheStepNorItsText(t *testing.T) {
	t.Parallel()
	first, rest := strings.Repeat("x", 5000), "and the rest"
	for name, lost := range map[string]func(context.Context, *runner.Run) error{
		"refused": func(context.Context, *runner.Run) error { return nil },
		"committed, though nobody heard of it": func(ctx context.Context, run *runner.Run) error {
			return run.Write(ctx, nil, events.TextDelta{Start: 3, Text: first})
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var calls atomic.Int32
			b := start(t, runner.Config{}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
				_, err := runner.Step(ctx, run, events.StepModelCall, "generate", nil,
					func(ctx context.Context, text *runner.Text) (int, *events.Usage, error) {
						calls.Add(1)
						return 1, nil, errors.Join(text.Write(ctx, first), lost(ctx, run), text.Write(ctx, rest))
					})
				return runner.Outcome{}, err
			})
			refuseFirstText(t, b)
			job := b.UntilEnded(b.Submit(store.NewJob{}))
			if job.Status != events.StatusSucceeded || calls.Load() != 1 {
				t.Errorf("got %s after %d calls", job.Status, calls.Load())
			}
			var text strings.Builder
			for _, e := range b.Events(job.ID) {
				var d events.TextDelta
				if e.Type != events.TypeTextDelta {
					continue
				}
				if err := json.Unmarshal(e.Data, &d); err != nil || d.Start != 3 || d.Offset != text.Len() {
					t.Errorf("after %d bytes the log goes on with %.60s (%v)", text.Len(), e.Data, err)
				}
				text.WriteString(d.Text)
			}
			if text.String() != first+rest {
				t.Errorf("the log holds %d bytes of text, want %d", text.Len(), len(first+rest))
			}
		})
	}
}

// refuseFirstText has the database refuse the first text as it does while it starts up.
func refuseFirstText(t *testing.T, b *runnertest.Bench) {
	t.Helper()
	_, err := b.DB.Conn(t, b.DB.OwnerURL).Exec(t.Context(), `CREATE SEQUENCE tries;
		CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql SECURITY DEFINER AS $$ BEGIN
			IF nextval('tries') = 1 THEN RAISE 'starting up' USING ERRCODE = '57P03'; END IF;
			RETURN NEW;
		END $$;
		CREATE TRIGGER refuse BEFORE INSERT ON job_events FOR EACH ROW WHEN (NEW.type = 'text.delta') EXECUTE FUNCTION refuse()`)
	if err != nil {
		t.Fatal(err)
	}
}

func TestAStepWhoseCommitWasNotConfirmedIsJournalledOnce(t *testing.T) {
	t.Parallel()
	b := start(t, runner.Config{}, func(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
		_, err := runner.Step(ctx, run, events.StepToolCall, "step", nil,
			func(ctx context.Context, _ *runner.Text) (int, *events.Usage, error) {
				// The first commit went through, but its answer got lost.
				return 1, nil, run.Read(ctx, func(tx *store.Tx) error {
					entry := store.RunStep{StepNo: 1, Kind: events.StepToolCall, Name: "step", Output: json.RawMessage(`1`)}
					_, err := tx.Jobs().Journal(run.Job().Lease(), entry)
					return err
				})
			})
		return runner.Outcome{}, err
	})
	job := b.UntilEnded(b.Submit(store.NewJob{MaxAttempts: 1}))
	if job.Status != events.StatusSucceeded {
		t.Errorf("got %s: %v", job.Status, *job.ErrorCode)
	}
	for _, e := range b.Events(job.ID) {
		if e.Type == events.TypeStepFinished {
			t.Error("the finish of the step was logged again")
		}
	}
}
