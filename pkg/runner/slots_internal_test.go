package runner

import (
	"context"
	"sync"
	"testing"
	"testing/synctest"
	"time"
)

// busy has jobs of no length go through the slots for a while, so that their rate is known.
func busy(t *testing.T, s *slots) {
	t.Helper()
	for range 100 {
		<-time.After(time.Millisecond)
		n, _ := s.reserve(t.Context())
		for range n {
			p := &place{slots: s}
			if !p.enter(t.Context()) || !p.begin(t.Context()) {
				t.Fatal("no slot for a job of no length")
			}
			p.release()
			p.release() // does nothing
		}
	}
}

func TestSlowJobsAreNotClaimedAhead(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(4)
		for range 20 {
			n, _ := s.reserve(t.Context())
			if n != 4 {
				t.Fatalf("%d places for 4 slots", n)
			}
			for range n {
				p := &place{slots: s}
				if !p.enter(t.Context()) || !p.held {
					t.Fatal("no slot was free")
				}
				time.AfterFunc(time.Second, p.release)
			}
			<-time.After(time.Second)
			synctest.Wait()
		}
	})
}

func TestQuickJobsAreClaimedAheadAndBeginInTurn(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(2)
		busy(t, s)
		n, _ := s.reserve(t.Context())
		if n != 4 {
			t.Fatalf("%d places, of 2 slots and as many ahead", n)
		}
		var places [4]*place
		for i := range places {
			places[i] = &place{slots: s}
			if !places[i].enter(t.Context()) || places[i].held != (i < 2) || places[i].early != (i >= 2) {
				t.Fatalf("place %d is %+v", i, places[i])
			}
		}
		if fifth := (&place{slots: s}); fifth.enter(t.Context()) {
			t.Error("a job too many got in")
		}
		var turns []int
		var mu sync.Mutex
		for i := 2; i < 4; i++ {
			go func() {
				places[i].begin(t.Context())
				mu.Lock()
				defer mu.Unlock()
				turns = append(turns, i)
			}()
			synctest.Wait()
		}
		if len(turns) > 0 {
			t.Fatal("more jobs run than there are slots")
		}
		for i := range 2 {
			places[i].release()
			synctest.Wait()
			if len(turns) != i+1 || turns[i] != i+2 {
				t.Fatalf("began in the order %v", turns)
			}
		}
		places[2].release()
		places[3].release()
		if s.running != 0 || s.early != 0 || s.fetched != 0 {
			t.Errorf("left are %d running, %d early, %d fetched", s.running, s.early, s.fetched)
		}
	})
}

func TestAJobDoesNotWaitLongForASlot(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := newSlots(1)
		busy(t, s)
		if n, _ := s.reserve(t.Context()); n != 2 {
			t.Fatalf("%d places", n)
		}
		long, early := &place{slots: s}, &place{slots: s}
		if !long.enter(t.Context()) || !early.enter(t.Context()) {
			t.Fatal("no place")
		}
		began := time.Now()
		if early.begin(t.Context()) || time.Since(began) != inHand {
			t.Errorf("it waited for %v", time.Since(began))
		}
		if long.took() != inHand || early.took() != 0 {
			t.Errorf("one had its slot for %v, the other, which never had one, for %v", long.took(), early.took())
		}
		gone, leave := context.WithCancel(t.Context())
		leave()
		if early.begin(gone) {
			t.Error("whoever has left got a slot")
		}
		early.release()
		// A bound that is raised lets the next one in.
		next := make(chan bool)
		go func() { next <- s.take(t.Context()) }()
		synctest.Wait()
		s.resize(2)
		if !<-next {
			t.Error("a new slot was given to nobody")
		}
	})
}
