package dispatch

import (
	"sync/atomic"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

// board shows what the leader last told of the queues. Every gateway has one. It is safe for concurrent use.
type board struct{ last atomic.Pointer[posted] }

// posted is a snapshot as it is looked up.
type posted struct {
	at     time.Time
	queues map[events.Kind]*queue
}

type queue struct {
	events.KindQueue

	tenants map[string]events.TenantQueue
	full    map[string]bool // agents
}

// post takes in a snapshot. How old it is goes by the clock of who hears it, so that no two clocks are compared.
func (b *board) post(s *events.QueueSnapshot, now time.Time) {
	p := &posted{at: now, queues: make(map[events.Kind]*queue, len(s.Kinds))}
	for _, k := range s.Kinds {
		q := &queue{
			KindQueue: k, tenants: make(map[string]events.TenantQueue, len(k.Tenants)), full: make(map[string]bool, len(k.FullAgents)),
		}
		for _, t := range k.Tenants {
			q.tenants[t.TenantID] = t
		}
		for _, agent := range k.FullAgents {
			q.full[agent] = true
		}
		p.queues[k.Kind] = q
	}
	b.last.Store(p)
}

// mean returns how long jobs of a kind take, as it was last told; zero is not known. It is worth something even when it is old.
func (b *board) mean(kind events.Kind) time.Duration {
	p := b.last.Load()
	if p == nil || p.queues[kind] == nil {
		return 0
	}
	return time.Duration(p.queues[kind].MeanMS * float64(time.Millisecond))
}

// Forecast is what can be said at this moment of a job that has not ended.
type Forecast struct {
	// WaitingOn is why it does not run.
	WaitingOn events.WaitingOn
	// ETA is after what time a worker will presumably take it. It means something only if Known.
	ETA   time.Duration
	Known bool
}

// WaitingOn returns why a job does not run at this moment. Of one that is ready the record says that its turn has not come; here is known
// whether it is rather a worker or a quota that it waits for.
func (d *Dispatcher) WaitingOn(j *store.Job) events.WaitingOn {
	return d.board.forecast(j, 0, time.Now()).WaitingOn
}

// Forecast returns why a job does not run at this moment, and when it presumably will, given how many of its tenant's jobs go before it.
// Nothing is known of one that is not ready, without a worker that is alive, and while no gateway leads the dispatch.
func (d *Dispatcher) Forecast(j *store.Job, ahead int) Forecast {
	return d.board.forecast(j, ahead, time.Now())
}

func (b *board) forecast(j *store.Job, ahead int, now time.Time) Forecast {
	f := Forecast{WaitingOn: j.WaitingOn}
	if !j.Ready() {
		return f
	}
	p := b.last.Load()
	if p == nil || now.Sub(p.at) > events.QueueFresh {
		return f
	}
	q := p.queues[j.Kind]
	if q == nil {
		return f
	}
	own := q.tenant(j)
	full := j.AgentLimit > 0 && j.AgentConfigID != nil && q.full[j.AgentConfigID.String()]
	switch {
	case q.Slots == 0:
		f.WaitingOn = events.WaitingWorker
		return f
	case own.Full(), full:
		f.WaitingOn = events.WaitingQuota
	case q.Free == 0 && !q.contested(own.TenantID, j.Class):
		f.WaitingOn = events.WaitingWorker
	}
	f.ETA, f.Known = q.eta(j, own, full, ahead)
	return f
}

// tenant returns the queue of a job's tenant. One that nothing was told of yet has what everybody has.
func (q *queue) tenant(j *store.Job) events.TenantQueue {
	id := j.Tenant().String()
	if own, told := q.tenants[id]; told {
		return own
	}
	return events.TenantQueue{TenantID: id, Weight: 1}
}

// contested reports whether other tenants have jobs that could go before one of this class.
func (q *queue) contested(own string, class events.Class) bool {
	for id, t := range q.tenants {
		if id != own && !t.Full() && (t.Interactive > 0 || t.Bulk > 0 && class == events.ClassBulk) {
			return true
		}
	}
	return false
}

// eta takes the queue to go on as it is: workers are through with a job every mean/slots, and the tenants that wait take turns by their
// weights. Before the job go those of its tenant that are ahead of it, with as many of each other tenant as its weight brings in the
// meantime, all interactive ones first. A tenant or an agent at its limit goes on when one of its own jobs ends.
func (q *queue) eta(j *store.Job, own events.TenantQueue, agentFull bool, ahead int) (time.Duration, bool) {
	if ahead >= store.AheadCounted {
		return 0, false
	}
	turns := float64(ahead + 1)
	if j.Class == events.ClassBulk {
		turns = max(1, turns-float64(own.Interactive))
	}
	before, slots := float64(ahead), q.Slots
	for id, t := range q.tenants {
		switch meanwhile := turns * float64(t.Weight) / float64(max(1, own.Weight)); {
		case id == own.TenantID:
		case t.Full():
			slots -= t.UnderWay // which it keeps
		case j.Class == events.ClassInteractive:
			before += min(float64(t.Interactive), meanwhile)
		default:
			before += float64(t.Interactive) + min(float64(t.Bulk), meanwhile)
		}
	}
	slots = max(1, slots)
	ends := before + 1 - float64(q.Free) // of jobs, until a slot is free for this one
	wait := max(0, ends) / float64(slots)
	if own.MaxRunning > 0 {
		ends = float64(ahead + 1 + own.UnderWay - own.MaxRunning)
		wait = max(wait, ends/float64(min(slots, own.MaxRunning)))
	}
	if agentFull {
		wait = max(wait, float64(ahead+1)/float64(min(slots, j.AgentLimit)))
	}
	if wait > 0 && q.MeanMS == 0 {
		return 0, false
	}
	return time.Duration(wait * q.MeanMS * float64(time.Millisecond)), true
}
