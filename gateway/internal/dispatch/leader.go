package dispatch

import (
	"context"
	"errors"
	"maps"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// leader is what the one who leads remembers. It begins with nothing, reads the record, and is kept right by what the bus tells;
// from time to time the record is asked whether that is so. It writes nothing for a dispatch: should it fall, its follower hands out
// again what nobody has claimed, and of two messages for a job one finds nothing to claim.
type leader struct {
	*Dispatcher

	queues map[events.Kind]*turns
	// created is when the work queue was; a later moment than last time means that what lay in it is gone.
	created time.Time
	// repaired, compared and surveyed are when that was last done, due is when the next job gets ready by the passing of time.
	repaired, compared, surveyed, due time.Time
	// plans are those of the tenants that have had jobs.
	plans map[tenant.ID]string
	// census is what was counted last; nil before that. dead are counted with a survey.
	census atomic.Pointer[census]
	dead   map[store.KindPlan]int
	// told is when the gateways were told how the queues stand, and lively whether there was something to tell.
	told   time.Time
	lively bool
}

func newLeader(d *Dispatcher) *leader {
	l := &leader{Dispatcher: d, queues: map[events.Kind]*turns{}, plans: map[tenant.ID]string{}}
	for _, kind := range events.Kinds() {
		l.queues[kind] = newTurns()
		if mean := d.board.mean(kind); mean > 0 { // as the leader before has found out
			l.queues[kind].cost, l.queues[kind].timed = mean.Seconds(), true
		}
	}
	return l
}

const (
	// surveyEvery is how many ticks there are from one time that the record is asked who has ready jobs, should a nudge have been lost,
	// to the next.
	surveyEvery = 5
	// compareShare is for how many running jobs there is another tick between two comparisons with the record: with 10,000 of them one is
	// a burst of 10 to 40 ms of processor, which all streams of the gateway wait for.
	compareShare = 2000
)

// round does what there is to do now.
func (l *leader) round(ctx context.Context) error {
	now := time.Now()
	if l.missed.Swap(false) {
		l.repaired, l.compared, l.surveyed = time.Time{}, time.Time{}, time.Time{}
	}
	if now.Sub(l.repaired) >= l.cfg.Tick {
		if err := l.repair(ctx, now); err != nil {
			return err
		}
		l.repaired = now
	}
	if now.Sub(l.surveyed) >= surveyEvery*l.cfg.Tick {
		if err := l.survey(ctx); err != nil {
			return err
		}
		l.surveyed = now
	}
	if !now.Before(l.due) {
		if err := l.release(ctx); err != nil {
			return err
		}
	}
	for _, kind := range events.Kinds() {
		if err := l.dispatch(ctx, kind); err != nil {
			return err
		}
	}
	if now.Sub(l.told) >= tellEvery {
		l.tell(now)
		l.told = now
	}
	return nil
}

// wait pauses until there may be something to do, takes in everything that was told meanwhile, and reports whether ctx is still alive.
func (l *leader) wait(ctx context.Context) bool {
	pause := min(l.cfg.Tick, max(0, time.Until(l.due)))
	if l.missed.Load() {
		pause = 0
	}
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
	case s := <-l.signals:
		l.take(s)
	}
	for range len(l.signals) {
		l.take(<-l.signals)
	}
	return ctx.Err() == nil
}

func (l *leader) take(s signal) {
	if s.nudge != nil {
		l.announce(s.nudge.Ready)
		if in := s.nudge.DueInMS; in > 0 {
			if due := time.Now().Add(time.Duration(in) * time.Millisecond); due.Before(l.due) {
				l.due = due
			}
		}
	}
	if s.flow == nil {
		return
	}
	q, ok := l.queues[s.flow.Kind]
	if !ok {
		return
	}
	now := time.Now()
	for _, id := range ids(s.flow.Claimed) {
		if h, ok := q.claimed(id); ok {
			l.metrics.of(s.flow.Kind, l.plans[h.tenant]).wait.Observe(max(0, now.Sub(h.since).Seconds()))
		}
	}
	for _, id := range ids(s.flow.Missed) {
		q.back(id)
	}
	for _, e := range s.flow.Ended {
		if id, err := uuid.Parse(e.JobID); err == nil {
			h := q.ended(id, time.Duration(e.DurationMS*float64(time.Millisecond)))
			l.metrics.of(s.flow.Kind, l.plans[h.tenant]).ended(e)
		}
	}
}

func ids(texts []string) []uuid.UUID {
	parsed := make([]uuid.UUID, 0, len(texts))
	for _, text := range texts {
		if id, err := uuid.Parse(text); err == nil {
			parsed = append(parsed, id)
		}
	}
	return parsed
}

