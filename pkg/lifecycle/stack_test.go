package lifecycle_test

import (
	"context"
	"errors"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarento/copilot/pkg/lifecycle"
)

type closerFunc func() error

func (f closerFunc) Close() error { return f() }

func TestStackClosesInReverseAndOnce(t *testing.T) {
	t.Parallel()
	var stack lifecycle.Stack
	var order []string
	stack.PushFunc("first", func() { order = append(order, "first") })
	stack.PushCloser("second", closerFunc(func() error { order = append(order, "second"); return nil }))
	stack.Push("third", func(context.Context) error { order = append(order, "third"); return nil })
	for range 2 {
		if err := stack.Close(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	if want := []string{"third", "second", "first"}; !slices.Equal(order, want) {
		t.Errorf("closed %v, want %v", order, want)
	}
	stack.PushFunc("late", func() { order = append(order, "late") })
	if err := stack.Close(t.Context()); err != nil || order[len(order)-1] != "late" {
		t.Errorf("what is pushed after Close is closed by the next one: %v, %v", order, err)
	}
}

func TestStackClosesAllAndJoinsErrors(t *testing.T) {
	t.Parallel()
	var stack lifecycle.Stack
	disk, wire := errors.New("disk"), errors.New("wire")
	closed := false
	stack.PushFunc("bottom", func() { closed = true })
	stack.Push("files", func(context.Context) error { return disk })
	stack.PushFunc("bad", func() { panic("boom") })
	stack.Push("connection", func(context.Context) error { return wire })
	err := stack.Close(t.Context())
	if !errors.Is(err, disk) || !errors.Is(err, wire) || !closed {
		t.Errorf("Close = %v, bottom closed: %v", err, closed)
	}
	for _, part := range []string{"close connection: wire", "close bad: panic: boom", "close files: disk"} {
		if !strings.Contains(err.Error(), part) {
			t.Errorf("%q is missing in %v", part, err)
		}
	}
}

func TestStackClosesWellAfterTheContextHasEnded(t *testing.T) {
	t.Parallel()
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	var stack lifecycle.Stack
	stack.Push("a", func(ctx context.Context) error { return ctx.Err() })
	if err := stack.Close(ctx); err != nil {
		t.Errorf("the closer got an ended context: %v", err)
	}
}

func TestStackLeavesHangingClosersBehind(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		defer close(release)
		stack := lifecycle.Stack{Grace: 5 * time.Second}
		closed := false
		stack.PushFunc("below", func() { closed = true })
		stack.PushFunc("stuck", func() { <-release })
		var waited error
		stack.Push("polite", func(ctx context.Context) error {
			select {
			case <-ctx.Done():
				waited = ctx.Err()
			case <-time.After(3 * time.Second):
			}
			return waited
		})
		start := time.Now()
		err := stack.Close(t.Context())
		if err == nil || err.Error() != "close stuck: not done when the grace period was over" {
			t.Errorf("Close = %v", err)
		}
		if took := time.Since(start); took < 5*time.Second || took > 6*time.Second {
			t.Errorf("took %v, want the grace period of 5s", took)
		}
		if !closed {
			t.Error("what lies below the stuck one was not closed")
		}
	})
}

func TestSecondCloseWaitsForTheFirst(t *testing.T) {
	t.Parallel()
	var stack lifecycle.Stack
	begun, release := make(chan struct{}), make(chan struct{})
	done := false
	stack.PushFunc("slow", func() {
		close(begun)
		<-release
		done = true
	})
	var both sync.WaitGroup
	for range 2 {
		both.Go(func() {
			if err := stack.Close(t.Context()); err != nil || !done {
				t.Errorf("Close returned %v, closed: %v", err, done)
			}
		})
	}
	<-begun
	close(release)
	both.Wait()
}

func TestHalfStartUnwinds(t *testing.T) {
	t.Parallel()
	broken := errors.New("no route")
	for name, fail := range map[string]error{"a failed start closes what it has": broken, "a good start keeps it": nil} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var stack lifecycle.Stack
			closed := false
			open := func() (err error) {
				defer stack.CloseOnError(t.Context(), &err)
				stack.Push("socket", func(context.Context) error { closed = true; return errors.New("already gone") })
				return fail
			}
			err := open()
			if closed != (fail != nil) || !errors.Is(err, fail) {
				t.Errorf("closed: %v, error: %v", closed, err)
			}
			if fail != nil && !strings.Contains(err.Error(), "close socket: already gone") {
				t.Errorf("the error of closing is missing in %v", err)
			}
		})
	}
}
