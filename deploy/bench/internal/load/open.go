package load

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"time"
)

// Open calls do at a fixed rate, each call in a goroutine of its own, until the calls of that long are sent, and waits for all of
// them. A call's latency counts from the moment at which it was due, not from the moment at which it was sent, so that a
// generator or a server that falls behind cannot hide it. When calls fail, the error says how many and why the first did; when
// ctx ends, it is its cause.
func Open(ctx context.Context, perSecond int, lasting time.Duration, do func(context.Context) error) (Result, error) {
	if perSecond <= 0 {
		return Result{}, errors.New("an open load needs a rate")
	}
	var (
		wg     sync.WaitGroup
		mu     sync.Mutex
		result Result
		failed int
		first  error
	)
	start := time.Now()
	calls := int(lasting.Seconds() * float64(perSecond))
	for i := range calls {
		due := start.Add(time.Duration(i) * time.Second / time.Duration(perSecond))
		if err := Until(ctx, due); err != nil {
			wg.Wait()
			return Result{}, err
		}
		wg.Go(func() {
			err := do(ctx)
			took := time.Since(due)
			mu.Lock()
			defer mu.Unlock()
			if err == nil {
				result.Latencies = append(result.Latencies, took)
				return
			}
			failed++
			if first == nil {
				first = err
			}
		})
	}
	wg.Wait()
	result.Took = time.Since(start)
	if err := context.Cause(ctx); err != nil {
		return Result{}, err
	}
	if failed > 0 {
		return Result{}, fmt.Errorf("%d of %d calls failed, the first so: %w", failed, calls, first)
	}
	return result, nil
}

// Until returns at the given time, or with the cause of ctx's end.
func Until(ctx context.Context, at time.Time) error {
	wait := time.Until(at)
	if wait <= 0 {
		return context.Cause(ctx)
	}
	timer := time.NewTimer(wait)
	defer timer.Stop()
	select {
	case <-timer.C:
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}
