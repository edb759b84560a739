package store

import (
	"context"
	"strconv"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"golang.org/x/sync/semaphore"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/tenant"
)

// Engine moves the jobs of all tenants along as the engine role. That sees jobs, their events and idempotency keys, and of journals
// whose they are; of tenants their plans and limits, how far their webhooks are relayed and when their schedules are due; and nothing
// else. It is safe for concurrent use. Whatever compares times lets the database do it, so that no clock but the database's decides; and
// whatever locks several jobs locks them in the order of their ids, as a parent's end does.
type Engine struct {
	pool      *pgxpool.Pool
	committed func(events.Commit)
	submits   gatherer[*intake, bool]
	large     *semaphore.Weighted // submissions that go alone because of their size
	claims    gatherer[claimRequest, *Job]
	ends      gatherer[endRequest, struct{}]
}

// OpenEngine connects a pool as the engine role. It succeeds without a reachable server; Ready tells.
func OpenEngine(ctx context.Context, cfg Config) (*Engine, error) {
	pool, err := openPool(ctx, cfg, steady())
	if err != nil {
		return nil, err
	}
	e := &Engine{pool: pool, committed: listener(cfg), large: semaphore.NewWeighted(largeAtOnce)}
	e.submits = gatherer[*intake, bool]{most: submitsTogether, lanes: submitLanes, do: e.submit}
	e.claims = gatherer[claimRequest, *Job]{most: claimsTogether, lanes: claimLanes, do: e.claim}
	e.ends = gatherer[endRequest, struct{}]{most: endsTogether, lanes: endLanes, do: e.end}
	return e, nil
}

// steady is how Postgres plans the engine's statements: once, and through an index. There are few of them, each names its rows by an
// index that was made for it, and the tables change too fast for what is known about them: planned on an empty table, a statement
// would read all of the full one.
func steady() map[string]string {
	return map[string]string{"plan_cache_mode": "force_generic_plan", "enable_seqscan": "off"}
}

// gatherTimeout bounds a statement that several callers share.
const gatherTimeout = 10 * time.Second

// Close closes the pool.
func (e *Engine) Close() error {
	e.pool.Close()
	return nil
}

// Ready returns nil when the server answers and its schema can be read.
func (e *Engine) Ready(ctx context.Context) error { return ready(ctx, e.pool) }

// Renew extends leases by ttl in one statement and returns those that are still held.
func (e *Engine) Renew(ctx context.Context, leases []Lease, ttl time.Duration) (held map[uuid.UUID]bool, err error) {
	ids, epochs := make([]uuid.UUID, len(leases)), make([]int64, len(leases))
	for i, l := range leases {
		ids[i], epochs[i] = l.JobID, l.Epoch
	}
	rows, err := e.pool.Query(ctx, `
		WITH held AS (
			SELECT jobs.id FROM jobs JOIN unnest($1::uuid[], $2::bigint[]) AS lease(id, epoch) ON jobs.id = lease.id
			WHERE jobs.lease_epoch = lease.epoch AND jobs.status = 'running'
			ORDER BY jobs.id FOR NO KEY UPDATE OF jobs
		)
		UPDATE jobs SET lease_expires_at = now() + $3 FROM held WHERE jobs.id = held.id RETURNING jobs.id`, ids, epochs, ttl)
	if err != nil {
		return nil, explain(err, "renew leases")
	}
	got, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil {
		return nil, explain(err, "renew leases")
	}
	held = make(map[uuid.UUID]bool, len(got))
	for _, id := range got {
		held[id] = true
	}
	return held, nil
}

// Expired is a job whose worker stopped renewing its lease.
type Expired struct {
	Lease  Lease
	Tenant tenant.ID
	Kind   events.Kind
	// Exhausted says that no attempt is left; the caller ends it with Fail(...).IfExpired() in its tenant.
	Exhausted bool
}

