package store

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// Submission is work to be taken in, all of it or none.
type Submission struct {
	Tenant tenant.ID
	Work   []NewJob
	// Once makes the submission happen once, however often it is sent; the zero Once does nothing.
	Once Once
}

// Once is a client's promise that requests are the same.
type Once struct {
	// Key is the client's Idempotency-Key. Empty is no promise.
	Key string
	// Scope is where the key counts: the operation and the user.
	Scope string
	// Hash tells whether two requests with one key are the same.
	Hash []byte
}

// How many submissions share a statement at most, and how many such statements may be under way. One with more than submitsLarge jobs,
// or bytes of input than submitsBytes, goes alone: nobody else should wait for it, and no statement should grow with the product of the
// two.
const (
	submitsTogether = 256
	submitLanes     = 4
	submitsLarge    = 32
	submitsBytes    = 256 << 10
)

// MaxSubmission is how many bytes the inputs of a submission may come to, as JSON: 32 MiB. That of a run holds what its agent was told, so
// a small request may ask for much.
const MaxSubmission = 32 << 20

// largeAtOnce is how many submissions of more than submitsLarge jobs are worked on at once: their inputs are in memory several times
// over.
const largeAtOnce = 2

// Submit takes work in: the jobs, their first events and the idempotency key commit together, and with them whatever other callers
// submit at this moment. Known says that the key has been used before and nothing was done: Idempotency.First tells for what.
// Inputs of more than MaxSubmission are fault.TooLarge. Nothing else is checked: that the tenant has the agent, the document or the
// conversation is the database's to say, whether the caller may use them the caller's.
func (e *Engine) Submit(ctx context.Context, s Submission) (made []*Job, known bool, err error) {
	if s.Tenant.IsZero() {
		return nil, false, tenant.ErrNone
	}
	large := len(s.Work) > submitsLarge
	if large {
		if err := e.large.Acquire(ctx, 1); err != nil {
			return nil, false, explain(err, "wait to submit jobs")
		}
		defer e.large.Release(1)
	}
	in, err := s.intake()
	if err != nil {
		return nil, false, err
	}
	var taken bool
	if large || in.bytes > submitsBytes {
		alone := e.submit(ctx, []*intake{in})[0]
		taken, err = alone.value, alone.err
	} else {
		taken, err = e.submits.run(ctx, in)
	}
	if err != nil || !taken {
		return nil, err == nil, err
	}
	return in.jobs, false, nil
}

// intake is a submission on its way into the database.
type intake struct {
	tenant tenant.ID
	once   Once
	jobs   []*Job
	events []JobEvent
	bytes  int // of input
}

// intake makes the rows of a submission.
func (s Submission) intake() (*intake, error) {
	in := &intake{once: s.Once, tenant: s.Tenant}
	now := events.Time(time.Now())
	for _, work := range s.Work {
		job, err := work.job(s.Tenant, nil, now)
		if err != nil {
			return nil, err
		}
		if in.bytes += len(job.Input); in.bytes > MaxSubmission {
			return nil, fault.New(fault.TooLarge, "jobs.too_large",
				"These jobs come to more than %d MiB, with what their agents are told. Submit fewer at once.", MaxSubmission>>20)
		}
		first, err := newEvent(job.ID, job.OrganizationID, 1, now, job.firstState())
		if err != nil {
			return nil, err
		}
		in.jobs, in.events = append(in.jobs, job), append(in.events, first)
	}
	return in, nil
}

// key tells submissions that exclude each other.
func (in *intake) key() string {
	return in.tenant.String() + "\x00" + in.once.Scope + "\x00" + in.once.Key
}

// submit takes in what was gathered. A submission that the database refuses must not be the others' undoing: then each goes alone.
func (e *Engine) submit(ctx context.Context, all []*intake) []outcome[bool] {
	outcomes := make([]outcome[bool], len(all))
	rest := make([]int, len(all))
	for i := range rest {
		rest[i] = i
	}
	for len(rest) > 0 {
		var now []int
		now, rest = distinct(all, rest)
		fresh, err := e.insert(ctx, pick(all, now))
		for n, i := range now {
			switch {
			case err == nil:
				outcomes[i].value = fresh[n]
			case len(now) == 1 || !refused(err):
				outcomes[i].err = err
			default:
				outcomes[i] = e.submit(ctx, all[i:i+1])[0]
				if unanswered(outcomes[i].err) {
					err = outcomes[i].err // and the others are not tried
				}
			}
		}
	}
	return outcomes
}

