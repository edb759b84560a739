package store

import (
	"context"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/events"
)

// AheadCounted is up to how many jobs ahead of one are counted.
const AheadCounted = 1000

// Ahead returns how many jobs of the tenant and of the same kind go before a ready one, AheadCounted at most: interactive ones before
// bulk, then by priority and age. It takes as long as there are, at most a millisecond.
func (r Jobs) Ahead(j *Job) (int, error) {
	const ready = `SELECT 1 FROM jobs WHERE organization_id = @org AND kind = @kind AND status = 'queued'
		AND waiting_on = 'fairness' AND `
	// Each is a range of jobs_ready_idx: what does not go before is not looked at.
	before := "(" + ready + "class = @class AND (priority, id) < (@priority, @id) LIMIT @most)"
	if j.Class == events.ClassBulk {
		before += " UNION ALL (" + ready + "class = 'interactive' LIMIT @most)"
	}
	var ahead int
	err := r.tx.db.Raw("SELECT count(*) FROM ("+before+") AS ahead", map[string]any{
		"org": r.tx.tenant.UUID(), "kind": j.Kind, "class": j.Class, "priority": j.Priority, "id": j.ID, "most": AheadCounted,
	}).Find(&ahead).Error
	return min(ahead, AheadCounted), explain(err, "count the jobs ahead")
}

// StatsCounted is up to how many jobs of a sort JobStats counts, and RecentCounted of how many of the newest jobs it tells how they
// ended.
const (
	StatsCounted  = 10_000
	RecentCounted = 10_000
)

// JobStats is how the jobs stand.
type JobStats struct {
	// At is when that was so, by the database's clock.
	At time.Time
	// Since is when the first of the jobs was submitted of which Recent tells: at most a day ago, and at most RecentCounted jobs.
	Since time.Time
	// Open are the jobs that have not ended, and those that are dead.
	Open []OpenJobs
	// Recent has an entry for each kind of those jobs.
	Recent []RecentJobs
}

// OpenJobs are jobs of a kind that have not ended, or that are dead.
type OpenJobs struct {
	Kind events.Kind `gorm:"column:kind"`
	// Status is that of the jobs; dead ones have failed.
	Status    events.Status    `gorm:"column:status"`
	WaitingOn events.WaitingOn `gorm:"column:waiting_on"`
	// Jobs is how many there are; each sort is counted up to StatsCounted.
	Jobs int `gorm:"column:jobs"`
	// Oldest is for how many seconds the one has been ready that waits longest for its turn; nil for those that do not.
	Oldest *float64 `gorm:"column:oldest"`
}

// RecentJobs is how jobs of a kind went that were submitted of late.
type RecentJobs struct {
	Kind events.Kind `gorm:"column:kind"`
	// Jobs is how many there are, the first of them from Since.
	Jobs  int       `gorm:"column:jobs"`
	Since time.Time `gorm:"column:since"`
	At    time.Time `gorm:"column:at"`

	SucceededHour int `gorm:"column:succeeded_hour"`
	FailedHour    int `gorm:"column:failed_hour"`
	CancelledHour int `gorm:"column:cancelled_hour"`
	SucceededDay  int `gorm:"column:succeeded_day"`
	FailedDay     int `gorm:"column:failed_day"`
	CancelledDay  int `gorm:"column:cancelled_day"`

	// Wait is for how many seconds those that began in the last hour had been ready before, the half of them, 95 and 99 percent; nil
	// when there are none. Run is how long those took that ended well in the last hour, from their first start on.
	WaitP50 *float64 `gorm:"column:wait_p50"`
	WaitP95 *float64 `gorm:"column:wait_p95"`
	WaitP99 *float64 `gorm:"column:wait_p99"`
	RunP50  *float64 `gorm:"column:run_p50"`
	RunP95  *float64 `gorm:"column:run_p95"`
	RunP99  *float64 `gorm:"column:run_p99"`
}

