package store

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/tenant"
)

// WebhookFeed is how far the events of a tenant that has webhooks were looked at, in the order of the transactions that wrote them. The
// transaction's number is for the database alone.
type WebhookFeed struct {
	OrganizationID uuid.UUID `gorm:"column:organization_id;primaryKey"`
	JobID          uuid.UUID `gorm:"column:job_id"`
	Seq            int64     `gorm:"column:seq"`
	CreatedAt      time.Time `gorm:"column:created_at"`
	UpdatedAt      time.Time `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (WebhookFeed) TableName() string { return "webhook_feeds" }

// WebhookFeeds is the feed of the tenant's webhooks.
type WebhookFeeds struct{ tx *Tx }

// WebhookFeeds returns the feed of the transaction's tenant.
func (tx *Tx) WebhookFeeds() WebhookFeeds { return WebhookFeeds{tx} }

// open makes sure that there is a feed, from now on, and holds it until the transaction ends. A relay that is about to close the feed
// for want of webhooks does so before, or sees the webhook that it is opened for.
func (r WebhookFeeds) open() error {
	_, err := r.tx.exec(`INSERT INTO webhook_feeds (organization_id, xid, job_id, seq)
		VALUES ($1, pg_snapshot_xmin(pg_current_snapshot()), '00000000-0000-0000-0000-000000000000', 0)
		ON CONFLICT (organization_id) DO UPDATE SET updated_at = now()`, r.tx.tenant.UUID())
	return explain(err, "open the feed of webhooks")
}

// Subscriber is an active webhook, as far as its feed needs to know it.
type Subscriber struct {
	ID         uuid.UUID
	EventTypes StringArray
	JobKinds   StringArray
	since      moment
}

// moment is a snapshot of the database: which transactions had ended.
type moment struct {
	// All below xmin had, none from xmax on, and between them those that were not open.
	xmin, xmax int64
	open       []int64
}

// parseMoment reads the text form of a pg_snapshot, such as 10:20:12,15.
func parseMoment(text string) (m moment, err error) {
	parts := strings.Split(text, ":")
	if len(parts) != 3 {
		return m, fmt.Errorf("store: %q is no snapshot", text)
	}
	numbers := parts[:2]
	if parts[2] != "" {
		numbers = append(numbers, strings.Split(parts[2], ",")...)
	}
	for i, number := range numbers {
		n, err := strconv.ParseInt(number, 10, 64)
		if err != nil {
			return m, fmt.Errorf("store: read a snapshot: %w", err)
		}
		switch i {
		case 0:
			m.xmin = n
		case 1:
			m.xmax = n
		default:
			m.open = append(m.open, n)
		}
	}
	return m, nil
}

// before reports whether the transaction had ended by then.
func (m moment) before(xid int64) bool {
	return xid < m.xmin || xid < m.xmax && !slices.Contains(m.open, xid)
}

// JobEnd is the end of a job, read from its log.
type JobEnd struct {
	Job *Job
	// Seq is the event's place in the job's log, Time when it was written.
	Seq   int64
	Time  time.Time
	State events.JobState
	xid   int64
}

// Reaches reports whether the end came after the webhook was made, or turned on.
func (e JobEnd) Reaches(s Subscriber) bool { return !s.since.before(e.xid) }

// fed is an event of the feed.
type fed struct {
	JobID     uuid.UUID `gorm:"column:job_id"`
	Seq       int64     `gorm:"column:seq"`
	XID       int64     `gorm:"column:xid"`
	Type      string    `gorm:"column:type"`
	Data      string    `gorm:"column:data"`
	CreatedAt time.Time `gorm:"column:created_at"`
}

// Next looks at up to limit events after those that were looked at before, and returns the ends of jobs among them, and who wants to be
// told. The feed has moved on with the commit of the transaction, and only then: whatever the caller makes of the ends in it is made
// once. Full says that there is more. Jobs that are parts of others, and those of webhooks themselves, are left out.
//
// The feed is in the order of the transactions that wrote the events, and ends before the oldest that is still under way, so that
// no event gets in behind it.
func (r WebhookFeeds) Next(limit int) (ends []JobEnd, who []Subscriber, full bool, err error) {
	var at []struct {
		XID   string    `gorm:"column:xid"`
		JobID uuid.UUID `gorm:"column:job_id"`
		Seq   int64     `gorm:"column:seq"`
	}
	org := r.tx.tenant.UUID()
	err = r.tx.db.Raw("SELECT xid::text, job_id, seq FROM webhook_feeds WHERE organization_id = ? FOR UPDATE", org).Scan(&at).Error
	if err != nil || len(at) == 0 {
		return nil, nil, false, explain(err, "read the feed of webhooks")
	}
	if who, err = r.subscribers(); err != nil {
		return nil, nil, false, err
	}
	if len(who) == 0 {
		_, err := r.tx.exec("DELETE FROM webhook_feeds WHERE organization_id = $1", org)
		return nil, nil, false, explain(err, "close the feed of webhooks")
	}
	var found []fed
	err = r.tx.db.Raw(`SELECT job_id, seq, xid::text::bigint AS xid, type, created_at,
			CASE WHEN type = 'job.state' THEN data::text ELSE '' END AS data
		FROM job_events WHERE organization_id = ? AND (xid, job_id, seq) > (?::text::xid8, ?, ?)
			AND xid < pg_snapshot_xmin(pg_current_snapshot())
		ORDER BY xid, job_id, seq LIMIT ?`, org, at[0].XID, at[0].JobID, at[0].Seq, limit).Scan(&found).Error
	if err != nil || len(found) == 0 {
		return nil, who, false, explain(err, "read what webhooks may be told")
	}
	last := found[len(found)-1]
	if _, err := r.tx.exec(`UPDATE webhook_feeds SET xid = $2::bigint::text::xid8, job_id = $3, seq = $4, updated_at = now()
		WHERE organization_id = $1`, org, last.XID, last.JobID, last.Seq); err != nil {
		return nil, nil, false, explain(err, "move the feed of webhooks on")
	}
	ends, err = r.ends(found)
	return ends, who, len(found) == limit, err
}

func (r WebhookFeeds) subscribers() ([]Subscriber, error) {
	var rows []struct {
		ID         uuid.UUID   `gorm:"column:id"`
		EventTypes StringArray `gorm:"column:event_types"`
		JobKinds   StringArray `gorm:"column:job_kinds"`
		Since      string      `gorm:"column:since"`
	}
	// A webhook that is being deleted must not get a delivery.
	err := r.tx.db.Raw(`SELECT id, event_types, job_kinds, since::text FROM webhooks
		WHERE organization_id = ? AND is_active ORDER BY id FOR KEY SHARE`, r.tx.tenant.UUID()).Scan(&rows).Error
	who := make([]Subscriber, len(rows))
	for i, row := range rows {
		since, err := parseMoment(row.Since)
		if err != nil {
			return nil, err
		}
		who[i] = Subscriber{row.ID, row.EventTypes, row.JobKinds, since}
	}
	return who, explain(err, "read active webhooks")
}

// ends picks the ends of jobs, with the jobs.
func (r WebhookFeeds) ends(found []fed) (ends []JobEnd, err error) {
	var ids []uuid.UUID
	for _, f := range found {
		event := events.Event{Type: events.Type(f.Type), Data: []byte(f.Data)}
		if event.Terminal() {
			ids = append(ids, f.JobID)
			end := JobEnd{Seq: f.Seq, Time: f.CreatedAt, xid: f.XID}
			if err := decode(f.Data, &end.State); err != nil {
				return nil, err
			}
			ends = append(ends, end)
		}
	}
	if len(ids) == 0 {
		return nil, nil
	}
	var jobs []*Job
	err = r.tx.Jobs().scoped().Where("id IN ? AND parent_id IS NULL AND kind <> ?", ids, events.KindWebhookDeliver).Find(&jobs).Error
	if err != nil {
		return nil, explain(err, "read ended jobs")
	}
	byID := make(map[uuid.UUID]*Job, len(jobs))
	for _, j := range jobs {
		byID[j.ID] = j
	}
	told := ends[:0]
	for i, end := range ends {
		if end.Job = byID[ids[i]]; end.Job != nil {
			told = append(told, end)
		}
	}
	return told, nil
}

// WebhookFeeds returns the tenants whose feeds have something new. Those without webhooks have no feed and cost nothing.
func (e *Engine) WebhookFeeds(ctx context.Context) ([]tenant.ID, error) {
	rows, err := e.pool.Query(ctx, `SELECT f.organization_id FROM webhook_feeds f CROSS JOIN LATERAL (
			SELECT FROM job_events e WHERE e.organization_id = f.organization_id AND e.xid >= f.xid
				AND (e.xid, e.job_id, e.seq) > (f.xid, f.job_id, f.seq) AND e.xid < pg_snapshot_xmin(pg_current_snapshot())
			LIMIT 1) AS something`)
	if err != nil {
		return nil, explain(err, "find feeds of webhooks")
	}
	found, err := pgx.CollectRows(rows, func(row pgx.CollectableRow) (tenant.ID, error) {
		var org uuid.UUID
		err := row.Scan(&org)
		return tenant.FromUUID(org), err
	})
	return found, explain(err, "find feeds of webhooks")
}
