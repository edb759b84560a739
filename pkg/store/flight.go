package store

import (
	"context"
	"sync"
	"time"
)

// flight lets callers that read the same thing at the same moment share one read. Whoever comes while a read is under way does not
// get what that one returns, which may be older than his question, but waits for the next: what he gets is as fresh as if he had
// read himself. Who comes alone reads himself, at no cost.
type flight[K comparable, V any] struct {
	// read is called by one goroutine at a time for each key. Its context is that of one of those who wait, without its end.
	read func(context.Context, K) (V, error)

	mu sync.Mutex
	// waiting are those who go with the next read of a key, which is there while one is under way.
	waiting map[K][]*passenger[V]
}

// passenger waits for the next read.
type passenger[V any] struct {
	ctx  context.Context //nolint:containedctx // the caller's, while it waits
	done chan outcome[V]
}

// get reads, or waits for a read that begins after the call. All who share a read get the same value, which nobody may change.
func (f *flight[K, V]) get(ctx context.Context, key K) (V, error) {
	f.mu.Lock()
	if others, flying := f.waiting[key]; flying {
		p := &passenger[V]{ctx, make(chan outcome[V], 1)}
		f.waiting[key] = append(others, p)
		f.mu.Unlock()
		select {
		case o := <-p.done:
			return o.value, o.err
		case <-ctx.Done():
			var none V
			return none, ctx.Err()
		}
	}
	if f.waiting == nil {
		f.waiting = make(map[K][]*passenger[V])
	}
	f.waiting[key] = nil
	f.mu.Unlock()
	defer f.landed(key)
	return f.read(ctx, key)
}

// landed has those who came meanwhile go, if there are any.
func (f *flight[K, V]) landed(key K) {
	if next := f.board(key); len(next) > 0 {
		go f.fly(key, next)
	}
}

// fly reads for passengers until nobody waits.
func (f *flight[K, V]) fly(key K, all []*passenger[V]) {
	for ; len(all) > 0; all = f.board(key) {
		ctx, cancel := context.WithTimeout(context.WithoutCancel(all[0].ctx), flightTimeout)
		value, err := f.read(ctx, key)
		cancel()
		for _, p := range all {
			p.done <- outcome[V]{value, err}
		}
	}
}

// flightTimeout bounds a read that several callers share.
const flightTimeout = 10 * time.Second

// board takes all who wait for a key. When nobody does, no read is under way any more.
func (f *flight[K, V]) board(key K) []*passenger[V] {
	f.mu.Lock()
	defer f.mu.Unlock()
	all := f.waiting[key]
	if len(all) == 0 {
		delete(f.waiting, key)
		return nil
	}
	f.waiting[key] = nil
	return all
}
