package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/tenant"
)

// Plans returns the plans of tenants. One that does not exist has none.
func (e *Engine) Plans(ctx context.Context, of []tenant.ID) (map[tenant.ID]string, error) {
	ids := make([]uuid.UUID, len(of))
	for i, t := range of {
		ids[i] = t.UUID()
	}
	rows, err := e.pool.Query(ctx, "SELECT id, subscription_plan FROM organizations WHERE id = ANY($1)", ids)
	if err != nil {
		return nil, explain(err, "read the plans of tenants")
	}
	plans := make(map[tenant.ID]string, len(of))
	var id uuid.UUID
	var plan string
	_, err = pgx.ForEachRow(rows, []any{&id, &plan}, func() error { plans[tenant.FromUUID(id)] = plan; return nil })
	return plans, explain(err, "read the plans of tenants")
}

// Counted is how many jobs of a tenant stand at the same place.
type Counted struct {
	Kind   events.Kind
	Tenant tenant.ID
	Plan   string
	// Class is set for those that are ready.
	Class     events.Class
	Status    events.Status
	WaitingOn events.WaitingOn
	Jobs      int
	// Age is for how long the one that was submitted first has been ready; zero for those that are not.
	Age time.Duration
}

const (
	// Ages are of the least ids, which are the first to be submitted: Postgres before 18 finds none among uuids, but among texts.
	countReady = `SELECT g.kind, g.organization_id, o.subscription_plan, g.class, 'queued', 'fairness', g.jobs,
			extract(epoch FROM now() - greatest(oldest.run_at, oldest.created_at))::float8
		FROM (SELECT kind, organization_id, class, count(*) AS jobs, min(id::text COLLATE "C")::uuid AS oldest FROM jobs
			WHERE status = 'queued' AND waiting_on = 'fairness' GROUP BY kind, organization_id, class) AS g
		JOIN jobs oldest ON oldest.id = g.oldest JOIN organizations o ON o.id = g.organization_id`
	countHeld = `SELECT g.kind, g.organization_id, o.subscription_plan, '', g.status, g.waiting_on, g.jobs, 0::float8
		FROM (SELECT kind, organization_id, status, waiting_on, count(*) AS jobs FROM jobs
			WHERE status = 'waiting' OR status = 'queued' AND waiting_on <> 'fairness'
			GROUP BY kind, organization_id, status, waiting_on) AS g JOIN organizations o ON o.id = g.organization_id`
)

// Census counts the jobs of all tenants that are queued or wait for parts of theirs. It takes as long as there are such jobs: tens of
// milliseconds for a hundred thousand.
func (e *Engine) Census(ctx context.Context) (all []Counted, err error) {
	for _, query := range []string{countReady, countHeld} {
		rows, err := e.pool.Query(ctx, query)
		if err != nil {
			return nil, explain(err, "count open jobs")
		}
		counted, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (c Counted, err error) {
			var org uuid.UUID
			var age float64
			err = row.Scan(&c.Kind, &org, &c.Plan, &c.Class, &c.Status, &c.WaitingOn, &c.Jobs, &age)
			c.Tenant, c.Age = tenant.FromUUID(org), max(0, time.Duration(age*float64(time.Second)))
			return c, err
		})
		if err != nil {
			return nil, explain(err, "count open jobs")
		}
		all = append(all, counted...)
	}
	return all, nil
}
