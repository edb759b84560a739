package embedding

import (
	"context"
	"fmt"
	"runtime/debug"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/workers/internal/gemini"
)

// Embedder is what the package needs of a model provider: one call for at most MaxBatch texts.
type Embedder interface {
	Embed(ctx context.Context, model string, texts []string, task string, dimension int) ([][]float32, gemini.Usage, error)
}

// MaxBatch is how many texts one call to the model takes.
const MaxBatch = 100

// callTimeout bounds one call to the model.
const callTimeout = 60 * time.Second

// Batcher gathers the texts of concurrent callers into full calls. There is no timer: a call takes whatever waits when a slot is
// free, so a lone text goes at once and a crowd fills the batches. It is safe for concurrent use.
type Batcher struct {
	model     Embedder
	name      string
	dimension int
	slots     chan struct{}

	mu    sync.Mutex
	queue []*text
}

// text waits in the queue for its vector.
type text struct {
	owner  *order
	value  string
	vector []float32
}

// order is one caller's texts. Its fields are guarded by the Batcher's mutex.
type order struct {
	ctx     context.Context //nolint:containedctx // it tells whether anybody still waits for the order
	task    string
	open    int
	err     error
	settled chan struct{}
}

// NewBatcher returns a batcher for one model. Parallel is how many calls may be under way at once.
func NewBatcher(model Embedder, name string, dimension, parallel int) *Batcher {
	return &Batcher{model: model, name: name, dimension: dimension, slots: make(chan struct{}, max(1, parallel))}
}

// Embed returns one vector per text, in order. Texts of several callers may share a call, but a text that the model refuses fails
// only its own caller. The usage is an estimate of the caller's share: four bytes a token.
func (b *Batcher) Embed(ctx context.Context, texts []string, task string) ([][]float32, gemini.Usage, error) {
	if len(texts) == 0 {
		return nil, gemini.Usage{}, nil
	}
	o := &order{ctx: ctx, task: task, open: len(texts), settled: make(chan struct{})}
	mine := make([]*text, len(texts))
	var usage gemini.Usage
	for i, value := range texts {
		mine[i] = &text{owner: o, value: value}
		usage.InputTokens += (len(value) + 3) / 4
	}
	b.mu.Lock()
	b.queue = append(b.queue, mine...)
	b.mu.Unlock()

	// Whoever waits also works: it starts calls, also for others, as long as texts of its own are in the queue. It does not make
	// them itself, so that it can leave at once when its job is cancelled.
	for {
		var free chan struct{}
		if b.queued(o) {
			free = b.slots
		}
		select {
		case <-ctx.Done():
			return nil, gemini.Usage{}, ctx.Err()
		case <-o.settled:
			if o.err != nil {
				return nil, gemini.Usage{}, o.err
			}
			vectors := make([][]float32, len(mine))
			for i, t := range mine {
				vectors[i] = t.vector
			}
			return vectors, usage, nil
		case free <- struct{}{}:
			batch := b.next()
			go func() {
				defer func() { <-b.slots }()
				b.work(ctx, batch)
			}()
		}
	}
}

func (b *Batcher) queued(o *order) bool {
	b.mu.Lock()
	defer b.mu.Unlock()
	for _, t := range b.queue {
		if t.owner == o {
			return true
		}
	}
	return false
}

// work makes one call with a batch. The call is everybody's whose texts are in it, so it does not end with the one who started
// it, but when nobody waits for it any more.
func (b *Batcher) work(ctx context.Context, batch []*text) {
	if len(batch) == 0 {
		return
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	unwatch := whenAllLeft(byOwner(batch), cancel)
	defer unwatch()
	b.call(ctx, batch)
}

// whenAllLeft calls leave when the last owner no longer waits, unless the returned function was called before.
func whenAllLeft(owners [][]*text, leave func()) (stop func()) {
	var waiting atomic.Int64
	waiting.Store(int64(len(owners)))
	stops := make([]func() bool, len(owners))
	for i, texts := range owners {
		stops[i] = context.AfterFunc(texts[0].owner.ctx, func() {
			if waiting.Add(-1) == 0 {
				leave()
			}
		})
	}
	return func() {
		for _, stop := range stops {
			stop()
		}
	}
}

// next takes up to MaxBatch texts of the same task from the queue, skipping those that nobody waits for.
func (b *Batcher) next() []*text {
	b.mu.Lock()
	defer b.mu.Unlock()
	var batch, rest []*text
	for _, t := range b.queue {
		switch {
		case t.owner.ctx.Err() != nil || t.owner.err != nil:
		case len(batch) < MaxBatch && (len(batch) == 0 || batch[0].owner.task == t.owner.task):
			batch = append(batch, t)
		default:
			rest = append(rest, t)
		}
	}
	b.queue = rest
	return batch
}

func (b *Batcher) call(ctx context.Context, batch []*text) {
	values := make([]string, len(batch))
	for i, t := range batch {
		values[i] = t.value
	}
	vectors, err := b.embed(ctx, values, batch[0].owner.task)
	if err == nil && len(vectors) != len(batch) {
		err = fault.Wrap(fmt.Errorf("%d vectors for %d texts", len(vectors), len(batch)), fault.Upstream,
			"provider.short_answer", "The embedding model answered incompletely.")
	}
	if err != nil && !fault.Of(err).Kind.Retryable() {
		if parts := byOwner(batch); len(parts) > 1 {
			for _, part := range parts {
				b.call(ctx, part)
			}
			return
		}
	}
	b.mu.Lock()
	defer b.mu.Unlock()
	for i, t := range batch {
		if err != nil {
			t.owner.fail(err)
			continue
		}
		t.vector = vectors[i]
		t.owner.open--
		if t.owner.open == 0 && t.owner.err == nil {
			close(t.owner.settled)
		}
	}
}

// embed calls the model. Its goroutine is nobody's, so a panic would end the process: it is an error of those who wait.
func (b *Batcher) embed(ctx context.Context, values []string, task string) (vectors [][]float32, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fault.Wrap(fmt.Errorf("panic: %v\n%s", p, debug.Stack()), fault.Internal, "worker.panic",
				"The worker failed on these texts.")
		}
	}()
	vectors, _, err = b.model.Embed(ctx, b.name, values, task, b.dimension)
	return vectors, err
}

func (o *order) fail(err error) {
	if o.err == nil {
		o.err = err
		close(o.settled)
	}
}

func byOwner(batch []*text) [][]*text {
	var parts [][]*text
	at := map[*order]int{}
	for _, t := range batch {
		i, known := at[t.owner]
		if !known {
			i = len(parts)
			at[t.owner] = i
			parts = append(parts, nil)
		}
		parts[i] = append(parts[i], t)
	}
	return parts
}
