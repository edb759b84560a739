package store

import (
	"cmp"
	"strconv"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
)

// FeedPosition is a place between two events of a tenant's feed, which shows the logs of all its jobs as one: by the transactions that
// wrote them, and within one by job and sequence number. The zero position is before the first event.
type FeedPosition struct {
	// Line says in which course of the database's life XID counts: a restore or a failover begins another one, in which the
	// same numbers may be given again.
	Line int32
	// XID is the transaction's.
	XID   int64
	JobID uuid.UUID
	Seq   int64
	// Time is about when what lies before the position was written: what a reader goes by whose line has ended.
	Time time.Time
}

// Compare orders positions of one line.
func (p FeedPosition) Compare(other FeedPosition) int {
	if c := cmp.Compare(p.XID, other.XID); c != 0 {
		return c
	}
	if c := cmp.Compare(string(p.JobID[:]), string(other.JobID[:])); c != 0 {
		return c
	}
	return cmp.Compare(p.Seq, other.Seq)
}

// FeedEvent is an event with what decides who may see it.
type FeedEvent struct {
	JobEvent

	XID       int64       `gorm:"column:xid"`
	Kind      events.Kind `gorm:"column:kind"`
	CreatedBy *uuid.UUID  `gorm:"column:created_by"`
	ProjectID *uuid.UUID  `gorm:"column:project_id"`
}

// At returns the position right after the event.
func (e *FeedEvent) At(line int32) FeedPosition {
	return FeedPosition{Line: line, XID: e.XID, JobID: e.JobID, Seq: e.Seq, Time: e.CreatedAt.UTC()}
}

// FeedHorizon is how far the feed can be read at some moment: up to the first transaction that had not ended then. Whatever is written
// later, by whichever transaction, comes behind it.
type FeedHorizon struct {
	Line int32 `gorm:"column:line"`
	XID  int64 `gorm:"column:xid"`
	// Held says that events of the tenant have been committed that lie behind the horizon, because an earlier transaction, of
	// anybody, is still under way.
	Held bool `gorm:"column:held"`
}

// Position returns the end of what can be read.
func (h FeedHorizon) Position(now time.Time) FeedPosition {
	return FeedPosition{Line: h.Line, XID: h.XID, Time: now.UTC()}
}

// Feed is the log of all jobs of a tenant.
type Feed struct{ tx *Tx }

// Feed returns the feed of the transaction's tenant.
func (tx *Tx) Feed() Feed { return Feed{tx} }

// Horizon returns how far the feed can be read now.
func (r Feed) Horizon() (FeedHorizon, error) {
	var rows []FeedHorizon
	err := r.tx.db.Raw(`
		SELECT now.xmin::text::bigint AS xid,
			hashtext(control.system_identifier::text || left(pg_walfile_name(pg_current_wal_lsn()), 8)) AS line,
			EXISTS (SELECT FROM job_events WHERE organization_id = ? AND xid >= now.xmin) AS held
		FROM (SELECT pg_snapshot_xmin(pg_current_snapshot()) AS xmin) AS now, pg_control_system() AS control`,
		r.tx.tenant.UUID()).Find(&rows).Error
	if err != nil || len(rows) == 0 {
		return FeedHorizon{}, explain(err, "read the horizon of the feed")
	}
	return rows[0], nil
}

// Read returns the events between a position and a horizon, at most limit of them, in order: fewer are all that there are. The horizon
// may be older than the transaction that reads.
func (r Feed) Read(after FeedPosition, until FeedHorizon, limit int) ([]FeedEvent, error) {
	var rows []FeedEvent
	err := r.tx.db.Raw(`
		SELECT e.job_id, e.organization_id, e.seq, e.type, e.data, e.created_at, e.xid::text::bigint AS xid,
			jobs.kind, jobs.created_by, jobs.project_id
		FROM job_events AS e CROSS JOIN LATERAL (
			SELECT kind, created_by, project_id FROM jobs WHERE id = e.job_id LIMIT 1 -- for each by its key, whatever the planner thinks
		) AS jobs
		WHERE e.organization_id = ? AND (e.xid, e.job_id, e.seq) > (CAST(CAST(? AS text) AS xid8), ?, ?)
			AND e.xid < CAST(CAST(? AS text) AS xid8)
		ORDER BY e.xid, e.job_id, e.seq LIMIT ?`,
		r.tx.tenant.UUID(), xid8(after.XID), after.JobID, after.Seq, xid8(until.XID), limit).Find(&rows).Error
	return rows, explain(err, "read the feed")
}

// xid8 is how the number of a transaction gets to Postgres, which reads it from text only.
func xid8(n int64) string { return strconv.FormatInt(n, 10) }

// feedSkew is by how much the times of events may disagree with the order of their transactions.
const feedSkew = time.Minute

// Since returns a position before everything that was written since t, and at most about a minute of what was written earlier.
func (r Feed) Since(t time.Time, until FeedHorizon) (FeedPosition, error) {
	t = t.Add(-feedSkew)
	// Time goes with the numbers of transactions, so halving finds the place in an index that knows no times.
	low, high := int64(0), until.XID
	for low < high {
		middle := low + (high-low)/2
		var next []FeedEvent
		err := r.tx.db.Raw(`SELECT xid::text::bigint AS xid, created_at FROM job_events
			WHERE organization_id = ? AND xid >= CAST(CAST(? AS text) AS xid8) AND xid < CAST(CAST(? AS text) AS xid8)
			ORDER BY xid, job_id, seq LIMIT 1`, r.tx.tenant.UUID(), xid8(middle), xid8(high)).Find(&next).Error
		switch {
		case err != nil:
			return FeedPosition{}, explain(err, "find a time in the feed")
		case len(next) == 0 || !next[0].CreatedAt.Before(t):
			high = middle
		default:
			low = next[0].XID + 1
		}
	}
	return FeedPosition{Line: until.Line, XID: low, Time: t.UTC()}, nil
}
