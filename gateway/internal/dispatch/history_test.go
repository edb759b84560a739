package dispatch

import (
	"fmt"
	"maps"
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// system is everything around the turns: the record, which is right, a broker and a bus, which are not, and workers, which die. Time
// passes when the test says so.
type system struct {
	*record

	turns *turns
	now   time.Time
	// broker holds jobs that were handed out, running those that workers hold according to the record.
	broker  []store.ReadyJob
	running map[uuid.UUID]store.ReadyJob
	// mail is what was told and has not arrived.
	mail  []func()
	ended int
}

// lost is after what time the leader gives up on what lies with the broker.
const lost = 10 * time.Second

func newSystem() *system {
	return &system{record: newRecord(), turns: newTurns(), now: time.Unix(1e9, 0), running: map[uuid.UUID]store.ReadyJob{}}
}

// hand lets the leader hand out up to n jobs.
func (s *system) hand(n int) { s.broker = append(s.broker, s.next(s.turns, n, s.now)...) }

// take lets a worker take a message: the record says whether the job can still be claimed.
func (s *system) take(i int, tell func(func())) {
	j := s.broker[i]
	s.broker = slices.Delete(s.broker, i, i+1)
	ready := slices.IndexFunc(s.jobs[j.Tenant], func(other store.ReadyJob) bool { return other.ID == j.ID })
	if ready < 0 {
		tell(func() { s.turns.back(j.ID) })
		return
	}
	s.jobs[j.Tenant] = slices.Delete(s.jobs[j.Tenant], ready, ready+1)
	s.running[j.ID] = j
	tell(func() { s.turns.claimed(j.ID) })
}

// end lets a worker be through with a job.
func (s *system) end(id uuid.UUID, took time.Duration, tell func(func())) {
	delete(s.running, id)
	s.ended++
	tell(func() { s.turns.ended(id, took) })
}

// die takes a job from a worker that is gone, as the sweep of expired leases does, which tells nobody.
func (s *system) die(id uuid.UUID) {
	j := s.running[id]
	delete(s.running, id)
	s.jobs[j.Tenant] = append(s.jobs[j.Tenant], j)
}

// correct lets the leader compare what it believes with the record, which it reads twice. A worker may take any of the messages between.
func (s *system) correct(lost time.Duration, take int) {
	still := map[uuid.UUID]bool{}
	for _, jobs := range s.jobs {
		for _, j := range jobs {
			still[j.ID] = true
		}
	}
	if take < len(s.broker) {
		s.take(take, func(news func()) { s.mail = append(s.mail, news) })
	}
	var running []store.RunningJob
	for _, j := range s.running {
		running = append(running, store.RunningJob{ID: j.ID, Tenant: j.Tenant, Agent: j.Agent, AgentLimit: j.AgentLimit})
	}
	s.turns.correct(running, still, s.now, lost)
}

// survey tells the leader who has ready jobs.
func (s *system) survey() {
	for t, jobs := range s.jobs {
		if len(jobs) > 0 {
			s.turns.found(t)
		}
	}
}

// books compares what the turns have counted with what they hold.
func (s *system) books() error {
	agents, underWay := map[uuid.UUID]int{}, map[tenant.ID]int{}
	for _, set := range []map[uuid.UUID]handed{s.turns.out, s.turns.running} {
		for id, h := range set {
			agents[h.agent]++
			underWay[h.tenant]++
			_, out := s.turns.out[id]
			if _, runs := s.turns.running[id]; out && runs {
				return fmt.Errorf("job %s lies with the broker and runs", id)
			}
		}
	}
	if !maps.Equal(agents, s.turns.agents) {
		return fmt.Errorf("agents have %v under way, counted are %v", agents, s.turns.agents)
	}
	for agent := range s.turns.full {
		if agents[agent] == 0 {
			return fmt.Errorf("agent %s has nothing under way and no room", agent)
		}
	}
	places := 0
	for t, share := range s.turns.shares {
		if share.underWay != underWay[t] {
			return fmt.Errorf("%s has %d jobs under way, counted are %d", t, underWay[t], share.underWay)
		}
		if share.place >= 0 {
			places++
			if s.turns.order[share.place] != share {
				return fmt.Errorf("%s is not in its place", t)
			}
		}
	}
	if places != len(s.turns.order) {
		return fmt.Errorf("%d have a place, %d are in the order", places, len(s.turns.order))
	}
	for i := range s.turns.order {
		if i > 0 && s.turns.order.Less(i, (i-1)/2) {
			return fmt.Errorf("place %d is before the one above it", i)
		}
	}
	return nil
}

// play does one thing that can happen.
func (s *system) play(random *rand.Rand) (added int, err error) {
	// What is told arrives at once, later, twice, or never.
	tell := func(news func()) {
		switch random.IntN(8) {
		case 0:
		case 1:
			s.mail = append(s.mail, news)
		case 2:
			s.mail = append(s.mail, news)
			news()
		default:
			news()
		}
	}
	s.now = s.now.Add(time.Duration(random.IntN(300)) * time.Millisecond)
	switch choice := random.IntN(100); {
	case choice < 15:
		like := store.ReadyJob{Class: events.ClassBulk, Priority: int16(1 + random.IntN(9))}
		if random.IntN(3) == 0 {
			like.Class = events.ClassInteractive
		}
		if random.IntN(3) == 0 {
			like.Agent, like.AgentLimit = uuid.UUID{0: byte(1 + random.IntN(2)), 15: 9}, 1+random.IntN(3)
		}
		who := someone(byte(random.IntN(6)))
		added = 1 + random.IntN(12)
		s.add(who, added, like)
		tell(func() { s.turns.announce(who, like.Class, like.Priority) })
	case choice < 40:
		s.hand(random.IntN(6))
	case choice < 65 && len(s.broker) > 0:
		s.take(random.IntN(len(s.broker)), tell)
	case choice < 85 && len(s.running) > 0:
		s.end(any1(random, s.running), time.Duration(random.IntN(500))*time.Millisecond, tell)
	case choice < 88 && len(s.running) > 0:
		s.die(any1(random, s.running))
	case choice < 90 && len(s.broker) > 0: // the broker forgets a message
		i := random.IntN(len(s.broker))
		s.broker = slices.Delete(s.broker, i, i+1)
	case choice < 91: // and all of them, which is noticed
		s.broker = nil
		s.correct(0, 0)
	case choice < 94 && len(s.mail) > 0:
		i := random.IntN(len(s.mail))
		s.mail[i]()
		s.mail = slices.Delete(s.mail, i, i+1)
	case choice < 97:
		s.correct(lost, random.IntN(12))
		if len(s.turns.running) != len(s.running) {
			return 0, fmt.Errorf("%d jobs run, corrected are %d", len(s.running), len(s.turns.running))
		}
	default:
		s.survey()
	}
	return added, s.books()
}

// any1 picks a job in an order that does not depend on that of the map.
func any1(random *rand.Rand, jobs map[uuid.UUID]store.ReadyJob) uuid.UUID {
	ids := slices.SortedFunc(maps.Keys(jobs), func(a, b uuid.UUID) int { return slices.Compare(a[:], b[:]) })
	return ids[random.IntN(len(ids))]
}

// Whatever gets lost on the bus, doubled or late, whatever the broker forgets and whichever worker dies: what the turns have counted is
// what they hold, and once the record was asked every job is handed out and done, each once.
func TestTurnsHealWhateverIsLost(t *testing.T) {
	t.Parallel()
	for seed := range uint64(60) {
		if seed%2 == 1 { // the others are the same every time
			seed = rand.Uint64()
		}
		random := rand.New(rand.NewPCG(seed, 2))
		s, added := newSystem(), 0
		for step := range 400 {
			n, err := s.play(random)
			if added += n; err != nil {
				t.Fatalf("seed %d, step %d: %v", seed, step, err)
			}
		}
		arrives := func(news func()) { news() }
		for round := 0; s.ended < added; round++ {
			if round > 2*added {
				t.Fatalf("seed %d: %d of %d jobs are done, and nothing goes on", seed, s.ended, added)
			}
			s.now = s.now.Add(lost)
			s.correct(lost, random.IntN(12))
			s.survey()
			s.hand(50)
			for len(s.broker) > 0 {
				s.take(0, arrives)
			}
			for id := range s.running {
				s.end(id, time.Millisecond, arrives)
			}
			if err := s.books(); err != nil {
				t.Fatalf("seed %d: %v", seed, err)
			}
		}
		if s.ended != added {
			t.Fatalf("seed %d: %d jobs were done of %d", seed, s.ended, added)
		}
	}
}
