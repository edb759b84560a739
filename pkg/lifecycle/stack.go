package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"
)

// DefaultGrace is the time that closing a whole Stack may take, and that stopping one Service may take, where nothing else
// is said.
const DefaultGrace = 20 * time.Second

// lastCall is what each remaining closer still gets when the grace period is used up, with a context that has ended.
const lastCall = 250 * time.Millisecond

// Stack holds the closers of acquired resources. The zero Stack is empty and ready. It may be used by many goroutines and
// must not be copied after first use.
type Stack struct {
	// Grace is how long Close may take for all closers together; zero means DefaultGrace.
	Grace time.Duration

	mu      sync.Mutex
	closers []closer
	closing sync.Mutex
}

type closer struct {
	name  string
	close func(context.Context) error
}

// Push adds the closer of a resource that was just acquired. The name stands in the error when closing fails. The context
// that close gets ends with the grace period; a closer that ignores it is left behind then.
func (s *Stack) Push(name string, closeFunc func(context.Context) error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closers = append(s.closers, closer{name, closeFunc})
}

// PushCloser adds a resource that closes without a context.
func (s *Stack) PushCloser(name string, c io.Closer) {
	s.Push(name, func(context.Context) error { return c.Close() })
}

// PushFunc adds the closing function of a resource that cannot fail to close.
func (s *Stack) PushFunc(name string, closeFunc func()) {
	s.Push(name, func(context.Context) error {
		closeFunc()
		return nil
	})
}

// Close closes the resources in reverse order, each once, one after the other, all of them even if some fail, and joins
// their errors. The context lends its values only: that the program's context has ended is no reason not to close well. A
// second Close waits for the first and then closes what was pushed since, usually nothing.
func (s *Stack) Close(ctx context.Context) error {
	s.closing.Lock()
	defer s.closing.Unlock()
	grace := s.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), grace)
	defer cancel()
	var errs []error
	for c, ok := s.pop(); ok; c, ok = s.pop() {
		if err := c.closeWithin(ctx); err != nil {
			errs = append(errs, fmt.Errorf("close %s: %w", c.name, err))
		}
	}
	return errors.Join(errs...)
}

// CloseOnError closes everything if *err is an error, and joins what closing failed with. Defer it in a constructor that
// acquires several resources and names its error result.
func (s *Stack) CloseOnError(ctx context.Context, err *error) { //nolint:gocritic // the deferred call sees the error through it
	if *err != nil {
		*err = errors.Join(*err, s.Close(ctx))
	}
}

func (s *Stack) pop() (closer, bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if len(s.closers) == 0 {
		return closer{}, false
	}
	last := len(s.closers) - 1
	c := s.closers[last]
	s.closers[last] = closer{}
	s.closers = s.closers[:last]
	return c, true
}

// closeWithin calls the closer and waits for it until the grace period is over, at least for lastCall.
func (c closer) closeWithin(ctx context.Context) error {
	done := make(chan error, 1)
	go func() {
		done <- guard(func() error { return c.close(ctx) })
	}()
	select {
	case err := <-done:
		return err
	case <-ctx.Done():
	}
	timer := time.NewTimer(lastCall)
	defer timer.Stop()
	select {
	case err := <-done:
		return err
	case <-timer.C:
		return errors.New("not done when the grace period was over")
	}
}
