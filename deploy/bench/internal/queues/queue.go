package queues

import (
	"context"
	"sync"
)

// Queue is a job system with a worker in this process, which does nothing for each job. It is safe for concurrent use.
type Queue interface {
	// Submit hands so many jobs in with as few calls as the system has for that, and returns their ids when they are durable.
	Submit(ctx context.Context, n int) (ids []string, err error)
	// AwaitStart returns when the worker has begun with a job. Each job can be waited for once.
	AwaitStart(ctx context.Context, id string) error
	// AwaitEnd returns when a job has ended and its end is durable. Each job can be waited for once.
	AwaitEnd(ctx context.Context, id string) error
	// Drain returns when all jobs that were submitted have ended, and their ends are durable.
	Drain(ctx context.Context) error
	// Close stops the worker and removes what the system left on shared servers.
	Close(ctx context.Context) error
}

// payload is what every job carries.
type payload struct {
	Text string `json:"text"`
}

// work is the payload of all jobs.
func work() payload { return payload{Text: "The quick brown fox jumps over the lazy dog."} }

// tally knows which jobs have begun and ended. The zero tally is ready.
type tally struct {
	mu        sync.Mutex
	begun     doors
	ended     doors
	submitted int
	over      int           // how many have ended
	drained   chan struct{} // closed when nothing is open; nil when nobody waits for that
}

// doors are opened as jobs get somewhere. There is one for each job that is waited for, or that got there before somebody came to wait.
type doors map[string]chan struct{}

// of returns a job's door.
func (d *doors) of(id string) chan struct{} {
	if *d == nil {
		*d = doors{}
	}
	door, known := (*d)[id]
	if !known {
		door = make(chan struct{})
		(*d)[id] = door
	}
	return door
}

// open reports whether the door was closed before.
func (d *doors) open(id string) bool {
	door := d.of(id)
	select {
	case <-door:
		return false
	default:
		close(door)
		return true
	}
}

// expect counts jobs before they are handed in, so that none ends uncounted.
func (t *tally) expect(n int) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.submitted += n
}

// begin tells of a job that runs.
func (t *tally) begin(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.begun.open(id) // again, when it runs again
}

// end tells of a job that has ended.
func (t *tally) end(id string) {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.ended.open(id) { // that no system ends a job twice is tested elsewhere
		t.over++
	}
	if t.over >= t.submitted && t.drained != nil {
		close(t.drained)
		t.drained = nil
	}
}

// AwaitStart implements Queue.
func (t *tally) AwaitStart(ctx context.Context, id string) error { return t.await(ctx, &t.begun, id) }

// AwaitEnd implements Queue.
func (t *tally) AwaitEnd(ctx context.Context, id string) error { return t.await(ctx, &t.ended, id) }

func (t *tally) await(ctx context.Context, d *doors, id string) error {
	t.mu.Lock()
	door := d.of(id)
	t.mu.Unlock()
	select {
	case <-door:
	case <-ctx.Done():
		return context.Cause(ctx)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(*d, id)
	return nil
}

// reach returns when so many jobs have ended in all. It is for jobs that somebody else submits.
func (t *tally) reach(ctx context.Context, n int) error {
	t.mu.Lock()
	t.submitted = n
	t.mu.Unlock()
	return t.Drain(ctx)
}

// Drain implements Queue. It also forgets the jobs that nobody waited for.
func (t *tally) Drain(ctx context.Context) error {
	t.mu.Lock()
	if t.over < t.submitted && t.drained == nil {
		t.drained = make(chan struct{})
	}
	drained := t.drained
	t.mu.Unlock()
	if drained != nil {
		select {
		case <-drained:
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	clear(t.begun)
	clear(t.ended)
	return nil
}
