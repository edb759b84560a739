package runner

import (
	"context"
	"slices"
	"sync"
	"time"

	"github.com/tarento/copilot/pkg/ewma"
)

// slots bound how many jobs run at once. The bound can change while they are in use.
//
// A claim takes some milliseconds. So that jobs which take no longer than that do not wait for it one after the other, as many are
// fetched and claimed beyond the bound as slots get free in that time; where jobs take a second, that is none.
type slots struct {
	mu sync.Mutex
	// limit is how many may run, running how many slots are taken. Early are the claims made without one.
	limit, running, early int
	// fetched are the places that are not released yet: of jobs that were fetched or were asked for.
	fetched int
	// queue are those who wait for a slot, the first first. Nobody waits while one is free.
	queue []chan struct{}
	// freed wakes one who waits for places.
	freed chan struct{}

	// released is how many slots get free.
	released ewma.Rate
}

// ahead is for how long jobs are claimed beyond the free slots: about what a claim takes. It is part of the dispatcher's.
const ahead = 10 * time.Millisecond

func newSlots(limit int) *slots {
	return &slots{
		limit: limit, freed: make(chan struct{}, 1),
		released: ewma.Rate{HalfLife: 125 * time.Millisecond, Every: ahead},
	}
}

// reserve waits until jobs can be fetched and takes places for as many. False means that ctx has ended.
func (s *slots) reserve(ctx context.Context) (n int, ok bool) {
	for {
		s.mu.Lock()
		if n = s.limit + s.aheadOf() - s.fetched; n > 0 {
			s.fetched += n
		}
		s.mu.Unlock()
		if n > 0 {
			return n, true
		}
		select {
		case <-ctx.Done():
			return 0, false
		case <-s.freed:
		}
	}
}

// giveBack returns places that no job came for.
func (s *slots) giveBack(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched -= n
	s.wake()
}

func (s *slots) resize(limit int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.limit = max(1, limit)
	s.hand()
	s.wake()
}

func (s *slots) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit
}

// aheadOf is how many jobs may be claimed now beyond the slots. The caller holds the lock.
func (s *slots) aheadOf() int {
	return min(s.limit, int(s.released.PerSecond(time.Now())*ahead.Seconds()))
}

// grab takes a slot if one is free. The caller holds the lock.
func (s *slots) grab() bool {
	if s.running >= s.limit {
		return false
	}
	s.running++
	return true
}

// hand gives free slots to those who wait for one. The caller holds the lock.
func (s *slots) hand() {
	for len(s.queue) > 0 && s.grab() {
		close(s.queue[0])
		s.queue = s.queue[1:]
	}
}

func (s *slots) wake() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}

// inHand is how long a job that was fetched ahead waits for a slot here; then another worker may have one.
const inHand = 250 * time.Millisecond

// take waits for a slot, but not for long. False means that there was none.
func (s *slots) take(ctx context.Context) bool {
	s.mu.Lock()
	if s.grab() {
		s.mu.Unlock()
		return true
	}
	turn := make(chan struct{})
	s.queue = append(s.queue, turn)
	s.mu.Unlock()
	long := time.NewTimer(inHand)
	defer long.Stop()
	select {
	case <-turn:
		return true
	case <-long.C:
	case <-ctx.Done():
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if i := slices.Index(s.queue, turn); i >= 0 {
		s.queue = slices.Delete(s.queue, i, i+1)
		return false
	}
	return true // it came at the same moment
}

// place is that of one fetched job. It is used by one goroutine at a time.
type place struct {
	slots *slots
	// early says that the job may be claimed without a slot, held that it has one, over that the place was released.
	early, held, over bool
	since             time.Time // when it got its slot
}

func (p *place) hold(got bool) bool {
	if p.held = got; got {
		p.since = time.Now()
	}
	return got
}

// took is for how long the job has had its slot, also when the next one has it already; zero if it never had one.
func (p *place) took() time.Duration {
	if !p.held {
		return 0
	}
	return time.Since(p.since)
}

// enter takes a slot if one is free, or the right to claim the job before one is. If neither can be had, it waits for a slot. False
// means that there was none, or that ctx has ended.
func (p *place) enter(ctx context.Context) bool {
	s := p.slots
	s.mu.Lock()
	if !p.hold(s.grab()) && s.early < s.aheadOf() {
		s.early++
		p.early = true
	}
	s.mu.Unlock()
	if !p.held && !p.early {
		p.hold(s.take(ctx))
	}
	return p.held || p.early
}

// begin waits for a slot if enter has not taken one. False is as with enter.
func (p *place) begin(ctx context.Context) bool {
	if p.held {
		return true
	}
	p.hold(p.slots.take(ctx))
	p.slots.mu.Lock()
	defer p.slots.mu.Unlock()
	p.leaveEarly()
	return p.held
}

// leaveEarly gives back the right to claim the job before a slot is free. The caller holds the lock.
func (p *place) leaveEarly() {
	if p.early {
		p.early = false
		p.slots.early--
	}
}

// release gives back what the place holds. Only the first call does something.
func (p *place) release() {
	if p.over {
		return
	}
	p.over = true
	s := p.slots
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fetched--
	p.leaveEarly()
	if p.held {
		s.running--
		s.released.Add(1)
		s.hand()
	}
	s.wake()
}
