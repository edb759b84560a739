package runner

import (
	"context"
	"sync"
	"sync/atomic"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
)

// report tells the dispatcher what becomes of the jobs that this runner was handed, and everybody that it is alive. What happens while a
// message is being sent goes together into the next one.
type report struct {
	bus      *bus.Bus
	standing func() (slots int, running []uuid.UUID)
	beat     events.WorkerBeat
	draining atomic.Bool

	mu    sync.Mutex
	flow  events.Flow
	ready chan struct{} // there is something to tell
	call  chan struct{} // the dispatcher wants to hear who is there
}

func newReport(b *bus.Bus, cfg Config, kind events.Kind, standing func() (int, []uuid.UUID)) *report {
	return &report{
		bus: b, standing: standing, ready: make(chan struct{}, 1), call: make(chan struct{}, 1),
		beat: events.WorkerBeat{Worker: cfg.Worker, Kind: kind, Version: cfg.Version, StartedAt: events.Time(time.Now())},
		flow: events.Flow{Worker: cfg.Worker, Kind: kind},
	}
}

// run tells until ctx ends, and then that the worker is gone.
func (r *report) run(ctx context.Context) {
	tick := time.NewTicker(events.BeatEvery)
	defer tick.Stop()
	r.publishBeat(false)
	for {
		select {
		case <-ctx.Done():
			r.publishFlow()
			r.publishBeat(true)
			return
		case <-r.ready:
			r.publishFlow()
		case <-tick.C:
			r.publishBeat(false)
		case <-r.call:
			r.publishBeat(false)
		}
	}
}

func (r *report) claimed(id uuid.UUID) {
	r.tell(func(f *events.Flow) { f.Claimed = append(f.Claimed, id.String()) })
}

func (r *report) missed(id uuid.UUID) {
	r.tell(func(f *events.Flow) { f.Missed = append(f.Missed, id.String()) })
}

func (r *report) ended(id uuid.UUID, took time.Duration, outcome events.Outcome) {
	r.tell(func(f *events.Flow) {
		f.Ended = append(f.Ended, events.Ended{
			JobID: id.String(), DurationMS: float64(took.Microseconds()) / 1000, Outcome: outcome,
		})
	})
}

func (r *report) tell(add func(*events.Flow)) {
	r.mu.Lock()
	add(&r.flow)
	r.mu.Unlock()
	signal(r.ready)
}

func (r *report) publishFlow() {
	r.mu.Lock()
	told := r.flow
	r.flow.Claimed, r.flow.Missed, r.flow.Ended = nil, nil, nil
	r.mu.Unlock()
	if len(told.Claimed)+len(told.Missed)+len(told.Ended) > 0 {
		r.bus.PublishFlow(told)
	}
}

func (r *report) publishBeat(stopped bool) {
	beat := r.beat
	slots, running := r.standing()
	beat.Slots, beat.Running = slots, len(running)
	for _, id := range running[:min(len(running), events.BeatJobs)] {
		beat.Jobs = append(beat.Jobs, id.String())
	}
	beat.Draining, beat.Stopped = r.draining.Load(), stopped
	r.bus.PublishBeat(beat)
}

// wake has the next beat sent at once.
func (r *report) wake() { signal(r.call) }

// drain tells that the worker takes nothing more.
func (r *report) drain() {
	r.draining.Store(true)
	r.wake()
}

func signal(c chan struct{}) {
	select {
	case c <- struct{}{}:
	default:
	}
}
