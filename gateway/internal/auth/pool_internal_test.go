package auth

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"

	"golang.org/x/crypto/bcrypt"

	"github.com/tarento/copilot/pkg/fault"
)

func TestPoolIsBoundedInPlacesAndQueue(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		p, err := NewPasswords(PasswordOptions{Cost: bcrypt.MinCost, Parallel: 1, Queue: 1})
		if err != nil {
			t.Fatal(err)
		}
		release := make(chan struct{})
		results := make(chan error, 2)
		go func() { results <- p.work(t.Context(), func() error { <-release; return nil }) }()
		synctest.Wait()

		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		defer cancel()
		start := time.Now()
		err = p.work(ctx, func() error { t.Error("ran beside the first"); return nil })
		if !errors.Is(err, context.DeadlineExceeded) || time.Since(start) != time.Minute {
			t.Errorf("waiting ended after %v with %v", time.Since(start), err)
		}

		go func() { results <- p.work(t.Context(), func() error { return nil }) }()
		synctest.Wait()
		err = p.work(t.Context(), func() error { t.Error("ran beyond the queue"); return nil })
		if f := fault.Of(err); f == nil || f.Code != "auth.busy" || f.RetryAfter < time.Second || f.RetryAfter%time.Second != 0 {
			t.Errorf("beyond the queue: %v", err)
		}

		close(release)
		for range 2 {
			if err := <-results; err != nil {
				t.Error(err)
			}
		}
		if p.waiting.Load() != 0 || len(p.places) != 0 {
			t.Errorf("%d waiting and %d working at the end", p.waiting.Load(), len(p.places))
		}
	})
}