func (l *leader) announce(ready []events.Ready) {
	for _, r := range ready {
		t, err := tenant.Parse(r.TenantID)
		q, ok := l.queues[r.Kind]
		if !ok || err != nil {
			continue
		}
		if job, told := toldOf(t, r); told {
			q.offer(job)
		} else {
			q.announce(t, r.Class, r.Priority)
		}
	}
}

// toldOf returns the job that somebody told of, as the record would have shown it.
func toldOf(t tenant.ID, r events.Ready) (j store.ReadyJob, told bool) {
	if r.Job == nil {
		return j, false
	}
	j = store.ReadyJob{Tenant: t, Class: r.Class, Priority: r.Priority, AgentLimit: r.Job.AgentLimit, Since: time.Now()}
	var err error
	if j.ID, err = uuid.Parse(r.Job.ID); err == nil && r.Job.AgentID != "" {
		j.Agent, err = uuid.Parse(r.Job.AgentID)
	}
	return j, err == nil
}

// readAtOnce is of how many tenants the first jobs are read together.
const readAtOnce = 64

// dispatch hands over as many jobs of a kind as the workers have room for.
func (l *leader) dispatch(ctx context.Context, kind events.Kind) error {
	q := l.queues[kind]
	now := time.Now()
	room := min(l.crews.room(kind, now), l.cfg.Depth) - len(q.out)
	var picked []store.ReadyJob
	for len(picked) < room {
		if job, ok := q.pick(now); ok {
			picked = append(picked, job)
			continue
		}
		who := q.wanting(readAtOnce)
		if len(who) == 0 {
			break
		}
		limit := min(max(2*room/len(who), 8), 512)
		jobs, err := l.engine.ReadyJobs(ctx, store.ReadyQuery{
			Kind: kind, Tenants: who, Except: q.outOf(who), ExceptAgents: q.atLimit(), Limit: limit,
		})
		if err != nil {
			return err
		}
		if err := l.learn(ctx, who); err != nil {
			return err
		}
		q.fill(who, jobs, limit)
	}
	if len(picked) == 0 {
		return nil
	}
	for _, job := range picked {
		l.metrics.of(kind, l.plans[job.Tenant]).lag.Observe(max(0, now.Sub(job.Since).Seconds()))
	}
	l.metrics.dispatched.WithLabelValues(string(kind)).Add(float64(len(picked)))
	return l.publish(ctx, kind, q, picked)
}

// publishWithin bounds a dispatch: a broker that does not answer must not keep the leader from noticing.
const publishWithin = 5 * time.Second

func (l *leader) publish(ctx context.Context, kind events.Kind, q *turns, jobs []store.ReadyJob) error {
	number := time.Now().UnixMicro()
	messages := make([]events.Dispatch, len(jobs))
	for i, j := range jobs {
		messages[i] = events.Dispatch{JobID: j.ID.String(), TenantID: j.Tenant.String(), Kind: kind, Number: number}
	}
	publishing, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	err := l.bus.Dispatch(publishing, func(i int) events.Class { return jobs[i].Class }, messages)
	if err != nil {
		for _, j := range jobs {
			q.back(j.ID)
		}
	}
	return err
}

// repair ensures the streams, hands out again what was lost with a vanished stream or message, sweeps expired leases, and corrects
// what the leader believes.
func (l *leader) repair(ctx context.Context, now time.Time) error {
	created, err := l.stream(ctx)
	if err != nil {
		return err
	}
	lost := l.cfg.Lost
	if !l.created.IsZero() && !created.Equal(l.created) {
		l.log.WarnContext(ctx, "the work queue was created anew, dispatching its jobs again")
		lost = 0
	}
	l.created = created
	if err := l.sweep(ctx); err != nil {
		return err
	}
	if lost > 0 && now.Sub(l.compared) < l.compareEvery() {
		return nil
	}
	if err := l.correct(ctx, lost); err != nil {
		return err
	}
	l.compared = now
	return nil
}

// compareEvery is how often what is believed is compared with the record: with every repair while few jobs run, with every survey at
// least.
func (l *leader) compareEvery() time.Duration {
	running := 0
	for _, q := range l.queues {
		running += len(q.running)
	}
	return time.Duration(min(surveyEvery, 1+running/compareShare)) * l.cfg.Tick
}

// stream returns when the work queue was created, and creates it if it is missing.
func (l *leader) stream(ctx context.Context) (time.Time, error) {
	asking, cancel := context.WithTimeout(ctx, publishWithin)
	defer cancel()
	created, err := l.bus.JobsCreated(asking)
	if err != nil {
		return time.Time{}, err
	}
	if created.IsZero() || l.created.IsZero() {
		return l.bus.EnsureTopology(asking)
	}
	return created, nil
}

