package runner

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// SnoozeError asks to see the job again later without charging the attempt.
type SnoozeError struct {
	For time.Duration
	// On is what the job waits for, as clients see it.
	On events.WaitingOn
}

// Error implements error.
func (e *SnoozeError) Error() string { return fmt.Sprintf("snooze for %s on %s", e.For, e.On) }

// Snooze returns a SnoozeError.
func Snooze(d time.Duration, on events.WaitingOn) error { return &SnoozeError{For: d, On: on} }

// AfterError asks to try the job again after a pause of the handler's choosing. The attempt is charged; after the last one the job
// is dead.
type AfterError struct {
	For time.Duration
	// Err says why the attempt failed; a fault in its chain is what clients see.
	Err error
}

// Error implements error.
func (e *AfterError) Error() string { return fmt.Sprintf("again after %s: %v", e.For, e.Err) }

// Unwrap returns why the attempt failed.
func (e *AfterError) Unwrap() error { return e.Err }

// After returns an AfterError.
func After(d time.Duration, err error) error { return &AfterError{For: d, Err: err} }

// errDraining is the cause of a run's context when the worker shuts down and the grace is over.
var errDraining = errors.New("worker is shutting down")

// errDeadline is the cause of a run's context when the job's deadline has passed.
var errDeadline = errors.New("the job's deadline has passed")

// drained is how long a job waits before another worker takes it up that this one has given back.
const drained = 100 * time.Millisecond

// decide maps what a handler returned to the ending of its claim. A nil ending means that nothing may be written, because the
// lease is lost.
func decide(ctx context.Context, job *store.Job, out Outcome, err error, now time.Time) *store.Ending {
	cause := context.Cause(ctx)
	var snooze *SnoozeError
	var after *AfterError
	var e store.Ending
	switch {
	case errors.Is(err, store.ErrLeaseLost), errors.Is(cause, store.ErrLeaseLost):
		return nil
	case err == nil && len(out.Children) > 0:
		e = store.WaitFor(out.Children, out.Result)
	case err == nil:
		e = store.Succeed(out.Result)
	case errors.Is(cause, errDeadline):
		e = store.Fail(events.Failure{Code: "job.deadline", Message: "The job was not done by its deadline."}, false)
	case errors.Is(cause, errDraining):
		e = store.Snooze(now.Add(drained), events.WaitingWorker)
	case errors.As(err, &snooze):
		e = store.Snooze(now.Add(snooze.For), snooze.On)
	case errors.As(err, &after):
		e = again(job, fault.Of(err), now.Add(after.For))
	default:
		e = failed(job, fault.Of(err), now)
	}
	return &e
}

func failed(job *store.Job, f *fault.Error, now time.Time) store.Ending {
	failure := events.Failure{Code: f.Code, Message: f.Message}
	var waited time.Duration
	if job.StartedAt != nil {
		waited = now.Sub(*job.StartedAt)
	}
	switch {
	case f.Kind == fault.RateLimited, f.Kind == fault.Unavailable && waited < outageMax:
		return store.Snooze(now.Add(max(f.RetryAfter, outagePause(waited))), events.WaitingProvider)
	case !f.Kind.Retryable():
		return store.Fail(failure, false)
	default:
		return again(job, f, now.Add(max(f.RetryAfter, backoff(job.Attempt))))
	}
}

// again is how an attempt ends that is charged: there is another one, or the job is dead.
func again(job *store.Job, f *fault.Error, at time.Time) store.Ending {
	failure := events.Failure{Code: f.Code, Message: f.Message}
	if job.Attempt >= job.MaxAttempts {
		return store.Fail(failure, true)
	}
	return store.Again(at, events.WaitingSchedule, failure)
}

// outageMax is how long a job waits for a part that is away before its attempts are charged. A limit that the provider itself
// sets has no such end.
const outageMax = time.Hour

// outagePause waits about half as long again as the job has waited so far, between one second and one minute: an outage costs no
// attempts, so they cannot be what the pause grows with.
func outagePause(waited time.Duration) time.Duration {
	ceiling := min(time.Minute, max(time.Second, waited))
	return ceiling/4 + rand.N(ceiling/2)
}

// backoff is exponential from one second to one minute with full jitter, after Brooker, "Exponential backoff and jitter".
func backoff(attempt int) time.Duration {
	ceiling := min(time.Minute, time.Second<<min(max(attempt-1, 0), 6))
	return ceiling/10 + rand.N(ceiling)
}
