package runner

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/pkg/store"
)

// Config tunes a runner. Zero values mean the defaults named below.
type Config struct {
	// Worker names this process in the job's row; it must differ between processes.
	Worker string
	// Version is the release that the registry of workers shows.
	Version string
	// Slots is how many jobs run at once; 4 by default. Resize changes it.
	Slots int
	// Lease is how long a claim holds without being renewed; 30 s by default. It is renewed three times in that span.
	Lease time.Duration
	// Timeout is how long one attempt may take; 15 min by default.
	Timeout time.Duration
	// Grace is how long running jobs may go on after a shutdown was asked for; 20 s by default. Those that have not ended then
	// go back to the queue, uncharged.
	Grace time.Duration
}

func (c Config) withDefaults() Config {
	if c.Slots <= 0 {
		c.Slots = 4
	}
	if c.Lease <= 0 {
		c.Lease = 30 * time.Second
	}
	if c.Timeout <= 0 {
		c.Timeout = 15 * time.Minute
	}
	if c.Grace <= 0 {
		c.Grace = 20 * time.Second
	}
	return c
}

// Runner fetches, claims and runs the jobs of one kind. Build it with New, then call Run once.
type Runner struct {
	cfg     Config
	handler Handler
	store   *store.Store
	engine  *store.Engine
	bus     *bus.Bus
	log     *slog.Logger
	metrics *metrics
	slots   *slots
	report  *report

	ending  atomic.Int32 // jobs whose handler has returned and whose end is not written yet
	mu      sync.Mutex
	running map[uuid.UUID]*claim
	// called off are jobs that were cancelled of late: a cancel may come before the claim that it is about is known here.
	calledOff map[uuid.UUID]time.Time
	// stopped is why runs are stopped that begin now; nil before the grace is over.
	stopped error
}

type claim struct {
	lease store.Lease
	stop  context.CancelCauseFunc
	// over stops the run when the lease ends without having been renewed: what it does from then on, another worker may be doing.
	over *time.Timer
}

// New builds a runner. Metrics are registered with reg.
func New(cfg Config, h Handler, s *store.Store, e *store.Engine, b *bus.Bus, log *slog.Logger, reg prometheus.Registerer) *Runner {
	cfg = cfg.withDefaults()
	r := &Runner{
		cfg: cfg, handler: h, store: s, engine: e, bus: b, log: log.With("kind", h.Kind()), metrics: newMetrics(reg, h.Kind()),
		slots: newSlots(cfg.Slots), running: map[uuid.UUID]*claim{}, calledOff: map[uuid.UUID]time.Time{},
	}
	r.report = newReport(b, cfg, h.Kind(), r.standing)
	return r
}

// Resize changes how many jobs run at once, from now on. With fewer slots than jobs, none is taken until enough have ended. It can be
// called at any time; n below one is taken as one.
func (r *Runner) Resize(n int) {
	r.slots.resize(n)
	r.report.wake()
}

// Run works until ctx ends, then stops fetching, lets running jobs finish within the grace and returns nil.
func (r *Runner) Run(ctx context.Context) error {
	// Work outlives ctx by the grace.
	work, stopWork := context.WithCancelCause(context.WithoutCancel(ctx))
	defer stopWork(nil)
	for subject, hear := range map[string]func(string, []byte){
		r.bus.Subjects().Cancel(): r.cancelled,
		r.bus.Subjects().Roll():   func(string, []byte) { r.report.wake() },
		r.bus.Subjects().Resize(): r.resized,
	} {
		if err := r.bus.Subscribe(work, subject, hear); err != nil {
			return err
		}
	}
	var beside sync.WaitGroup
	beside.Go(func() { r.keepLeases(work) })
	beside.Go(func() { r.report.run(work) })
	var jobs, lanes sync.WaitGroup
	for range fetchLanes {
		lanes.Go(func() { r.fetch(ctx, work, &jobs) })
	}
	lanes.Wait()
	r.report.drain()

	idle := make(chan struct{})
	go func() { jobs.Wait(); close(idle) }()
	grace := time.NewTimer(r.cfg.Grace)
	defer grace.Stop()
	select {
	case <-idle:
	case <-grace.C:
		r.log.Warn("grace is over, running jobs go back to the queue", "jobs", r.inFlight())
		r.stopAll(errDraining)
		<-idle
	}
	stopWork(nil)
	beside.Wait()
	return nil
}

