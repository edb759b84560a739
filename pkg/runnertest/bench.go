// Package runnertest runs a handler in a test as a worker would: on a real Postgres, over a real NATS, with claims, leases and
// retries.
package runnertest

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
)

// Patience bounds every wait; none should take nearly as long.
const Patience = time.Minute

// Bench is a runner for each of some handlers, on a database and a NATS namespace of its own, with a dispatcher that is as simple as
// can be. Its database holds the demonstration data; jobs are submitted for Acme.
type Bench struct {
	DB     *storetest.DB
	Store  *store.Store
	Engine *store.Engine
	Bus    *bus.Bus
	Tenant tenant.ID
	// Stop asks the runners to shut down; Done yields what their Runs returned.
	Stop context.CancelFunc
	Done chan error

	tb   testing.TB
	kind events.Kind
}

// Background runs a service until the test ends, which fails with its error.
func Background(tb testing.TB, run func(context.Context) error) {
	tb.Helper()
	ctx, stop := context.WithCancel(tb.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx) }()
	tb.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			tb.Error(err)
		}
	})
}

// Start runs the handlers until the test ends. It fails the test, with a hint, where the servers are missing.
func Start(tb testing.TB, cfg runner.Config, first runner.Handler, others ...runner.Handler) *Bench {
	tb.Helper()
	db := storetest.NewSeeded(tb)
	log := slog.New(slog.DiscardHandler)
	b := &Bench{DB: db, tb: tb, kind: first.Kind(), Done: make(chan error, 1)}
	var err error
	if b.Tenant, err = tenant.Parse("01900000-0000-7000-8000-000000000a00"); err != nil {
		tb.Fatal(err)
	}
	b.Bus = bustest.Connect(tb)
	if b.Store, err = store.Open(tb.Context(), store.Config{URL: db.AppURL, MaxConns: 4, Committed: b.Bus.Committed}); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Store.Close() })
	engine := store.Config{URL: db.EngineURL, MaxConns: 4, Committed: b.Bus.Committed}
	if b.Engine, err = store.OpenEngine(tb.Context(), engine); err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() { _ = b.Engine.Close() })

	cfg.Worker = "test"
	ctx, stop := context.WithCancel(tb.Context())
	b.Stop = stop
	var runners errgroup.Group
	var kinds []events.Kind
	metrics := prometheus.NewRegistry()
	for _, h := range append([]runner.Handler{first}, others...) {
		r := runner.New(cfg, h, b.Store, b.Engine, b.Bus, log, metrics)
		runners.Go(func() error { return r.Run(ctx) })
		kinds = append(kinds, h.Kind())
	}
	go func() { b.Done <- runners.Wait() }()
	dispatched := make(chan struct{})
	go func() {
		defer close(dispatched)
		b.dispatch(ctx, kinds)
	}()
	tb.Cleanup(func() {
		stop()
		<-dispatched
		select {
		case err := <-b.Done:
			if err != nil {
				tb.Error(err)
			}
		case <-time.After(Patience):
			tb.Error("the runner did not stop")
		}
	})
	return b
}

func (b *Bench) dispatch(ctx context.Context, kinds []events.Kind) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		for _, kind := range kinds {
			b.handOver(ctx, kind)
		}
	}
}

// handOver has workers look at every job that is ready. Some of them run already, and of others there are two messages: no harm is
// in either.
func (b *Bench) handOver(ctx context.Context, kind events.Kind) {
	if _, err := b.Engine.Release(ctx, 100); err != nil {
		return
	}
	jobs, err := b.Engine.ReadyJobs(ctx, store.ReadyQuery{Kind: kind, Tenants: []tenant.ID{b.Tenant}, Limit: 16})
	if err != nil || len(jobs) == 0 {
		return
	}
	messages := make([]events.Dispatch, len(jobs))
	for i, j := range jobs {
		messages[i] = events.Dispatch{JobID: j.ID.String(), TenantID: j.Tenant.String(), Kind: kind, Number: time.Now().UnixMicro()}
	}
	_ = b.Bus.Dispatch(ctx, func(i int) events.Class { return jobs[i].Class }, messages)
}

// Submit submits a job, of the first handler's kind if it names none; a nil input becomes an empty one.
func (b *Bench) Submit(n store.NewJob) uuid.UUID {
	b.tb.Helper()
	if n.Kind == "" {
		n.Kind = b.kind
	}
	if n.Input == nil {
		n.Input = struct{}{}
	}
	var id uuid.UUID
	err := b.Store.InTenant(b.tb.Context(), b.Tenant, func(tx *store.Tx) error {
		job, err := tx.Jobs().Submit(n)
		if err == nil {
			id = job.ID
		}
		return err
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	return id
}

// Get reads a job.
func (b *Bench) Get(id uuid.UUID) (job *store.Job) {
	b.tb.Helper()
	err := b.Store.InTenant(b.tb.Context(), b.Tenant, func(tx *store.Tx) (err error) {
		job, err = tx.Jobs().Get(id)
		return err
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	return job
}

// Events reads a job's log.
func (b *Bench) Events(id uuid.UUID) (log []events.Event) {
	b.tb.Helper()
	err := b.Store.InTenant(b.tb.Context(), b.Tenant, func(tx *store.Tx) (err error) {
		log, err = tx.Jobs().Events(id, 0, 1000)
		return err
	})
	if err != nil {
		b.tb.Fatal(err)
	}
	return log
}

// Until waits for the job to satisfy ok.
func (b *Bench) Until(id uuid.UUID, what string, ok func(*store.Job) bool) *store.Job {
	b.tb.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(Patience)
	for {
		job := b.Get(id)
		if ok(job) {
			return job
		}
		select {
		case <-tick.C:
		case <-deadline:
			b.tb.Fatalf("the job never became %s; it is %s on %q, attempt %d", what, job.Status, job.WaitingOn, job.Attempt)
		}
	}
}

// UntilEnded waits for the job's end.
func (b *Bench) UntilEnded(id uuid.UUID) *store.Job {
	b.tb.Helper()
	return b.Until(id, "terminal", func(j *store.Job) bool { return j.Status.Terminal() })
}
