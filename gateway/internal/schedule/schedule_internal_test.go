package schedule

import (
	"context"
	"errors"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"go.uber.org/goleak"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// world is a database of its own with Acme in it, who has one agent.
type world struct {
	t      *testing.T
	owner  *pgx.Conn
	store  *store.Store
	engine *store.Engine
	acme   tenant.ID
	user   uuid.UUID
	agent  uuid.UUID
}

func newWorld(t *testing.T) *world {
	t.Helper()
	db := storetest.NewSeeded(t)
	w := &world{t: t, owner: db.Conn(t, db.OwnerURL)}
	var err error
	if w.store, err = store.Open(t.Context(), store.Config{URL: db.AppURL, MaxConns: 8}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	if w.engine, err = store.OpenEngine(t.Context(), store.Config{URL: db.EngineURL, MaxConns: 4}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.engine.Close() })
	var org uuid.UUID
	if err := w.owner.QueryRow(t.Context(), `SELECT u.organization_id, u.id, a.id FROM users u JOIN agent_configs a USING (organization_id)
		WHERE email = 'admin@acme.com' LIMIT 1`).Scan(&org, &w.user, &w.agent); err != nil {
		t.Fatal(err)
	}
	w.acme = tenant.FromUUID(org)
	return w
}

// service is one that has runs of the schedules' agents submitted.
func (w *world) service() *Service {
	return w.serviceOf(func(_ *store.Tx, s *store.AgentSchedule) (store.NewJob, error) {
		return store.NewJob{Kind: events.KindAgentRun, AgentConfigID: &s.AgentConfigID, CreatedBy: &s.UserID, Input: events.AgentRunInput{}}, nil
	})
}

func (w *world) serviceOf(job func(*store.Tx, *store.AgentSchedule) (store.NewJob, error)) *Service {
	return New(Options{
		Store: w.store, Engine: w.engine, Job: job, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
	})
}

// overdue makes a schedule whose time came so long ago.
func (w *world) overdue(ago time.Duration, change func(*store.AgentSchedule)) *store.AgentSchedule {
	w.t.Helper()
	s := &store.AgentSchedule{
		AgentConfigID: w.agent, UserID: w.user, Name: "yearly", Cron: "0 0 1 1 *", Timezone: "UTC", Overlap: store.OverlapAllow,
		Class: events.ClassBulk, Priority: 5, IsActive: true, NextRunAt: new(time.Now().Add(-ago)),
	}
	if change != nil {
		change(s)
	}
	w.in(func(tx *store.Tx) error { return tx.AgentSchedules().Create(s) })
	return s
}

func (w *world) in(fn func(*store.Tx) error) {
	w.t.Helper()
	if err := w.store.InTenant(w.t.Context(), w.acme, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) get(id uuid.UUID) (s *store.AgentSchedule) {
	w.t.Helper()
	w.in(func(tx *store.Tx) (err error) {
		s, err = tx.AgentSchedules().Get(w.agent, id)
		return err
	})
	return s
}

// jobs counts the runs of the agent.
func (w *world) jobs() (n int) {
	w.t.Helper()
	if err := w.owner.QueryRow(w.t.Context(), "SELECT count(*) FROM jobs WHERE agent_config_id = $1", w.agent).Scan(&n); err != nil {
		w.t.Fatal(err)
	}
	return n
}

func (w *world) round(s *Service) time.Duration {
	w.t.Helper()
	next, err := s.round(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return next
}

func (w *world) sql(statement string, args ...any) {
	w.t.Helper()
	if _, err := w.owner.Exec(w.t.Context(), statement, args...); err != nil {
		w.t.Fatal(err)
	}
}

// Whatever was missed is made up for by one run.
func TestAfterAnOutageThereIsOneRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	s, schedule := w.service(), w.overdue(3*365*24*time.Hour, func(s *store.AgentSchedule) { s.Cron = "@monthly" })
	before := time.Now()
	w.round(s)
	next := w.round(s)
	if n := w.jobs(); n != 1 {
		t.Errorf("%d runs, want 1", n)
	}
	got := w.get(schedule.ID)
	if got.NextRunAt == nil || !got.NextRunAt.After(before) || got.NextRunAt.Sub(before) > 32*24*time.Hour || got.NextRunAt.Day() != 1 {
		t.Errorf("the next time is %v, now is %s", got.NextRunAt, before)
	}
	if next <= 0 {
		t.Errorf("the next one is said to come in %s", next)
	}
	if got.LastJobID == nil || got.LastRunAt == nil || !got.UpdatedAt.Equal(schedule.UpdatedAt) || !got.IsActive {
		t.Errorf("got %+v", got)
	}
}

// Two that believe to lead, one of them wrongly, and many times over.
func TestEachTimeMakesOneJobWhoeverSeesToIt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	var schedules []store.DueSchedule
	for range 5 {
		schedule := w.overdue(time.Hour, nil)
		schedules = append(schedules, store.DueSchedule{ID: schedule.ID, Tenant: w.acme})
	}
	services := []*Service{w.service(), w.service()}
	const times = 4
	for range times {
		w.sql("UPDATE agent_schedules SET next_run_at = now() - interval '1 second'")
		var all errgroup.Group
		for i := range 8 {
			for _, due := range schedules {
				all.Go(func() error {
					_, err := services[i%2].fire(t.Context(), due)
					return err
				})
			}
		}
		if err := all.Wait(); err != nil {
			t.Fatal(err)
		}
	}
	if n := w.jobs(); n != times*len(schedules) {
		t.Errorf("%d runs, want %d", n, times*len(schedules))
	}
}

func TestARunThatIsUnderWayIsWaitedForOrNot(t *testing.T) {
	t.Parallel()
	for overlap, want := range map[string]int{store.OverlapSkip: 1, store.OverlapAllow: 2} {
		t.Run(overlap, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			s, schedule := w.service(), w.overdue(time.Minute, func(s *store.AgentSchedule) { s.Overlap = overlap })
			again := func() *store.AgentSchedule {
				w.sql("UPDATE agent_schedules SET next_run_at = now() - interval '1 second'")
				w.round(s)
				return w.get(schedule.ID)
			}
			w.round(s)
			first := w.get(schedule.ID)
			second := again()
			if n := w.jobs(); n != want {
				t.Errorf("%d runs, want %d", n, want)
			}
			if skipped := second.LastSkippedAt != nil; skipped != (want == 1) || !second.NextRunAt.After(time.Now().Add(-time.Minute)) {
				t.Errorf("got %+v", second)
			}
			if (*first.LastJobID == *second.LastJobID) != (want == 1) {
				t.Errorf("the last job is %s after %s", second.LastJobID, first.LastJobID)
			}
			// When it has ended, or is gone, it is in nobody's way.
			w.in(func(tx *store.Tx) error { _, err := tx.Jobs().Cancel(*second.LastJobID); return err })
			third := again()
			w.sql("DELETE FROM job_events")
			w.sql("DELETE FROM jobs")
			if again(); w.jobs() != 1 || *third.LastJobID == *second.LastJobID {
				t.Errorf("%d runs after the jobs were deleted", w.jobs())
			}
			if got := testutil.ToFloat64(s.metrics.times.WithLabelValues(string(skipped))); (got == 1) != (want == 1) {
				t.Errorf("%v times are counted as skipped", got)
			}
		})
	}
}