// fetchLanes are how many pulls may be open at once: while one waits for its last job, another asks for the slots that got free.
const fetchLanes = 3

// fetch pulls as many jobs as there are free slots until ctx ends. Whatever breaks (the broker away, the stream deleted) is
// mended by binding again.
func (r *Runner) fetch(ctx, work context.Context, jobs *sync.WaitGroup) {
	var consumer *bus.Consumer
	for pause := time.Duration(0); lifecycle.Pause(ctx, pause); {
		pause = 0
		if consumer == nil {
			var err error
			if consumer, err = r.bind(ctx); err != nil {
				r.log.Warn("no consumer, trying again", "error", err)
				pause = time.Second
				continue
			}
		}
		free, ok := r.slots.reserve(ctx)
		if !ok {
			return
		}
		err := consumer.Fetch(ctx, free, fetchWait, func(d bus.Delivery) {
			free--
			jobs.Go(func() {
				p := &place{slots: r.slots}
				defer p.release()
				r.take(work, d, p)
			})
		})
		r.slots.giveBack(free)
		if err != nil && ctx.Err() == nil {
			r.log.Warn("fetch failed, binding again", "error", err)
			consumer, pause = nil, 250*time.Millisecond
		}
	}
}

// fetchWait bounds one pull, so that a stream that vanished under it is noticed.
const fetchWait = 3 * time.Second

// maxAckPending caps what all workers of a kind hold between delivery and claim, which is milliseconds.
const maxAckPending = 10_000

func (r *Runner) bind(ctx context.Context) (*bus.Consumer, error) {
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	if _, err := r.bus.EnsureTopology(ctx); err != nil {
		return nil, err
	}
	return r.bus.Consume(ctx, r.handler.Kind(), maxAckPending)
}

// claimTimeout frees the slot of a claim that a database which answers no more would hold.
const claimTimeout = 10 * time.Second

// take claims a delivered job, runs it and writes its end.
func (r *Runner) take(ctx context.Context, d bus.Delivery, p *place) {
	id, err := uuid.Parse(d.JobID)
	if err != nil {
		r.log.Error("dispatch without a job id removed", "job_id", d.JobID)
		_ = d.Done()
		return
	}
	if !p.enter(ctx) {
		_ = d.Later(0)
		return
	}
	began := time.Now()
	claiming, cancel := context.WithTimeout(ctx, claimTimeout)
	job, err := r.engine.Claim(claiming, id, r.cfg.Worker, r.cfg.Lease)
	cancel()
	if err != nil {
		r.log.Warn("claim failed, giving the message back", "job_id", id, "error", err)
		_ = d.Later(time.Second)
		return
	}
	// A lost ack only means a second delivery, which finds nothing to claim.
	_ = d.Done()
	if job == nil {
		r.report.missed(id)
		return
	}
	r.report.claimed(id)
	outcome := r.run(ctx, job, began, p)
	r.report.ended(id, p.took(), outcome)
}

func (r *Runner) run(ctx context.Context, job *store.Job, began time.Time, p *place) events.Outcome {
	log := r.log.With("job_id", job.ID, "tenant_id", job.OrganizationID, "attempt", job.Attempt)
	ctx, stop := context.WithCancelCause(ctx)
	defer stop(nil)
	r.track(job, began, stop)
	defer r.untrack(job)
	limited, cancel := context.WithTimeout(ctx, r.cfg.Timeout)
	defer cancel()
	if job.DeadlineAt != nil {
		// By the clock that set it.
		left := job.DeadlineAt.Sub(job.ClaimedAt) - time.Since(began)
		limited, cancel = context.WithTimeoutCause(limited, left, errDeadline)
		defer cancel()
	}

	run := &Run{job: job, store: r.store, live: r.bus.PublishLive, log: log, patience: r.cfg.Lease}
	var out Outcome
	err := Snooze(drained, events.WaitingWorker)
	if p.begin(limited) {
		err = guard(limited, log, func() (err error) {
			out, err = r.handler.Handle(limited, run)
			return err
		})
	}
	// The next job may begin while the end of this one is being written; but no more ends wait than there are slots.
	if int(r.ending.Add(1)) <= r.slots.size() {
		p.release()
	}
	defer r.ending.Add(-1)
	if _, putOff := errors.AsType[*SnoozeError](err); putOff {
		log.Debug("put off", "reason", err, "after", time.Since(began).Round(time.Millisecond))
	} else if err != nil {
		log.Warn("attempt failed", "error", err, "after", time.Since(began).Round(time.Millisecond))
	}
	ending := decide(limited, job, out, err, time.Now())
	if ending == nil {
		r.metrics.lost.Inc()
		log.Info("lease lost, nothing written")
		return events.OutcomeLost
	}
	written := r.end(context.WithoutCancel(ctx), log, job, out, *ending)
	if written == nil {
		return events.OutcomeLost
	}
	r.metrics.ended(written.Status())
	if p.held {
		r.metrics.duration.Observe(p.took().Seconds())
	}
	return written.Outcome()
}

