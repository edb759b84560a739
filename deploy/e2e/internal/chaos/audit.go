package chaos

import (
	"context"
	_ "embed"
	"fmt"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

//go:embed audit.sql
var auditSQL string

// installAudit puts our triggers into a database.
func installAudit(ctx context.Context, address string) error {
	conn, err := pgx.Connect(ctx, address)
	if err != nil {
		return fmt.Errorf("install the audit: %w", err)
	}
	_, err = conn.Exec(ctx, auditSQL)
	if closing := conn.Close(ctx); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("install the audit: %w", err)
	}
	return nil
}

// record reads what the system has recorded, as the database's owner.
type record struct{ pool *pgxpool.Pool }

// collect reads rows.
func collect[T any](ctx context.Context, r *record, scan pgx.RowToFunc[T], query string, args ...any) ([]T, error) {
	rows, err := r.pool.Query(ctx, query, args...)
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	all, err := pgx.CollectRows(rows, scan)
	if err != nil {
		return nil, fmt.Errorf("read the record: %w", err)
	}
	return all, nil
}

// counts is how many jobs there are and how many have not ended, and of how many organizations ends of jobs have not been looked at on
// behalf of webhooks.
type counts struct{ All, Open, Untold int }

func (r *record) counts(ctx context.Context) (counts, error) {
	all, err := collect(ctx, r, pgx.RowToStructByPos[counts], `
		SELECT count(*), count(*) FILTER (WHERE finished_at IS NULL), (
			SELECT count(*) FROM webhook_feeds f WHERE EXISTS (SELECT FROM job_events e
				WHERE e.organization_id = f.organization_id AND (e.xid, e.job_id, e.seq) > (f.xid, f.job_id, f.seq)))
		FROM jobs`)
	if err != nil {
		return counts{}, err
	}
	return all[0], nil
}

// made is a job as its row says, with the mark in its input.
type made struct {
	ID, Mark       string
	Kind           events.Kind
	Status         events.Status
	Attempt        int
	Epoch, LastSeq int64
	Dead, Part     bool
	Tenant         string

	RetryOf, RetriedAs string
	CreatedAt          time.Time
}

// jobs returns all jobs. Only those that clients have asked for have a mark.
func (r *record) jobs(ctx context.Context) ([]made, error) {
	return collect(ctx, r, pgx.RowToStructByPos[made], `SELECT j.id::text,
		CASE WHEN j.parent_id IS NULL AND j.kind IN ('agent.run', 'document.ingest', 'embedding.create')
			THEN coalesce(substring(coalesce(d.title, j.input::text) from 'mark-\d{6}'), '') ELSE '' END,
		j.kind, j.status, j.attempt, j.lease_epoch, j.last_seq, j.dead, j.parent_id IS NOT NULL, j.organization_id::text,
		coalesce(j.retry_of::text, ''), coalesce(j.retried_as::text, ''), j.created_at
		FROM jobs j LEFT JOIN documents d ON d.id = j.document_id ORDER BY j.id`)
}

// feed returns how many events the feed of an organization has.
func (r *record) feed(ctx context.Context, organization string) (int, error) {
	all, err := collect(ctx, r, pgx.RowTo[int], `SELECT count(*) FROM job_events e JOIN jobs j ON j.id = e.job_id
		WHERE j.organization_id = $1 AND j.kind <> $2`, organization, events.KindWebhookDeliver)
	if err != nil {
		return 0, err
	}
	return all[0], nil
}

// progress returns when claims, endings and events were written, and by whom.
func (r *record) progress(ctx context.Context) ([]history.Progress, error) {
	return collect(ctx, r, pgx.RowToStructByPos[history.Progress], `SELECT at, writer FROM chaos.change
		UNION ALL SELECT at, writer FROM chaos.entry ORDER BY 1`)
}

// fill reads the histories of jobs into them.
func (r *record) fill(ctx context.Context, jobs map[string]*history.Job) error {
	ids := make([]string, 0, len(jobs))
	for id := range jobs {
		ids = append(ids, id)
	}
	for query, scan := range map[string]func(pgx.CollectableRow) error{
		`SELECT job_id::text, at, writer, tx, before, after, epoch_before, epoch, attempt, lease_left
			FROM chaos.change WHERE job_id = ANY($1::uuid[]) ORDER BY job_id, id`: func(row pgx.CollectableRow) error {
			var id string
			var c history.Change
			var left float64
			err := row.Scan(&id, &c.At, &c.Writer, &c.Tx, &c.From, &c.To, &c.EpochBefore, &c.Epoch, &c.Attempt, &left)
			c.LeaseLeft = time.Duration(left * float64(time.Second))
			if err == nil {
				jobs[id].Changes = append(jobs[id].Changes, c)
			}
			return err
		},
		`SELECT e.job_id::text, e.seq, e.type, e.data, a.at, a.writer, a.tx, a.epoch, a.status
			FROM job_events e JOIN chaos.entry a ON a.job_id = e.job_id AND a.seq = e.seq
			WHERE e.job_id = ANY($1::uuid[]) ORDER BY e.job_id, e.seq`: func(row pgx.CollectableRow) error {
			var id string
			var e history.Entry
			err := row.Scan(&id, &e.Seq, &e.Type, &e.Data, &e.At, &e.Writer, &e.Tx, &e.Epoch, &e.Status)
			if err == nil {
				jobs[id].Log = append(jobs[id].Log, e)
			}
			return err
		},
		`SELECT s.job_id::text, s.step_no, s.kind, s.attempt, a.at, a.writer, a.tx, a.epoch, a.status
			FROM run_steps s JOIN chaos.step a ON a.job_id = s.job_id AND a.seq = s.step_no
			WHERE s.job_id = ANY($1::uuid[]) ORDER BY s.job_id, s.step_no, a.at`: func(row pgx.CollectableRow) error {
			var id string
			var s history.Step
			err := row.Scan(&id, &s.No, &s.Kind, &s.Attempt, &s.At, &s.Writer, &s.Tx, &s.Epoch, &s.Status)
			if err == nil {
				jobs[id].Steps = append(jobs[id].Steps, s)
			}
			return err
		},
	} {
		_, err := collect(ctx, r, func(row pgx.CollectableRow) (struct{}, error) { return struct{}{}, scan(row) }, query, ids)
		if err != nil {
			return err
		}
	}
	return nil
}
