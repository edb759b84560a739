package janitor_test

import (
	"context"
	"log/slog"
	"slices"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/gateway/internal/janitor"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// world is a database of its own, with what the owner of it sees.
type world struct {
	t     *testing.T
	owner *pgx.Conn
	store *store.Store
	eng   *store.Engine
	// metrics are those of one janitor.
	metrics *prometheus.Registry
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := storetest.NewSeeded(t)
	w := &world{t: t, owner: db.Conn(t, db.OwnerURL), metrics: prometheus.NewRegistry()}
	var err error
	if w.store, err = store.Open(t.Context(), store.Config{URL: db.AppURL, MaxConns: 2}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	if w.eng, err = store.OpenEngine(t.Context(), store.Config{URL: db.EngineURL, MaxConns: 2}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.eng.Close() })
	return w
}

func (w *world) janitor(cfg janitor.Config) *janitor.Janitor {
	w.metrics = prometheus.NewRegistry()
	return janitor.New(cfg, w.store, w.eng, slog.New(slog.DiscardHandler), w.metrics)
}

func (w *world) sql(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.owner.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

// key writes an idempotency key of each organization that expired so long ago.
func (w *world) key(name string, expired time.Duration) {
	w.t.Helper()
	w.sql(`INSERT INTO idempotency_keys (organization_id, scope, key, body_hash, expires_at)
		SELECT id, 'POST /things', $1, '', now() - $2::interval FROM organizations`, name, expired)
}

// token writes a refresh token of every user, of a session that is named by its first token.
func (w *world) token(name, session string, expired time.Duration, spent, revoked bool) {
	w.t.Helper()
	w.sql(`INSERT INTO refresh_tokens (id, organization_id, user_id, family_id, token_hash, expires_at, used_at, replaced_by, revoked_at, ip)
		SELECT md5($1 || id)::uuid, organization_id, id, md5($2 || id)::uuid, decode(md5($1 || id), 'hex'), now() - $3::interval,
			CASE WHEN $4 THEN now() END, CASE WHEN $4 THEN id END, CASE WHEN $5 THEN now() END, $1 FROM users`,
		name, session, expired, spent, revoked)
}

// left are the names of what is in the database, each once.
func (w *world) left() []string {
	w.t.Helper()
	rows, err := w.owner.Query(w.t.Context(), "SELECT key FROM idempotency_keys UNION SELECT ip FROM refresh_tokens ORDER BY 1")
	if err != nil {
		w.t.Fatal(err)
	}
	names, err := pgx.CollectRows(rows, pgx.RowTo[string])
	if err != nil {
		w.t.Fatal(err)
	}
	return names
}

func TestWhatExpiredLongEnoughAgoIsDeletedInBatches(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const day, hour = 24 * time.Hour, time.Hour
	w.key("an old key", 2*day)
	w.key("another old key", 3*day)
	w.key("a key of yesterday", day-hour)
	w.key("a key that is good", -hour)

	w.token("over: first", "over: first", 9*day, true, false)
	w.token("over: last", "over: first", 2*day, false, true)
	w.token("just over", "just over", day-hour, false, false)
	w.token("living: first", "living: first", 9*day, true, false)
	w.token("living: spent", "living: first", 5*day, true, false)
	w.token("living: newest", "living: first", -day, false, false)
	w.token("ended: first", "ended: first", 9*day, true, false)
	w.token("ended: revoked", "ended: first", 5*day, true, true)
	w.token("ended: made in the same instant", "ended: first", -day, false, false)

	if err := w.janitor(janitor.Config{After: day, Batch: 1}).Prune(t.Context()); err != nil {
		t.Fatal(err)
	}
	want := []string{
		"a key of yesterday", "a key that is good",
		"ended: first", "ended: made in the same instant", "ended: revoked",
		"just over",
		"living: first", "living: newest",
	}
	slices.Sort(want)
	if got := w.left(); !slices.Equal(got, want) {
		t.Errorf("left are\n%q, want\n%q", got, want)
	}
}

// job writes a job of each organization that succeeded so long ago, with an event and a step.
func (w *world) job(ended time.Duration) {
	w.t.Helper()
	w.sql(`WITH made AS (
			INSERT INTO jobs (id, organization_id, kind, input, status, last_seq, created_at, finished_at)
			SELECT (lpad(to_hex((extract(epoch FROM now() - $1::interval) * 1000)::bigint), 12, '0') || left(md5(id::text), 20))::uuid,
				id, 'agent.run', '{}', 'succeeded', 1, now() - $1::interval, now() - $1::interval FROM organizations
			RETURNING id, organization_id
		), logged AS (
			INSERT INTO job_events (job_id, organization_id, seq, type, created_at)
			SELECT id, organization_id, 1, 'job.state', now() - $1::interval FROM made
		)
		INSERT INTO run_steps (job_id, organization_id, step_no, kind, started_at, finished_at)
		SELECT id, organization_id, 1, 'tool_call', now(), now() FROM made`, ended)
}

// counts are the rows of jobs, events and steps.
func (w *world) counts() (n [3]int) {
	w.t.Helper()
	err := w.owner.QueryRow(w.t.Context(), `SELECT (SELECT count(*) FROM jobs), (SELECT count(*) FROM job_events),
		(SELECT count(*) FROM run_steps)`).Scan(&n[0], &n[1], &n[2])
	if err != nil {
		w.t.Fatal(err)
	}
	return n
}

// measured is the value of a metric for one label.
func (w *world) measured(name, what string) float64 {
	w.t.Helper()
	families, err := w.metrics.Gather()
	if err != nil {
		w.t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			if f.GetName() == name && m.GetLabel()[0].GetValue() == what {
				return m.GetCounter().GetValue() + m.GetGauge().GetValue()
			}
		}
	}
	w.t.Fatalf("no metric %s of %s", name, what)
	return 0
}

func TestJobsLoseTheirEventsAndThenGo(t *testing.T) {
	t.Parallel()
	const day = 24 * time.Hour
	w := newWorld(t)
	var tenants int
	if err := w.owner.QueryRow(t.Context(), "SELECT count(*) FROM organizations").Scan(&tenants); err != nil {
		t.Fatal(err)
	}
	for _, ended := range []time.Duration{day, 2 * day, 40 * day, 50 * day, 100 * day} {
		w.job(ended)
	}
	for _, c := range []struct {
		name string
		cfg  janitor.Config
		want [3]int // rows of each organization: jobs, events, steps
	}{
		{"for ever", janitor.Config{}, [3]int{5, 5, 5}},
		{"events for a month", janitor.Config{Events: 30 * day, Batch: 1}, [3]int{5, 2, 2}},
		{"and jobs for three", janitor.Config{Events: 30 * day, Jobs: 90 * day, Batch: 3}, [3]int{4, 2, 2}},
		{"jobs alone", janitor.Config{Jobs: 36 * time.Hour}, [3]int{1, 1, 1}},
	} {
		before := w.counts()
		if err := w.janitor(c.cfg).Prune(t.Context()); err != nil {
			t.Fatal(err)
		}
		got := w.counts()
		for i, what := range []string{"jobs", "events", "steps"} {
			if got[i] != tenants*c.want[i] {
				t.Errorf("%s: left are %d %s, want %d", c.name, got[i], what, tenants*c.want[i])
			}
			if n := w.measured("copilot_retention_deleted_total", what); int(n) != before[i]-got[i] {
				t.Errorf("%s: counted %v %s, gone are %d", c.name, n, what, before[i]-got[i])
			}
		}
	}
	for _, what := range []string{"jobs", "events"} {
		at := time.Unix(int64(w.measured("copilot_retention_oldest_timestamp_seconds", what)), 0)
		if ago := time.Since(at); ago < day || ago > day+time.Hour {
			t.Errorf("the oldest of the %s is of %s ago, want a day", what, ago)
		}
	}
}

func TestOneJanitorPrunesAtATime(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	ctx, stop := context.WithTimeout(t.Context(), patience)
	defer stop()
	ended := make(chan error, 1)
	led, err := w.eng.Lead(ctx, store.Pruning, func(ctx context.Context) error {
		w.key("an old key", time.Hour)
		w.token("an old token", "an old token", time.Hour, false, false)
		go func() { ended <- w.janitor(janitor.Config{Every: 5 * time.Millisecond}).Run(ctx) }()
		// Many a turn later everything is there, because somebody else has the duty.
		for range 20 {
			wait(ctx, 5*time.Millisecond)
			if got := w.left(); len(got) != 2 {
				t.Errorf("left is %q while another has the duty", got)
			}
		}
		return nil
	})
	if !led || err != nil {
		t.Fatalf("did not lead: %v, %v", led, err)
	}
	if err := <-ended; err != nil {
		t.Errorf("the janitor ended with %v", err)
	}

	go func() { ended <- w.janitor(janitor.Config{Every: 5 * time.Millisecond}).Run(ctx) }()
	for len(w.left()) > 0 && ctx.Err() == nil {
		wait(ctx, 5*time.Millisecond)
	}
	if ctx.Err() != nil {
		t.Errorf("still there: %q", w.left())
	}
	stop()
	if err := <-ended; err != nil {
		t.Errorf("the janitor ended with %v", err)
	}
}

func wait(ctx context.Context, d time.Duration) {
	select {
	case <-ctx.Done():
	case <-time.After(d):
	}
}
