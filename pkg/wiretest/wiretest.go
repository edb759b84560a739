// Package wiretest stands between a program and a server that it talks to over TCP, and can be cut: what a test needs to see how
// the program does without the server, while other tests go on using it.
package wiretest

import (
	"context"
	"errors"
	"io"
	"net"
	"net/url"
	"sync"
	"testing"
)

// Wire leads to a server. It is whole until it is cut.
type Wire struct {
	// Near is the server's address by way of the wire.
	Near string

	far   string
	pumps sync.WaitGroup

	mu    sync.Mutex
	open  []net.Conn
	apart bool

	frozen chan struct{} // closed by Freeze
	ice    sync.Once
}

// errFrozen ends a pump and leaves its connections as they are.
var errFrozen = errors.New("wiretest: frozen")

// Lay returns a wire to the server of a URL such as postgres://user@host:1/db. It is taken away with the test.
func Lay(tb testing.TB, address string) *Wire {
	tb.Helper()
	u, err := url.Parse(address)
	if err != nil {
		tb.Fatal(err)
	}
	var lc net.ListenConfig
	l, err := lc.Listen(tb.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		tb.Fatal(err)
	}
	w := &Wire{far: u.Host, frozen: make(chan struct{})}
	u.Host = l.Addr().String()
	w.Near = u.String()
	w.pumps.Go(func() {
		for {
			c, err := l.Accept()
			if err != nil {
				return
			}
			w.join(tb.Context(), c)
		}
	})
	tb.Cleanup(func() {
		_ = l.Close()
		w.Cut()
		w.pumps.Wait()
	})
	return w
}

// Cut breaks every connection without a word, and lets no new one through until Mend.
func (w *Wire) Cut() {
	w.mu.Lock()
	w.apart = true
	w.mu.Unlock()
	w.Break()
}

// Mend lets connections through again.
func (w *Wire) Mend() {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.apart = false
}

// Freeze lets nothing through any more and breaks nothing: neither end hears of it, as when a network is gone or a process is stopped.
// It cannot be undone.
func (w *Wire) Freeze() { w.ice.Do(func() { close(w.frozen) }) }

// Break breaks every connection without a word; new ones are let through.
func (w *Wire) Break() {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, c := range w.open {
		_ = c.Close()
	}
	w.open = nil
}

func (w *Wire) join(ctx context.Context, near net.Conn) {
	var d net.Dialer
	far, err := d.DialContext(ctx, "tcp", w.far)
	if err != nil {
		_ = near.Close()
		return
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.apart {
		_ = near.Close()
		_ = far.Close()
		return
	}
	w.open = append(w.open, near, far)
	w.pump(near, far)
	w.pump(far, near)
}

func (w *Wire) pump(to, from net.Conn) {
	w.pumps.Go(func() {
		if _, err := io.Copy(gate{w, to}, from); !errors.Is(err, errFrozen) {
			_ = to.Close()
		}
	})
}

// gate is the far end of a pump.
type gate struct {
	wire *Wire
	to   net.Conn
}

// Write implements io.Writer.
func (g gate) Write(p []byte) (int, error) {
	select {
	case <-g.wire.frozen:
		return 0, errFrozen
	default:
		return g.to.Write(p) //nolint:wrapcheck // passed on as it is
	}
}
