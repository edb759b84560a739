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
	claimLanes     = 2
)

// claimColumns are what a worker needs to run a job and to end it.
const claimColumns = `id, organization_id, created_by, project_id, agent_config_id, conversation_id, document_id, parent_id,
	kind, class, priority, status, input, attempt, max_attempts, lease_epoch, last_seq, traceparent, created_at, run_at,
	started_at, deadline_at`

// claimJobs takes jobs for workers. What somebody else is changing at this moment is left to him.
const claimJobs = `WITH wanted AS (
		SELECT jobs.id, w.worker, w.ttl FROM jobs JOIN unnest($1::uuid[], $2::text[], $3::interval[]) AS w(id, worker, ttl)
			ON jobs.id = w.id
		WHERE (status = 'queued' AND run_at <= now() OR status = 'running' AND lease_expires_at < now())
			AND attempt < max_attempts AND (deadline_at IS NULL OR deadline_at > now())
		ORDER BY jobs.id FOR NO KEY UPDATE OF jobs SKIP LOCKED
	), claimed AS (
		UPDATE jobs SET status = 'running', waiting_on = '', attempt = attempt + 1, lease_epoch = lease_epoch + 1,
			lease_expires_at = now() + wanted.ttl, leased_by = wanted.worker, last_seq = last_seq + 1,
			started_at = coalesce(started_at, now()), updated_at = now()
		FROM wanted WHERE jobs.id = wanted.id
		RETURNING jobs.` + claimColumns + `, leased_by
	), told AS (
		INSERT INTO job_events (job_id, organization_id, seq, type, data, created_at)
		SELECT id, organization_id, last_seq, 'job.state',
			format('{"status":"running","attempt":%s,"worker":%s}', attempt, to_json(leased_by))::json, now()
		FROM claimed
	)
	SELECT ` + claimColumns + `, now() FROM claimed`

type claimRequest struct {
	id     uuid.UUID
	worker string
	ttl    time.Duration
}

// Claim takes a job for a worker: the lease holds for ttl, the epoch and the attempt go up, and the job's log says that it
// runs. Claims that are made at the same moment share a commit. A nil job means that there is nothing to take: another worker has
// it, it ended, or its time has not come or is over.
func (e *Engine) Claim(ctx context.Context, id uuid.UUID, worker string, ttl time.Duration) (*Job, error) {
	return e.claims.run(ctx, claimRequest{id, worker, ttl})
}

func (e *Engine) claim(ctx context.Context, wanted []claimRequest) []outcome[*Job] {
	outcomes := make([]outcome[*Job], len(wanted))
	claimed, err := e.claimAll(ctx, wanted)
	for i, w := range wanted {
		outcomes[i].err = err
		// Should one job be wanted twice at once, one caller gets it.
		outcomes[i].value = claimed[w.id]
		delete(claimed, w.id)
	}
	return outcomes
}

func (e *Engine) claimAll(ctx context.Context, wanted []claimRequest) (map[uuid.UUID]*Job, error) {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	var ids []uuid.UUID
	var workers []string
	var ttls []time.Duration
	claimed, by := make(map[uuid.UUID]*Job, len(wanted)), make(map[uuid.UUID]string, len(wanted))
	for _, w := range wanted {
		if _, twice := by[w.id]; !twice {
			by[w.id] = w.worker
			ids, workers, ttls = append(ids, w.id), append(workers, w.worker), append(ttls, w.ttl)
		}
	}
	var commit events.Commit
	rows, err := e.pool.Query(ctx, claimJobs, ids, workers, ttls)
	if err != nil {
		return nil, explain(err, "claim jobs")
	}
	var j Job
	var at time.Time
	columns := []any{
		&j.ID, &j.OrganizationID, &j.CreatedBy, &j.ProjectID, &j.AgentConfigID, &j.ConversationID, &j.DocumentID, &j.ParentID,
		&j.Kind, &j.Class, &j.Priority, &j.Status, &j.Input, &j.Attempt, &j.MaxAttempts, &j.LeaseEpoch, &j.LastSeq,
		&j.Traceparent, &j.CreatedAt, &j.RunAt, &j.StartedAt, &j.DeadlineAt, &at,
	}
	if _, err := pgx.ForEachRow(rows, columns, func() error {
		job := j
		j = Job{}
		claimed[job.ID] = &job
		running := events.JobState{Status: events.StatusRunning, Attempt: job.Attempt, Worker: by[job.ID]}
		event, err := newEvent(job.ID, job.OrganizationID, job.LastSeq, events.Time(at), running)
		commit.Events = append(commit.Events, event.Event())
		return err
	}); err != nil {
		return nil, explain(err, "claim jobs")
	}
	e.committed(commit)
	return claimed, nil
}
