package load_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/load"
)

func TestOpenSendsAtItsRateWhateverTheServerDoes(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var (
			mu   sync.Mutex
			sent []time.Duration
		)
		start := time.Now()
		result, err := load.Open(t.Context(), 10, 500*time.Millisecond, func(context.Context) error {
			mu.Lock()
			sent = append(sent, time.Since(start))
			mu.Unlock()
			<-time.After(3 * time.Second)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		want := []time.Duration{0, 100 * time.Millisecond, 200 * time.Millisecond, 300 * time.Millisecond, 400 * time.Millisecond}
		if !slices.Equal(sent, want) {
			t.Errorf("sent at %v, want %v", sent, want)
		}
		if len(result.Latencies) != 5 || slices.Max(result.Latencies) != 3*time.Second || slices.Min(result.Latencies) != 3*time.Second {
			t.Errorf("latencies %v, want 3s five times", result.Latencies)
		}
		if result.Took != 3400*time.Millisecond {
			t.Errorf("took %s, want 3.4s", result.Took)
		}
	})
}

func TestOpenCountsTheFailuresAndTellsTheFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		var calls atomic.Int64
		_, err := load.Open(t.Context(), 10, time.Second, func(context.Context) error {
			if n := calls.Add(1); n > 7 {
				return errors.New("no room")
			}
			return nil
		})
		if err == nil || !strings.Contains(err.Error(), "3 of 10 calls failed") || !strings.Contains(err.Error(), "no room") {
			t.Errorf("got %v, want that 3 of 10 calls failed", err)
		}
	})
}

func TestOpenEndsWithItsContext(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		reason := errors.New("enough")
		ctx, cancel := context.WithCancelCause(t.Context())
		time.AfterFunc(time.Second, func() { cancel(reason) })
		start := time.Now()
		_, err := load.Open(ctx, 1, time.Hour, func(ctx context.Context) error {
			<-ctx.Done()
			return ctx.Err()
		})
		if !errors.Is(err, reason) || time.Since(start) != time.Second {
			t.Errorf("got %v after %s, want %v after 1s", err, time.Since(start), reason)
		}
	})
}

func TestOpenNeedsARate(t *testing.T) {
	t.Parallel()
	if _, err := load.Open(t.Context(), 0, time.Second, nil); err == nil {
		t.Error("a load without a rate was accepted")
	}
}
