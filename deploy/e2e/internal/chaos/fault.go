package chaos

import (
	"context"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
)

// contSignal wakes a process that was frozen.
const contSignal = syscall.SIGCONT

// Kinds of faults.
const (
	faultKill    = "kill"    // SIGKILL, started again a little later
	faultRestart = "restart" // SIGTERM, started again
	faultFreeze  = "freeze"  // SIGSTOP for longer than a lease
	faultCut     = "cut"     // its connections break and new ones are refused
	faultStall   = "stall"   // its connections stand still
	faultSlow    = "slow"    // its connections are slow
	faultClients = "clients cut"
	faultStore   = "lose store"
)

// What faults are done to, beside single engines.
const (
	ofGateway = "gateway"
	ofWorker  = "worker"
)

// choice is a fault that may be drawn.
type choice struct {
	kind, of string
	weight   int
}

// choices are all faults with how often they are drawn, but for the loss of NATS's store, which has its times.
func choices() []choice {
	return []choice{
		{faultKill, ofGateway, 3},
		{faultRestart, ofGateway, 2},
		{faultFreeze, ofGateway, 2},
		{faultCut, ofGateway, 2},
		{faultStall, ofGateway, 2},
		{faultSlow, ofGateway, 1},
		{faultClients, ofGateway, 2},
		{faultKill, ofWorker, 6},
		{faultRestart, ofWorker, 4},
		{faultFreeze, ofWorker, 5},
		{faultCut, ofWorker, 4},
		{faultStall, ofWorker, 4},
		{faultSlow, ofWorker, 2},
		{faultKill, nats, 2},
		{faultRestart, nats, 1},
		{faultFreeze, nats, 1},
		{faultKill, postgres, 2},
		{faultRestart, postgres, 1},
		{faultFreeze, postgres, 1},
		{faultKill, redis, 2},
		{faultRestart, redis, 1},
		{faultFreeze, redis, 1},
	}
}

// faultNames returns how a report names the kinds of faults.
func faultNames() (names []string) {
	for _, c := range choices() {
		names = append(names, c.name())
	}
	return append(names, faultStore)
}

func (c choice) name() string { return c.kind + " " + c.of }

// Faults come at random within these bounds.
const (
	soonestFault = time.Second
	latestFault  = 5 * time.Second
	// atOnce is how many last at the same time.
	atOnce = 4
)

// mischief hurts a system until it is told to stop.
type mischief struct {
	system *system
	rand   *rand.Rand
	lease  time.Duration
	drawn  []choice
	log    func(string)

	mu     sync.Mutex
	busy   map[string]string // fault by target
	faults []history.Fault
	late   []string // processes that did not end in order in time
	work   sync.WaitGroup
}

func newMischief(o Options, s *system, log func(string)) *mischief {
	m := &mischief{
		system: s, lease: o.Lease, log: log, busy: map[string]string{},
		rand: rand.New(rand.NewPCG(o.Seed, 0)),
	}
	for _, c := range choices() {
		if len(o.Only) == 0 || slices.Contains(o.Only, c.name()) {
			m.drawn = append(m.drawn, c)
		}
	}
	return m
}

// run does faults until the time is over, and returns when all are healed. The store of NATS is lost at a third and at two thirds.
func (m *mischief) run(ctx context.Context, span time.Duration, loseStore bool) {
	ctx, cancel := context.WithTimeout(ctx, span)
	defer cancel()
	defer m.work.Wait()
	if loseStore {
		for i := range 2 {
			m.work.Go(func() { m.loseStore(ctx, span*time.Duration(i+1)/3) })
		}
	}
	for pause(ctx, between(m.rand, soonestFault, latestFault)) {
		if len(m.drawn) > 0 {
			m.begin(ctx, m.draw())
		}
	}
}

// draw picks a fault by weight.
func (m *mischief) draw() choice {
	sum := 0
	for _, c := range m.drawn {
		sum += c.weight
	}
	pick := m.rand.IntN(sum)
	for _, c := range m.drawn {
		if pick -= c.weight; pick < 0 {
			return c
		}
	}
	return m.drawn[0]
}