// refused reports whether the database answered that it does not take what a statement said, so that saying less of it may succeed.
// Without an answer the statement may have been carried out, and to repeat it would be refused for that.
func refused(err error) bool {
	_, answered := errors.AsType[*pgconn.PgError](err)
	return answered && !unanswered(err)
}

// unanswered reports whether the database is away, or said nothing in time.
func unanswered(err error) bool {
	return errors.Is(err, context.DeadlineExceeded) || fault.Is(err, fault.Unavailable) && fault.Of(err).Code != codeBusy
}

// distinct parts those of which no key is there twice, which one statement cannot insert, from the others. They are in the order of
// their keys, so that two statements never wait for each other in a circle.
func distinct(all []*intake, which []int) (once, again []int) {
	seen := make(map[string]bool)
	for _, i := range which {
		if in := all[i]; in.once.Key == "" {
			once = append(once, i)
		} else if key := in.key(); seen[key] {
			again = append(again, i)
		} else {
			seen[key] = true
			once = append(once, i)
		}
	}
	slices.SortStableFunc(once, func(a, b int) int { return strings.Compare(all[a].key(), all[b].key()) })
	return once, again
}

func pick(all []*intake, which []int) []*intake {
	picked := make([]*intake, len(which))
	for n, i := range which {
		picked[n] = all[i]
	}
	return picked
}

// insertSubmissions writes what of $1..$6 (submissions) has a key that is free, or none, with its jobs ($7..$23) and their events.
const insertSubmissions = `WITH submission AS (
		SELECT n, organization_id, scope, key, body_hash, job_id, response
		FROM unnest($1::int[], $2::uuid[], $3::text[], $4::text[], $5::bytea[], $6::uuid[], $7::text[])
			AS s(n, organization_id, scope, key, body_hash, job_id, response)
	), kept AS (
		INSERT INTO idempotency_keys AS k
			(organization_id, scope, key, body_hash, job_id, status, headers, response, created_at, expires_at)
		SELECT organization_id, scope, key, body_hash, job_id, CASE WHEN response <> '' THEN 202 END,
			CASE WHEN response <> '' THEN '{}'::jsonb END, NULLIF(response, '')::jsonb, now(), now() + $8::interval
		FROM submission WHERE key <> ''
		ON CONFLICT (organization_id, scope, key) DO UPDATE SET body_hash = excluded.body_hash, job_id = excluded.job_id,
			status = excluded.status, headers = excluded.headers, response = excluded.response,
			created_at = excluded.created_at, expires_at = excluded.expires_at
		WHERE k.expires_at < now()
		RETURNING organization_id, scope, key
	), fresh AS (
		SELECT n FROM submission WHERE key = ''
		UNION ALL
		SELECT n FROM submission JOIN kept USING (organization_id, scope, key)
	), made AS (
		INSERT INTO jobs (id, organization_id, created_by, project_id, agent_config_id, conversation_id, document_id, kind, class,
			priority, status, waiting_on, input, max_attempts, last_seq, run_at, deadline_at, progress_total, traceparent,
			agent_limit, created_at, updated_at)
		SELECT j.id, j.organization_id, j.created_by, j.project_id, j.agent_config_id, j.conversation_id, j.document_id, j.kind,
			j.class, j.priority, 'queued', j.waiting_on, j.input::jsonb, j.max_attempts, 1, coalesce(j.run_at, now()), j.deadline_at,
			j.progress_total, j.traceparent, j.agent_limit, j.created_at, j.created_at
		FROM unnest($9::int[], $10::uuid[], $11::uuid[], $12::uuid[], $13::uuid[], $14::uuid[], $15::uuid[], $16::uuid[],
			$17::text[], $18::text[], $19::smallint[], $20::text[], $21::text[], $22::int[], $23::timestamptz[],
			$24::timestamptz[], $25::int[], $26::text[], $30::int[], $27::timestamptz[])
			AS j(n, id, organization_id, created_by, project_id, agent_config_id, conversation_id, document_id, kind, class,
				priority, waiting_on, input, max_attempts, run_at, deadline_at, progress_total, traceparent, agent_limit, created_at)
		WHERE j.n IN (SELECT n FROM fresh)
	), told AS (
		INSERT INTO job_events (job_id, organization_id, seq, type, data, created_at)
		SELECT t.id, t.organization_id, 1, t.type, t.data::json, t.created_at
		FROM unnest($9::int[], $10::uuid[], $11::uuid[], $28::text[], $29::text[], $27::timestamptz[])
			AS t(n, id, organization_id, type, data, created_at)
		WHERE t.n IN (SELECT n FROM fresh)
	)
	SELECT n FROM fresh`

