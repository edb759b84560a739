package queues

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// kind is what the jobs that do nothing call themselves. The dispatcher must know it, and no other worker of it may run.
const kind = events.KindEmbeddingCreate

// Place is where a gateway and its database are.
type Place struct {
	// App and Engine are the database as the two roles.
	App, Engine string
	// NATS is the broker, Namespace the gateway's.
	NATS, Namespace string
}

// Ours is this system: a gateway dispatches, the runner of our workers works. All that the measurement knows of how jobs are submitted
// and followed stands here. Open it with OpenOurs; it must be closed.
type Ours struct {
	tally

	store  *store.Store
	engine *store.Engine
	bus    *bus.Bus
	stop   context.CancelFunc
	worked chan error // what the runner returned
}

// Options say what a worker of ours does.
type Options struct {
	// Slots is how many jobs run at once; zero leaves the runner's own choice.
	Slots int
	// Takes is how long each job takes; zero means that it does nothing at all.
	Takes time.Duration
}

// conns is how many connections a system has to Postgres. Commits that wait together reach the disk together, so it is a few times the
// number of cores.
const conns = 40

// OpenOurs connects as a worker and as whoever submits, and starts to work.
func OpenOurs(ctx context.Context, p Place, o Options) (opened *Ours, err error) {
	q := &Ours{worked: make(chan error, 1), stop: func() {}}
	defer func() {
		if err != nil {
			err = errors.Join(err, q.release())
		}
	}()
	log := slog.New(slog.DiscardHandler)
	if q.bus, err = bus.Connect(bus.Config{URL: p.NATS, Namespace: p.Namespace, Name: "bench", Log: log}); err != nil {
		return nil, err
	}
	if q.store, err = store.Open(ctx, store.Config{URL: p.App, MaxConns: conns / 2, Committed: q.committed}); err != nil {
		return nil, err
	}
	if q.engine, err = store.OpenEngine(ctx, store.Config{URL: p.Engine, MaxConns: conns / 2, Committed: q.committed}); err != nil {
		return nil, err
	}
	if _, err := q.bus.EnsureTopology(ctx); err != nil {
		return nil, err
	}
	config := runner.Config{Worker: "bench", Slots: o.Slots}
	worker := runner.New(config, idle{q, o.Takes}, q.store, q.engine, q.bus, log, prometheus.NewRegistry())
	working, stop := context.WithCancel(ctx)
	q.stop = stop
	go func() { q.worked <- worker.Run(working) }()
	return q, nil
}

// committed follows the jobs by what was committed about them, and passes it on as a worker does.
func (q *Ours) committed(c events.Commit) {
	q.bus.Committed(c)
	for _, fact := range c.Events {
		if fact.Terminal() {
			q.end(fact.JobID)
		}
	}
}

// Submit implements Queue, for the organization of the seeded users.
func (q *Ours) Submit(ctx context.Context, n int) ([]string, error) {
	return q.SubmitFor(ctx, Seeded, events.ClassInteractive, n)
}

// Seeded is the organization of the seeded users.
const Seeded = "01900000-0000-7000-8000-000000000a00"

// SubmitFor submits jobs of an organization.
func (q *Ours) SubmitFor(ctx context.Context, organization string, class events.Class, n int) (ids []string, err error) {
	owner, err := tenant.Parse(organization)
	if err != nil {
		return nil, err
	}
	news := make([]store.NewJob, n)
	for i := range news {
		news[i] = store.NewJob{Kind: kind, Class: class, Input: work()}
	}
	q.expect(n)
	jobs, _, err := q.engine.Submit(ctx, store.Submission{Tenant: owner, Work: news})
	if err != nil {
		return nil, err
	}
	ids = make([]string, n)
	for i, job := range jobs {
		ids[i] = job.ID.String()
	}
	return ids, nil
}

// Worked returns when so many jobs have ended since it was opened, all of which somebody else has submitted.
func (q *Ours) Worked(ctx context.Context, n int) error { return q.reach(ctx, n) }

// Close implements Queue.
func (q *Ours) Close(context.Context) error {
	q.stop()
	return errors.Join(<-q.worked, q.release())
}

func (q *Ours) release() error {
	var problems []error
	if q.engine != nil {
		problems = append(problems, q.engine.Close())
	}
	if q.store != nil {
		problems = append(problems, q.store.Close())
	}
	if q.bus != nil {
		problems = append(problems, q.bus.Close())
	}
	return errors.Join(problems...)
}

// idle is the handler of jobs that do nothing, for a while.
type idle struct {
	queue *Ours
	takes time.Duration
}

// Kind implements runner.Handler.
func (idle) Kind() events.Kind { return kind }

// Handle implements runner.Handler.
func (h idle) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
	h.queue.begin(run.Job().ID.String())
	return runner.Outcome{}, rest(ctx, h.takes)
}

// rest waits, unless there is nothing to wait for.
func rest(ctx context.Context, d time.Duration) error {
	if d <= 0 {
		return nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
