package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/store"
)

// Outcome is how an attempt went.
type Outcome string

// The outcomes.
const (
	Running   Outcome = "running"   // or waiting for its parts
	Succeeded Outcome = "succeeded" // the job, too
	Failed    Outcome = "failed"    // the job, too
	Cancelled Outcome = "cancelled" // the job, too
	Again     Outcome = "again"     // it failed, and the job was tried again later
	Postponed Outcome = "postponed" // it had to wait, such as for the provider, and was not counted
)

// Attempt is one time that a worker took a job.
type Attempt struct {
	// Number is what counted it; an attempt that was postponed gives its number back.
	Number  int
	Worker  string
	Outcome Outcome
	// Error is why it failed; nil if it did not.
	Error    *events.Failure
	Started  time.Time
	Finished *time.Time // nil while it runs
	// Next is when the job was to be tried again; nil where it was not, or at once.
	Next *time.Time
}

// maxStates bounds how much of a job's log is read for its attempts: what a job has been postponed for hours writes many lines.
const maxStates = 1000

// Attempts returns the attempts of a job within the caller's reach, in order. Of very many the oldest are left out.
func (s *Service) Attempts(ctx context.Context, p *rbac.Principal, id uuid.UUID) (list []Attempt, err error) {
	err = s.store.View(ctx, p.Tenant, func(tx *store.Tx) error {
		if _, err := get(tx, p, id); err != nil {
			return err
		}
		states, err := tx.Jobs().States(id, maxStates)
		if err != nil {
			return err
		}
		list, err = attempts(states)
		return err
	})
	return list, err
}

// attempts reads them out of a job's log.
func attempts(log []events.Event) ([]Attempt, error) {
	var list []Attempt
	open := false // the last one
	for _, e := range log {
		var state events.JobState
		if err := json.Unmarshal(e.Data, &state); err != nil {
			return nil, fmt.Errorf("jobs: read event %d: %w", e.Seq, err)
		}
		at := e.Time
		if open {
			last := &list[len(list)-1]
			open = last.next(state, at)
		}
		if state.Status == events.StatusRunning {
			list = append(list, Attempt{Number: state.Attempt, Worker: state.Worker, Outcome: Running, Started: at})
			open = true
		}
	}
	return list, nil
}

// next takes in what the job's log says after the attempt has begun, and reports whether the attempt goes on.
func (a *Attempt) next(state events.JobState, at time.Time) bool {
	switch state.Status {
	case events.StatusWaiting:
		return true
	case events.StatusSucceeded:
		a.Outcome = Succeeded
	case events.StatusFailed:
		a.Outcome = Failed
	case events.StatusCancelled:
		a.Outcome = Cancelled
	case events.StatusRunning:
		// Somebody else has taken the job over before anybody noticed that the worker was gone.
		a.Outcome, a.Error = Again, &events.Failure{Code: "worker.lost", Message: "The worker stopped answering; the job runs again."}
	default:
		a.Outcome = Again
		if state.Attempt < a.Number {
			a.Outcome = Postponed
		}
		a.Next = state.RunAt
	}
	a.Finished = &at
	if state.Error != nil {
		a.Error = state.Error
	}
	return false
}
