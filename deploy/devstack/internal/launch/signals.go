package launch

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"
	"time"
)

// interruptedError is the cause of a context that a signal ended.
type interruptedError struct{ signal syscall.Signal }

// Error names the signal.
func (e *interruptedError) Error() string { return fmt.Sprintf("stopped by %s", e.signal) }

// echo is the time within which a second signal is the first one again: a supervisor may signal both the process and its
// group, and so may a terminal and make.
const echo = 300 * time.Millisecond

// watchSignals returns a context that the first request to stop ends, with an *interruptedError as its cause, and one
// that the second ends: stop now, by force. release gives the signals back.
func watchSignals(parent context.Context) (polite, forced context.Context, release func()) {
	polite, stop := context.WithCancelCause(parent)
	forced, force := context.WithCancel(context.WithoutCancel(parent))
	signals := make(chan os.Signal, 2)
	signal.Notify(signals, syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP)
	released := make(chan struct{})
	go func() {
		var first time.Time
		for {
			select {
			case <-released:
				return
			case received := <-signals:
				switch number, ok := received.(syscall.Signal); {
				case first.IsZero() && ok:
					first = time.Now()
					stop(&interruptedError{number})
				case time.Since(first) > echo:
					force()
				}
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
