package lifecycle

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"os/signal"
	"syscall"
)

// ExitCoder is implemented by errors that ask for an exit code of their own.
type ExitCoder interface {
	error
	// ExitCode returns the code, from 1 to 125.
	ExitCode() int
}

// Main runs a program and returns its exit code, for main to pass to os.Exit:
//
//	func main() {
//		os.Exit(lifecycle.Main(context.Background(), os.Stderr, func(ctx context.Context) error {
//			return app.Run(ctx, os.Args[1:], config.Environ())
//		}))
//	}
//
// The first SIGINT or SIGTERM ends the context that run gets; its cause names the signal. From then on signals do what
// they do by default, so a second one ends the process at once.
//
// The code is 0 for nil, for flag.ErrHelp, and for the context's own error after a signal; what an ExitCoder in the error's
// chain says; and 1 for every other error. Errors are written to stderr.
func Main(ctx context.Context, stderr io.Writer, run func(context.Context) error) int {
	ctx, cancel := untilSignal(ctx)
	defer cancel()
	err := guard(func() error { return run(ctx) })
	if err == nil || errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if ctx.Err() != nil && (err == ctx.Err() || err == context.Cause(ctx)) { //nolint:errorlint // a wrapped one tells what was cut short
		return 0
	}
	fmt.Fprintln(stderr, err)
	if coder, ok := errors.AsType[ExitCoder](err); ok {
		return coder.ExitCode()
	}
	return 1
}

// untilSignal returns a context that ends with the first signal. Unlike signal.NotifyContext it gives signals their default
// effect back before the context ends, so that whoever sees it end can rely on a second signal ending the process.
func untilSignal(parent context.Context) (context.Context, func()) {
	ctx, end := context.WithCancelCause(parent)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM)
	go func() {
		select {
		case received := <-signals:
			signal.Stop(signals)
			end(fmt.Errorf("%v signal received", received))
		case <-ctx.Done():
			signal.Stop(signals)
		}
	}()
	return ctx, func() { end(nil) }
}
