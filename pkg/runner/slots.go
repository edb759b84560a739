package runner

import (
	"context"
	"sync"
)

// slots bound how many jobs run at once. The bound can change while they are in use.
type slots struct {
	mu          sync.Mutex
	limit, used int
	// freed wakes one who waits for a slot.
	freed chan struct{}
}

func newSlots(limit int) *slots { return &slots{limit: limit, freed: make(chan struct{}, 1)} }

// reserve waits for a free slot and takes it with all others that are free. False means that ctx has ended.
func (s *slots) reserve(ctx context.Context) (n int, ok bool) {
	for {
		s.mu.Lock()
		if n = s.limit - s.used; n > 0 {
			s.used += n
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

// release gives slots back.
func (s *slots) release(n int) {
	if n == 0 {
		return
	}
	s.mu.Lock()
	s.used -= n
	s.mu.Unlock()
	s.wake()
}

func (s *slots) resize(limit int) {
	s.mu.Lock()
	s.limit = max(1, limit)
	s.mu.Unlock()
	s.wake()
}

func (s *slots) size() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.limit
}

func (s *slots) wake() {
	select {
	case s.freed <- struct{}{}:
	default:
	}
}
