package runner

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Handler does the jobs of one kind. Handle is called from many goroutines at once, one per job. Its context ends when the job is
// cancelled, the lease is lost or the worker's grace is over; it should return soon then, and whatever it returns is ignored.
type Handler interface {
	Kind() events.Kind
	Handle(ctx context.Context, run *Run) (Outcome, error)
}

// Outcome is what a job that went well leaves behind. Everything in it commits in one transaction with the job's end.
type Outcome struct {
	// Result is stored as the job's result, as JSON.
	Result any
	// Facts are logged before the final state.
	Facts []events.Fact
	// Also writes the content that goes with the end; nil means none.
	Also func(tx *store.Tx) error
	// Children, if there are any, are submitted, and the job waits for them instead of ending.
	Children []store.NewJob
}

// Run is one claim of a job, in a handler's hand. All its writes are fenced by the lease: after it was lost they return
// store.ErrLeaseLost and change nothing.
type Run struct {
	job   *store.Job
	store *store.Store
	live  func(events.Event)
	log   *slog.Logger
	// patience is how long a write is tried again while the database is away: as long as the lease can hold.
	patience time.Duration

	mu      sync.Mutex
	journal map[int]store.RunStep // loaded at the first step
	steps   int
	shown   time.Time // when progress was last written
}

// Job returns the claimed job. It must not be changed.
func (r *Run) Job() *store.Job { return r.job }

// Tenant returns whom the job belongs to.
func (r *Run) Tenant() tenant.ID { return r.job.Tenant() }

// Log returns a logger that names the job.
func (r *Run) Log() *slog.Logger { return r.log }

// Input decodes the job's input into v.
func (r *Run) Input(v any) error {
	if err := json.Unmarshal(r.job.Input, v); err != nil {
		return fault.Wrap(err, fault.Invalid, "job.input", "The job's input cannot be read.")
	}
	return nil
}

// ParseID reads an id in a job's input, which belongs to what is named. A malformed one is fault.Invalid.
func ParseID(what, text string) (uuid.UUID, error) {
	id, err := uuid.Parse(text)
	if err != nil {
		return uuid.Nil, fault.Wrap(err, fault.Invalid, "job.input", "The %s's id is malformed.", what)
	}
	return id, nil
}

// Read runs fn in a transaction of the job's tenant. It is not fenced: use it to read.
func (r *Run) Read(ctx context.Context, fn func(tx *store.Tx) error) error {
	return r.store.InTenant(ctx, r.Tenant(), fn)
}

// Write runs fn in a fenced transaction of the job's tenant and logs the facts with it; fn may be nil.
func (r *Run) Write(ctx context.Context, fn func(tx *store.Tx) error, facts ...events.Fact) error {
	return r.store.InTenant(ctx, r.Tenant(), func(tx *store.Tx) error {
		if _, err := tx.Jobs().Append(r.job.Lease(), facts...); err != nil {
			return err
		}
		if fn == nil {
			return nil
		}
		return fn(tx)
	})
}

// progressEvery keeps a fast job from writing a row per page.
const progressEvery = 250 * time.Millisecond

// Progress tells how far the job is. Calls in quick succession are thinned out; a finished stage is always told.
func (r *Run) Progress(ctx context.Context, stage string, done, total int) error {
	r.mu.Lock()
	due := done >= total || time.Since(r.shown) >= progressEvery
	if due {
		r.shown = time.Now()
	}
	r.mu.Unlock()
	if !due {
		return nil
	}
	return r.Write(ctx, nil, events.JobProgress{Stage: stage, Done: done, Total: total})
}

func (r *Run) loadJournal(ctx context.Context) error {
	return r.Read(ctx, func(tx *store.Tx) error {
		steps, err := tx.Jobs().Steps(r.job.ID)
		if err != nil {
			return err
		}
		r.journal = make(map[int]store.RunStep, len(steps))
		for _, s := range steps {
			r.journal[s.StepNo] = s
		}
		return nil
	})
}

// next returns the number of the step that begins now and its journal entry, if the step was finished by an earlier attempt.
func (r *Run) next(ctx context.Context) (n int, done *store.RunStep, err error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if r.journal == nil {
		if err := r.loadJournal(ctx); err != nil {
			return 0, nil, fmt.Errorf("runner: load journal: %w", err)
		}
	}
	r.steps++
	if s, ok := r.journal[r.steps]; ok {
		return r.steps, &s, nil
	}
	return r.steps, nil, nil
}