// The statements of JobStats. Scope is what narrows them to a tenant, and oldest how the age of ready jobs is found.
const (
	statsOpen = `SELECT kind, status, waiting_on, count(*) AS jobs, NULL::float8 AS oldest
			FROM (SELECT kind, status, waiting_on FROM jobs
				WHERE {scope} AND (status = 'waiting' OR status = 'queued' AND waiting_on <> 'fairness') LIMIT @counted) AS held
			GROUP BY kind, status, waiting_on
		UNION ALL SELECT kind, 'running', '', count(*), NULL FROM jobs WHERE {scope} AND status = 'running' GROUP BY kind
		UNION ALL SELECT kind, 'failed', '', count(*), NULL
			FROM (SELECT kind FROM jobs WHERE {scope} AND dead LIMIT @counted) AS dead GROUP BY kind
		UNION ALL SELECT k.kind, 'queued', 'fairness', c.jobs, o.oldest FROM (VALUES {kinds}) AS k(kind)
			CROSS JOIN LATERAL (SELECT count(*) AS jobs FROM (SELECT FROM jobs WHERE {scope} AND jobs.kind = k.kind
				AND status = 'queued' AND waiting_on = 'fairness' LIMIT @counted) AS ready) AS c
			CROSS JOIN LATERAL ({oldest}) AS o
			WHERE c.jobs > 0`
	// The first of a class and priority is the one that was submitted first.
	oldestOfTenant = `SELECT extract(epoch FROM now() - min(first.since))::float8 AS oldest
		FROM (VALUES ('interactive'), ('bulk')) AS s(class) CROSS JOIN generate_series(1, 9) AS p(priority) CROSS JOIN LATERAL (
			SELECT greatest(run_at, created_at) AS since FROM jobs WHERE {each} AND jobs.kind = k.kind AND status = 'queued'
				AND waiting_on = 'fairness' AND jobs.class = s.class AND jobs.priority = p.priority ORDER BY id LIMIT 1) AS first`
	oldestOfAll = `WITH RECURSIVE tenants AS (
			(SELECT organization_id FROM jobs WHERE jobs.kind = k.kind AND status = 'queued' AND waiting_on = 'fairness'
				ORDER BY organization_id LIMIT 1)
			UNION ALL
			SELECT (SELECT organization_id FROM jobs WHERE jobs.kind = k.kind AND status = 'queued' AND waiting_on = 'fairness'
				AND jobs.organization_id > tenants.organization_id ORDER BY organization_id LIMIT 1)
			FROM tenants WHERE organization_id IS NOT NULL)
		SELECT max(each.oldest) AS oldest FROM tenants CROSS JOIN LATERAL (` + oldestOfTenant + `) AS each`
	// Of a job that was put off since it began, run_at tells nothing of its beginning.
	statsRecent = `WITH recent AS (
			SELECT kind, status, created_at, finished_at > now() - interval '1 hour' AS lately,
				CASE WHEN started_at > now() - interval '1 hour' THEN greatest(0, extract(epoch FROM started_at -
					CASE WHEN run_at <= started_at THEN greatest(run_at, created_at) ELSE created_at END)) END AS wait,
				CASE WHEN status = 'succeeded' AND finished_at > now() - interval '1 hour'
					THEN extract(epoch FROM finished_at - started_at) END AS run
			FROM (SELECT kind, status, created_at, run_at, started_at, finished_at FROM jobs
				WHERE {scope} AND id > {day} ORDER BY id DESC LIMIT @recent) AS newest
		)
		SELECT kind, count(*) AS jobs, min(created_at) AS since, now() AS at,
			count(*) FILTER (WHERE lately AND status = 'succeeded') AS succeeded_hour,
			count(*) FILTER (WHERE lately AND status = 'failed') AS failed_hour,
			count(*) FILTER (WHERE lately AND status = 'cancelled') AS cancelled_hour,
			count(*) FILTER (WHERE status = 'succeeded') AS succeeded_day,
			count(*) FILTER (WHERE status = 'failed') AS failed_day,
			count(*) FILTER (WHERE status = 'cancelled') AS cancelled_day,
			{wait}, {run}
		FROM recent GROUP BY kind ORDER BY kind`
)

// everybody is the scope of all tenants.
const everybody = "true"

// quantiles are the three of a column that JobStats has.
func quantiles(column string) string {
	list := make([]string, 3)
	for i, q := range []struct{ name, part string }{{"p50", "0.5"}, {"p95", "0.95"}, {"p99", "0.99"}} {
		list[i] = "percentile_cont(" + q.part + ") WITHIN GROUP (ORDER BY " + column + ")::float8 AS " + column + "_" + q.name
	}
	return strings.Join(list, ", ")
}

// statsQuery fills in a statement.
func statsQuery(statement, scope, oldest string) string {
	kinds := make([]string, 0, len(events.Kinds()))
	for _, k := range events.Kinds() {
		kinds = append(kinds, "('"+string(k)+"')")
	}
	each := scope
	if scope == everybody {
		each = "jobs.organization_id = tenants.organization_id"
	}
	fill := strings.NewReplacer("{scope}", scope, "{each}", each, "{kinds}", strings.Join(kinds, ", "),
		"{day}", leastID("interval '1 day'"), "{wait}", quantiles("wait"), "{run}", quantiles("run"))
	return fill.Replace(strings.ReplaceAll(statement, "{oldest}", oldest))
}

// since says from when on the recent jobs are known.
func (s *JobStats) since(now time.Time) {
	s.At = now
	oldest, jobs := now, 0
	for _, r := range s.Recent {
		if s.At, jobs = r.At, jobs+r.Jobs; r.Since.Before(oldest) {
			oldest = r.Since
		}
	}
	if s.Since = s.At.Add(-24 * time.Hour); jobs >= RecentCounted {
		s.Since = oldest
	}
}

// Stats returns how the tenant's jobs stand. What it takes is bounded, however many there are.
func (r Jobs) Stats() (s JobStats, err error) {
	const scope = "organization_id = @org"
	args := map[string]any{"org": r.tx.tenant.UUID(), "counted": StatsCounted, "recent": RecentCounted}
	if err := r.tx.db.Raw(statsQuery(statsOpen, scope, oldestOfTenant), args).Find(&s.Open).Error; err != nil {
		return s, explain(err, "count open jobs")
	}
	if err := r.tx.db.Raw(statsQuery(statsRecent, scope, ""), args).Find(&s.Recent).Error; err != nil {
		return s, explain(err, "count recent jobs")
	}
	s.since(time.Now())
	return s, nil
}

// JobStats returns how the jobs of all tenants stand, likewise.
func (e *Engine) JobStats(ctx context.Context) (s JobStats, err error) {
	args := pgx.NamedArgs{"counted": StatsCounted, "recent": RecentCounted}
	rows, err := e.pool.Query(ctx, statsQuery(statsOpen, everybody, oldestOfAll), args)
	if err == nil {
		s.Open, err = pgx.CollectRows(rows, pgx.RowToStructByPos[OpenJobs])
	}
	if err != nil {
		return s, explain(err, "count open jobs")
	}
	rows, err = e.pool.Query(ctx, statsQuery(statsRecent, everybody, ""), args)
	if err == nil {
		s.Recent, err = pgx.CollectRows(rows, pgx.RowToStructByPos[RecentJobs])
	}
	if err != nil {
		return s, explain(err, "count recent jobs")
	}
	s.since(time.Now())
	return s, nil
}