func TestAScheduleThatCannotGoOnIsTurnedOffWithAReason(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		name   string
		change func(*store.AgentSchedule)
		err    error
		want   string
	}{
		{"its run is refused", nil, fault.New(fault.Conflict, "agent.inactive", "The agent of this schedule is deactivated."), "is deactivated"},
		{"its run is forbidden", nil, fault.New(fault.Forbidden, "no", "No."), "No."},
		{"its time zone is gone", func(s *store.AgentSchedule) { s.Timezone = "Europe/Atlantis" }, nil, "time zone"},
		{"its expression is none", func(s *store.AgentSchedule) { s.Cron = "never" }, nil, "expression"},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			w := newWorld(t)
			schedule := w.overdue(time.Minute, c.change)
			w.round(w.serviceOf(func(*store.Tx, *store.AgentSchedule) (store.NewJob, error) {
				return store.NewJob{Kind: events.KindAgentRun, Input: events.AgentRunInput{}}, c.err
			}))
			got := w.get(schedule.ID)
			if got.IsActive || got.NextRunAt != nil || !strings.Contains(got.DisabledReason, c.want) || w.jobs() != 0 {
				t.Errorf("got %+v, and %d runs", got, w.jobs())
			}
			var audited int
			if err := w.owner.QueryRow(t.Context(), `SELECT count(*) FROM audit_logs WHERE action = 'agent_schedule.disable'
				AND resource_id = $1 AND actor_id IS NULL AND after::text LIKE '%' || $2 || '%'`, schedule.ID, c.want).Scan(&audited); err != nil || audited != 1 {
				t.Errorf("%d entries in the audit log, %v", audited, err)
			}
		})
	}
}

