package app

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/tarento/copilot/gateway/internal/account"
	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/gateway/internal/dispatch"
	"github.com/tarento/copilot/gateway/internal/httpapi"
	"github.com/tarento/copilot/gateway/internal/janitor"
	"github.com/tarento/copilot/gateway/internal/jobs"
	"github.com/tarento/copilot/gateway/internal/ratelimit"
	"github.com/tarento/copilot/gateway/internal/schedule"
	"github.com/tarento/copilot/gateway/internal/seal"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/gateway/internal/webhook"
	"github.com/tarento/copilot/pkg/blob"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/egress"
	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/telemetry"
)

// name is the program's, in logs and in the lists of connections.
const name = "gateway"

// Streams are where the program writes.
type Streams struct{ Out, Err io.Writer }

// Run is the gateway. It returns when ctx ends, after open requests were finished and everything was closed.
func Run(ctx context.Context, args []string, environ map[string]string, s Streams) error {
	var cfg Config
	start := config.Program{
		Name: name, About: "serves the API, dispatches jobs and streams their events.", Out: s.Out, Err: s.Err,
		Commands: commands(ctx, environ),
	}
	if done, err := start.Configure(&cfg, args, environ); done || err != nil {
		return err
	}
	debug.SetGCPercent(cfg.GCPercent)
	cfg.Limits = cfg.Limits.withPlaces()
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", cfg.HTTPAddr)
	if err != nil {
		return fmt.Errorf("gateway: listen for the API: %w", err)
	}
	return Serve(ctx, cfg, listener, cfg.Log.Logger(s.Err, name))
}

// Serve is Run with a configuration at hand and a listener, which it closes.
func Serve(ctx context.Context, cfg Config, listener net.Listener, log *slog.Logger) (err error) {
	p, err := open(ctx, cfg, log)
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	defer func() { err = errors.Join(err, p.closers.Close(context.WithoutCancel(ctx))) }()
	services, err := p.build(listener) //nolint:contextcheck // nothing is done yet, only put together
	if err != nil {
		return errors.Join(err, listener.Close())
	}
	log.InfoContext(ctx, "starting", "address", listener.Addr().String(), "ops", cfg.OpsAddr, "version", telemetry.Version())
	return lifecycle.Run(ctx, services...)
}

// platform is what the gateway stands on.
type platform struct {
	cfg      Config
	log      *slog.Logger
	registry *prometheus.Registry
	closers  lifecycle.Stack
	bus      *bus.Bus
	store    *store.Store
	engine   *store.Engine
	redis    *redis.Client
	access   *account.Access
	blobs    *blob.Folder
}

// redisLog passes on what the Redis client has to say.
type redisLog struct{ log *slog.Logger }

// Printf implements the client's logger.
func (l redisLog) Printf(ctx context.Context, format string, args ...any) {
	l.log.WarnContext(ctx, "redis client", "message", fmt.Sprintf(format, args...))
}

func open(ctx context.Context, cfg Config, log *slog.Logger) (p *platform, err error) {
	p = &platform{cfg: cfg, log: log, registry: telemetry.NewRegistry()}
	defer p.closers.CloseOnError(context.WithoutCancel(ctx), &err)
	if p.bus, err = bus.Connect(bus.Config{URL: cfg.NATSURL, Namespace: cfg.NATSNamespace, Name: name, Log: log}); err != nil {
		return nil, err
	}
	p.closers.PushCloser("bus", p.bus)
	// The client's own logger would write lines of its own form to standard error.
	redis.SetLogger(redisLog{log})
	if p.redis, err = ratelimit.Open(cfg.RedisURL); err != nil {
		return nil, err
	}
	p.closers.PushCloser("redis", p.redis)
	p.access = account.NewAccess(account.AccessOptions{
		Redis: p.redis, Bus: p.bus, Prefix: cfg.NATSNamespace, Remember: cfg.Auth.Remember, Log: log, Metrics: p.registry,
	})
	p.store, err = store.Open(ctx, store.Config{
		URL: cfg.DatabaseURL.Reveal(), MaxConns: cfg.MaxConns, Committed: p.bus.Committed, AccessChanged: p.access.Changed,
	})
	if err != nil {
		return nil, err
	}
	p.closers.PushCloser("store", p.store)
	p.engine, err = store.OpenEngine(ctx, store.Config{URL: cfg.EngineURL.Reveal(), MaxConns: 8, Committed: p.bus.Committed})
	if err != nil {
		return nil, err
	}
	p.closers.PushCloser("engine", p.engine)
	if p.blobs, err = blob.OpenFolder(cfg.BlobDir); err != nil {
		return nil, err
	}
	p.closers.PushCloser("blobs", p.blobs)
	return p, nil
}

