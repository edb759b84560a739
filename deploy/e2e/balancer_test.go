package e2e_test

import (
	"context"
	"errors"
	"net"
	"net/http"
	"net/http/httptrace"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

// balancer spreads requests over gateways as a load balancer does that repeats nothing but connecting: it asks each gateway from time
// to time whether it is ready, gives requests by turns to those that are, over connections that it keeps, and tries another one only
// when it could not connect. It is safe for concurrent use.
type balancer struct {
	gateways []*gateway
	ready    []atomic.Bool
	next     atomic.Uint64
	kept     *http.Transport
	// moved counts requests that went to another gateway because the first could not be reached.
	moved atomic.Int64
}

// newBalancer begins to ask, until the test's end.
func newBalancer(t *testing.T, gateways []*gateway, every time.Duration) *balancer {
	t.Helper()
	b := &balancer{
		gateways: gateways, ready: make([]atomic.Bool, len(gateways)), kept: &http.Transport{MaxIdleConnsPerHost: 256},
	}
	ctx, stop := context.WithCancel(t.Context())
	var asking sync.WaitGroup
	for i, g := range gateways {
		b.ready[i].Store(true)
		asking.Go(func() {
			client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
			for ctx.Err() == nil {
				b.ready[i].Store(isReady(ctx, client, g))
				select {
				case <-ctx.Done():
				case <-time.After(every):
				}
			}
		})
	}
	t.Cleanup(func() {
		stop()
		asking.Wait()
		b.kept.CloseIdleConnections()
	})
	return b
}

func isReady(ctx context.Context, client *http.Client, g *gateway) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+g.ops+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// pick returns the gateways in the order in which to try them: the next one that is ready first, those that are not last.
func (b *balancer) pick() []*gateway {
	var ready, away []*gateway
	first := int(b.next.Add(1) % uint64(len(b.gateways)))
	for i := range b.gateways {
		at := (first + i) % len(b.gateways)
		if b.ready[at].Load() {
			ready = append(ready, b.gateways[at])
		} else {
			away = append(away, b.gateways[at])
		}
	}
	return append(ready, away...)
}

// errCut is a request that met a connection which the gateway was giving up. Go's transport would quietly send some of them again, which
// not every client does.
var errCut = errors.New("the gateway cut the connection under the request")

// RoundTrip implements http.RoundTripper.
func (b *balancer) RoundTrip(req *http.Request) (resp *http.Response, err error) {
	for i, g := range b.pick() {
		if i > 0 {
			b.moved.Add(1)
		}
		var connections atomic.Int64
		sent := req.Clone(httptrace.WithClientTrace(req.Context(), &httptrace.ClientTrace{
			GotConn: func(httptrace.GotConnInfo) { connections.Add(1) },
		}))
		sent.URL.Host = strings.TrimPrefix(g.url, "http://")
		if req.GetBody != nil {
			if sent.Body, err = req.GetBody(); err != nil {
				return nil, err
			}
		}
		resp, err = b.kept.RoundTrip(sent)
		if connections.Load() > 1 {
			if err == nil {
				_ = resp.Body.Close()
			}
			return nil, errCut
		}
		if failed, ok := errors.AsType[*net.OpError](err); !ok || failed.Op != "dial" {
			return resp, err
		}
	}
	return resp, err
}
