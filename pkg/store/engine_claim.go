package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/events"
)

// How many claims share a statement at most, and how many such statements may be under way.
const (
	claimsTogether = 256
	claimLanes     = 4
)

// claimColumns are what a worker needs to run a job and to end it.
const claimColumns = `id, organization_id, created_by, project_id, agent_config_id, conversation_id, document_id, parent_id,
	kind, class, priority, status, input, attempt, max_attempts, lease_epoch, last_seq, traceparent, created_at, run_at,
	started_at, deadline_at`

// claimJobs takes jobs ($1) for a worker ($2), for so long ($3). What somebody else is changing at this moment is left to him.
const claimJobs = `WITH wanted AS (
		SELECT id FROM jobs WHERE id = ANY($1)
			AND (status = 'queued' AND run_at <= now() OR status = 'running' AND lease_expires_at < now())
			AND attempt < max_attempts AND (deadline_at IS NULL OR deadline_at > now())
		ORDER BY id FOR NO KEY UPDATE SKIP LOCKED
	), claimed AS (
		UPDATE jobs SET status = 'running', waiting_on = '', attempt = attempt + 1, lease_epoch = lease_epoch + 1,
			lease_expires_at = now() + $3::interval, leased_by = $2, last_seq = last_seq + 1,
			started_at = coalesce(started_at, now()), updated_at = now()
		WHERE id = ANY(ARRAY(SELECT id FROM wanted))
		RETURNING ` + claimColumns + `
	), told AS (
		INSERT INTO job_events (job_id, organization_id, seq, type, data, created_at)
		SELECT id, organization_id, last_seq, 'job.state',
			format('{"status":"running","attempt":%s,"worker":%s}', attempt, to_json($2::text))::json, now()
		FROM claimed
	)
	SELECT ` + claimColumns + `, now() FROM claimed`

// claimRequest asks for a job. Requests are alike when their claimant is.
type claimRequest struct {
	id uuid.UUID
	claimant
}

type claimant struct {
	worker string
	ttl    time.Duration
}

// Claim takes a job for a worker: the lease holds for ttl, the epoch and the attempt go up, and the job's log says that it
// runs. Claims that are made at the same moment share a commit. A nil job means that there is nothing to take: another worker has
// it, it ended, or its time has not come or is over.
func (e *Engine) Claim(ctx context.Context, id uuid.UUID, worker string, ttl time.Duration) (*Job, error) {
	return e.claims.run(ctx, claimRequest{id, claimant{worker, ttl}})
}

// claim makes the claims that were gathered: one statement for each claimant, of which a process has one.
func (e *Engine) claim(ctx context.Context, wanted []claimRequest) []outcome[*Job] {
	by := make(map[claimant][]uuid.UUID)
	for _, w := range wanted {
		by[w.claimant] = append(by[w.claimant], w.id)
	}
	claimed, failed := make(map[claimRequest]*Job, len(wanted)), make(map[claimant]error)
	for who, ids := range by {
		failed[who] = e.claimFor(ctx, who, ids, func(j *Job) { claimed[claimRequest{j.ID, who}] = j })
	}
	outcomes := make([]outcome[*Job], len(wanted))
	for i, w := range wanted {
		outcomes[i] = outcome[*Job]{value: claimed[w], err: failed[w.claimant]}
		delete(claimed, w) // should one job be wanted twice at once, one caller gets it
	}
	return outcomes
}

func (e *Engine) claimFor(ctx context.Context, who claimant, ids []uuid.UUID, take func(*Job)) error {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	rows, err := e.pool.Query(ctx, claimJobs, ids, who.worker, who.ttl)
	if err != nil {
		return explain(err, "claim jobs")
	}
	var commit events.Commit
	var j Job
	var at time.Time
	columns := []any{
		&j.ID, &j.OrganizationID, &j.CreatedBy, &j.ProjectID, &j.AgentConfigID, &j.ConversationID, &j.DocumentID, &j.ParentID,
		&j.Kind, &j.Class, &j.Priority, &j.Status, &j.Input, &j.Attempt, &j.MaxAttempts, &j.LeaseEpoch, &j.LastSeq,
		&j.Traceparent, &j.CreatedAt, &j.RunAt, &j.StartedAt, &j.DeadlineAt, &at,
	}
	if _, err := pgx.ForEachRow(rows, columns, func() error {
		job := j
		job.ClaimedAt, j = at, Job{}
		running := events.JobState{Status: events.StatusRunning, Attempt: job.Attempt, Worker: who.worker}
		event, err := newEvent(job.ID, job.OrganizationID, job.LastSeq, events.Time(at), running)
		commit.Events = append(commit.Events, event.Event())
		take(&job)
		return err
	}); err != nil {
		return explain(err, "claim jobs")
	}
	e.committed(commit)
	return nil
}
