package ports

import (
	"context"
	"errors"
	"fmt"
	"net"
	"strconv"
	"syscall"
)

// Host is the only address the launcher listens on.
const Host = "127.0.0.1"

// Want is a port that a part of the system is going to listen on.
type Want struct {
	// Number is the port.
	Number int
	// For says who needs it.
	For string
	// Change says how to choose another one.
	Change string
}

// TakenError says that a wanted port cannot be had.
type TakenError struct {
	Want
	// Err is what the operating system answered.
	Err error
}

// Error names the port, who needs it and how to change it.
func (e *TakenError) Error() string {
	if errors.Is(e.Err, syscall.EADDRINUSE) {
		return fmt.Sprintf("port %d is taken by another program: %s needs it; choose another with %s", e.Number, e.For, e.Change)
	}
	return fmt.Sprintf("port %d cannot be used (%v): %s needs it; choose another with %s", e.Number, e.Err, e.For, e.Change)
}

// Unwrap returns the operating system's answer.
func (e *TakenError) Unwrap() error { return e.Err }

// Addr returns host:port on the loopback interface.
func Addr(port int) string { return net.JoinHostPort(Host, strconv.Itoa(port)) }

// Check reports every wanted port that is taken, or wanted twice, as one joined error of *TakenError; nil when all are
// free at this moment.
func Check(ctx context.Context, wants []Want) error {
	var problems []error
	owners := make(map[int]string, len(wants))
	for _, want := range wants {
		if owner, twice := owners[want.Number]; twice {
			problems = append(problems, &TakenError{Want: want, Err: fmt.Errorf("it is already meant for %s", owner)})
			continue
		}
		owners[want.Number] = want.For
		listener, err := listen(ctx, want.Number)
		if err != nil {
			problems = append(problems, &TakenError{Want: want, Err: err})
			continue
		}
		if err := listener.Close(); err != nil {
			problems = append(problems, fmt.Errorf("release port %d: %w", want.Number, err))
		}
	}
	return errors.Join(problems...)
}

// Free returns n different ports that are free at this moment. They are all held until the last one is found, so none
// is given twice.
func Free(ctx context.Context, n int) ([]int, error) {
	found := make([]int, 0, n)
	held := make([]net.Listener, 0, n)
	defer func() {
		for _, listener := range held {
			_ = listener.Close()
		}
	}()
	for range n {
		listener, err := listen(ctx, 0)
		if err != nil {
			return nil, fmt.Errorf("find a free port: %w", err)
		}
		held = append(held, listener)
		address, ok := listener.Addr().(*net.TCPAddr)
		if !ok {
			return nil, fmt.Errorf("find a free port: unexpected address %v", listener.Addr())
		}
		found = append(found, address.Port)
	}
	return found, nil
}

func listen(ctx context.Context, port int) (net.Listener, error) {
	var config net.ListenConfig
	return config.Listen(ctx, "tcp", Addr(port))
}