// build makes the parts and returns them in the order in which they rely on each other.
func (p *platform) build(listener net.Listener) ([]lifecycle.Service, error) {
	accounts, err := p.accounts()
	if err != nil {
		return nil, err
	}
	limiter, err := ratelimit.New(p.redis, ratelimit.Options{Log: p.log, Metrics: p.registry})
	if err != nil {
		return nil, err
	}
	webhooks, err := p.webhooks()
	if err != nil {
		return nil, err
	}
	following := stream.Config{CursorKeys: p.cfg.Auth.cursorKeys(), Heartbeat: p.cfg.Heartbeat}
	hub := stream.New(following, p.store, p.engine, p.bus, p.log, p.registry)
	dispatcher := dispatch.New(dispatch.Config{Depth: p.cfg.DispatchDepth}, p.engine, p.store, p.bus, p.log, p.registry)
	var exit lifecycle.Exit
	ready := telemetry.NewReadiness(map[string]telemetry.Check{
		"postgres": p.store.Ready, "engine": p.engine.Ready, "nats": p.bus.Ready, "blobs": p.blobs.Ready, "gateway": exit.Check,
	})
	api, err := httpapi.New(httpapi.Config{
		Version: telemetry.Version(), MaxUpload: p.cfg.MaxUpload, BodyWithin: p.cfg.BodyTimeout, DefaultModel: p.cfg.DefaultModel,
		AnswerWithin: p.cfg.Limits.AnswerTimeout, Heartbeat: p.cfg.Heartbeat,
		TrustedProxies: p.cfg.TrustedProxies, CursorKey: []byte(p.cfg.Auth.Secret.Reveal()), RequireMatch: p.cfg.RequireMatch,
		CORS: httpapi.CORS{Origins: p.cfg.CORSOrigins},
		Sockets: httpapi.Sockets{
			Subscriptions: p.cfg.Sockets.Subscriptions, Message: p.cfg.Sockets.Message, ReadWithin: p.cfg.Sockets.ReadWithin,
			AuthenticateWithin: p.cfg.Sockets.Authenticate,
		},
	}, httpapi.Parts{
		Store: p.store, Bus: p.bus, Blobs: p.blobs, Egress: egress.New(egress.Options{Allowed: p.cfg.EgressAllowed}),
		Hub: hub, Crews: dispatcher, Queues: dispatcher, Jobs: jobs.New(p.store, p.engine, hub, p.bus),
		Accounts: accounts, Webhooks: webhooks,
		Guard: httpapi.NewGuard(limiter, httpapi.GuardRates{
			LoginsPerAccount: p.cfg.Auth.PerAccount, LoginsPerAddress: p.cfg.Auth.PerAddress, RegistrationsPerAddress: p.cfg.Auth.Registers,
			FailClosed: p.cfg.Limits.loginsClosed(),
		}),
		Limits: httpapi.NewLimits(ratelimit.NewPurse(limiter, ratelimit.PurseOptions{}), httpapi.Rates{
			User: p.cfg.Limits.User, Key: p.cfg.Limits.Key, Organization: p.cfg.Limits.Organization, Address: p.cfg.Limits.Address,
			FailClosed: p.cfg.Limits.FailClosed,
		}),
		Ready: ready, Wanted: telemetry.NewReadiness(map[string]telemetry.Check{"redis": p.redisReady}),
		Log: p.log, Metrics: p.registry,
	})
	if err != nil {
		return nil, err
	}
	server := &http.Server{
		Handler: exit.Handler(api), ReadHeaderTimeout: p.cfg.Limits.HeaderTimeout, IdleTimeout: 2 * time.Minute, MaxHeaderBytes: 64 << 10,
		ErrorLog: slog.NewLogLogger(p.log.Handler(), slog.LevelWarn),
	}
	// Streams never finish by themselves; clients come back to another gateway and go on where they were.
	server.RegisterOnShutdown(hub.Drain)
	server.RegisterOnShutdown(api.DrainSockets)
	services := []lifecycle.Service{
		{Name: "dispatcher", Run: dispatcher.Run},
		{Name: "streams", Run: hub.Run},
		{Name: "access", Run: p.access.Run},
		{Name: "uses of API keys", Run: accounts.KeepUses},
		{Name: "janitor", Run: janitor.New(janitor.Config{
			After: p.cfg.Keep.Expired, Events: p.cfg.Keep.Events, Jobs: p.cfg.Keep.Jobs, Deliveries: p.cfg.Keep.Deliveries,
		}, p.store, p.engine, p.log, p.registry).Run},
		{Name: "webhooks", Run: webhooks.Relay},
		{Name: "schedules", Run: schedule.New(schedule.Options{
			Store: p.store, Engine: p.engine, Job: api.ScheduledRun, Log: p.log, Metrics: p.registry,
		}).Run},
		{Name: "operations", Run: func(ctx context.Context) error {
			return telemetry.ServeOps(ctx, p.cfg.OpsAddr, p.registry, ready, p.log)
		}},
		p.sockets(api),
		lifecycle.HTTP("api", server, listener, p.cfg.Drain),
	}
	if p.cfg.Webhooks.Slots > 0 {
		services = append(services, p.deliver(webhooks))
	}
	return append(services, exit.Service(p.cfg.DrainDelay)), nil
}

