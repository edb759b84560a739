package store

import (
	"context"
	"sync"
)

// gatherer lets callers that come at the same moment share one statement and one commit. There is no timer: what comes while a commit
// is under way waits for it and then goes together, so a single caller pays nothing and many pay little (group commit, after
// DeWitt et al., "Implementation techniques for main memory database systems").
type gatherer[In, Out any] struct {
	// most is how many go together, lanes how many commits may be under way at once.
	most, lanes int
	// do works off what was gathered, and answers in its order. The context is that of the first caller without its end.
	do func(context.Context, []In) []outcome[Out]

	mu      sync.Mutex
	waiting []*gathered[In, Out]
	busy    int
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

// run hands in what the caller wants done and waits for it. When ctx ends first, what was wanted may be done or not.
func (g *gatherer[In, Out]) run(ctx context.Context, in In) (Out, error) {
	call := &gathered[In, Out]{ctx, in, make(chan outcome[Out], 1)}
	g.mu.Lock()
	g.waiting = append(g.waiting, call)
	start := g.busy < g.lanes
	if start {
		g.busy++
	}
	g.mu.Unlock()
	if start {
		go g.drain() //nolint:contextcheck // it works for all callers, and none of them ends it
	}
	select {
	case o := <-call.done:
		return o.value, o.err
	case <-ctx.Done():
		var none Out
		return none, ctx.Err()
	}
}

// drain works until nothing waits.
func (g *gatherer[In, Out]) drain() {
	for {
		g.mu.Lock()
		n := min(len(g.waiting), g.most)
		if n == 0 {
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
		for i, o := range g.do(context.WithoutCancel(calls[0].ctx), in) {
			calls[i].done <- o
		}
	}
}