// Sweep puts jobs with an expired lease back into the queue and returns them, at most limit. Jobs without attempts left are returned
// untouched, because their end may write content, which the engine cannot.
func (e *Engine) Sweep(ctx context.Context, limit int) ([]Expired, error) {
	var expired []Expired
	err := e.inTx(ctx, func(tx pgx.Tx, out *events.Commit) error {
		rows, err := tx.Query(ctx, `SELECT id, organization_id, kind, class, priority, lease_epoch, attempt,
				attempt >= max_attempts, last_seq FROM jobs WHERE status = 'running' AND lease_expires_at < now()
			ORDER BY lease_expires_at LIMIT $1 FOR UPDATE SKIP LOCKED`, limit)
		if err != nil {
			return explain(err, "find expired leases")
		}
		var requeue []uuid.UUID
		var states []logged
		_, err = pgx.CollectRows(rows, func(row pgx.CollectableRow) (struct{}, error) {
			var x Expired
			var org uuid.UUID
			ready := events.Ready{}
			var attempt int
			var seq int64
			if err := row.Scan(&x.Lease.JobID, &org, &ready.Kind, &ready.Class, &ready.Priority, &x.Lease.Epoch, &attempt, &x.Exhausted,
				&seq); err != nil {
				return struct{}{}, err
			}
			x.Tenant, x.Kind, ready.TenantID = tenant.FromUUID(org), ready.Kind, org.String()
			expired = append(expired, x)
			if !x.Exhausted {
				requeue, out.Ready = append(requeue, x.Lease.JobID), append(out.Ready, ready)
				states = append(states, logged{x.Lease.JobID, org, seq + 1, events.JobState{
					Status: events.StatusQueued, WaitingOn: events.WaitingDispatch, Attempt: attempt,
					Error: &events.Failure{Code: "worker.lost", Message: "The worker stopped answering; the job runs again."},
				}})
			}
			return struct{}{}, nil
		})
		if err != nil {
			return explain(err, "find expired leases")
		}
		if len(requeue) == 0 {
			return nil
		}
		if _, err := tx.Exec(ctx, `UPDATE jobs SET status = 'queued', waiting_on = 'fairness', leased_by = NULL,
			lease_expires_at = NULL, run_at = now(), last_seq = last_seq + 1, updated_at = now() WHERE id = ANY($1)`, requeue); err != nil {
			return explain(err, "requeue expired jobs")
		}
		return log(ctx, tx, out, states...)
	})
	return expired, err
}

// PruneIdempotency deletes up to limit of the idempotency keys, of all tenants, that expired at least so long ago, the oldest
// first, and returns how many. Keys that are being used again at this moment are left alone.
func (e *Engine) PruneIdempotency(ctx context.Context, expired time.Duration, limit int) (int64, error) {
	done, err := e.pool.Exec(ctx, `DELETE FROM idempotency_keys k USING (
			SELECT organization_id, scope, key FROM idempotency_keys WHERE expires_at < now() - $1::interval
			ORDER BY expires_at LIMIT $2 FOR UPDATE SKIP LOCKED) AS old
		WHERE k.organization_id = old.organization_id AND k.scope = old.scope AND k.key = old.key`, expired, limit)
	return done.RowsAffected(), explain(err, "prune idempotency keys")
}

// LastSeqs returns the last sequence number of each job that exists: one query with which a gateway finds out whether any of
// the streams it serves missed an event.
func (e *Engine) LastSeqs(ctx context.Context, ids []uuid.UUID) (map[uuid.UUID]int64, error) {
	rows, err := e.pool.Query(ctx, "SELECT id, last_seq FROM jobs WHERE id = ANY($1)", ids)
	if err != nil {
		return nil, explain(err, "read last events")
	}
	seqs := make(map[uuid.UUID]int64, len(ids))
	var id uuid.UUID
	var seq int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &seq}, func() error { seqs[id] = seq; return nil }); err != nil {
		return nil, explain(err, "read last events")
	}
	return seqs, nil
}

// FeedEnds returns the transaction that wrote the newest event of each tenant which has one: one query with which a gateway finds out
// whether any of the feeds it serves missed an event.
func (e *Engine) FeedEnds(ctx context.Context, tenants []uuid.UUID) (map[uuid.UUID]int64, error) {
	rows, err := e.pool.Query(ctx, `
		SELECT t.id, newest.xid::text::bigint FROM unnest($1::uuid[]) AS t(id), LATERAL (
			SELECT xid FROM job_events WHERE organization_id = t.id ORDER BY xid DESC LIMIT 1
		) AS newest`, tenants)
	if err != nil {
		return nil, explain(err, "read the ends of feeds")
	}
	ends := make(map[uuid.UUID]int64, len(tenants))
	var id uuid.UUID
	var xid int64
	if _, err := pgx.ForEachRow(rows, []any{&id, &xid}, func() error { ends[id] = xid; return nil }); err != nil {
		return nil, explain(err, "read the ends of feeds")
	}
	return ends, nil
}

// Duty is what one process does for all of them. It is the key of its advisory lock, in ASCII.
type Duty int64