// insert takes submissions in and says of each whether it did, or its key was known.
func (e *Engine) insert(ctx context.Context, all []*intake) (fresh []bool, err error) {
	ctx, cancel := context.WithTimeout(ctx, gatherTimeout)
	defer cancel()
	var s submissionColumns
	var j jobColumns
	for i, in := range all {
		s.add(i, in)
		for n, job := range in.jobs {
			j.add(i, job, in.events[n])
		}
	}
	fresh = make([]bool, len(all))
	rows, err := e.pool.Query(ctx, insertSubmissions, append(append(s.arguments(), IdempotencyTTL), j.arguments()...)...)
	if err != nil {
		return nil, explain(err, "submit jobs")
	}
	var n int
	if _, err := pgx.ForEachRow(rows, []any{&n}, func() error { fresh[n] = true; return nil }); err != nil {
		return nil, explain(err, "submit jobs")
	}
	var commit events.Commit
	for i, in := range all {
		if !fresh[i] {
			continue
		}
		for n, job := range in.jobs {
			commit.Events = append(commit.Events, in.events[n].Event())
			commit.Add(job.told(job.CreatedAt))
		}
	}
	e.committed(commit)
	return fresh, nil
}

// submissionColumns are submissions as the statement takes them: one array for each column.
type submissionColumns struct {
	n           []int32
	org         []uuid.UUID
	scope, key  []string
	hash        [][]byte
	job         []*uuid.UUID
	keptAnswers []string
}

func (c *submissionColumns) add(n int, in *intake) {
	c.n, c.org = append(c.n, int32(n)), append(c.org, in.tenant.UUID())
	c.scope, c.key, c.hash = append(c.scope, in.once.Scope), append(c.key, in.once.Key), append(c.hash, in.once.Hash)
	if len(in.jobs) == 1 {
		c.job, c.keptAnswers = append(c.job, &in.jobs[0].ID), append(c.keptAnswers, "")
		return
	}
	ids := make([]string, len(in.jobs))
	for i, job := range in.jobs {
		ids[i] = `"` + job.ID.String() + `"`
	}
	c.job, c.keptAnswers = append(c.job, nil), append(c.keptAnswers, "["+strings.Join(ids, ",")+"]")
}

func (c *submissionColumns) arguments() []any {
	return []any{c.n, c.org, c.scope, c.key, c.hash, c.job, c.keptAnswers}
}

// jobColumns are jobs and their first events, likewise.
type jobColumns struct {
	n                                               []int32
	id, org                                         []uuid.UUID
	user, project, agent, conversation, document    []*uuid.UUID
	kind, class, waitingOn, input, trace, typ, data []string
	priority                                        []int16
	attempts, weight, agentLimit                    []int32
	runAt, deadline                                 []*time.Time
	at                                              []time.Time
}

func (c *jobColumns) add(n int, job *Job, first JobEvent) {
	c.n = append(c.n, int32(n))
	c.id, c.org = append(c.id, job.ID), append(c.org, job.OrganizationID)
	c.user, c.project, c.agent = append(c.user, job.CreatedBy), append(c.project, job.ProjectID), append(c.agent, job.AgentConfigID)
	c.conversation, c.document = append(c.conversation, job.ConversationID), append(c.document, job.DocumentID)
	c.kind, c.class = append(c.kind, string(job.Kind)), append(c.class, string(job.Class))
	c.waitingOn, c.input = append(c.waitingOn, string(job.WaitingOn)), append(c.input, string(job.Input))
	c.trace, c.typ, c.data = append(c.trace, job.Traceparent), append(c.typ, string(first.Type)), append(c.data, string(first.Data))
	c.priority = append(c.priority, job.Priority)
	c.attempts = append(c.attempts, int32(job.MaxAttempts))
	c.weight = append(c.weight, int32(job.ProgressTotal))
	c.agentLimit = append(c.agentLimit, int32(job.AgentLimit))
	var runAt *time.Time
	if !job.RunAt.IsZero() {
		runAt = &job.RunAt
	}
	c.runAt, c.deadline, c.at = append(c.runAt, runAt), append(c.deadline, job.DeadlineAt), append(c.at, job.CreatedAt)
}

func (c *jobColumns) arguments() []any {
	return []any{
		c.n, c.id, c.org, c.user, c.project, c.agent, c.conversation, c.document, c.kind, c.class, c.priority, c.waitingOn, c.input,
		c.attempts, c.runAt, c.deadline, c.weight, c.trace, c.at, c.typ, c.data,
		c.agentLimit,
	}
}
