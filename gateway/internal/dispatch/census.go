package dispatch

import (
	"cmp"
	"context"
	"slices"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// census is what the leader has counted in the record.
type census struct {
	all []store.Counted
	at  time.Time
}

const (
	// tellEvery is how often the gateways are told how the queues stand.
	tellEvery = time.Second
	// leisure is how much longer the leader pauses between two counts than one takes: a long queue is counted less often.
	leisure = 50
	// countWithin bounds a count.
	countWithin = 30 * time.Second
)

// count counts until ctx ends, beside all else that the leader does.
func (l *leader) count(ctx context.Context) {
	for pause := time.Duration(0); lifecycle.Pause(ctx, pause); {
		began := time.Now()
		counting, cancel := context.WithTimeout(ctx, countWithin)
		all, err := l.engine.Census(counting)
		cancel()
		if err == nil {
			l.census.Store(&census{all: all, at: began})
		} else if ctx.Err() == nil {
			l.log.WarnContext(ctx, "the queues could not be counted", "error", err)
		}
		pause = max(tellEvery, leisure*time.Since(began))
	}
}

// learn finds out the plans of tenants that are new here.
func (l *leader) learn(ctx context.Context, who []tenant.ID) error {
	var strangers []tenant.ID
	for _, t := range who {
		if _, known := l.plans[t]; !known {
			strangers = append(strangers, t)
		}
	}
	if len(strangers) == 0 {
		return nil
	}
	plans, err := l.engine.Plans(ctx, strangers)
	if err != nil {
		return err
	}
	for _, t := range strangers {
		l.plans[t] = cmp.Or(plans[t], planUnknown)
	}
	return nil
}

// tell shows how the queues stand, in the metrics and, if there is anything in them or was a moment ago, to all gateways.
func (l *leader) tell(now time.Time) {
	counted := l.census.Load()
	if counted == nil {
		return
	}
	f := figures{
		queued: map[place]int{}, waiting: map[store.KindPlan]int{}, flying: map[store.KindPlan]int{}, dead: l.dead,
		oldest: map[store.KindPlan]float64{}, workers: map[events.Kind]int{}, slots: map[events.Kind]int{},
	}
	queues := map[events.Kind]map[tenant.ID]*events.TenantQueue{}
	for _, kind := range events.Kinds() {
		queues[kind] = map[tenant.ID]*events.TenantQueue{}
	}
	l.add(counted, now, f, queues)

	var snapshot events.QueueSnapshot
	lively := false
	for _, kind := range events.Kinds() {
		q := l.queues[kind]
		k := events.KindQueue{Kind: kind}
		k.Workers, k.Slots, k.Free = l.crews.strength(kind, now)
		f.workers[kind], f.slots[kind] = k.Workers, k.Slots
		if q.timed {
			k.MeanMS = 1000 * q.cost
		}
		for _, h := range q.running {
			f.flying[store.KindPlan{Kind: kind, Plan: cmp.Or(l.plans[h.tenant], planUnknown)}]++
		}
		k.Tenants = q.tenants(queues[kind])
		for _, agent := range q.atLimit() {
			if len(k.FullAgents) < events.QueueAgents {
				k.FullAgents = append(k.FullAgents, agent.String())
			}
		}
		lively = lively || len(k.Tenants) > 0
		snapshot.Kinds = append(snapshot.Kinds, k)
	}
	l.metrics.standing.show(f)
	if lively || l.lively {
		l.bus.PublishQueue(snapshot)
	}
	l.lively = lively
}

// add puts what was counted into the figures, and into the queues of those whose jobs they are.
func (l *leader) add(counted *census, now time.Time, f figures, queues map[events.Kind]map[tenant.ID]*events.TenantQueue) {
	for _, c := range counted.all {
		of := store.KindPlan{Kind: c.Kind, Plan: c.Plan}
		l.plans[c.Tenant] = c.Plan
		if c.Status == events.StatusWaiting {
			f.waiting[of] += c.Jobs
			continue
		}
		f.queued[place{of, c.WaitingOn}] += c.Jobs
		if c.WaitingOn != events.WaitingDispatch {
			continue
		}
		f.oldest[of] = max(f.oldest[of], (c.Age + now.Sub(counted.at)).Seconds())
		tenants, ok := queues[c.Kind]
		if !ok {
			continue
		}
		t, ok := tenants[c.Tenant]
		if !ok {
			t = &events.TenantQueue{TenantID: c.Tenant.String()}
			tenants[c.Tenant] = t
		}
		if c.Class == events.ClassInteractive {
			t.Interactive += c.Jobs
		} else {
			t.Bulk += c.Jobs
		}
	}
}

// tenants adds to what tenants have in the queue what they have under way and how much that may be, and returns them as a snapshot has
// them.
func (q *turns) tenants(queued map[tenant.ID]*events.TenantQueue) []events.TenantQueue {
	for t, s := range q.shares {
		if _, known := queued[t]; !known && s.underWay > 0 {
			queued[t] = &events.TenantQueue{TenantID: t.String()}
		}
	}
	list := make([]events.TenantQueue, 0, len(queued))
	for t, has := range queued {
		if s, known := q.shares[t]; known {
			has.UnderWay = s.underWay
		}
		limits := q.limits[t]
		has.Weight, has.MaxRunning = max(1, limits.Weight), limits.MaxRunning
		list = append(list, *has)
	}
	jobs := func(t events.TenantQueue) int { return t.Interactive + t.Bulk + t.UnderWay }
	slices.SortFunc(list, func(a, b events.TenantQueue) int {
		return cmp.Or(cmp.Compare(jobs(b), jobs(a)), cmp.Compare(a.TenantID, b.TenantID))
	})
	return list[:min(len(list), events.QueueTenants)]
}