func TestWhatFailsForOneIsTriedAgainAndKeepsNoOtherFromItsRun(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	broken := w.overdue(2*time.Hour, nil)
	var mu sync.Mutex
	fails := true
	asked := 0
	s := w.serviceOf(func(_ *store.Tx, s *store.AgentSchedule) (store.NewJob, error) {
		mu.Lock()
		defer mu.Unlock()
		if s.ID == broken.ID {
			if asked++; fails {
				return store.NewJob{}, errors.New("not today")
			}
		}
		return store.NewJob{Kind: events.KindAgentRun, AgentConfigID: &s.AgentConfigID, Input: events.AgentRunInput{}}, nil
	})
	w.overdue(time.Hour, nil)
	w.round(s)
	w.round(s)
	if got := w.get(broken.ID); w.jobs() != 1 || asked != 1 || !got.IsActive || got.LastRunAt != nil {
		t.Errorf("%d runs, asked %d times: %+v", w.jobs(), asked, got)
	}
	fails = false
	s.later[broken.ID] = time.Now()
	w.round(s)
	if w.jobs() != 2 || len(s.later) != 0 {
		t.Errorf("%d runs, still to be tried again: %v", w.jobs(), s.later)
	}
}

// More than one page of them, and two services of which one leads: the other follows when that stops.
func TestAnotherFollowsWhoLed(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	const all = 9
	w.overdue(time.Hour, nil)
	w.sql(`INSERT INTO agent_schedules (id, organization_id, agent_config_id, user_id, name, cron, timezone, overlap, next_run_at)
		SELECT gen_random_uuid(), organization_id, agent_config_id, user_id, name, cron, timezone, overlap, next_run_at
		FROM agent_schedules, generate_series(2, $1)`, all)
	var stops []context.CancelFunc
	var running errgroup.Group
	for range 2 {
		ctx, stop := context.WithCancel(t.Context())
		stops = append(stops, stop)
		s := w.service()
		s.batch = 4
		running.Go(func() error { return s.Run(ctx) })
	}
	until := func(want int) {
		t.Helper()
		tick := time.NewTicker(20 * time.Millisecond)
		defer tick.Stop()
		for deadline := time.Now().Add(patience); w.jobs() < want; <-tick.C {
			if time.Now().After(deadline) {
				t.Fatalf("%d runs, want %d", w.jobs(), want)
			}
		}
	}
	until(all)
	for i, stop := range stops {
		w.sql("UPDATE agent_schedules SET next_run_at = now() - interval '1 second'")
		until((i + 2) * all)
		stop()
	}
	if err := running.Wait(); err != nil {
		t.Error(err)
	}
	if n := w.jobs(); n != 3*all {
		t.Errorf("%d runs, want %d", n, 3*all)
	}
}
