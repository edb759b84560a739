package store

import (
	"bytes"
	"context"
	"encoding/json"
	"slices"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/events"
)

// How many ends share a statement at most, and how many such statements may be under way.
const (
	endsTogether = 256
	endLanes     = 4
)

// CanEnd reports whether End can end a claim of the job: nothing else may follow from the end.
func (e Ending) CanEnd(job *Job) bool {
	return e.status.Terminal() && !e.expired && job.ParentID == nil &&
		job.Kind != events.KindDocumentIngest && job.Kind != events.KindWebhookDeliver
}

type endRequest struct {
	job    *Job
	ending Ending
	result []byte
	// told are its last events, as yet without their numbers and their time.
	told []JobEvent
}

// End is Jobs.End for ends that nothing else follows from, as CanEnd says. Those of the same moment share a commit, whomever the
// jobs belong to.
func (e *Engine) End(ctx context.Context, job *Job, ending Ending, facts ...events.Fact) error {
	var result []byte
	if ending.result != nil {
		var err error
		if result, err = json.Marshal(ending.result); err != nil {
			return explain(err, "encode the result of "+string(job.Kind))
		}
	}
	state := events.JobState{Status: ending.status, Attempt: job.Attempt, Error: ending.failure, Dead: ending.dead}
	told := make([]JobEvent, 0, len(facts)+1)
	for _, fact := range append(slices.Clip(facts), events.Fact(state)) {
		event, err := newEvent(job.ID, job.OrganizationID, 0, time.Time{}, fact)
		if err != nil {
			return err
		}
		told = append(told, event)
	}
	_, err := e.ends.run(ctx, endRequest{job, ending, result, told})
	return err
}

// endJobs ends jobs ($1) whose epoch ($2) holds yet. Each is looked for by its id, whatever the planner believes of the others: among
// the few that run it would look for them by an index that is full of those that ran a moment ago.
const endJobs = `WITH held AS (
		SELECT e.id, e.epoch, e.status, e.result, e.error_code, e.error_message, e.dead, e.facts,
			job.status AS was, job.lease_epoch AS holds
		FROM unnest($1::uuid[], $2::bigint[], $3::text[], $4::text[], $5::text[], $6::text[], $7::bool[], $8::int[])
			AS e(id, epoch, status, result, error_code, error_message, dead, facts)
		CROSS JOIN LATERAL (SELECT status, lease_epoch FROM jobs WHERE jobs.id = e.id FOR NO KEY UPDATE) AS job
	), ended AS (
		UPDATE jobs SET status = e.status, waiting_on = '', dead = e.dead, result = coalesce(e.result::jsonb, jobs.result),
			error_code = CASE WHEN e.status = 'succeeded' THEN NULL ELSE e.error_code END,
			error_message = CASE WHEN e.status = 'succeeded' THEN NULL ELSE e.error_message END,
			progress_done = CASE WHEN e.status = 'succeeded' AND progress_total > 0 THEN progress_total ELSE progress_done END,
			leased_by = NULL, lease_expires_at = NULL, finished_at = now(), updated_at = now(), last_seq = last_seq + e.facts
		FROM held e WHERE jobs.id = e.id AND jobs.id = ANY($1) AND e.was = 'running' AND e.holds = e.epoch
		RETURNING jobs.id, jobs.organization_id, jobs.last_seq - e.facts AS before
	), told AS (
		INSERT INTO job_events (job_id, organization_id, seq, type, data, created_at)
		SELECT ended.id, ended.organization_id, ended.before + t.n, t.type, t.data::json, now()
		FROM unnest($9::uuid[], $10::int[], $11::text[], $12::text[]) AS t(id, n, type, data) JOIN ended ON ended.id = t.id
	)
	SELECT id, before, now() FROM ended`

func (e *Engine) end(ctx context.Context, ends []endRequest) []outcome[struct{}] {
	outcomes := make([]outcome[struct{}], len(ends))
	err := e.endAll(ctx, ends, outcomes)
	if err == nil {
		return outcomes
	}
	for i := range ends {
		outcomes[i].err = err
		// One result that the database refuses must not keep the others from being written.
		if len(ends) > 1 && refused(err) {
			outcomes[i] = e.end(ctx, ends[i:i+1])[0]
			if unanswered(outcomes[i].err) {
				err = outcomes[i].err
			}
		}
	}
	return outcomes
}

func (e *Engine) endAll(ctx context.Context, ends []endRequest, outcomes []outcome[struct{}]) error {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	var c endColumns
	// The statement locks the jobs in this order, which is everybody's.
	for _, r := range slices.SortedFunc(slices.Values(ends), func(a, b endRequest) int {
		return bytes.Compare(a.job.ID[:], b.job.ID[:])
	}) {
		c.add(r)
	}
	var at time.Time
	before := make(map[uuid.UUID]int64, len(ends))
	rows, err := e.pool.Query(ctx, endJobs, c.arguments()...)
	if err != nil {
		return explain(err, "end jobs")
	}
	var id uuid.UUID
	var seq int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &seq, &at}, func() error { before[id] = seq; return nil }); err != nil {
		return explain(err, "end jobs")
	}
	var commit events.Commit
	for i, r := range ends {
		seq, ended := before[r.job.ID]
		if !ended {
			outcomes[i].err = ErrLeaseLost
			continue
		}
		for n, event := range r.told {
			event.Seq, event.CreatedAt = seq+1+int64(n), events.Time(at)
			commit.Events = append(commit.Events, event.Event())
		}
	}
	e.committed(commit)
	return nil
}

// endColumns are ends as the statement takes them: one array for each column.
type endColumns struct {
	id                    []uuid.UUID
	epoch                 []int64
	status                []string
	result, code, message []*string
	dead                  []bool
	facts                 []int32

	factOf     []uuid.UUID
	factNumber []int32
	typ, data  []string
}

func (c *endColumns) add(r endRequest) {
	c.id, c.epoch = append(c.id, r.job.ID), append(c.epoch, r.job.LeaseEpoch)
	c.status, c.dead = append(c.status, string(r.ending.status)), append(c.dead, r.ending.dead)
	c.facts = append(c.facts, int32(len(r.told)))
	var result, code, message *string
	if r.result != nil {
		result = new(string(r.result))
	}
	if f := r.ending.failure; f != nil {
		code, message = &f.Code, &f.Message
	}
	c.result, c.code, c.message = append(c.result, result), append(c.code, code), append(c.message, message)
	for n, event := range r.told {
		c.factOf, c.factNumber = append(c.factOf, r.job.ID), append(c.factNumber, int32(n+1))
		c.typ, c.data = append(c.typ, string(event.Type)), append(c.data, string(event.Data))
	}
}

func (c *endColumns) arguments() []any {
	return []any{
		c.id, c.epoch, c.status, c.result, c.code, c.message, c.dead, c.facts, c.factOf, c.factNumber, c.typ, c.data,
	}
}
