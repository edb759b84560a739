package queues

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Desk is where jobs of the seeded organization are written and looked up: the store alone, without broker or worker. Open it with
// OpenDesk; it must be closed.
type Desk struct {
	tenant tenant.ID
	store  *store.Store
	engine *store.Engine
}

// OpenDesk connects to the database of a place.
func OpenDesk(ctx context.Context, p Place) (*Desk, error) {
	owner, err := tenant.Parse(Seeded)
	if err != nil {
		return nil, err
	}
	d := &Desk{tenant: owner}
	if d.store, err = store.Open(ctx, store.Config{URL: p.App, MaxConns: 1}); err != nil {
		return nil, err
	}
	if d.engine, err = store.OpenEngine(ctx, store.Config{URL: p.Engine, MaxConns: 1}); err != nil {
		return nil, errors.Join(err, d.store.Close())
	}
	return d, nil
}

// Close closes the connections.
func (d *Desk) Close() error { return errors.Join(d.engine.Close(), d.store.Close()) }

// Insert submits a job and returns its id.
func (d *Desk) Insert(ctx context.Context) (id string, err error) {
	jobs, _, err := d.engine.Submit(ctx, store.Submission{
		Tenant: d.tenant, Work: []store.NewJob{{Kind: kind, Class: events.ClassInteractive, Input: work()}},
	})
	if err != nil {
		return "", err
	}
	return jobs[0].ID.String(), nil
}

// Claim takes a job as a worker does, for so long that no other gets it.
func (d *Desk) Claim(ctx context.Context, id string) error {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	job, err := d.engine.Claim(ctx, parsed, "bench", time.Hour)
	if err == nil && job == nil {
		err = errors.New("queues: there is nothing to claim")
	}
	return err
}

// Get reads a job.
func (d *Desk) Get(ctx context.Context, id string) error {
	parsed, err := uuid.Parse(id)
	if err != nil {
		return err
	}
	return d.store.View(ctx, d.tenant, func(tx *store.Tx) error {
		_, err := tx.Jobs().Get(parsed)
		return err
	})
}

// Newest lists the twenty newest jobs.
func (d *Desk) Newest(ctx context.Context) error {
	return d.store.View(ctx, d.tenant, func(tx *store.Tx) error {
		jobs, _, err := tx.Jobs().List(store.JobFilter{TopLevel: true, Limit: 20})
		if err == nil && len(jobs) == 0 {
			err = errors.New("queues: there are no jobs")
		}
		return err
	})
}