// codePanic is how an attempt fails that made its worker's code panic.
const codePanic = "worker.panic"

// guard keeps a panic of a handler from ending the process and its other jobs.
func guard(ctx context.Context, log *slog.Logger, do func() error) (err error) {
	defer func() {
		if p := recover(); p != nil {
			log.ErrorContext(ctx, "handler panicked", "panic", p, "stack", string(debug.Stack()))
			err = fault.Wrap(fmt.Errorf("panic: %v", p), fault.Internal, codePanic, "The worker failed on this job.")
		}
	}()
	return do()
}

// end writes the ending and returns it, or what the job ended with instead. It is nil when nothing could be written while the lease
// held: the sweeper requeues the job then.
func (r *Runner) end(ctx context.Context, log *slog.Logger, job *store.Job, out Outcome, e store.Ending) *store.Ending {
	log = log.With("write", "ending")
	err := persist(ctx, r.cfg.Lease, log, func(ctx context.Context) error {
		return guard(ctx, log, func() error { return r.write(ctx, job, out, e) })
	})
	if f, ok := errors.AsType[*fault.Error](err); ok && !passes(f) {
		// The content of the outcome was refused, so this is how the job ends.
		log.WarnContext(ctx, "outcome refused", "error", err)
		e = failed(job, f, time.Now())
		err = persist(ctx, r.cfg.Lease, log, func(ctx context.Context) error { return r.write(ctx, job, Outcome{}, e) })
	}
	switch {
	case errors.Is(err, store.ErrLeaseLost):
		r.metrics.lost.Inc()
		log.InfoContext(ctx, "lease lost, nothing written")
		return nil
	case err != nil:
		log.ErrorContext(ctx, "given up, the job will run again", "error", err)
		return nil
	}
	return &e
}

func (r *Runner) write(ctx context.Context, job *store.Job, out Outcome, e store.Ending) error {
	if out.Also == nil && e.CanEnd(job) {
		return r.engine.End(ctx, job, e, out.Facts...)
	}
	return r.store.InTenant(ctx, job.Tenant(), func(tx *store.Tx) error {
		if err := tx.Jobs().End(job.Lease(), e, out.Facts...); err != nil {
			return err
		}
		if out.Also == nil || (e.Status() != events.StatusSucceeded && e.Status() != events.StatusWaiting) {
			return nil
		}
		return out.Also(tx)
	})
}

// persist tries a fenced write again, for at most patience, as long as what went wrong may pass. It is safe to repeat a write
// whose commit was not confirmed: if it did happen, the next try finds the job moved on, or the step journalled.
func persist(ctx context.Context, patience time.Duration, log *slog.Logger, write func(context.Context) error) error {
	ctx, cancel := context.WithTimeout(ctx, patience)
	defer cancel()
	for attempt := 1; ; attempt++ {
		err := write(ctx)
		if err == nil || errors.Is(err, store.ErrLeaseLost) || !passes(fault.Of(err)) {
			return err
		}
		log.WarnContext(ctx, "not written, trying again", "error", err)
		if !lifecycle.Pause(ctx, backoff(attempt)/4) {
			return err
		}
	}
}

// passes reports whether the same write may succeed in a moment.
func passes(f *fault.Error) bool { return f.Kind.Retryable() && f.Code != codePanic }

