package httpapi

import (
	"cmp"
	"context"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// Sockets bounds WebSocket connections. Zero values mean the defaults named below.
type Sockets struct {
	// Subscriptions is how many one connection may have; 100 by default.
	Subscriptions int
	// Message is how large a client's message may be, in bytes; 16 KiB by default.
	Message int64
	// ReadWithin is how long a client may take to make room for the next message; 10 s by default.
	ReadWithin time.Duration
	// AuthenticateWithin is how long a client may take to say who it is; 10 s by default.
	AuthenticateWithin time.Duration
}

func (c Sockets) withDefaults() Sockets {
	c.Subscriptions = cmp.Or(c.Subscriptions, 100)
	c.Message = cmp.Or(c.Message, 16<<10)
	c.ReadWithin = cmp.Or(c.ReadWithin, 10*time.Second)
	c.AuthenticateWithin = cmp.Or(c.AuthenticateWithin, 10*time.Second)
	return c
}

// sockets are the open WebSocket connections of a gateway, which the HTTP server does not know any more.
type sockets struct {
	messages      *socketMessages
	connections   prometheus.Gauge
	subscriptions prometheus.Gauge
	closed        *prometheus.CounterVec

	mu       sync.Mutex
	open     map[*socket]struct{}
	draining bool
	// gone is closed when the last connection has ended while draining.
	gone chan struct{}
}

func newSockets(reg prometheus.Registerer) *sockets {
	all := &sockets{
		messages: newSocketMessages(), open: map[*socket]struct{}{}, gone: make(chan struct{}),
		connections: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "copilot_socket_connections", Help: "WebSocket connections that are open on this gateway.",
		}),
		subscriptions: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "copilot_socket_subscriptions", Help: "Subscriptions of all WebSocket connections on this gateway.",
		}),
		closed: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_socket_closed_total", Help: "WebSocket connections that have ended, by the reason.",
		}, []string{"reason"}),
	}
	reg.MustRegister(all.connections, all.subscriptions, all.closed)
	return all
}

// enter counts a connection, unless the gateway takes no more.
func (all *sockets) enter(k *socket) bool {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.draining {
		return false
	}
	all.open[k] = struct{}{}
	all.connections.Inc()
	return true
}

func (all *sockets) leave(k *socket, reason string) {
	all.mu.Lock()
	defer all.mu.Unlock()
	delete(all.open, k)
	all.connections.Dec()
	all.closed.WithLabelValues(reason).Inc()
	if all.draining && len(all.open) == 0 {
		close(all.gone)
	}
}

// drain says good-bye to all, and lets nobody in any more.
func (all *sockets) drain() {
	all.mu.Lock()
	defer all.mu.Unlock()
	if all.draining {
		return
	}
	all.draining = true
	for k := range all.open {
		k.end(errMoving())
	}
	if len(all.open) == 0 {
		close(all.gone)
	}
}

// cut breaks all connections off.
func (all *sockets) cut() {
	all.mu.Lock()
	defer all.mu.Unlock()
	for k := range all.open {
		k.cut()
	}
}

// DrainSockets asks all clients of WebSocket connections to go on at another gateway. It does not wait for them.
func (s *Server) DrainSockets() { s.sockets.drain() }

// KeepSockets returns when ctx has ended and all WebSocket connections after it. Clients get as long as within to part politely; then
// they are cut off, which is no failure.
func (s *Server) KeepSockets(ctx context.Context, within time.Duration) error {
	<-ctx.Done()
	s.sockets.drain()
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-s.sockets.gone:
		return nil
	case <-limit.C:
	}
	s.sockets.cut()
	<-s.sockets.gone
	return nil
}
