// Package janitor deletes what has expired and nobody asks for any more: refresh tokens of sessions that are over, idempotency
// keys, and of jobs that ended long ago first the events and the journal, and later all the rest. One gateway at a time does so for
// all, in small batches, so that no table and no tenant is held for long.
//
// What is about jobs is deleted as the engine role, which sees those of all tenants. Refresh tokens and deliveries to webhooks
// it does not see: they are deleted tenant by tenant.
package janitor

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Config is how the janitor works. Zero fields are the defaults, but for After.
type Config struct {
	// After is how long sessions and idempotency keys are kept after they have expired.
	After time.Duration
	// Events is how long the events and the journal of a job are kept after it has ended, unless it is dead; 0 is as long as the job.
	Events time.Duration
	// Jobs is how long jobs are kept after they have ended; 0 is for ever.
	Jobs time.Duration
	// Deliveries is how long deliveries to webhooks are kept after they were made or given up; 30 days.
	Deliveries time.Duration
	// Every is how often the janitor looks; an hour.
	Every time.Duration
	// Batch is how many rows, or jobs with what is about them, are deleted in one transaction, at most; 1000.
	Batch int
}

func (c Config) withDefaults() Config {
	if c.Every == 0 {
		c.Every = time.Hour
	}
	if c.Deliveries == 0 {
		c.Deliveries = 30 * 24 * time.Hour
	}
	if c.Batch == 0 {
		c.Batch = 1000
	}
	return c
}

// Janitor deletes what has expired. Build it with New and call Run once.
type Janitor struct {
	cfg     Config
	store   *store.Store
	engine  *store.Engine
	log     *slog.Logger
	metrics *metrics
}

// New builds a janitor. Metrics are registered with reg.
func New(cfg Config, s *store.Store, e *store.Engine, log *slog.Logger, reg prometheus.Registerer) *Janitor {
	return &Janitor{cfg.withDefaults(), s, e, log, newMetrics(reg)}
}

// Run prunes every hour until ctx ends, and returns nil then. When it begins is left to chance, so that gateways which started
// together take turns.
func (j *Janitor) Run(ctx context.Context) error {
	pause := time.NewTimer(rand.N(j.cfg.Every))
	defer pause.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-pause.C:
		}
		if _, err := j.engine.Lead(ctx, store.Pruning, j.Prune); err != nil && ctx.Err() == nil {
			j.log.WarnContext(ctx, "what has expired is not all deleted", "error", err)
		}
		pause.Reset(j.cfg.Every)
	}
}

// Prune deletes all that expired long enough ago. What goes wrong for one tenant, or with one sort of things, keeps no other's from
// being deleted.
func (j *Janitor) Prune(ctx context.Context) error {
	t := j.newTally()
	failed := t.batches(ctx, func() (deleted, bool, error) {
		n, err := j.engine.PruneIdempotency(ctx, j.cfg.After, j.cfg.Batch)
		return deleted{keys: n}, n == int64(j.cfg.Batch), err
	})
	// Events before jobs, so that less goes with each row.
	if j.cfg.Events > 0 {
		failed = errors.Join(failed, t.jobs(ctx, j.engine.PruneEvents, j.cfg.Events))
	}
	if j.cfg.Jobs > 0 {
		failed = errors.Join(failed, t.jobs(ctx, j.engine.PruneJobs, j.cfg.Jobs))
	}
	tenants, err := j.store.Tenants(ctx)
	failed = errors.Join(failed, err)
	for _, who := range tenants {
		failed = errors.Join(failed, t.batches(ctx, func() (deleted, bool, error) {
			n, err := j.tokens(ctx, who)
			return deleted{tokens: n}, n == int64(j.cfg.Batch), err
		}), t.batches(ctx, func() (deleted, bool, error) {
			n, err := j.deliveries(ctx, who)
			return deleted{deliveries: n}, n == int64(j.cfg.Batch), err
		}))
	}
	t.report(ctx)
	return errors.Join(failed, j.lookAtTheOldest(ctx))
}