// keepLeases renews what runs here, and stops what is not held any more.
func (r *Runner) keepLeases(ctx context.Context) {
	tick := time.NewTicker(r.cfg.Lease / 3)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		leases := r.leases()
		if len(leases) == 0 {
			continue
		}
		asked := time.Now()
		renewing, cancel := context.WithTimeout(ctx, r.cfg.Lease/4)
		held, err := r.engine.Renew(renewing, leases, r.cfg.Lease)
		cancel()
		if err != nil {
			r.log.Warn("leases not renewed", "error", err)
			continue
		}
		for _, l := range leases {
			if held[l.JobID] {
				r.renewed(l, r.cfg.Lease-time.Since(asked))
			} else {
				r.lose(l.JobID, l.Epoch)
			}
		}
	}
}

func (r *Runner) leases() []store.Lease {
	r.mu.Lock()
	defer r.mu.Unlock()
	leases := make([]store.Lease, 0, len(r.running))
	for _, c := range r.running {
		leases = append(leases, c.lease)
	}
	return leases
}

func (r *Runner) renewed(l store.Lease, holds time.Duration) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.running[l.JobID]; ok && c.lease == l {
		c.over.Reset(holds)
	}
}

// resized takes in how many jobs to run at once, if this worker is meant.
func (r *Runner) resized(_ string, data []byte) {
	var to events.Resize
	if json.Unmarshal(data, &to) != nil || to.Worker != r.cfg.Worker || to.Kind != "" && to.Kind != r.handler.Kind() {
		return
	}
	r.log.Info("told how many jobs to run at once", "slots", to.Slots)
	r.Resize(to.Slots)
}

func (r *Runner) cancelled(_ string, data []byte) {
	var c events.Cancel
	if json.Unmarshal(data, &c) != nil {
		return
	}
	id, err := uuid.Parse(c.JobID)
	if err != nil {
		return
	}
	r.mu.Lock()
	now := time.Now()
	for old, at := range r.calledOff {
		if now.Sub(at) > claimTimeout {
			delete(r.calledOff, old)
		}
	}
	r.calledOff[id] = now
	r.mu.Unlock()
	r.lose(id, 0)
}

// lose stops a run whose lease is gone; epoch zero stands for any.
func (r *Runner) lose(id uuid.UUID, epoch int64) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.running[id]; ok && (epoch == 0 || epoch == c.lease.Epoch) {
		c.stop(store.ErrLeaseLost)
	}
}

// stopAll stops what runs, and what was claimed at this moment.
func (r *Runner) stopAll(cause error) {
	r.mu.Lock()
	defer r.mu.Unlock()
	r.stopped = cause
	for _, c := range r.running {
		c.stop(cause)
	}
}

func (r *Runner) track(job *store.Job, claimed time.Time, stop context.CancelCauseFunc) {
	r.mu.Lock()
	defer r.mu.Unlock()
	over := time.AfterFunc(r.cfg.Lease-time.Since(claimed), func() { stop(store.ErrLeaseLost) })
	r.running[job.ID] = &claim{lease: job.Lease(), stop: stop, over: over}
	r.metrics.running.Set(float64(len(r.running)))
	if _, off := r.calledOff[job.ID]; off {
		stop(store.ErrLeaseLost)
	} else if r.stopped != nil {
		stop(r.stopped)
	}
}

// untrack forgets a run, unless the job has been claimed again meanwhile by this same process.
func (r *Runner) untrack(job *store.Job) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if c, ok := r.running[job.ID]; ok && c.lease == job.Lease() {
		c.over.Stop()
		delete(r.running, job.ID)
	}
	r.metrics.running.Set(float64(len(r.running)))
}

func (r *Runner) inFlight() int {
	r.mu.Lock()
	defer r.mu.Unlock()
	return len(r.running)
}

// standing is what the beats say about this runner.
func (r *Runner) standing() (limit int, jobs []uuid.UUID) {
	r.mu.Lock()
	defer r.mu.Unlock()
	jobs = make([]uuid.UUID, 0, len(r.running))
	for id := range r.running {
		jobs = append(jobs, id)
	}
	return r.slots.size(), jobs
}