// begin does a fault to a target that nothing happens to right now; without one it does nothing.
func (m *mischief) begin(ctx context.Context, c choice) {
	// All is drawn before anything is looked at, so that the seed alone decides what comes next.
	which, short, long := m.rand.Uint64(), between(m.rand, 100*time.Millisecond, 1500*time.Millisecond),
		m.lease+between(m.rand, time.Second, 3*time.Second)
	lag, immediate := between(m.rand, 30*time.Millisecond, 300*time.Millisecond), m.rand.IntN(2) == 0
	var nodes []*node
	for _, n := range m.system.nodes {
		if (n.front != nil) == (c.of == ofGateway) {
			nodes = append(nodes, n)
		}
	}
	n := nodes[which%uint64(len(nodes))]
	switch c.of {
	case ofGateway, ofWorker:
		m.spawn(c.name(), n.name, n.name, func() { m.hurt(ctx, c.kind, n, short, long, lag) })
	default:
		e := m.system.engines.all[c.of]
		m.spawn(c.name(), e.name, "", func() {
			if c.kind == faultFreeze {
				thaw := e.freeze()
				pause(ctx, long)
				thaw()
				return
			}
			sig := syscall.SIGKILL
			switch {
			case c.kind == faultRestart:
				sig = syscall.SIGTERM
			case c.of == postgres && immediate:
				sig = syscall.SIGQUIT // what it calls an immediate shutdown
			}
			e.takeDown(sig, endsWithin)
			pause(ctx, short)
			e.release()
		})
	}
}

// spawn does something to a target in the background and notes it, unless the target or the whole system has enough.
func (m *mischief) spawn(kind, target, writer string, do func()) (spawned bool) {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.busy[target] != "" || len(m.busy) >= atOnce {
		return false
	}
	m.busy[target] = kind
	m.work.Go(func() {
		began := time.Now()
		do()
		m.mu.Lock()
		defer m.mu.Unlock()
		delete(m.busy, target)
		f := history.Fault{Kind: kind, Target: target, Writer: writer, Began: began, Healed: time.Now()}
		m.faults = append(m.faults, f)
		m.log(fmt.Sprintf("%s %s %s for %s", began.Format(time.StampMilli), kind, target, f.Healed.Sub(began).Round(time.Millisecond)))
	})
	return true
}

// hurt does a fault to a process and heals it.
func (m *mischief) hurt(ctx context.Context, kind string, n *node, short, long, lag time.Duration) {
	switch kind {
	case faultKill:
		n.takeDown(syscall.SIGKILL, endsWithin)
		pause(ctx, short)
		n.release()
	case faultRestart:
		if !n.takeDown(syscall.SIGTERM, endsWithin) {
			m.mu.Lock()
			m.late = append(m.late, n.name)
			m.mu.Unlock()
		}
		n.release()
	case faultFreeze:
		n.signal(syscall.SIGSTOP)
		pause(ctx, long)
		n.signal(contSignal)
	case faultClients:
		n.front.sever()
		pause(ctx, short)
		n.front.heal()
	default:
		for _, l := range n.links {
			switch kind {
			case faultCut:
				l.sever()
			case faultStall:
				l.stall()
			case faultSlow:
				l.slow(lag)
			}
		}
		if kind == faultCut {
			pause(ctx, 2*short)
		} else {
			pause(ctx, long)
		}
		for _, l := range n.links {
			l.heal()
		}
	}
}

// loseStore ends NATS and throws away what it has kept, as soon as it is left alone after a time.
func (m *mischief) loseStore(ctx context.Context, after time.Duration) {
	if !pause(ctx, after) {
		return
	}
	broker := m.system.engines.all[nats]
	lose := func() {
		broker.takeDown(syscall.SIGKILL, endsWithin)
		if err := m.system.engines.loseStore(); err != nil {
			m.log("the store of NATS is not lost: " + err.Error())
		}
		broker.release()
	}
	for !m.spawn(faultStore, nats, "", lose) {
		if !pause(ctx, 100*time.Millisecond) {
			return
		}
	}
}

// now tells what lasts at the moment.
func (m *mischief) now() string {
	m.mu.Lock()
	defer m.mu.Unlock()
	all := make([]string, 0, len(m.busy))
	for target, kind := range m.busy {
		all = append(all, strings.Fields(kind)[0]+" "+target)
	}
	slices.Sort(all)
	return strings.Join(all, ", ")
}

// done returns the faults so far, in order of time.
func (m *mischief) done() []history.Fault {
	m.mu.Lock()
	defer m.mu.Unlock()
	faults := slices.Clone(m.faults)
	slices.SortFunc(faults, func(a, b history.Fault) int { return a.Began.Compare(b.Began) })
	return faults
}
