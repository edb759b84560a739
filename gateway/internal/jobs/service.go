package jobs

import (
	"context"
	"encoding/json"
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Awaiter tells when a job has ended.
type Awaiter interface {
	// Await returns nil when the job has ended, and ctx's error when that comes first.
	Await(ctx context.Context, t tenant.ID, job uuid.UUID) error
}

// Canceller tells the worker that runs a job to stop.
type Canceller interface{ PublishCancel(jobID string) }

// Service takes in, follows and cancels jobs. It is safe for concurrent use.
type Service struct {
	store  *store.Store
	engine *store.Engine
	awaits Awaiter
	cancel Canceller
}

// New builds a service.
func New(s *store.Store, e *store.Engine, a Awaiter, c Canceller) *Service {
	return &Service{store: s, engine: e, awaits: a, cancel: c}
}

// Once makes a submit happen once, however often it is sent. The zero Once does nothing.
type Once struct {
	// Key is the client's Idempotency-Key.
	Key string
	// Scope is the operation that the key belongs to.
	Scope string
	// Hash tells whether two requests with one key are the same.
	Hash []byte
}

// scope is where a key counts: keys of one user mean nothing to another.
func (o Once) scope(p *rbac.Principal) string { return o.Scope + " " + p.UserID.String() }

// Submission is what a submit came to.
type Submission struct {
	Jobs []*store.Job
	// Replayed says that an earlier request with the same key made the jobs, and that this one did nothing.
	Replayed bool
}

// Job is that of a submission of one.
func (s Submission) Job() *store.Job { return s.Jobs[0] }

// Submit takes in work that needs nothing written beside it, together with the idempotency key: all of it or none. Prepare says what
// is to be done; it may read, and whatever it returns as an error refuses the request. What others submit at the same moment shares the
// commit. A key that was used with another request is fault.Invalid.
func (s *Service) Submit(
	ctx context.Context, p *rbac.Principal, once Once, prepare func(*store.Tx) ([]store.NewJob, error),
) (Submission, error) {
	var work []store.NewJob
	err := s.store.View(ctx, p.Tenant, func(tx *store.Tx) (err error) {
		work, err = prepare(tx)
		return err
	})
	if err != nil && once.Key != "" {
		// What can be refused now may have been taken in when the key was new.
		if again, known := s.again(ctx, p, once); known == nil {
			return again, nil
		}
	}
	if err != nil {
		return Submission{}, err
	}
	for i := range work {
		work[i].CreatedBy = &p.UserID
	}
	made, known, err := s.engine.Submit(ctx, store.Submission{
		Tenant: p.Tenant, Work: work, Once: store.Once{Key: once.Key, Scope: once.scope(p), Hash: once.Hash},
	})
	if err != nil || !known {
		return Submission{Jobs: made}, err
	}
	return s.again(ctx, p, once)
}

// again returns what the first request with a key came to.
func (s *Service) again(ctx context.Context, p *rbac.Principal, once Once) (sub Submission, err error) {
	err = s.store.View(ctx, p.Tenant, func(tx *store.Tx) error {
		first, err := tx.Idempotency().First(once.scope(p), once.Key, once.Hash)
		if err != nil {
			return err
		}
		sub, err = remembered(tx, first)
		return err
	})
	return sub, err
}

// remembered reads the jobs that a known key stands for.
func remembered(tx *store.Tx, first *store.First) (Submission, error) {
	ids := []uuid.UUID{first.JobID}
	if first.Response != nil {
		if err := json.Unmarshal(first.Response, &ids); err != nil {
			return Submission{}, fmt.Errorf("jobs: read a kept answer: %w", err)
		}
	}
	made, err := tx.Jobs().GetAll(ids)
	return Submission{Jobs: made, Replayed: true}, err
}

// SubmitWith makes a job in one transaction with whatever build writes and with the idempotency key. Build runs only when the key
// is new. A key that was used with another request is fault.Invalid, one that is in use at this moment fault.Conflict.
func (s *Service) SubmitWith(
	ctx context.Context, p *rbac.Principal, once Once, build func(*store.Tx) (store.NewJob, error),
) (Submission, error) {
	return s.submitMade(ctx, p, once, func(tx *store.Tx) (*store.Job, error) {
		work, err := build(tx)
		if err != nil {
			return nil, err
		}
		work.CreatedBy = &p.UserID
		return tx.Jobs().Submit(work)
	})
}

// submitMade is SubmitWith for a job that write makes itself.
func (s *Service) submitMade(
	ctx context.Context, p *rbac.Principal, once Once, write func(*store.Tx) (*store.Job, error),
) (sub Submission, err error) {
	err = s.store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		if once.Key != "" {
			first, err := tx.Idempotency().Reserve(once.scope(p), once.Key, once.Hash)
			if err != nil {
				return err
			}
			if first != nil {
				sub, err = remembered(tx, first)
				return err
			}
		}
		job, err := write(tx)
		if err != nil {
			return err
		}
		if sub.Jobs = []*store.Job{job}; once.Key == "" {
			return nil
		}
		return tx.Idempotency().Complete(once.scope(p), once.Key, job.ID)
	})
	return sub, err
}

