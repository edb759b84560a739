package e2e_test

import (
	"context"
	"io"
	"net"
	"strings"
	"sync"
	"testing"
)

// newMute returns the address of a way to a gateway on which no answer comes back. Its connections end with the gateway's.
func newMute(t *testing.T, g *gateway) (base string) {
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
				end := func() { _, _ = near.Close(), far.Close() }
				defer context.AfterFunc(ctx, end)()
				work.Go(func() { _, _ = io.Copy(far, near) })
				_, _ = io.Copy(io.Discard, far)
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
