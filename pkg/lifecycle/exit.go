package lifecycle

import (
	"context"
	"errors"
	"net/http"
	"sync/atomic"
	"time"
)

// Exit is how a server leaves the load balancer before it without losing a request. A server that just closed its listener would
// meet requests that the balancer has sent on the way, because it had not heard yet. So the server first says that it is not ready
// (Check), goes on answering for as long as the balancer takes to notice (Service), and asks with each answer that the connection be
// given up (Handler). When it stops at last, nobody is about to send anything.
//
// The zero value is ready to use, and safe for concurrent use.
type Exit struct{ begun atomic.Bool }

// Service returns the service that begins the exit when it is stopped, and returns after the pause: balancers must have asked for
// the readiness by then. It goes last in the list of [Run], after the servers.
func (e *Exit) Service(pause time.Duration) Service {
	return Service{
		Name:  "exit",
		Grace: pause + DefaultGrace,
		Run: func(ctx context.Context) error {
			<-ctx.Done()
			e.begun.Store(true)
			<-time.After(pause)
			return ctx.Err()
		},
	}
}

// Check is a check of readiness: an error once the exit has begun.
func (e *Exit) Check(context.Context) error {
	if e.begun.Load() {
		return errors.New("lifecycle: the program is about to end")
	}
	return nil
}

// Handler serves like next. Once the exit has begun, each answer closes its connection, so that no client is left with one that
// would be cut under its next request.
func (e *Exit) Handler(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if e.begun.Load() {
			w.Header().Set("Connection", "close")
		}
		next.ServeHTTP(w, r)
	})
}
