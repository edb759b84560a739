package app

import (
	"context"
	"testing"
	"testing/synctest"
)

func TestNoKindTakesJobsWhileAnotherOneEndsItsLast(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		stopped, last := make(chan struct{}), make(chan struct{})
		takes := func(ctx context.Context) error {
			<-ctx.Done()
			close(stopped)
			return nil
		}
		ends := func(ctx context.Context) error {
			<-ctx.Done()
			<-last
			return nil
		}
		ctx, stop := context.WithCancel(t.Context())
		done := make(chan error, 1)
		go func() { done <- together([]func(context.Context) error{takes, ends})(ctx) }()
		synctest.Wait()
		stop()
		<-stopped // or this test hangs
		close(last)
		if err := <-done; err != nil {
			t.Error(err)
		}
	})
}
