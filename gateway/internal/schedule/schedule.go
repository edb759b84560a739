// Package schedule has agents run by themselves, when their schedules say so.
//
// One gateway at a time looks for schedules whose time has come, woken by the time itself. Each of them is seen to in one transaction of
// its tenant: the schedule is locked and looked at again, its job is submitted, and its next time is written. So each time makes one
// job, whoever else leads or believes to lead at that moment. The next time is the first one after now: whatever was missed while
// nobody led is made up for by one run.
package schedule

import (
	"context"
	"log/slog"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/gateway/internal/cron"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/pkg/store"
)

// Options are what a Service works with. All of them are needed.
type Options struct {
	Store  *store.Store
	Engine *store.Engine
	// Job builds the job of a schedule whose time has come, as of now. A refusal, which is any fault that would not pass by itself, turns
	// the schedule off; its message becomes the reason.
	Job     func(*store.Tx, *store.AgentSchedule) (store.NewJob, error)
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Service sees to the schedules of all tenants. Build it with New and call Run once.
type Service struct {
	Options

	metrics *metrics
	// batch is how many schedules are read at once.
	batch int
	mu    sync.Mutex
	// later are schedules that could not be seen to, and when to try again. An entry goes when it has worked.
	later map[uuid.UUID]time.Time
}

// New builds a service.
func New(o Options) *Service {
	return &Service{Options: o, metrics: newMetrics(o.Metrics), batch: 200, later: map[uuid.UUID]time.Time{}}
}

const (
	// every is how often schedules are looked for, and so how late one is at most that was made for the next moment; others are awaited
	// exactly. It is also how soon another gateway follows one that led.
	every = time.Second
	// lanes is how many schedules are seen to at once.
	lanes = 4
	// again is when one is tried again that could not be seen to.
	again = 10 * time.Second
)

// Run sees to schedules while no other gateway does, until ctx ends. Then it returns nil.
func (s *Service) Run(ctx context.Context) error {
	for {
		if _, err := s.Engine.Lead(ctx, store.Scheduling, s.lead); err != nil && ctx.Err() == nil {
			s.Log.WarnContext(ctx, "schedules are not seen to, trying again", "error", err)
		}
		if !lifecycle.Pause(ctx, every) {
			return nil
		}
	}
}

func (s *Service) lead(ctx context.Context) error {
	for {
		next, err := s.round(ctx)
		if err != nil {
			return err
		}
		// A millisecond later, so that the time has come by any rounding.
		if !lifecycle.Pause(ctx, min(every, next+time.Millisecond)) {
			return nil
		}
	}
}

// round sees to all schedules that are due now, and returns how long it is until the next one is.
func (s *Service) round(ctx context.Context) (next time.Duration, err error) {
	var after store.DueSchedule
	for {
		due, next, err := s.Engine.DueSchedules(ctx, after, s.batch)
		if err != nil {
			return 0, err
		}
		var work errgroup.Group
		work.SetLimit(lanes)
		for _, d := range due {
			if s.waits(d.ID) {
				continue
			}
			work.Go(func() error {
				s.see(ctx, d)
				return nil
			})
		}
		_ = work.Wait() // it has no errors
		if len(due) < s.batch {
			return next, nil
		}
		after = due[len(due)-1]
	}
}

// waits reports whether a schedule could not be seen to just now.
func (s *Service) waits(id uuid.UUID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	until, failed := s.later[id]
	return failed && time.Now().Before(until)
}

// see sees to a schedule. What goes wrong for one keeps no other from its run.
func (s *Service) see(ctx context.Context, due store.DueSchedule) {
	what, err := s.fire(ctx, due)
	if err != nil && ctx.Err() != nil {
		return // whoever leads next sees to it
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if err == nil {
		delete(s.later, due.ID)
		if what != nothing {
			s.metrics.times.WithLabelValues(string(what)).Inc()
		}
		return
	}
	s.later[due.ID] = time.Now().Add(again)
	s.metrics.times.WithLabelValues(string(failed)).Inc()
	s.Log.WarnContext(ctx, "a schedule is not seen to, trying again",
		"tenant_id", due.Tenant.String(), "schedule_id", due.ID.String(), "error", err)
}

// outcome is what a time of a schedule came to.
type outcome string

const (
	// nothing is a time that somebody else has seen to.
	nothing  outcome = ""
	ran      outcome = "run"
	skipped  outcome = "skipped"
	disabled outcome = "disabled"
	failed   outcome = "failed"
)

// fire makes a job of a schedule whose time has come, or whatever else becomes of it.
func (s *Service) fire(ctx context.Context, due store.DueSchedule) (what outcome, err error) {
	var lag time.Duration
	err = s.Store.InTenant(ctx, due.Tenant, func(tx *store.Tx) error {
		what = nothing
		schedule, now, err := tx.AgentSchedules().Due(due.ID)
		if err != nil || schedule == nil {
			return err
		}
		lag = now.Sub(*schedule.NextRunAt)
		next, err := following(schedule, now)
		var work store.NewJob
		if err == nil {
			work, err = s.Job(tx, schedule)
		}
		if reason, refused := refusal(err); refused {
			what = disabled
			return tx.AgentSchedules().Disable(schedule.ID, reason)
		} else if err != nil {
			return err
		}
		if busy, err := underWay(tx, schedule); err != nil {
			return err
		} else if busy {
			what = skipped
			return tx.AgentSchedules().Skipped(schedule.ID, now, next)
		}
		job, err := tx.Jobs().Submit(work)
		if err != nil {
			return err
		}
		what = ran
		return tx.AgentSchedules().Ran(schedule.ID, job.ID, now, next)
	})
	if err == nil && what == ran {
		s.metrics.lag.Observe(lag.Seconds())
	}
	return what, err
}

// following is when a schedule comes for the first time after the given moment. It could be read when it was written, but time zones
// have other names from time to time.
func following(s *store.AgentSchedule, after time.Time) (time.Time, error) {
	expression, err := cron.Parse(s.Cron)
	if err != nil {
		return time.Time{}, fault.Wrap(err, fault.Invalid, "schedule.cron", "The expression cannot be read any more.")
	}
	zone, err := cron.Zone(s.Timezone)
	if err != nil {
		return time.Time{}, fault.Wrap(err, fault.Invalid, "schedule.timezone", "The time zone is not known any more.")
	}
	next := expression.Next(after, zone)
	if next.IsZero() {
		return next, fault.New(fault.Invalid, "schedule.over", "The expression does not come any more.")
	}
	return next, nil
}

// underWay reports whether the last run of a schedule is in the way of another.
func underWay(tx *store.Tx, s *store.AgentSchedule) (bool, error) {
	if s.Overlap != store.OverlapSkip || s.LastJobID == nil {
		return false, nil
	}
	last, err := tx.Jobs().Get(*s.LastJobID)
	if fault.Is(err, fault.NotFound) { // retention
		return false, nil
	}
	if err != nil {
		return false, err
	}
	return !last.Status.Terminal(), nil
}

// refusal returns why a schedule cannot go on, if an error says so.
func refusal(err error) (reason string, refused bool) {
	for _, kind := range []fault.Kind{fault.NotFound, fault.Conflict, fault.Forbidden, fault.Invalid} {
		if fault.Is(err, kind) {
			return fault.Of(err).Message, true
		}
	}
	return "", false
}
