package stream_test

import (
	"context"
	"io"
	"net"
	"net/url"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// host is a Postgres that can vanish, as one whose machine loses its network: connections stand, and nobody is told.
type host struct {
	t      *testing.T
	relays sync.WaitGroup
	over   chan struct{}

	mu sync.Mutex
	// vanished is closed when the host of the connections so far has vanished.
	vanished chan struct{}
	// away says that there is no other yet.
	away bool
}

func newHost(t *testing.T) *host {
	t.Helper()
	h := &host{t: t, over: make(chan struct{}), vanished: make(chan struct{})}
	t.Cleanup(h.relays.Wait)
	return h
}

// via leads to the host of a URL through one that can vanish.
func (h *host) via(ctx context.Context, target string) string {
	h.t.Helper()
	u, err := url.Parse(target)
	if err != nil {
		h.t.Fatal(err)
	}
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		h.t.Fatal(err)
	}
	address := u.Host
	u.Host = listener.Addr().String()
	settings := u.Query() // or the pool is full of connections that it does not know to be dead
	settings.Set("pool_ping_timeout", "200ms")
	settings.Set("connect_timeout", "1")
	u.RawQuery = settings.Encode()
	h.relays.Go(func() {
		<-h.over
		_ = listener.Close()
	})
	h.relays.Go(func() {
		for {
			client, err := listener.Accept()
			if err != nil {
				return
			}
			h.relays.Go(func() { h.relay(ctx, client, address) })
		}
	})
	return u.String()
}

func (h *host) relay(ctx context.Context, client net.Conn, address string) {
	defer client.Close()
	h.mu.Lock()
	vanished, away := h.vanished, h.away
	h.mu.Unlock()
	if away {
		<-h.over
		return
	}
	server, err := new(net.Dialer).DialContext(ctx, "tcp", address)
	if err != nil {
		return
	}
	defer server.Close()
	ended := make(chan struct{}, 2)
	for to, from := range map[net.Conn]net.Conn{client: server, server: client} {
		h.relays.Go(func() { _, _ = io.Copy(to, from); ended <- struct{}{} })
	}
	select {
	case <-vanished:
		_ = server.Close() // or the real host would wait for the client, and others for it
		<-h.over
	case <-ended:
	case <-h.over:
	}
}

// vanish leaves all connections without an answer, and those to come if the host is away.
func (h *host) vanish(away bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	close(h.vanished)
	h.vanished, h.away = make(chan struct{}), away
}

// end breaks all connections off, on which others wait for long.
func (h *host) end() { close(h.over) }

func TestWhatTheBusDidNotDeliverIsFoundThoughTheDatabasesHostHasVanished(t *testing.T) {
	t.Parallel()
	host := newHost(t)
	defer host.end()
	w := newWorldVia(t, stream.Config{CursorKeys: keys, Compare: 20 * time.Millisecond, ReadWithin: 200 * time.Millisecond}, host.via)
	job := w.subscribe(events.Position{Seq: 2})
	live := w.feed(stream.FeedOptions{FromBeginning: true})
	defer live.Close()
	w.takes(live, 2)
	past := w.feed(stream.FeedOptions{FromBeginning: true})
	defer past.Close()

	host.vanish(false)
	w.in(w.silent, func(tx *store.Tx) error { return tx.Jobs().End(w.job.Lease(), store.Succeed(nil)) })
	if item, err := job.Next(w.ctx); err != nil || !item.Event.Terminal() {
		t.Errorf("the job's stream got %+v, %v", item, err)
	}
	end := w.job.ID.String() + " 3"
	if seen, _ := w.takes(live, 1); !slices.Equal(seen, []string{end}) {
		t.Errorf("a live feed got %v", seen)
	}
	if seen, _ := w.takes(past, 3); seen[2] != end {
		t.Errorf("a feed of what was got %v", seen)
	}
}

func TestALineThatReadsTheLogEndsThoughTheDatabasesHostHasVanished(t *testing.T) {
	t.Parallel()
	host := newHost(t)
	defer host.end()
	w := newWorldVia(t, stream.Config{ReadWithin: 200 * time.Millisecond}, host.via)
	refusal := fault.New(fault.Forbidden, "permission.missing", "no more")
	source := w.subscribe(events.Position{})
	host.vanish(true)
	s := w.showSource(takenOver, source, later())
	s.line.End(refusal)
	if why := s.ended(t); !fault.Is(why, fault.Forbidden) || w.ctx.Err() != nil {
		t.Errorf("ended with %v, want %v before the test's own end", why, refusal)
	}
}
