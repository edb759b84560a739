package dispatch

import (
	"cmp"
	"slices"
	"time"

	"github.com/tarento/copilot/events"
)

// Worker is a process that takes jobs of a kind. One that takes several kinds is there once for each.
type Worker struct {
	Name    string
	Kind    events.Kind
	Version string
	// Slots is how many jobs it runs at once, Running how many it runs now.
	Slots, Running int
	// Jobs are the ids of those that run, at most events.BeatJobs of them.
	Jobs             []string
	Draining         bool
	StartedAt, Heard time.Time
}

// Workers returns the workers that are alive, by name and kind. Every gateway knows them, whether it leads or not; one that has just
// started may not have heard of all.
func (d *Dispatcher) Workers() []Worker { return d.crews.list(time.Now()) }

func (c *crews) list(now time.Time) []Worker {
	c.mu.Lock()
	defer c.mu.Unlock()
	var list []Worker
	for _, of := range c.kinds {
		for _, w := range of.workers {
			if now.Sub(w.heard) <= events.BeatLost {
				list = append(list, Worker{
					Name: w.last.Worker, Kind: w.last.Kind, Version: w.last.Version, Slots: w.last.Slots, Running: w.running,
					Jobs: w.last.Jobs, Draining: w.last.Draining, StartedAt: w.last.StartedAt, Heard: w.heard,
				})
			}
		}
	}
	slices.SortFunc(list, func(a, b Worker) int { return cmp.Or(cmp.Compare(a.Name, b.Name), cmp.Compare(a.Kind, b.Kind)) })
	return list
}
