package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"slices"
	"time"
)

// ErrEnded is the failure of a service that returned nil although nobody had asked it to stop.
var ErrEnded = errors.New("ended without being asked to")

// Service is something that runs for as long as the program does.
type Service struct {
	// Name stands in errors.
	Name string
	// Run works until its context ends and then returns, finishing in good order what it has begun. It may return nil or
	// the context's error then. Returning earlier, with an error or without one, is a failure that stops all services.
	Run func(context.Context) error
	// Grace is how long Run may take to return after its context has ended; zero means DefaultGrace.
	Grace time.Duration
}

// PanicError is what a panic in a service or a closer becomes, so that the others still stop in good order.
type PanicError struct {
	// Value is what was panicked with.
	Value any
	// Stack is the stack of the goroutine that panicked.
	Stack []byte
}

// Error gives the value and the stack.
func (e *PanicError) Error() string { return fmt.Sprintf("panic: %v\n%s", e.Value, e.Stack) }

// Unwrap returns the value where it is an error.
func (e *PanicError) Unwrap() error {
	err, _ := e.Value.(error)
	return err
}

// guard calls f and turns a panic into an error.
func guard(f func() error) (err error) {
	defer func() {
		if value := recover(); value != nil {
			err = &PanicError{Value: value, Stack: debug.Stack()}
		}
	}()
	return f()
}

// running is a service that was started.
type running struct {
	Service
	stop   context.CancelCauseFunc
	done   chan struct{}
	result error // valid after done
}

// Run starts the services, all at once, and returns when all have returned. They run until ctx ends or the first of them
// fails. Then they are stopped one after the other, the last in the list first, each with the cause: context.Cause of its
// context is that of ctx, or the failure. A service that does not return within its grace is named in the error and left.
//
// Run returns nil when ctx ended and every service stopped well, otherwise the first failure, joined with those of stopping.
func Run(ctx context.Context, services ...Service) error {
	failed := make(chan error, len(services))
	started := make([]*running, 0, len(services))
	defer func() {
		for _, r := range started {
			r.stop(nil)
		}
	}()
	for _, service := range services {
		// Not a child of ctx, because then all would be stopped at once and in no order.
		own, stop := context.WithCancelCause(context.WithoutCancel(ctx))
		r := &running{Service: service, stop: stop, done: make(chan struct{})}
		started = append(started, r)
		go r.run(own, failed)
	}
	var failure, cause error
	select {
	case failure = <-failed:
		cause = failure
	case <-ctx.Done():
		cause = context.Cause(ctx)
	}
	errs := []error{failure}
	for _, r := range slices.Backward(started) {
		if err := r.stopped(cause); err != nil && !errors.Is(failure, err) {
			errs = append(errs, err)
		}
	}
	return errors.Join(errs...)
}

// run calls the service and reports how it ended; before it was asked to, that is a failure whatever it returned.
func (r *running) run(ctx context.Context, failed chan<- error) {
	defer close(r.done)
	err := guard(func() error { return r.Run(ctx) })
	asked := ctx.Err() != nil
	switch {
	case asked && (err == nil || errors.Is(err, context.Canceled) || errors.Is(err, context.Cause(ctx))):
		return
	case err == nil:
		err = ErrEnded
	}
	r.result = fmt.Errorf("%s: %w", r.Name, err)
	if !asked {
		failed <- r.result
	}
}

// stopped asks the service to stop, waits for it, and returns how it failed.
func (r *running) stopped(cause error) error {
	r.stop(cause)
	grace := r.Grace
	if grace == 0 {
		grace = DefaultGrace
	}
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-r.done:
		return r.result
	case <-timer.C:
		return fmt.Errorf("%s: did not stop within %v", r.Name, grace)
	}
}
