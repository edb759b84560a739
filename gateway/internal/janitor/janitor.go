// Package janitor deletes what has expired and nobody asks for any more: refresh tokens of sessions that are over, and idempotency
// keys. One gateway at a time does so for all, in small batches, so that no table and no tenant is held for long.
//
// Idempotency keys are deleted as the engine role, which sees those of all tenants. Refresh tokens it does not see: they are deleted
// tenant by tenant.
package janitor

import (
	"context"
	"errors"
	"log/slog"
	"math/rand/v2"
	"time"

	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Config is how the janitor works. Zero fields are the defaults, but for After.
type Config struct {
	// After is how long things are kept after they have expired.
	After time.Duration
	// Every is how often the janitor looks; an hour.
	Every time.Duration
	// Batch is how many rows are deleted in one transaction, at most; 1000.
	Batch int
}

func (c Config) withDefaults() Config {
	if c.Every == 0 {
		c.Every = time.Hour
	}
	if c.Batch == 0 {
		c.Batch = 1000
	}
	return c
}

// Janitor deletes what has expired. Build it with New and call Run once.
type Janitor struct {
	cfg    Config
	store  *store.Store
	engine *store.Engine
	log    *slog.Logger
}

// New builds a janitor.
func New(cfg Config, s *store.Store, e *store.Engine, log *slog.Logger) *Janitor {
	return &Janitor{cfg.withDefaults(), s, e, log}
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

// Prune deletes all that expired long enough ago. What goes wrong for one tenant keeps no other's from being deleted.
func (j *Janitor) Prune(ctx context.Context) error {
	keys, failed := j.batches(ctx, func() (int64, error) { return j.engine.PruneIdempotency(ctx, j.cfg.After, j.cfg.Batch) })
	tenants, err := j.store.Tenants(ctx)
	failed = errors.Join(failed, err)
	var tokens int64
	for _, t := range tenants {
		n, err := j.batches(ctx, func() (int64, error) { return j.tokens(ctx, t) })
		tokens, failed = tokens+n, errors.Join(failed, err)
		if ctx.Err() != nil {
			break
		}
	}
	if keys+tokens > 0 {
		j.log.InfoContext(ctx, "deleted what has expired", "idempotency_keys", keys, "refresh_tokens", tokens)
	}
	return failed
}

// tokens deletes a batch of a tenant's refresh tokens.
func (j *Janitor) tokens(ctx context.Context, t tenant.ID) (n int64, err error) {
	err = j.store.InTenant(ctx, t, func(tx *store.Tx) (err error) {
		n, err = tx.RefreshTokens().Prune(j.cfg.After, j.cfg.Batch)
		return err
	})
	return n, err
}

// batches deletes until a batch is not full, and returns how many rows there were.
func (j *Janitor) batches(ctx context.Context, batch func() (int64, error)) (total int64, err error) {
	for ctx.Err() == nil {
		n, err := batch()
		total += n
		if err != nil || n < int64(j.cfg.Batch) {
			return total, err
		}
	}
	return total, nil
}
