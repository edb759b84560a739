package chaos

import (
	"context"
	"errors"
	"fmt"
	"net"
	"sync"
	"time"
)

// link carries the connections of one process to one other, and can be hurt. Make it with openLink; it must be closed.
type link struct {
	listener net.Listener
	target   string

	mu      sync.Mutex
	cut     bool
	stalled bool
	delay   time.Duration
	changed chan struct{}
	open    map[net.Conn]struct{}
	closed  bool
	work    sync.WaitGroup
}

// openLink listens on a free port for connections to the target.
func openLink(ctx context.Context, target string) (*link, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("open a link to %s: %w", target, err)
	}
	l := &link{listener: listener, target: target, changed: make(chan struct{}), open: map[net.Conn]struct{}{}}
	l.work.Go(func() { l.accept(ctx) })
	return l, nil
}

func (l *link) address() string { return l.listener.Addr().String() }

// sever breaks all connections and refuses new ones until heal.
func (l *link) sever() {
	l.set(func() { l.cut = true })
	l.reset()
}

// reset breaks all connections; new ones are welcome.
func (l *link) reset() {
	l.mu.Lock()
	defer l.mu.Unlock()
	for conn := range l.open {
		abort(conn)
	}
}

// stall holds every byte back until heal. Nobody is told.
func (l *link) stall() { l.set(func() { l.stalled = true }) }

// slow holds every piece back for so long until heal.
func (l *link) slow(by time.Duration) { l.set(func() { l.delay = by }) }

// heal ends everything that hurts. What was held back arrives.
func (l *link) heal() { l.set(func() { l.cut, l.stalled, l.delay = false, false, 0 }) }

func (l *link) set(change func()) {
	l.mu.Lock()
	defer l.mu.Unlock()
	change()
	close(l.changed)
	l.changed = make(chan struct{})
}

// close ends the link with all that it carries.
func (l *link) close() {
	_ = l.listener.Close()
	l.set(func() { l.closed = true })
	l.reset()
	l.work.Wait()
}

func (l *link) accept(ctx context.Context) {
	for {
		near, err := l.listener.Accept()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			pause(ctx, time.Millisecond) // out of file descriptors, perhaps
			continue
		}
		if !l.keep(near) {
			abort(near)
			continue
		}
		l.work.Go(func() { l.carry(ctx, near) })
	}
}

// keep notes a connection; false means that it must not live.
func (l *link) keep(conn net.Conn) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.cut || l.closed {
		return false
	}
	l.open[conn] = struct{}{}
	return true
}

func (l *link) forget(conn net.Conn) {
	l.mu.Lock()
	delete(l.open, conn)
	l.mu.Unlock()
	_ = conn.Close()
}

// abort closes a connection without a polite word, as a network that is gone does.
func abort(conn net.Conn) {
	if tcp, ok := conn.(*net.TCPConn); ok {
		_ = tcp.SetLinger(0)
	}
	_ = conn.Close()
}

// carry passes bytes both ways until one side ends.
func (l *link) carry(ctx context.Context, near net.Conn) {
	defer l.forget(near)
	if !l.pass() {
		return
	}
	far, err := (&net.Dialer{Timeout: 5 * time.Second}).DialContext(ctx, "tcp", l.target)
	if err != nil {
		abort(near)
		return
	}
	defer l.forget(far)
	if !l.keep(far) {
		abort(near)
		return
	}
	back := make(chan struct{})
	l.work.Go(func() {
		defer close(back)
		l.pump(near, far)
		_ = near.Close()
	})
	l.pump(far, near)
	_ = far.Close()
	<-back
}

func (l *link) pump(to, from net.Conn) {
	buffer := make([]byte, 32<<10)
	for {
		n, err := from.Read(buffer)
		if n > 0 {
			if !l.pass() {
				return
			}
			if _, err := to.Write(buffer[:n]); err != nil {
				return
			}
		}
		if err != nil {
			return
		}
	}
}

// pass waits as long as the link holds bytes back; false means that they never get through.
func (l *link) pass() bool {
	for {
		l.mu.Lock()
		stalled, cut, delay, changed := l.stalled, l.cut || l.closed, l.delay, l.changed
		l.mu.Unlock()
		switch {
		case cut:
			return false
		case !stalled && delay == 0:
			return true
		case !stalled:
			select {
			case <-time.After(delay):
				return true
			case <-changed: // look again
			}
		default:
			<-changed
		}
	}
}