// sockets waits for the connections that the server has handed over, which it does not do itself.
func (p *platform) sockets(api *httpapi.Server) lifecycle.Service {
	return lifecycle.Service{
		Name: "sockets", Grace: 2 * p.cfg.Drain,
		Run: func(ctx context.Context) error { return api.KeepSockets(ctx, p.cfg.Drain) },
	}
}

func (p *platform) webhooks() (*webhook.Service, error) {
	sealer, err := seal.New(p.cfg.Webhooks.Key, p.cfg.Webhooks.OldKey, p.cfg.Auth.Secret, p.cfg.Auth.Previous)
	if err != nil {
		return nil, err
	}
	return webhook.New(webhook.Options{
		Store: p.store, Engine: p.engine, Seal: sealer,
		Egress:  egress.New(egress.Options{Allowed: p.cfg.EgressAllowed, Timeout: webhook.Within}),
		Retries: p.cfg.Webhooks.Retries, DisableAfter: p.cfg.Webhooks.DisableAfter, Version: telemetry.Version(),
		ShowJob: httpapi.ShowJob, Log: p.log,
	}), nil
}

// deliver is the worker that sends messages to webhooks.
func (p *platform) deliver(webhooks *webhook.Service) lifecycle.Service {
	host, err := os.Hostname()
	if err != nil {
		host = "unknown"
	}
	sending := runner.New(runner.Config{
		Worker: name + "@" + host + "-" + uuid.NewString()[:8], Version: telemetry.Version(), Slots: p.cfg.Webhooks.Slots,
		Lease: p.cfg.Webhooks.Lease, Timeout: time.Minute, Grace: p.cfg.Drain,
	}, webhooks, p.store, p.engine, p.bus, p.log, p.registry)
	return lifecycle.Service{Name: "jobs of " + string(webhooks.Kind()), Run: sending.Run, Grace: p.cfg.Drain + p.cfg.Webhooks.Lease}
}

func (p *platform) accounts() (*account.Service, error) {
	ring, err := p.cfg.Auth.keyring()
	if err != nil {
		return nil, err
	}
	tokens, err := auth.NewTokens(auth.TokenOptions{
		Keys: ring, Issuer: p.cfg.Auth.Issuer, Audience: p.cfg.Auth.Audience, TTL: p.cfg.Auth.AccessTTL,
	})
	if err != nil {
		return nil, err
	}
	passwords, err := auth.NewPasswords(auth.PasswordOptions{
		Cost: p.cfg.Auth.BcryptCost, Parallel: p.cfg.Limits.BcryptParallel, Queue: p.cfg.Limits.BcryptQueue,
	})
	if err != nil {
		return nil, err
	}
	return account.New(account.Options{
		Store: p.store, Passwords: passwords, Tokens: tokens, RefreshKey: p.cfg.Auth.Secret, RefreshTTL: p.cfg.Auth.RefreshTTL,
		Access: p.access, Log: p.log,
	}), nil
}

func (p *platform) redisReady(ctx context.Context) error {
	if err := p.redis.Ping(ctx).Err(); err != nil {
		return fmt.Errorf("gateway: reach Redis: %w", err)
	}
	return nil
}
