package dispatch

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/store"
)

// Config tunes the dispatcher. Zero values mean the defaults named below.
type Config struct {
	// Depth is how many jobs of one kind may lie with the broker, unclaimed; 64 by default. It should cover the free slots of
	// all workers of that kind and little more.
	Depth int
	// Tick is the timer of last resort; 1 s by default.
	Tick time.Duration
	// Lost is after what time a dispatched job that nobody claimed counts as lost by the broker; 1 min by default. Only
	// needed when a message vanished without its stream: a stream that was deleted is noticed at once.
	Lost time.Duration
}

func (c Config) withDefaults() Config {
	if c.Depth <= 0 {
		c.Depth = 64
	}
	if c.Tick <= 0 {
		c.Tick = time.Second
	}
	if c.Lost <= 0 {
		c.Lost = time.Minute
	}
	return c
}

// Dispatcher takes part in leading; build it with New and call Run once.
type Dispatcher struct {
	cfg     Config
	engine  *store.Engine
	store   *store.Store
	bus     *bus.Bus
	log     *slog.Logger
	metrics *metrics
	wake    chan struct{}
}

// New builds a dispatcher. Metrics are registered with reg.
func New(cfg Config, e *store.Engine, s *store.Store, b *bus.Bus, log *slog.Logger, reg prometheus.Registerer) *Dispatcher {
	return &Dispatcher{
		cfg: cfg.withDefaults(), engine: e, store: s, bus: b, log: log, metrics: newMetrics(reg), wake: make(chan struct{}, 1),
	}
}

// Run leads whenever it can, until ctx ends. It returns nil then: what goes wrong in between is logged and tried again.
func (d *Dispatcher) Run(ctx context.Context) error {
	if err := d.bus.Subscribe(ctx, d.bus.Subjects().Nudge(), func(string, []byte) { d.Wake() }); err != nil {
		return err
	}
	for wait(ctx, d.wake, d.cfg.Tick) {
		_, err := d.engine.Lead(ctx, store.Dispatching, d.lead)
		if err != nil && ctx.Err() == nil {
			d.log.WarnContext(ctx, "dispatching interrupted", "error", err)
			// A wake-up that is pending must not turn an outage into a busy loop.
			wait(ctx, nil, d.cfg.Tick)
		}
	}
	return nil
}

// Wake makes the leader look for work at once. It never blocks.
func (d *Dispatcher) Wake() {
	select {
	case d.wake <- struct{}{}:
	default:
	}
}

// lead dispatches until leadership ends.
func (d *Dispatcher) lead(ctx context.Context) error {
	d.log.InfoContext(ctx, "this gateway leads the dispatch")
	d.metrics.leading.Set(1)
	defer d.metrics.leading.Set(0)

	// The former leader may have marked jobs that it never published.
	if _, err := d.engine.Recall(ctx, 0); err != nil {
		return err
	}
	var stream time.Time
	var repaired time.Time
	for {
		if now := time.Now(); now.Sub(repaired) >= d.cfg.Tick {
			var err error
			if stream, err = d.repair(ctx, stream); err != nil {
				return err
			}
			repaired = now
		}
		if err := d.dispatch(ctx); err != nil {
			return err
		}
		pause, err := d.pause(ctx)
		if err != nil {
			return err
		}
		if !wait(ctx, d.wake, pause) {
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil
		}
	}
}

// dispatch hands over whatever has room and is due.
func (d *Dispatcher) dispatch(ctx context.Context) error {
	for _, kind := range events.Kinds() {
		jobs, err := d.engine.Dispatch(ctx, kind, d.cfg.Depth)
		if err != nil {
			return err
		}
		if len(jobs) == 0 {
			continue
		}
		if err := d.publish(ctx, jobs); err != nil {
			return err
		}
		d.metrics.dispatched.WithLabelValues(string(kind)).Add(float64(len(jobs)))
	}
	return nil
}

func (d *Dispatcher) publish(ctx context.Context, jobs []store.Dispatchable) error {
	msgs := make([]events.Dispatch, len(jobs))
	for i, j := range jobs {
		msgs[i] = events.Dispatch{JobID: j.JobID.String(), TenantID: j.Tenant.String(), Kind: j.Kind, Number: j.Number}
	}
	publishing, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	refused, err := d.bus.Dispatch(publishing, func(i int) events.Class { return jobs[i].Class }, msgs)
	if err == nil {
		return nil
	}
	back := make([]store.Dispatchable, len(refused))
	for n, i := range refused {
		back[n] = jobs[i]
	}
	return errors.Join(err, d.engine.Undispatch(ctx, back))
}

// repair ensures the streams, calls back what a vanished stream or message held, and sweeps expired leases. It returns when
// the work queue was created.
func (d *Dispatcher) repair(ctx context.Context, known time.Time) (created time.Time, err error) {
	created, err = d.stream(ctx, known)
	if err != nil {
		return known, err
	}
	unclaimed := d.cfg.Lost
	if !known.IsZero() && !created.Equal(known) {
		d.log.WarnContext(ctx, "the work queue was created anew, dispatching its jobs again")
		unclaimed = 0
	}
	recalled, err := d.engine.Recall(ctx, unclaimed)
	if err != nil {
		return created, err
	}
	d.metrics.recalled.Add(float64(recalled))
	return created, d.sweep(ctx)
}

func (d *Dispatcher) stream(ctx context.Context, known time.Time) (time.Time, error) {
	asking, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	created, err := d.bus.JobsCreated(asking)
	if err != nil {
		return time.Time{}, err
	}
	if created.IsZero() || known.IsZero() {
		return d.bus.EnsureTopology(asking)
	}
	return created, nil
}

// sweepBatch bounds one sweep; the next tick takes the rest.
const sweepBatch = 500

func (d *Dispatcher) sweep(ctx context.Context) error {
	expired, err := d.engine.Sweep(ctx, sweepBatch)
	if err != nil {
		return err
	}
	for _, x := range expired {
		d.metrics.expired.Inc()
		d.log.WarnContext(ctx, "worker lost", "job_id", x.Lease.JobID, "tenant_id", x.Tenant, "exhausted", x.Exhausted)
		if !x.Exhausted {
			continue
		}
		err := d.store.InTenant(ctx, x.Tenant, func(tx *store.Tx) error {
			return tx.Jobs().End(x.Lease, store.Fail(events.Failure{
				Code: "worker.lost", Message: "Every worker that took the job stopped answering before it was done.",
			}, true).IfExpired())
		})
		if err != nil && !errors.Is(err, store.ErrLeaseLost) {
			// One job that cannot be ended must not keep all others from being dispatched; the next sweep meets it again.
			d.log.ErrorContext(ctx, "exhausted job not ended", "job_id", x.Lease.JobID, "tenant_id", x.Tenant, "error", err)
		}
	}
	return ctx.Err()
}

// pause returns how long nothing will be due, at most a tick.
func (d *Dispatcher) pause(ctx context.Context) (time.Duration, error) {
	due, scheduled, err := d.engine.NextDue(ctx)
	if err != nil {
		return 0, err
	}
	if !scheduled {
		return d.cfg.Tick, nil
	}
	return min(d.cfg.Tick, max(due, time.Millisecond)), nil
}

// wait pauses until wake or until d has passed, and reports whether ctx is still alive. A nil wake never fires.
func wait(ctx context.Context, wake <-chan struct{}, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-wake:
	case <-t.C:
	}
	return ctx.Err() == nil
}
