package launch

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
)

// interruptedError is the cause of a context that a signal ended.
type interruptedError struct{ signal syscall.Signal }

// Error names the signal.
func (e *interruptedError) Error() string { return fmt.Sprintf("stopped by %s", e.signal) }

// watchSignals returns a context that the first request to stop ends, with an *interruptedError as its cause, and one
// that the second ends: stop now, by force. release gives the signals back.
func watchSignals(parent context.Context) (polite, forced context.Context, release func()) {
	polite, stop := context.WithCancelCause(parent)
	forced, force := context.WithCancel(context.WithoutCancel(parent))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	released := make(chan struct{})
	go func() {
		for stops := 0; ; stops++ {
			select {
			case <-released:
				return
			case received := <-signals:
				number, ok := received.(syscall.Signal)
				if !ok {
					number = syscall.SIGTERM
				}
				if stops > 0 {
					force()
					continue
				}
				stop(&interruptedError{number})
			}
		}
	}()
	return polite, forced, func() {
		signal.Stop(signals)
		close(released)
		force()
		stop(nil)
	}
}