// The duties.
const (
	Dispatching Duty = 0x636f70696c6f74   // "copilot"
	Pruning     Duty = 0x636f707072756e65 // "copprune"
	Relaying    Duty = 0x636f7072656c6179 // "coprelay"
	Scheduling  Duty = 0x636f707363686564 // "copsched"
)

// Lead runs fn while this process holds the duty's advisory lock, and returns false when another one holds it. The lock is the
// session's: a dead leader is followed when its connection falls, one that is frozen or cut off after idleLeader. fn's context ends
// when the connection is lost, which a leader that is cut off notices before another one leads. One that was frozen may go on for a
// moment when it wakes; what it writes then must be harmless.
func (e *Engine) Lead(ctx context.Context, duty Duty, fn func(context.Context) error) (led bool, err error) {
	conn, led, err := e.tryLead(ctx, duty)
	if !led {
		return false, err
	}
	defer func() { _ = conn.Close(context.WithoutCancel(ctx)) }()
	leading, stop := context.WithCancelCause(ctx)
	watched := make(chan struct{})
	go func() {
		defer close(watched)
		watch(leading, conn, stop)
	}()
	err = fn(leading)
	stop(nil)
	<-watched
	return true, err
}

// idleLeader is after what silence Postgres ends the session of a leader, and with it the lock: more than the leader itself takes to
// notice, a ping and its timeout.
const idleLeader = 8 * time.Second

// tryLock takes an advisory lock ($1) if it is free; the session that has it is bounded ($2) in the same statement.
const tryLock = `WITH try AS MATERIALIZED (SELECT pg_try_advisory_lock($1) AS led)
	SELECT led, set_config('idle_session_timeout', CASE WHEN led THEN $2 ELSE current_setting('idle_session_timeout') END, false)
	FROM try`

// tryLead returns the session that has the lock of a duty, unless another one has it.
func (e *Engine) tryLead(ctx context.Context, duty Duty) (session *pgx.Conn, led bool, err error) {
	// Whoever tries over a connection that is cut off must not be kept from trying another one.
	ctx, cancel := context.WithTimeout(ctx, pingTimeout)
	defer cancel()
	conn, err := e.pool.Acquire(ctx)
	if err != nil {
		return nil, false, explain(err, "connect for leadership")
	}
	err = conn.QueryRow(ctx, tryLock, int64(duty), strconv.FormatInt(idleLeader.Milliseconds(), 10)).Scan(&led, nil)
	if err == nil && !led {
		conn.Release()
		return nil, false, nil
	}
	// A session that has the lock, or may have it, does not return to the pool.
	session = conn.Hijack()
	if err != nil {
		_ = session.Close(context.WithoutCancel(ctx))
		return nil, false, explain(err, "try leadership")
	}
	return session, true, nil
}

// pingTimeout is how long the leader's connection may be silent before leadership counts as lost.
const pingTimeout = 3 * time.Second

func watch(ctx context.Context, conn *pgx.Conn, stop context.CancelCauseFunc) {
	tick := time.NewTicker(2 * time.Second)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
			pinging, cancel := context.WithTimeout(ctx, pingTimeout)
			err := conn.Ping(pinging)
			cancel()
			if err != nil {
				stop(explain(err, "leadership lost"))
				return
			}
		}
	}
}

type logged struct {
	job, org uuid.UUID
	seq      int64
	fact     events.Fact
}

func log(ctx context.Context, tx pgx.Tx, out *events.Commit, facts ...logged) error {
	now := events.Time(time.Now())
	var batch pgx.Batch
	for _, f := range facts {
		row, err := newEvent(f.job, f.org, f.seq, now, f.fact)
		if err != nil {
			return err
		}
		batch.Queue(`INSERT INTO job_events (job_id, organization_id, seq, type, data, created_at, xid)
			VALUES ($1, $2, $3, $4, $5, $6, `+inTurn("$1", "$3")+`)`,
			row.JobID, row.OrganizationID, row.Seq, row.Type, row.Data, row.CreatedAt)
		out.Events = append(out.Events, row.Event())
	}
	if err := tx.SendBatch(ctx, &batch).Close(); err != nil {
		return explain(err, "insert events")
	}
	return nil
}

func (e *Engine) inTx(ctx context.Context, fn func(pgx.Tx, *events.Commit) error) error {
	var out events.Commit
	err := pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error { return fn(tx, &out) })
	if err == nil && len(out.Events) > 0 {
		e.committed(out)
	}
	return err
}
