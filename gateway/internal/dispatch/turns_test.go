package dispatch

import (
	"math/rand/v2"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// record stands for the database: the ready jobs of each tenant, in the order of their turn.
type record struct {
	jobs  map[tenant.ID][]store.ReadyJob
	reads int
}

func someone(n byte) tenant.ID { return tenant.FromUUID(uuid.UUID{15: n}) }

func (r *record) add(t tenant.ID, n int, like store.ReadyJob) {
	for range n {
		j := like
		j.ID, j.Tenant = uuid.Must(uuid.NewV7()), t
		r.jobs[t] = append(r.jobs[t], j)
	}
}

// read is what Engine.ReadyJobs does.
func (r *record) read(q *turns, who []tenant.ID, limit int) (first []store.ReadyJob) {
	if r.reads++; r.reads > 100_000 {
		panic("the record is read without end")
	}
	blocked := map[uuid.UUID]bool{}
	for _, a := range q.atLimit() {
		blocked[a] = true
	}
	for _, t := range who {
		n := 0
		for _, j := range r.jobs[t] {
			_, out := q.out[j.ID]
			if n < limit && !out && !blocked[j.Agent] {
				first = append(first, j)
				n++
			}
		}
	}
	return first
}

// next picks n jobs as the leader does.
func (r *record) next(q *turns, n int, now time.Time) (picked []store.ReadyJob) {
	for len(picked) < n {
		if j, ok := q.pick(now); ok {
			picked = append(picked, j)
			continue
		}
		who := q.wanting(readAtOnce)
		if len(who) == 0 {
			break
		}
		q.fill(who, r.read(q, who, 8), 8)
	}
	return picked
}

// work lets jobs be claimed and end, and takes them out of the record.
func (r *record) work(q *turns, jobs []store.ReadyJob, took time.Duration) {
	for _, j := range jobs {
		q.claimed(j.ID)
		q.ended(j.ID, took)
		for i, other := range r.jobs[j.Tenant] {
			if other.ID == j.ID {
				r.jobs[j.Tenant] = append(r.jobs[j.Tenant][:i:i], r.jobs[j.Tenant][i+1:]...)
				break
			}
		}
	}
}

func newRecord() *record { return &record{jobs: map[tenant.ID][]store.ReadyJob{}} }

func TestASmallTenantDoesNotWaitForALargeOne(t *testing.T) {
	t.Parallel()
	r, q, now := newRecord(), newTurns(), time.Unix(1e9, 0)
	large, small := someone(1), someone(2)
	r.add(large, 1000, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
	q.found(large)
	for range 50 {
		r.work(q, r.next(q, 4, now), 100*time.Millisecond)
		now = now.Add(100 * time.Millisecond)
	}
	r.add(small, 10, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
	q.announce(small, events.ClassBulk, 5)
	for _, j := range r.next(q, 10, now) {
		if j.Tenant != small {
			t.Fatal("the large tenant goes first although it has used much")
		}
	}
}

func TestTenantsShareByTheirWeights(t *testing.T) {
	t.Parallel()
	r, q, now := newRecord(), newTurns(), time.Unix(1e9, 0)
	one, three := someone(1), someone(2)
	q.limits[three] = store.JobLimit{Weight: 3}
	counts := map[tenant.ID]int{}
	for _, who := range []tenant.ID{one, three} {
		r.add(who, 1000, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
		q.found(who)
	}
	for range 100 {
		picked := r.next(q, 4, now)
		for _, j := range picked {
			counts[j.Tenant]++
		}
		r.work(q, picked, 100*time.Millisecond)
		now = now.Add(100 * time.Millisecond)
	}
	if share := float64(counts[three]) / 400; share < 0.72 || share > 0.78 {
		t.Errorf("a weight of 3 beside 1 got %.2f of the turns", share)
	}
}

func TestInteractiveJobsGoBeforeBulkOnesOfAllTenants(t *testing.T) {
	t.Parallel()
	r, q, now := newRecord(), newTurns(), time.Unix(1e9, 0)
	bulky, quick := someone(1), someone(2)
	r.add(bulky, 100, store.ReadyJob{Class: events.ClassBulk, Priority: 1})
	q.found(bulky)
	r.work(q, r.next(q, 2, now), time.Millisecond)
	r.add(quick, 20, store.ReadyJob{Class: events.ClassInteractive, Priority: 9})
	q.announce(quick, events.ClassInteractive, 9)
	for i, j := range r.next(q, 30, now) {
		if (i < 20) != (j.Class == events.ClassInteractive) {
			t.Fatalf("turn %d is a %s job's", i, j.Class)
		}
	}
}

func TestAMoreUrgentJobIsSeenAlthoughOthersWereReadBefore(t *testing.T) {
	t.Parallel()
	r, q, now := newRecord(), newTurns(), time.Unix(1e9, 0)
	who := someone(1)
	r.add(who, 5, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
	q.found(who)
	r.next(q, 1, now)
	r.jobs[who] = append([]store.ReadyJob{{ID: uuid.New(), Tenant: who, Class: events.ClassBulk, Priority: 1}}, r.jobs[who]...)
	q.announce(who, events.ClassBulk, 1)
	if j := r.next(q, 1, now); len(j) != 1 || j[0].Priority != 1 {
		t.Errorf("next is %+v", j)
	}
}

func TestLimitsOfTenantsAndAgentsHold(t *testing.T) {
	t.Parallel()
	r, q, now := newRecord(), newTurns(), time.Unix(1e9, 0)
	limited, agentful := someone(1), someone(2)
	q.limits[limited] = store.JobLimit{MaxRunning: 3}
	r.add(limited, 20, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
	busy, free := uuid.New(), uuid.New()
	r.add(agentful, 20, store.ReadyJob{Class: events.ClassBulk, Priority: 5, Agent: busy, AgentLimit: 2})
	r.add(agentful, 20, store.ReadyJob{Class: events.ClassBulk, Priority: 5, Agent: free})
	q.found(limited)
	q.found(agentful)
	first := r.next(q, 100, now)
	counts := map[uuid.UUID]int{}
	for _, j := range first {
		counts[j.Agent]++
	}
	if counts[uuid.Nil] != 3 || counts[busy] != 2 || counts[free] != 20 {
		t.Errorf("under way are %d of a tenant with 3, %d of an agent with 2, %d of one without limit", counts[uuid.Nil], counts[busy], counts[free])
	}
	r.work(q, first, time.Second)
	counts = map[uuid.UUID]int{}
	for _, j := range r.next(q, 100, now) {
		counts[j.Agent]++
	}
	if counts[uuid.Nil] != 3 || counts[busy] != 2 {
		t.Errorf("then %d of a tenant with 3, %d of an agent with 2", counts[uuid.Nil], counts[busy])
	}
}

// Jobs keep the limit that their agent had when they were submitted: with two of a limit of three under way none of a limit of one can
// go, and all that the others need is one look past them.
func TestAnAgentWhoseLimitSankHoldsNobodyUp(t *testing.T) {
	t.Parallel()
	r, q, now := newRecord(), newTurns(), time.Unix(1e9, 0)
	who, agent, other := someone(1), uuid.New(), uuid.New()
	r.add(who, 2, store.ReadyJob{Class: events.ClassBulk, Priority: 5, Agent: agent, AgentLimit: 3})
	r.add(who, 20, store.ReadyJob{Class: events.ClassBulk, Priority: 5, Agent: agent, AgentLimit: 1})
	r.add(who, 5, store.ReadyJob{Class: events.ClassBulk, Priority: 5, Agent: other, AgentLimit: 5})
	q.found(who)
	first := r.next(q, 100, now)
	if len(first) != 7 || r.reads > 5 {
		t.Errorf("%d jobs go after %d reads, want the two and the five", len(first), r.reads)
	}
	r.work(q, first, time.Second)
	if then := r.next(q, 100, now); len(then) != 1 {
		t.Errorf("then go %d, want one of the limit of one", len(then))
	}
}

func TestAJobThatIsReadyAgainIsUnderWayOnce(t *testing.T) {
	t.Parallel()
	r, q, now := newRecord(), newTurns(), time.Unix(1e9, 0)
	who := someone(1)
	q.limits[who] = store.JobLimit{MaxRunning: 2}
	r.add(who, 1, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
	q.found(who)
	q.claimed(r.next(q, 1, now)[0].ID)
	// Its worker put it back, and nobody has told so yet.
	q.announce(who, events.ClassBulk, 5)
	if again := r.next(q, 1, now); len(again) != 1 || q.share(who).underWay != 1 {
		t.Errorf("%d go again, %d are under way", len(again), q.share(who).underWay)
	}
}

// Whatever comes in whatever order, every job is handed out, none twice while it is under way, and no limit is passed.
func TestAnyHistoryHandsOutEveryJob(t *testing.T) {
	t.Parallel()
	for seed := range uint64(40) {
		random := rand.New(rand.NewPCG(seed, 1))
		r, q, now := newRecord(), newTurns(), time.Unix(1e9, 0)
		var underWay []store.ReadyJob
		added, ended := 0, 0
		for step := range 600 {
			now = now.Add(time.Duration(random.IntN(50)) * time.Millisecond)
			who := someone(byte(random.IntN(5)))
			switch choice := random.IntN(10); {
			case choice < 3 && step < 400:
				like := store.ReadyJob{Class: events.ClassBulk, Priority: 5}
				if random.IntN(3) == 0 {
					like.Agent, like.AgentLimit = uuid.UUID{0: byte(1 + random.IntN(2)), 15: 9}, 2
				}
				n := 1 + random.IntN(12)
				r.add(who, n, like)
				added += n
				if random.IntN(4) > 0 { // else the nudge is lost
					q.announce(who, like.Class, like.Priority)
				}
			case choice < 6:
				underWay = append(underWay, r.next(q, random.IntN(6), now)...)
			case choice < 9 && len(underWay) > 0:
				i := random.IntN(len(underWay))
				j := underWay[i]
				underWay = append(underWay[:i:i], underWay[i+1:]...)
				if random.IntN(5) == 0 { // it could not be claimed
					q.back(j.ID)
					continue
				}
				r.work(q, []store.ReadyJob{j}, time.Duration(random.IntN(100))*time.Millisecond)
				ended++
			default:
				for t, jobs := range r.jobs {
					if len(jobs) > 0 {
						q.found(t)
					}
				}
			}
			seen := map[uuid.UUID]bool{}
			agents := map[uuid.UUID]int{}
			for _, j := range underWay {
				if seen[j.ID] {
					t.Fatalf("seed %d: a job is handed out twice", seed)
				}
				seen[j.ID] = true
				if agents[j.Agent]++; j.AgentLimit > 0 && agents[j.Agent] > j.AgentLimit {
					t.Fatalf("seed %d: an agent has %d runs under way", seed, agents[j.Agent])
				}
			}
		}
		for surveyed := false; ended < added; {
			underWay = append(underWay, r.next(q, 50, now)...)
			if len(underWay) == 0 && surveyed {
				break
			}
			if surveyed = len(underWay) == 0; surveyed {
				for t := range r.jobs {
					q.found(t)
				}
			}
			ended += len(underWay)
			r.work(q, underWay, time.Millisecond)
			underWay = nil
		}
		if ended != added {
			t.Fatalf("seed %d: %d of %d jobs were handed out", seed, ended, added)
		}
	}
}

func TestJobsThatWereToldOfComeInTheirTurnAndNeedNotBeRead(t *testing.T) {
	t.Parallel()
	r, q, now := &record{jobs: map[tenant.ID][]store.ReadyJob{}}, newTurns(), time.Now()
	a := someone(1)
	r.add(a, 2, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
	r.add(a, 1, store.ReadyJob{Class: events.ClassBulk, Priority: 2})
	r.add(a, 1, store.ReadyJob{Class: events.ClassInteractive, Priority: 9})
	told := r.jobs[a]
	for _, j := range []store.ReadyJob{told[1], told[3], told[0], told[2], told[0]} {
		q.offer(j)
	}
	picked := r.next(q, 10, now)
	if len(picked) != 4 || r.reads != 0 {
		t.Fatalf("picked %d with %d reads", len(picked), r.reads)
	}
	for i, want := range []store.ReadyJob{told[3], told[2], told[0], told[1]} {
		if picked[i].ID != want.ID {
			t.Errorf("pick %d is %+v", i, picked[i])
		}
	}
	for _, j := range told {
		q.offer(j) // told again while it is out
	}
	if again := r.next(q, 10, now); len(again) != 0 {
		t.Errorf("handed out again: %+v", again)
	}
}

func TestJobsThatWereToldOfDoNotHideThoseThatWereNot(t *testing.T) {
	t.Parallel()
	r, q, now := &record{jobs: map[tenant.ID][]store.ReadyJob{}}, newTurns(), time.Now()
	a := someone(1)
	r.add(a, 2*offerMax, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
	for _, j := range r.jobs[a] {
		q.offer(j)
	}
	if held := len(q.share(a).ready); held != offerMax {
		t.Errorf("%d jobs are held, %d may be", held, offerMax)
	}
	// Somebody whose jobs are not all known is asked about, whatever is told of one of them.
	b := someone(2)
	r.add(b, 2, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
	q.announce(b, events.ClassBulk, 5)
	q.offer(r.jobs[b][1])
	for len(r.jobs[a])+len(r.jobs[b]) > 0 {
		picked := r.next(q, 100, now)
		if len(picked) == 0 {
			t.Fatalf("%d and %d jobs are never handed out", len(r.jobs[a]), len(r.jobs[b]))
		}
		r.work(q, picked, time.Millisecond)
	}
}

// Whatever frees an agent has its jobs read that were passed over, however many others of the tenant are known.
func TestJobsOfAnAgentThatIsFreeAgainDoNotStayBehindOthers(t *testing.T) {
	t.Parallel()
	agent := uuid.New()
	for name, c := range map[string]struct {
		running int // the limit of the agent's job that runs
		free    func(q *turns, id uuid.UUID, now time.Time)
	}{
		"as its worker tells": {running: 1, free: func(q *turns, id uuid.UUID, _ time.Time) { q.ended(id, time.Second) }},
		"as the record tells": {running: 1, free: func(q *turns, _ uuid.UUID, now time.Time) { q.correct(nil, nil, now, time.Hour) }},
		"as its worker tells, and its limit was not there before": {free: func(q *turns, id uuid.UUID, now time.Time) {
			q.correct([]store.RunningJob{{ID: id, Tenant: someone(1), Agent: agent}}, nil, now, time.Hour)
			q.ended(id, time.Second)
		}},
		"as the record tells, and its limit was not there before": {free: func(q *turns, _ uuid.UUID, now time.Time) {
			q.correct(nil, nil, now, time.Hour)
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			r, q, now, who := newRecord(), newTurns(), time.Unix(1e9, 0), someone(1)
			r.add(who, 1, store.ReadyJob{Class: events.ClassBulk, Priority: 5, Agent: agent, AgentLimit: c.running})
			q.found(who)
			runs := r.next(q, 1, now)[0]
			q.claimed(runs.ID)
			r.jobs[who] = nil
			r.add(who, 1, store.ReadyJob{Class: events.ClassBulk, Priority: 5, Agent: agent, AgentLimit: 1})
			passed := r.jobs[who][0]
			q.announce(who, events.ClassBulk, 5)
			if went := r.next(q, 1, now); len(went) != 0 {
				t.Fatal("the agent's limit is passed")
			}
			r.add(who, 5, store.ReadyJob{Class: events.ClassBulk, Priority: 5})
			for _, other := range r.jobs[who][1:] {
				q.offer(other)
			}
			c.free(q, runs.ID, now)
			if then := r.next(q, 1, now); len(then) != 1 || then[0].ID != passed.ID {
				t.Errorf("then goes %+v, want the agent's", then)
			}
		})
	}
}
