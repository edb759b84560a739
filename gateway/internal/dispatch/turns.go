package dispatch

import (
	"bytes"
	"cmp"
	"container/heap"
	"maps"
	"math"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// memory is the time in which half of what a tenant has used is forgotten. It is how long somebody who comes with little to do goes before
// those who have used much, at most, and so how long they can be made to wait.
const memory = 5 * time.Second

// turns decides whose job of one kind is next, and does nothing else: it asks no database and no clock. Interactive jobs go before
// bulk ones. Among those, the tenant goes first that has used the least of late in relation to its weight (usage decays by halves,
// as in Kay and Lauder, "A fair share scheduler"), and of its jobs the one of the lowest number and the greatest age. So a tenant
// with ten jobs does not wait for another one's ten thousand, and nobody waits for long.
//
// Of each tenant it holds the first few jobs, and says when it has to be given others.
type turns struct {
	shares map[tenant.ID]*share
	order  order // of those that have something to offer
	// out are jobs that lie with the broker, running those that workers hold.
	out, running map[uuid.UUID]handed
	// gone are those that were either before the last comparison with the record: what a worker says of them may come yet.
	gone   map[uuid.UUID]handed
	agents map[uuid.UUID]int // under way, by agent
	// full are agents that had no room for a job of theirs. A job keeps the limit that its agent had when it was submitted, so this can
	// be before those that are under way are as many as their own limits allow.
	full   map[uuid.UUID]bool
	limits map[tenant.ID]store.JobLimit
	// cost is what a job of this kind takes of a worker's time on average, in seconds; a guess until timed.
	cost  float64
	timed bool
}

// handed is a job that is under way.
type handed struct {
	tenant tenant.ID
	agent  uuid.UUID
	// limit is the agent's; 0 is none.
	limit int
	// since is when it was ready, at when it was handed out; zero where the leader before knew that.
	since, at time.Time
}

// share is a tenant's part in the turns.
type share struct {
	tenant tenant.ID
	// usage is the logarithm, to the base 2, of what the tenant has used, carried forward to the beginning of time: so that it need not
	// be touched while it decays (Cormode et al., "Forward decay").
	usage float64
	// ready are the tenant's first ready jobs.
	ready []store.ReadyJob
	// stale says that others may come before them, or that there are none and may be some: the record has to be asked.
	stale bool
	// class is that of the first of them, or the best that a stale share may have to offer.
	class events.Class
	// more says that there may be others behind them.
	more     bool
	underWay int
	place    int // in the order; -1 when it is not there
}

func newTurns() *turns {
	return &turns{
		shares: map[tenant.ID]*share{}, out: map[uuid.UUID]handed{}, running: map[uuid.UUID]handed{}, agents: map[uuid.UUID]int{},
		full: map[uuid.UUID]bool{}, limits: map[tenant.ID]store.JobLimit{}, cost: 1,
	}
}

func (q *turns) share(t tenant.ID) *share {
	s, ok := q.shares[t]
	if !ok {
		s = &share{tenant: t, usage: math.Inf(-1), place: -1}
		q.shares[t] = s
	}
	return s
}

// announce says that a tenant has ready jobs, the first of which may be of this class and priority.
func (q *turns) announce(t tenant.ID, class events.Class, priority int16) {
	s := q.share(t)
	switch n := len(s.ready); {
	case s.stale:
		s.class = better(s.class, class)
	case n == 0:
		s.stale, s.class = true, class
	default:
		last := events.Ready{Class: s.ready[n-1].Class, Priority: s.ready[n-1].Priority}
		if (events.Ready{Class: class, Priority: priority}).Before(last) {
			s.stale, s.class = true, better(s.ready[0].Class, class)
		} else {
			s.more = true
		}
	}
	q.put(s)
}

// offerMax is how many jobs of a tenant are held without having been read.
const offerMax = 512

// offer says that a tenant has this ready job. Where all others of it are known, the record need not be asked.
func (q *turns) offer(j store.ReadyJob) {
	s := q.share(j.Tenant)
	if s.stale || s.more || len(s.ready) >= offerMax {
		q.announce(j.Tenant, j.Class, j.Priority)
		return
	}
	if _, out := q.out[j.ID]; out {
		return
	}
	if _, runs := q.running[j.ID]; runs {
		return
	}
	if at, known := slices.BinarySearchFunc(s.ready, j, byTurn); !known {
		s.ready = slices.Insert(s.ready, at, j)
		q.put(s)
	}
}

// byTurn orders the jobs of a tenant as the record does: interactive before bulk, then by priority and age.
func byTurn(a, b store.ReadyJob) int {
	return cmp.Or(-cmp.Compare(a.Class, b.Class), cmp.Compare(a.Priority, b.Priority), bytes.Compare(a.ID[:], b.ID[:]))
}

// found says that a tenant has ready jobs, all of which may be known.
func (q *turns) found(t tenant.ID) {
	if s := q.share(t); !s.stale && len(s.ready) == 0 {
		q.ask(t)
	}
}

func better(a, b events.Class) events.Class {
	if a == events.ClassInteractive {
		return a
	}
	return b
}

// put brings the share to its place in the order, or takes it out if it has nothing to offer.
func (q *turns) put(s *share) {
	if !s.stale && len(s.ready) > 0 {
		s.class = s.ready[0].Class
	}
	offers := s.stale || len(s.ready) > 0
	if limit := q.limits[s.tenant].MaxRunning; limit > 0 && s.underWay >= limit {
		offers = false
	}
	switch {
	case offers && s.place < 0:
		heap.Push(&q.order, s)
	case offers:
		heap.Fix(&q.order, s.place)
	case s.place >= 0:
		heap.Remove(&q.order, s.place)
	}
}

// wanting returns tenants whose jobs have to be read before anybody's turn can be told, at most n. None means that pick can be called.
func (q *turns) wanting(n int) (who []tenant.ID) {
	var aside []*share
	for len(q.order) > 0 && q.order[0].stale && len(who) < n {
		s := q.order[0]
		heap.Pop(&q.order)
		who, aside = append(who, s.tenant), append(aside, s)
	}
	for _, s := range aside {
		heap.Push(&q.order, s)
	}
	return who
}

// fill gives tenants their first ready jobs, at most limit each, as they were read.
func (q *turns) fill(who []tenant.ID, jobs []store.ReadyJob, limit int) {
	of := make(map[tenant.ID][]store.ReadyJob, len(who))
	for _, j := range jobs {
		of[j.Tenant] = append(of[j.Tenant], j)
		if _, runs := q.running[j.ID]; runs { // not any more, and nobody has told so yet
			q.ended(j.ID, 0)
		}
	}
	for _, t := range who {
		s := q.share(t)
		s.ready, s.stale, s.more = of[t], false, len(of[t]) == limit
		q.put(s)
	}
}

// pick returns the next job, and marks it as handed out. False means that there is none, or that somebody is wanting.
func (q *turns) pick(now time.Time) (store.ReadyJob, bool) {
	for len(q.order) > 0 && !q.order[0].stale {
		s := q.order[0]
		i := slices.IndexFunc(s.ready, func(j store.ReadyJob) bool { return j.AgentLimit == 0 || q.agents[j.Agent] < j.AgentLimit })
		if i < 0 {
			// What is behind them may be of another agent; these must not be read again meanwhile, or it would be for ever.
			for _, j := range s.ready {
				q.full[j.Agent] = true
			}
			s.ready, s.stale, s.more = nil, s.more, false
			s.class = events.ClassBulk
			q.put(s)
			continue
		}
		j := s.ready[i]
		s.ready = slices.Delete(s.ready, i, i+1)
		if len(s.ready) == 0 && s.more {
			s.stale, s.more, s.class = true, false, j.Class
		}
		if _, runs := q.running[j.ID]; runs { // as was found out after it was read
			q.put(s)
			continue
		}
		s.charge(q.cost/float64(max(1, q.limits[s.tenant].Weight)), now)
		q.out[j.ID] = handed{tenant: j.Tenant, agent: j.Agent, limit: j.AgentLimit, since: j.Since, at: now}
		s.underWay++
		q.agents[j.Agent]++
		q.put(s)
		return j, true
	}
	return store.ReadyJob{}, false
}

// used is what a tenant has used of late, in seconds of a worker's time.
func (s *share) used(now time.Time) float64 { return math.Exp2(s.usage - halves(now)) }

// charge adds to it.
func (s *share) charge(cost float64, now time.Time) {
	s.usage = math.Log2(s.used(now)+cost) + halves(now)
}

// halves is how often a use at the beginning of time was halved since.
func halves(now time.Time) float64 { return float64(now.UnixMilli()) / float64(memory.Milliseconds()) }

// atLimit returns the agents that have as many runs under way as they may.
func (q *turns) atLimit() (agents []uuid.UUID) {
	counted := maps.Clone(q.full)
	agents = slices.Collect(maps.Keys(counted))
	for _, set := range []map[uuid.UUID]handed{q.out, q.running} {
		for _, h := range set {
			if h.limit > 0 && q.agents[h.agent] >= h.limit && !counted[h.agent] {
				counted[h.agent] = true
				agents = append(agents, h.agent)
			}
		}
	}
	return agents
}

// outOf returns the jobs of tenants that lie with the broker.
func (q *turns) outOf(who []tenant.ID) (ids []uuid.UUID) {
	for id, h := range q.out {
		if slices.Contains(who, h.tenant) {
			ids = append(ids, id)
		}
	}
	return ids
}

// claimed says that a worker has taken a job, and returns what is known of it if that is news.
func (q *turns) claimed(id uuid.UUID) (handed, bool) {
	h, ok := q.out[id]
	if ok {
		delete(q.out, id)
		q.running[id] = h
		return h, true
	}
	h, ok = q.gone[id]
	return h, ok && !h.since.IsZero()
}

// back says that a job that was handed out lies with the broker no more and that nobody has claimed it. It may be ready yet.
func (q *turns) back(id uuid.UUID) {
	if h, ok := q.out[id]; ok {
		delete(q.out, id)
		q.free(h)
		q.ask(h.tenant)
	}
}

// ended says that a worker is through with a job, and returns what is known of it; nothing is the zero.
func (q *turns) ended(id uuid.UUID, took time.Duration) handed {
	h, ok := q.running[id]
	if !ok {
		if h, ok = q.out[id]; !ok {
			return q.gone[id]
		}
	}
	delete(q.running, id)
	delete(q.out, id)
	if took > 0 {
		if !q.timed {
			q.timed, q.cost = true, took.Seconds()
		}
		q.cost += (max(took.Seconds(), 1e-4) - q.cost) / 16
	}
	q.free(h)
	return h
}

func (q *turns) free(h handed) {
	if q.agents[h.agent]--; q.agents[h.agent] <= 0 {
		delete(q.agents, h.agent)
	}
	s := q.share(h.tenant)
	s.underWay--
	q.put(s)
	q.vacate(h)
}

// vacate has the jobs read that were passed over because the agent of one that is under way no more had no room for them.
func (q *turns) vacate(h handed) {
	if h.limit > 0 || q.full[h.agent] {
		q.ask(h.tenant)
	}
	delete(q.full, h.agent)
}

// ask has a tenant's jobs read anew.
func (q *turns) ask(t tenant.ID) {
	s := q.share(t)
	s.stale, s.class = true, events.ClassInteractive
	q.put(s)
}

// correct replaces what is believed to be under way by what the record says: which jobs with the broker are still ready and, as was read
// afterwards, which run. What lies there longer than lost is handed out again.
func (q *turns) correct(running []store.RunningJob, still map[uuid.UUID]bool, now time.Time, lost time.Duration) {
	q.gone = q.running
	q.running = make(map[uuid.UUID]handed, len(running))
	for _, j := range running {
		if h, out := q.out[j.ID]; out { // although still may say otherwise: it was read before
			delete(q.out, j.ID)
			q.gone[j.ID] = h
		}
		h, known := q.gone[j.ID]
		if !known {
			h = handed{tenant: j.Tenant, agent: j.Agent, limit: j.AgentLimit}
		}
		q.running[j.ID] = h
	}
	for id, h := range q.out {
		if !still[id] || now.Sub(h.at) >= lost {
			delete(q.out, id)
			q.gone[id] = h
			q.ask(h.tenant)
		}
	}
	for id, h := range q.gone {
		if _, runs := q.running[id]; !runs {
			q.vacate(h)
		}
	}
	clear(q.agents)
	for _, s := range q.shares {
		s.underWay = 0
	}
	for _, set := range []map[uuid.UUID]handed{q.out, q.running} {
		for _, h := range set {
			q.agents[h.agent]++
			q.share(h.tenant).underWay++
		}
	}
	for t, s := range q.shares {
		if q.put(s); s.place < 0 && s.underWay == 0 && s.used(now) < q.cost/16 {
			delete(q.shares, t)
		}
	}
}

// order is a heap of shares, the one whose turn it is on top.
type order []*share

// Len implements heap.Interface.
func (o *order) Len() int { return len(*o) }

// Less implements heap.Interface.
func (o *order) Less(i, j int) bool {
	a, b := (*o)[i], (*o)[j]
	if a.class != b.class {
		return a.class == events.ClassInteractive
	}
	if a.usage != b.usage {
		return a.usage < b.usage
	}
	if a.stale != b.stale {
		return a.stale
	}
	x, y := a.tenant.UUID(), b.tenant.UUID()
	return bytes.Compare(x[:], y[:]) < 0
}

// Swap implements heap.Interface.
func (o *order) Swap(i, j int) {
	all := *o
	all[i], all[j] = all[j], all[i]
	all[i].place, all[j].place = i, j
}

// Push implements heap.Interface.
func (o *order) Push(x any) {
	s := x.(*share) //nolint:forcetypeassert,errcheck // nothing else is in it
	s.place = len(*o)
	*o = append(*o, s)
}

// Pop implements heap.Interface.
func (o *order) Pop() any {
	last := len(*o) - 1
	s := (*o)[last]
	(*o)[last] = nil
	*o = (*o)[:last]
	s.place = -1
	return s
}
