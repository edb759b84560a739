package ratelimit_test

import (
	"io"
	"net"
	"net/url"
	"os"
	"sync"
	"testing"
)

// proxy stands before the test Redis and can be cut.
type proxy struct {
	listener net.Listener
	target   string

	mu    sync.Mutex
	down  bool
	conns []net.Conn
}

func newProxy(t *testing.T) *proxy {
	t.Helper()
	target, err := url.Parse(os.Getenv("TEST_REDIS_URL"))
	if err != nil || target.Host == "" {
		t.Fatalf("TEST_REDIS_URL is not set to a URL; run `make test`: %v", err)
	}
	p := &proxy{listener: listen(t, "127.0.0.1:0"), target: target.Host}
	var relays sync.WaitGroup
	relays.Go(func() {
		for {
			client, err := p.listener.Accept()
			if err != nil {
				return
			}
			relays.Go(func() { p.relay(client, &relays) })
		}
	})
	t.Cleanup(func() {
		p.listener.Close()
		p.cut()
		relays.Wait()
	})
	return p
}

func (p *proxy) url() string { return "redis://" + p.listener.Addr().String() }

// cut closes all connections and every new one.
func (p *proxy) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = true
	for _, c := range p.conns {
		c.Close()
	}
	p.conns = nil
}

// mend lets connections through again.
func (p *proxy) mend() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.down = false
}

func (p *proxy) relay(client net.Conn, relays *sync.WaitGroup) {
	server, err := net.Dial("tcp", p.target)
	if err != nil {
		client.Close()
		return
	}
	p.mu.Lock()
	p.conns = append(p.conns, client, server)
	down := p.down
	p.mu.Unlock()
	if down {
		p.cut()
	}
	relays.Go(func() {
		_, _ = io.Copy(server, client)
		server.Close()
	})
	_, _ = io.Copy(client, server)
	client.Close()
}