// Get returns a job within the caller's reach; any other is fault.NotFound.
func (s *Service) Get(ctx context.Context, p *rbac.Principal, id uuid.UUID) (job *store.Job, err error) {
	err = s.store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		job, err = get(tx, p, id)
		return err
	})
	return job, err
}

// Place is Get, and for a job that waits for its turn how many of its tenant's jobs go before it, as Jobs.Ahead counts them.
func (s *Service) Place(ctx context.Context, p *rbac.Principal, id uuid.UUID) (job *store.Job, ahead int, err error) {
	err = s.store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		if job, err = get(tx, p, id); err != nil || !job.Ready() {
			return err
		}
		ahead, err = tx.Jobs().Ahead(job)
		return err
	})
	return job, ahead, err
}

func get(tx *store.Tx, p *rbac.Principal, id uuid.UUID) (*store.Job, error) {
	job, err := tx.Jobs().Get(id)
	if err != nil {
		return nil, err
	}
	if !p.Jobs().Sees(job.CreatedBy, job.ProjectID) {
		return nil, fault.New(fault.NotFound, "job.not_found", "There is no such job.")
	}
	return job, nil
}

// Wait returns the job as it is when it has ended or when the time is over, whichever comes first.
func (s *Service) Wait(ctx context.Context, p *rbac.Principal, id uuid.UUID, most time.Duration) (*store.Job, error) {
	if err := s.Await(ctx, p, id, most); err != nil {
		return nil, err
	}
	return s.Get(ctx, p, id)
}

// Await returns when the job, which must be within the caller's reach, has ended or when the time is over, whichever comes first.
func (s *Service) Await(ctx context.Context, p *rbac.Principal, id uuid.UUID, most time.Duration) error {
	waiting, stop := context.WithTimeout(ctx, most)
	defer stop()
	err := s.awaits.Await(waiting, p.Tenant, id)
	// That the time is over, or that this gateway shuts down, is no failure: the job goes on.
	if err != nil && waiting.Err() == nil && !fault.Is(err, fault.Unavailable) {
		return err
	}
	return nil
}

// List returns a page of the jobs within the caller's reach, newest first, and whether there are more. It replaces the filter's
// CreatedBy and ProjectIDs.
func (s *Service) List(ctx context.Context, p *rbac.Principal, f store.JobFilter) (list []*store.Job, more bool, err error) {
	f = within(p, f)
	err = s.store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		list, more, err = tx.Jobs().List(f)
		return err
	})
	return list, more, err
}

// PlatformStats returns how the jobs of all organizations stand. Who may ask is for the caller to decide.
func (s *Service) PlatformStats(ctx context.Context) (store.JobStats, error) {
	return s.engine.JobStats(ctx)
}

// within narrows a filter to the caller's reach.
func within(p *rbac.Principal, f store.JobFilter) store.JobFilter {
	f.CreatedBy, f.ProjectIDs = nil, nil
	if reach := p.Jobs(); !reach.All {
		f.CreatedBy, f.ProjectIDs = &reach.Owner, reach.Projects
	}
	return f
}

// maxChildren bounds how many children of a cancelled job are told to stop at once. The others notice when they renew their
// lease.
const maxChildren = 10_000

// Cancel ends a job and its children, and stops the workers that run them. Cancelling twice is no error; a job that ended
// otherwise is fault.Conflict.
func (s *Service) Cancel(ctx context.Context, p *rbac.Principal, id uuid.UUID) (job *store.Job, err error) {
	var children []*store.Job
	err = s.store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		if job, err = get(tx, p, id); err != nil {
			return err
		}
		if job, err = tx.Jobs().Cancel(id); err != nil {
			return err
		}
		children, _, err = tx.Jobs().List(store.JobFilter{ParentID: &id, Status: events.StatusCancelled, Limit: maxChildren})
		return err
	})
	if err != nil {
		return nil, err
	}
	s.cancel.PublishCancel(id.String())
	for _, child := range children {
		s.cancel.PublishCancel(child.ID.String())
	}
	return job, nil
}

// Stopped tells the workers of jobs that a committed transaction has cancelled to stop.
func (s *Service) Stopped(jobs []uuid.UUID) {
	for _, id := range jobs {
		s.cancel.PublishCancel(id.String())
	}
}

// Steps returns the journal of a job within the caller's reach.
func (s *Service) Steps(ctx context.Context, p *rbac.Principal, id uuid.UUID) (steps []store.RunStep, err error) {
	err = s.store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		if _, err := get(tx, p, id); err != nil {
			return err
		}
		steps, err = tx.Jobs().Steps(id)
		return err
	})
	return steps, err
}
