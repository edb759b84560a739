package dispatch

import (
	"sync"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/ewma"
)

// crews knows the workers of each kind, from their beats, and how many jobs they could take, from what they tell of their jobs. It is
// safe for concurrent use.
type crews struct {
	mu    sync.Mutex
	kinds map[events.Kind]*crew
}

// crew are the workers of a kind.
type crew struct {
	workers map[string]*worker
	// ended is how many jobs end.
	ended ewma.Rate
}

type worker struct {
	slots, running int
	heard          time.Time
	last           *events.WorkerBeat
}

// ahead is for how long the broker and the workers hold jobs beyond the free slots, all together: about what passes between the end
// of a job and the arrival of the next one. It is what keeps workers busy whose jobs take no time.
const ahead = 25 * time.Millisecond

func newCrews() crews { return crews{kinds: map[events.Kind]*crew{}} }

func (c *crews) crew(k events.Kind) *crew {
	found, ok := c.kinds[k]
	if !ok {
		found = &crew{workers: map[string]*worker{}, ended: ewma.Rate{HalfLife: 250 * time.Millisecond, Every: ahead}}
		c.kinds[k] = found
	}
	return found
}

// beat takes in that a worker is alive.
func (c *crews) beat(b *events.WorkerBeat, now time.Time) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.crew(b.Kind)
	if b.Stopped {
		delete(of.workers, b.Worker)
		return
	}
	w := &worker{slots: b.Slots, running: b.Running, heard: now, last: b}
	if b.Draining {
		w.slots = 0
	}
	of.workers[b.Worker] = w
}

// flow takes in what a worker says of its jobs.
func (c *crews) flow(f *events.Flow) {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.crew(f.Kind)
	of.ended.Add(len(f.Ended))
	if w, ok := of.workers[f.Worker]; ok {
		w.running = max(0, w.running+len(f.Claimed)-len(f.Ended))
	}
}

// strength returns how many workers take jobs of a kind, how many they run at once all together, and how many more they could take.
func (c *crews) strength(k events.Kind, now time.Time) (workers, slots, free int) {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, w := range c.crew(k).workers {
		if w.slots > 0 && now.Sub(w.heard) <= events.BeatLost {
			workers, slots, free = workers+1, slots+w.slots, free+max(0, w.slots-w.running)
		}
	}
	return workers, slots, free
}

// room is how many jobs of a kind the broker should hold for the workers to be busy: one for each free slot, and what they will be
// through with before the next could come, less what they have claimed of that already.
func (c *crews) room(k events.Kind, now time.Time) int {
	c.mu.Lock()
	defer c.mu.Unlock()
	of := c.crew(k)
	free, early := 0, 0
	for name, w := range of.workers {
		if now.Sub(w.heard) > events.BeatLost {
			delete(of.workers, name)
			continue
		}
		free += max(0, w.slots-w.running)
		early += max(0, w.running-w.slots)
	}
	if len(of.workers) == 0 {
		return 0
	}
	return free + max(0, int(of.ended.PerSecond(now)*ahead.Seconds())-early)
}
