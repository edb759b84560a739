package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/tenant"
)

// What the dispatcher asks. A job is ready when it is queued and waits for nothing but its turn: then, and only then, its waiting_on
// is "fairness". All others that are queued have a time, at which Release makes them ready.

// ReadyTenant is a tenant that has ready jobs of a kind.
type ReadyTenant struct {
	Tenant tenant.ID
	Kind   events.Kind
}

// ReadyTenants returns who has ready jobs, and of which kinds. It takes as long as there are such tenants, however many jobs they
// have: it skips from one to the next in the index.
func (e *Engine) ReadyTenants(ctx context.Context) ([]ReadyTenant, error) {
	rows, err := e.pool.Query(ctx, `WITH RECURSIVE ready AS (
			(SELECT kind, organization_id FROM jobs WHERE status = 'queued' AND waiting_on = 'fairness'
				ORDER BY kind, organization_id LIMIT 1)
			UNION ALL
			SELECT following.kind, following.organization_id FROM ready CROSS JOIN LATERAL (
				SELECT kind, organization_id FROM jobs WHERE status = 'queued' AND waiting_on = 'fairness'
					AND (kind, organization_id) > (ready.kind, ready.organization_id)
				ORDER BY kind, organization_id LIMIT 1) AS following
		) SELECT kind, organization_id FROM ready`)
	if err != nil {
		return nil, explain(err, "find tenants with ready jobs")
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (t ReadyTenant, err error) {
		var org uuid.UUID
		err = row.Scan(&t.Kind, &org)
		t.Tenant = tenant.FromUUID(org)
		return t, err
	})
	return found, explain(err, "find tenants with ready jobs")
}

// ReadyJob is a job whose turn may come.
type ReadyJob struct {
	ID       uuid.UUID
	Tenant   tenant.ID
	Class    events.Class
	Priority int16
	// Agent is the agent that runs; zero where none does. AgentLimit is how many of its runs may be under way at once; 0 is no limit.
	Agent      uuid.UUID
	AgentLimit int
	// Since is when the job became ready, or was submitted if that was later.
	Since time.Time
}

// ReadyQuery asks for the first ready jobs of tenants.
type ReadyQuery struct {
	Kind    events.Kind
	Tenants []tenant.ID
	// Except are jobs that are with the broker already.
	Except []uuid.UUID
	// ExceptAgents are agents that are at their limit.
	ExceptAgents []uuid.UUID
	// Limit is how many to return of each tenant at most.
	Limit int
}

// ReadyJobs returns the first ready jobs of each tenant in the order of their turn: interactive before bulk, then by priority and age.
func (e *Engine) ReadyJobs(ctx context.Context, q ReadyQuery) ([]ReadyJob, error) {
	orgs := make([]uuid.UUID, len(q.Tenants))
	for i, t := range q.Tenants {
		orgs[i] = t.UUID()
	}
	rows, err := e.pool.Query(ctx, `SELECT first.id, first.organization_id, first.class, first.priority, first.agent,
			first.agent_limit, first.since FROM unnest($2::uuid[]) AS t(organization_id) CROSS JOIN LATERAL (
			SELECT id, organization_id, class, priority, coalesce(agent_config_id, '00000000-0000-0000-0000-000000000000') AS agent,
				agent_limit, greatest(run_at, created_at) AS since
			FROM jobs WHERE kind = $1 AND jobs.organization_id = t.organization_id AND status = 'queued' AND waiting_on = 'fairness'
				AND id <> ALL($3::uuid[]) AND (agent_config_id IS NULL OR agent_config_id <> ALL($4::uuid[]))
			ORDER BY class DESC, priority, id LIMIT $5) AS first`,
		q.Kind, orgs, orEmpty(q.Except), orEmpty(q.ExceptAgents), q.Limit)
	if err != nil {
		return nil, explain(err, "read ready jobs")
	}
	ready, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (j ReadyJob, err error) {
		var org uuid.UUID
		err = row.Scan(&j.ID, &org, &j.Class, &j.Priority, &j.Agent, &j.AgentLimit, &j.Since)
		j.Tenant = tenant.FromUUID(org)
		return j, err
	})
	return ready, explain(err, "read ready jobs")
}

// orEmpty is an empty array where there is none: nothing is unequal to all of NULL.
func orEmpty(ids []uuid.UUID) []uuid.UUID {
	if ids == nil {
		return []uuid.UUID{}
	}
	return ids
}

// StillReady returns which of these jobs are ready yet: nobody has claimed or ended them.
func (e *Engine) StillReady(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]bool, error) {
	rows, err := e.pool.Query(ctx, "SELECT id FROM jobs WHERE id = ANY($1) AND status = 'queued' AND waiting_on = 'fairness'", ids)
	if err != nil {
		return nil, explain(err, "look for unclaimed jobs")
	}
	still := make(map[uuid.UUID]bool, len(ids))
	var id uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&id}, func() error { still[id] = true; return nil })
	return still, explain(err, "look for unclaimed jobs")
}

// RunningJob is a job that a worker holds.
type RunningJob struct {
	ID     uuid.UUID
	Kind   events.Kind
	Tenant tenant.ID
	// Agent and AgentLimit are as in ReadyJob.
	Agent      uuid.UUID
	AgentLimit int
}

