package e2e_test

import (
	"context"
	"io"
	"math/rand/v2"
	"net"
	"strings"
	"sync"
	"testing"
	"time"
)

// newWay listens until the test's end, and has carry pass on what comes to a gateway, over a connection of its own for each. Both
// sides are closed when carry returns, or the test is over.
func newWay(t *testing.T, g *gateway, carry func(ctx context.Context, near, far net.Conn)) (base string) {
	t.Helper()
	listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	var work sync.WaitGroup
	work.Go(func() {
		for {
			near, err := listener.Accept()
			if err != nil {
				return
			}
			work.Go(func() {
				defer near.Close()
				far, err := (&net.Dialer{}).DialContext(ctx, "tcp", strings.TrimPrefix(g.url, "http://"))
				if err != nil {
					return
				}
				defer far.Close()
				carry(ctx, near, far)
			})
		}
	})
	t.Cleanup(func() {
		stop()
		_ = listener.Close()
		work.Wait()
	})
	return "http://" + listener.Addr().String()
}

// both passes bytes on in both directions until one side ends or the context does; then over is called, and both are closed.
func both(ctx context.Context, near, far net.Conn, back io.Writer, over func()) {
	ended := make(chan struct{})
	ctx, end := context.WithCancel(ctx)
	defer end()
	context.AfterFunc(ctx, func() {
		defer close(ended)
		over()
		_, _ = near.Close(), far.Close()
	})
	var there sync.WaitGroup
	there.Go(func() { _, _ = io.Copy(far, near) })
	_, _ = io.Copy(back, far)
	end()
	there.Wait()
	<-ended
}

// newMute returns the address of a way to a gateway on which no answer comes back. Its connections end with the gateway's.
func newMute(t *testing.T, g *gateway) (base string) {
	t.Helper()
	return newWay(t, g, func(ctx context.Context, near, far net.Conn) { both(ctx, near, far, io.Discard, func() {}) })
}

// cutter leads to a gateway and breaks each of its connections after one to three seconds.
type cutter struct {
	base string
	cuts chan struct{} // one for each
}

func newCutter(t *testing.T, g *gateway) *cutter {
	t.Helper()
	c := &cutter{cuts: make(chan struct{}, 1<<16)}
	c.base = newWay(t, g, func(ctx context.Context, near, far net.Conn) {
		ctx, over := context.WithTimeout(ctx, time.Second+rand.N(2*time.Second))
		defer over()
		both(ctx, near, far, near, func() {
			c.cuts <- struct{}{}
			// A reset: what was written and not read yet is lost.
			if tcp, ok := near.(*net.TCPConn); ok {
				_ = tcp.SetLinger(0)
			}
		})
	})
	return c
}