// tokens deletes a batch of a tenant's refresh tokens.
func (j *Janitor) tokens(ctx context.Context, t tenant.ID) (n int64, err error) {
	err = j.store.InTenant(ctx, t, func(tx *store.Tx) (err error) {
		n, err = tx.RefreshTokens().Prune(j.cfg.After, j.cfg.Batch)
		return err
	})
	return n, err
}

// deliveries deletes a batch of a tenant's deliveries to webhooks.
func (j *Janitor) deliveries(ctx context.Context, t tenant.ID) (n int64, err error) {
	err = j.store.InTenant(ctx, t, func(tx *store.Tx) (err error) {
		n, err = tx.WebhookDeliveries().Prune(j.cfg.Deliveries, j.cfg.Batch)
		return err
	})
	return n, err
}

// lookAtTheOldest measures how far back what is kept reaches.
func (j *Janitor) lookAtTheOldest(ctx context.Context) error {
	job, events, err := j.engine.Oldest(ctx)
	if err != nil {
		return err
	}
	for of, at := range map[string]time.Time{"jobs": job, "events": events} {
		seconds := 0.0
		if !at.IsZero() {
			seconds = float64(at.UnixMicro()) / 1e6
		}
		j.metrics.oldest.WithLabelValues(of).Set(seconds)
	}
	return nil
}

// reportEvery is how often a long pruning says how far it is.
const reportEvery = 30 * time.Second

// tally counts what a pruning deletes.
type tally struct {
	*Janitor

	begun, told time.Time
	total       deleted
}

func (j *Janitor) newTally() *tally {
	now := time.Now()
	return &tally{Janitor: j, begun: now, told: now}
}

// deleted are numbers of rows.
type deleted struct{ keys, tokens, deliveries, events, steps, jobs int64 }

// batches deletes until there is no more, or ctx ends.
func (t *tally) batches(ctx context.Context, batch func() (rows deleted, more bool, err error)) error {
	for more := true; more && ctx.Err() == nil; {
		var rows deleted
		var err error
		if rows, more, err = batch(); err != nil {
			return err
		}
		t.add(rows)
		if time.Since(t.told) > reportEvery {
			t.report(ctx)
		}
	}
	return nil
}

// jobs deletes of jobs, or all about them, what ended so long ago.
func (t *tally) jobs(ctx context.Context, prune func(context.Context, time.Duration, uuid.UUID, int) (store.Pruned, error),
	ended time.Duration,
) error {
	var from uuid.UUID
	return t.batches(ctx, func() (deleted, bool, error) {
		p, err := prune(ctx, ended, from, t.cfg.Batch)
		from = p.Next
		return deleted{events: p.Events, steps: p.Steps, jobs: p.Jobs}, from != uuid.Nil, err
	})
}

func (t *tally) add(rows deleted) {
	for _, of := range []struct {
		name string
		n    int64
		all  *int64
	}{
		{"idempotency_keys", rows.keys, &t.total.keys},
		{"refresh_tokens", rows.tokens, &t.total.tokens},
		{"webhook_deliveries", rows.deliveries, &t.total.deliveries},
		{"events", rows.events, &t.total.events},
		{"steps", rows.steps, &t.total.steps},
		{"jobs", rows.jobs, &t.total.jobs},
	} {
		*of.all += of.n
		t.metrics.deleted.WithLabelValues(of.name).Add(float64(of.n))
	}
}

// report says what was deleted so far, unless that is nothing.
func (t *tally) report(ctx context.Context) {
	t.told = time.Now()
	if t.total == (deleted{}) {
		return
	}
	t.log.InfoContext(ctx, "deleted what has expired", "idempotency_keys", t.total.keys, "refresh_tokens", t.total.tokens,
		"webhook_deliveries", t.total.deliveries, "events", t.total.events, "steps", t.total.steps,
		"jobs", t.total.jobs, "seconds", time.Since(t.begun).Seconds())
}
