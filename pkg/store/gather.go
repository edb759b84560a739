package store

import (
	"context"
	"slices"
	"sync"
	"time"
)

// gatherer lets callers that come at the same moment share one statement and one commit. There is no timer: what comes while a commit
// is under way waits for it and then goes together, so a single caller pays nothing and many pay little (group commit, after
// DeWitt et al., "Implementation techniques for main memory database systems").
type gatherer[In, Out any] struct {
	// most is how many go together. The more do, the less each of them costs, so there is one commit at a time; but one that is late,
	// because it waits for a lock or for the disk, keeps nobody waiting. Lanes is how many may be under way then.
	most, lanes int
	// do works off what was gathered, and answers in its order. The context is that of the first caller without its end: do bounds
	// itself.
	do func(context.Context, []In) []outcome[Out]

	mu      sync.Mutex
	waiting []*gathered[In, Out]
	// busy is how many commits are under way, overdue how many of them are late.
	busy, overdue int
}

// outcome is what became of one of those that were gathered.
type outcome[Out any] struct {
	value Out
	err   error
}

type gathered[In, Out any] struct {
	ctx  context.Context //nolint:containedctx // the caller's, while it waits
	in   In
	done chan outcome[Out]
}

// run hands in what the caller wants done and waits for it. When ctx ends before it was begun, it is never done: its caller has told
// somebody else to do it by then. What was begun is waited for.
func (g *gatherer[In, Out]) run(ctx context.Context, in In) (Out, error) {
	call := &gathered[In, Out]{ctx, in, make(chan outcome[Out], 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, call)
	g.start()
	g.mu.Unlock()
	select {
	case o := <-call.done:
		return o.value, o.err
	case <-ctx.Done():
	}
	if g.withdraw(call) {
		var none Out
		return none, ctx.Err()
	}
	o := <-call.done
	return o.value, o.err
}

// withdraw takes a call back, unless it was begun.
func (g *gatherer[In, Out]) withdraw(call *gathered[In, Out]) bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	i := slices.Index(g.waiting, call)
	if i < 0 {
		return false
	}
	g.waiting = slices.Delete(g.waiting, i, i+1)
	return true
}

// late is after what time a commit keeps the others waiting no longer.
const late = 20 * time.Millisecond

// start begins to work if nobody does. The caller holds the lock.
func (g *gatherer[In, Out]) start() {
	if len(g.waiting) > 0 && g.busy == g.overdue && g.busy < g.lanes {
		g.busy++
		go g.drain()
	}
}

// drain works until nothing waits, or somebody else does who began when this one was late.
func (g *gatherer[In, Out]) drain() {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), g.most)
		if n == 0 || g.busy-g.overdue > 1 {
			g.busy--
			g.mu.Unlock()
			return
		}
		calls := g.waiting[:n:n]
		if g.waiting = g.waiting[n:]; len(g.waiting) == 0 {
			g.waiting = nil
		}
		g.mu.Unlock()
		in := make([]In, n)
		for i, c := range calls {
			in[i] = c.in
		}
		for i, o := range g.timely(context.WithoutCancel(calls[0].ctx), in) {
			calls[i].done <- o
		}
	}
}

// timely works off what was gathered, and has others begin with the rest when that takes long.
func (g *gatherer[In, Out]) timely(ctx context.Context, in []In) []outcome[Out] {
	tardy := time.AfterFunc(late, func() {
		g.mu.Lock()
		defer g.mu.Unlock()
		g.overdue++
		g.start()
	})
	defer func() {
		if !tardy.Stop() {
			g.mu.Lock()
			defer g.mu.Unlock()
			g.overdue--
		}
	}()
	return g.do(ctx, in)
}
