package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/telemetry"
)

// Streams are where a program writes.
type Streams struct{ Out, Err io.Writer }

// platform is what every worker stands on.
type platform struct {
	cfg      Shared
	log      *slog.Logger
	registry *prometheus.Registry
	closers  lifecycle.Stack
	store    *store.Store
	engine   *store.Engine
	bus      *bus.Bus
	checks   map[string]telemetry.Check
}

// program is one of the worker binaries.
type program[C any] struct {
	name   string
	about  string
	shared func(*C) Shared
	// build returns what the program does: the kinds of jobs that it takes, its main one first, and what runs beside them.
	build func(ctx context.Context, cfg *C, p *platform) ([]work, []lifecycle.Service, error)
}

// work is one kind of job that a program takes, and how many of them it runs at once. WORKER_SLOTS replaces the number of the main
// kind.
type work struct {
	handler runner.Handler
	slots   int
}

// run reads the configuration, opens everything, works until ctx ends, and closes everything.
func (w program[C]) run(ctx context.Context, args []string, environ map[string]string, s Streams) (err error) {
	var cfg C
	start := config.Program{Name: w.name, About: w.about, Out: s.Out, Err: s.Err}
	if done, err := start.Configure(&cfg, args, environ); done || err != nil {
		return err
	}
	p, err := open(ctx, w.name, w.shared(&cfg), s)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, p.closers.Close(context.WithoutCancel(ctx))) }()
	works, services, err := w.build(ctx, &cfg, p)
	if err != nil {
		return fmt.Errorf("%s: %w", w.name, err)
	}
	if p.cfg.Slots > 0 {
		works[0].slots = p.cfg.Slots
	}
	p.log.InfoContext(ctx, "starting", "slots", works[0].slots, "ops", p.cfg.OpsAddr)
	all := append([]lifecycle.Service{{Name: "operations", Run: p.serveOps}}, services...)
	worker := workerName(w.name)
	var kinds []func(context.Context) error
	for _, k := range works {
		kinds = append(kinds, runner.New(runner.Config{
			Worker: worker, Version: telemetry.Version(), Slots: k.slots, Lease: p.cfg.Lease, Timeout: p.cfg.Timeout, Grace: p.cfg.Grace,
		}, k.handler, p.store, p.engine, p.bus, p.log, p.registry).Run)
	}
	// The jobs get their grace, and a little to write their ends.
	all = append(all, lifecycle.Service{Name: "jobs", Run: together(kinds), Grace: p.cfg.Grace + p.cfg.Lease})
	return lifecycle.Run(ctx, all...)
}

// together makes one service of the jobs of all kinds: none takes another job while the last ones of another kind end.
func together(kinds []func(context.Context) error) func(context.Context) error {
	return func(ctx context.Context) error {
		group, ctx := errgroup.WithContext(ctx)
		for _, run := range kinds {
			group.Go(func() error { return run(ctx) })
		}
		return group.Wait() //nolint:wrapcheck // each says what it is
	}
}

func open(ctx context.Context, name string, cfg Shared, s Streams) (p *platform, err error) {
	p = &platform{cfg: cfg, log: cfg.Log.Logger(s.Err, name), registry: telemetry.NewRegistry()}
	// Libraries that have something to say without a caller to say it to use the standard logger: one form of lines for all.
	slog.SetDefault(p.log)
	defer p.closers.CloseOnError(context.WithoutCancel(ctx), &err)
	if p.bus, err = bus.Connect(bus.Config{URL: cfg.NATSURL, Namespace: cfg.NATSNamespace, Name: name, Log: p.log}); err != nil {
		return nil, err
	}
	p.closers.PushCloser("bus", p.bus)
	if p.store, err = store.Open(ctx, store.Config{URL: cfg.DatabaseURL.Reveal(), Committed: p.bus.Committed}); err != nil {
		return nil, err
	}
	p.closers.PushCloser("store", p.store)
	engine := store.Config{URL: cfg.EngineURL.Reveal(), MaxConns: 4, Committed: p.bus.Committed}
	if p.engine, err = store.OpenEngine(ctx, engine); err != nil {
		return nil, err
	}
	p.closers.PushCloser("engine", p.engine)
	p.checks = map[string]telemetry.Check{"postgres": p.store.Ready, "engine": p.engine.Ready, "nats": p.bus.Ready}
	return p, nil
}

func (p *platform) serveOps(ctx context.Context) error {
	return telemetry.ServeOps(ctx, p.cfg.OpsAddr, p.registry, telemetry.NewReadiness(p.checks), p.log)
}

// workerName tells processes apart, also two on one host and one that was restarted.
func workerName(program string) string {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	return program + "@" + host + "-" + uuid.NewString()[:8]
}