// Running returns every job that runs. There are as many as workers have slots, at most.
func (e *Engine) Running(ctx context.Context) ([]RunningJob, error) {
	rows, err := e.pool.Query(ctx, `SELECT id, kind, organization_id, coalesce(agent_config_id, '00000000-0000-0000-0000-000000000000'),
			agent_limit FROM jobs WHERE status = 'running'`)
	if err != nil {
		return nil, explain(err, "read running jobs")
	}
	var running []RunningJob
	var j RunningJob
	var org uuid.UUID
	_, err = pgx.ForEachRow(rows, []any{&j.ID, &j.Kind, &org, &j.Agent, &j.AgentLimit}, func() error {
		j.Tenant = tenant.FromUUID(org)
		running = append(running, j)
		return nil
	})
	return running, explain(err, "read running jobs")
}

// Release makes jobs ready whose time has come, at most limit, those that waited longest first. It returns whose they are and how many
// there were; a full batch means that there may be more. A job that somebody is changing at this moment is left for the next time.
func (e *Engine) Release(ctx context.Context, limit int) (ready []events.Ready, err error) {
	rows, err := e.pool.Query(ctx, `WITH due AS (
			SELECT id FROM jobs WHERE status = 'queued' AND waiting_on <> 'fairness' AND run_at <= now()
			ORDER BY run_at LIMIT $1 FOR NO KEY UPDATE SKIP LOCKED
		)
		UPDATE jobs SET waiting_on = 'fairness' FROM due WHERE jobs.id = due.id
		RETURNING organization_id::text, kind, class, priority`, limit)
	if err != nil {
		return nil, explain(err, "release due jobs")
	}
	ready, err = pgx.CollectRows(rows, pgx.RowToStructByPos[events.Ready])
	return ready, explain(err, "release due jobs")
}

// NextDue returns how long it takes until Release has something to do, by the database's clock, and whether that will ever be.
func (e *Engine) NextDue(ctx context.Context) (in time.Duration, scheduled bool, err error) {
	var seconds *float64
	err = e.pool.QueryRow(ctx, `SELECT extract(epoch FROM min(run_at) - now())::float8 FROM jobs
		WHERE status = 'queued' AND waiting_on <> 'fairness'`).Scan(&seconds)
	if err != nil {
		return 0, false, explain(err, "read next due job")
	}
	if seconds == nil {
		return 0, false, nil
	}
	return max(0, time.Duration(*seconds*float64(time.Second))), true, nil
}

// Overdue is a job that has not ended by its deadline.
type Overdue struct {
	JobID  uuid.UUID
	Tenant tenant.ID
}

// Overdue returns jobs whose deadline has passed and that no worker holds, at most limit; the caller ends each with Jobs.Expire in its
// tenant. A worker ends those that it holds by itself.
func (e *Engine) Overdue(ctx context.Context, limit int) ([]Overdue, error) {
	rows, err := e.pool.Query(ctx, `SELECT id, organization_id FROM jobs
		WHERE status IN ('queued', 'waiting') AND deadline_at < now() ORDER BY deadline_at LIMIT $1`, limit)
	if err != nil {
		return nil, explain(err, "find overdue jobs")
	}
	overdue, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (o Overdue, err error) {
		var org uuid.UUID
		err = row.Scan(&o.JobID, &org)
		o.Tenant = tenant.FromUUID(org)
		return o, err
	})
	return overdue, explain(err, "find overdue jobs")
}

// Limits returns the limits of the tenants that have some of their own.
func (e *Engine) Limits(ctx context.Context) (map[tenant.ID]JobLimit, error) {
	rows, err := e.pool.Query(ctx, "SELECT organization_id, weight, max_running FROM job_limits")
	if err != nil {
		return nil, explain(err, "read job limits")
	}
	limits := make(map[tenant.ID]JobLimit)
	var l JobLimit
	_, err = pgx.ForEachRow(rows, []any{&l.OrganizationID, &l.Weight, &l.MaxRunning}, func() error {
		limits[tenant.FromUUID(l.OrganizationID)] = l
		return nil
	})
	return limits, explain(err, "read job limits")
}

// DeadCounted is up to how many dead jobs are counted.
const DeadCounted = 10_000

// KindPlan is a kind of jobs and the plan of those whose they are.
type KindPlan struct {
	Kind events.Kind
	Plan string
}

// Dead returns how many jobs are dead, of all tenants.
func (e *Engine) Dead(ctx context.Context) (map[KindPlan]int, error) {
	rows, err := e.pool.Query(ctx, `SELECT dead.kind, o.subscription_plan, count(*)
		FROM (SELECT kind, organization_id FROM jobs WHERE dead LIMIT $1) AS dead JOIN organizations o ON o.id = dead.organization_id
		GROUP BY dead.kind, o.subscription_plan`, DeadCounted)
	if err != nil {
		return nil, explain(err, "count dead jobs")
	}
	dead := make(map[KindPlan]int)
	var of KindPlan
	var n int
	_, err = pgx.ForEachRow(rows, []any{&of.Kind, &of.Plan, &n}, func() error { dead[of] = n; return nil })
	return dead, explain(err, "count dead jobs")
}