// correct compares what is believed to be under way with the record.
func (l *leader) correct(ctx context.Context, lost time.Duration) error {
	var out []uuid.UUID
	for _, q := range l.queues {
		for id := range q.out {
			out = append(out, id)
		}
	}
	still, err := l.engine.StillReady(ctx, out)
	if err != nil {
		return err
	}
	all, err := l.engine.Running(ctx)
	if err != nil {
		return err
	}
	running := make(map[events.Kind][]store.RunningJob)
	for _, j := range all {
		running[j.Kind] = append(running[j.Kind], j)
	}
	now := time.Now()
	for kind, q := range l.queues {
		before := len(q.out)
		q.correct(running[kind], still, now, lost)
		if lost == 0 {
			l.metrics.recalled.Add(float64(before - len(q.out)))
		}
	}
	return nil
}

// survey finds who has ready jobs, what limits there are, and how many jobs are dead.
func (l *leader) survey(ctx context.Context) error {
	limits, err := l.engine.Limits(ctx)
	if err != nil {
		return err
	}
	for _, q := range l.queues {
		q.limits = limits
	}
	maps.DeleteFunc(l.plans, func(t tenant.ID, _ string) bool { return !l.knows(t) })
	if l.dead, err = l.engine.Dead(ctx); err != nil {
		return err
	}
	ready, err := l.engine.ReadyTenants(ctx)
	if err != nil {
		return err
	}
	for _, r := range ready {
		if q, ok := l.queues[r.Kind]; ok {
			q.found(r.Tenant)
		}
	}
	return nil
}

// knows reports whether the tenant has or had something to do of late.
func (l *leader) knows(t tenant.ID) bool {
	for _, q := range l.queues {
		if _, known := q.shares[t]; known {
			return true
		}
	}
	return false
}

// Batches of what is done to jobs whose time has come; the next round takes the rest.
const (
	releaseBatch = 1000
	sweepBatch   = 500
)

// release makes jobs ready whose time has come, fails those whose deadline has passed, and finds out when to do so again.
func (l *leader) release(ctx context.Context) error {
	ready, err := l.engine.Release(ctx, releaseBatch)
	if err != nil {
		return err
	}
	l.announce(ready)
	if err := l.expire(ctx); err != nil {
		return err
	}
	if len(ready) == releaseBatch {
		return nil
	}
	in, scheduled, err := l.engine.NextDue(ctx)
	if err != nil {
		return err
	}
	if in = max(in, time.Millisecond); !scheduled || in > l.cfg.Tick {
		in = l.cfg.Tick
	}
	l.due = time.Now().Add(in)
	return nil
}

func (l *leader) expire(ctx context.Context) error {
	overdue, err := l.engine.Overdue(ctx, sweepBatch)
	if err != nil {
		return err
	}
	for _, o := range overdue {
		err := l.store.InTenant(ctx, o.Tenant, func(tx *store.Tx) error { return tx.Jobs().Expire(o.JobID) })
		if err != nil {
			l.log.ErrorContext(ctx, "overdue job not ended", "job_id", o.JobID, "tenant_id", o.Tenant, "error", err)
		}
	}
	return ctx.Err()
}

// sweep puts jobs back whose worker stopped renewing its lease, and ends those that have no attempt left.
func (l *leader) sweep(ctx context.Context) error {
	expired, err := l.engine.Sweep(ctx, sweepBatch)
	if err != nil {
		return err
	}
	for _, x := range expired {
		l.metrics.of(x.Kind, l.plans[x.Tenant]).expired.Inc()
		l.log.WarnContext(ctx, "worker lost", "job_id", x.Lease.JobID, "tenant_id", x.Tenant, "exhausted", x.Exhausted)
		if x.Exhausted {
			switch err := l.fail(ctx, x); {
			case errors.Is(err, store.ErrLeaseLost):
				continue
			case err != nil:
				// One job that cannot be ended must not keep all others from being dispatched; the next sweep meets it again.
				l.log.ErrorContext(ctx, "exhausted job not ended", "job_id", x.Lease.JobID, "tenant_id", x.Tenant, "error", err)
				continue
			}
		}
		// Its worker, which is gone, does not tell that it is over: the limits would count it until the next comparison.
		if q, ok := l.queues[x.Kind]; ok {
			q.ended(x.Lease.JobID, 0)
			q.ask(x.Tenant)
		}
	}
	return ctx.Err()
}

// fail ends a job that was lost in its last attempt, unless its worker is back.
func (l *leader) fail(ctx context.Context, x store.Expired) error {
	return l.store.InTenant(ctx, x.Tenant, func(tx *store.Tx) error {
		return tx.Jobs().End(x.Lease, store.Fail(events.Failure{
			Code: "worker.lost", Message: "Every worker that took the job stopped answering before it was done.",
		}, true).IfExpired())
	})
}
