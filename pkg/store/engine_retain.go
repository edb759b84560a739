package store

import (
	"context"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
)

// What is deleted of jobs that have ended. The id of a job begins with the time of its submission, so the oldest lie at one end of an
// index that is there anyway, and nothing has to be remembered of what was deleted before: what is left is what there is to do.

// Pruned is what a batch came to.
type Pruned struct {
	// Jobs, Events and Steps are how many rows were deleted.
	Jobs, Events, Steps int64
	// Next is where the next batch goes on; uuid.Nil when there is nothing more to look at.
	Next uuid.UUID
}

// The jobs to look at, at most $3: those with a log, the oldest first and after $2, or all, the newest first and before $2, so that
// children are met before their parents. All were submitted so long ago ($1), which {submitted} stands for.
const (
	withLog = `WITH RECURSIVE logged AS (
			(SELECT job_id, 1 AS n FROM job_events WHERE job_id > $2 AND job_id < {submitted} ORDER BY job_id LIMIT 1)
			UNION ALL
			SELECT following.job_id, n + 1 FROM logged CROSS JOIN LATERAL (
				SELECT job_id FROM job_events WHERE job_id > logged.job_id AND job_id < {submitted} ORDER BY job_id LIMIT 1
			) AS following WHERE n < $3
		) SELECT job_id FROM logged ORDER BY n`
	withRow = `SELECT id FROM jobs WHERE id < least($2, {submitted}) ORDER BY id DESC LIMIT $3`
)

// over is true of jobs that ended so long ago ($1), as has all that they are part of and all that is part of them.
const over = `j.finished_at < now() - $1::interval
	AND NOT EXISTS (SELECT FROM jobs p WHERE p.id = j.parent_id AND (p.finished_at IS NULL OR p.finished_at >= now() - $1::interval))
	AND NOT EXISTS (SELECT FROM jobs c WHERE c.parent_id = j.id AND (c.finished_at IS NULL OR c.finished_at >= now() - $1::interval))`

// Which of them ($2) can go. Who tries a dead job again wants its journal; and a parent goes with its last child or after it, so that
// no row takes more with it than the batch has locked: the events of what it took would stay for ever. Children have no children.
const (
	logsToGo = `SELECT j.id, j.last_seq FROM jobs j WHERE j.id = ANY($2) AND NOT j.dead AND ` + over + `
		ORDER BY j.id FOR UPDATE OF j SKIP LOCKED`
	rowsToGo = `WITH locked AS MATERIALIZED (
			SELECT j.id, j.last_seq, j.parent_id FROM jobs j WHERE j.id = ANY($2) AND ` + over + `
			ORDER BY j.id DESC FOR UPDATE OF j SKIP LOCKED
		) SELECT id, last_seq FROM locked
		WHERE NOT EXISTS (SELECT FROM jobs c WHERE c.parent_id = locked.id AND c.id NOT IN (SELECT id FROM locked))
		ORDER BY parent_id IS NULL, id DESC`
)

// eventsTogether is after how many events a batch lets go of its other jobs: the longest log is longer than many short ones.
const eventsTogether = 20_000

// PruneEvents deletes the events and the journals of jobs that ended at least so long ago, and keeps the jobs. It looks at up to limit
// jobs with a log, in the order of their age, after the one where the batch before it stopped; uuid.Nil begins. Dead jobs keep theirs
// as long as their rows. What somebody else is changing at this moment is left for another time.
func (e *Engine) PruneEvents(ctx context.Context, ended time.Duration, after uuid.UUID, limit int) (Pruned, error) {
	return e.prune(ctx, pruning{ended: ended, from: after, limit: limit, look: withLog, choose: logsToGo})
}

// PruneJobs deletes jobs that ended at least so long ago, with all that is about them, dead ones too. It looks at up to limit jobs, the
// newest of them first, before the one where the batch before it stopped; uuid.Nil begins. Children go before their parents.
func (e *Engine) PruneJobs(ctx context.Context, ended time.Duration, before uuid.UUID, limit int) (Pruned, error) {
	if before == uuid.Nil {
		before = uuid.Max
	}
	return e.prune(ctx, pruning{ended: ended, from: before, limit: limit, look: withRow, choose: rowsToGo, rows: true})
}

// pruning is a batch.
type pruning struct {
	ended        time.Duration
	from         uuid.UUID
	limit        int
	look, choose string
	rows         bool
}

func (e *Engine) prune(ctx context.Context, p pruning) (done Pruned, err error) {
	err = pgx.BeginFunc(ctx, e.pool, func(tx pgx.Tx) error {
		gone, next, err := p.find(ctx, tx)
		if done.Next = next; err != nil || len(gone) == 0 {
			return err
		}
		// By arrays of ids, so that whatever the planner knows about these tables each is searched by its primary key.
		var batch pgx.Batch
		count := func(rows *int64, statement string) {
			batch.Queue(statement, gone).Exec(func(tag pgconn.CommandTag) error {
				*rows = tag.RowsAffected()
				return nil
			})
		}
		count(&done.Steps, "DELETE FROM run_steps WHERE job_id = ANY($1)")
		count(&done.Events, "DELETE FROM job_events WHERE job_id = ANY($1)")
		if p.rows {
			count(&done.Jobs, "DELETE FROM jobs WHERE id = ANY($1)")
		}
		return tx.SendBatch(ctx, &batch).Close()
	})
	if err != nil {
		return Pruned{}, explain(err, "prune jobs")
	}
	return done, nil
}

// find locks the jobs that go with this batch, and says where the next one begins.
func (p pruning) find(ctx context.Context, tx pgx.Tx) (gone []uuid.UUID, next uuid.UUID, err error) {
	rows, err := tx.Query(ctx, strings.ReplaceAll(p.look, "{submitted}", leastID("$1::interval")), p.ended, p.from, p.limit)
	if err != nil {
		return nil, uuid.Nil, err
	}
	seen, err := pgx.CollectRows(rows, pgx.RowTo[uuid.UUID])
	if err != nil || len(seen) == 0 {
		return nil, uuid.Nil, err
	}
	if len(seen) == p.limit {
		next = seen[len(seen)-1]
	}
	if rows, err = tx.Query(ctx, p.choose, p.ended, seen); err != nil {
		return nil, uuid.Nil, err
	}
	var id uuid.UUID
	var logged, total int64
	_, err = pgx.ForEachRow(rows, []any{&id, &logged}, func() error {
		switch {
		case total < eventsTogether:
			gone, total = append(gone, id), total+logged
		case p.rows: // children come first, whatever their ids: those that are left are looked at again
			next = p.from
		default:
			next = gone[len(gone)-1]
		}
		return nil
	})
	return gone, next, err
}

// Oldest returns when the first of the jobs that are kept was submitted, and the first of those that still have their events. The zero
// time means that there is none.
func (e *Engine) Oldest(ctx context.Context) (job, events time.Time, err error) {
	var of [2]*time.Time
	err = e.pool.QueryRow(ctx, `SELECT (SELECT created_at FROM jobs ORDER BY id LIMIT 1),
		(SELECT created_at FROM job_events ORDER BY job_id, seq LIMIT 1)`).Scan(&of[0], &of[1])
	if err != nil {
		return job, events, explain(err, "find the oldest jobs")
	}
	if of[0] != nil {
		job = *of[0]
	}
	if of[1] != nil {
		events = *of[1]
	}
	return job, events, nil
}
