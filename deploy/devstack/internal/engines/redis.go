package engines

import (
	"fmt"
	"time"

	"github.com/alicebob/miniredis/v2"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

// redisTick is how far a key may outlive its expiry.
const redisTick = 50 * time.Millisecond

// Redis is an in-memory stand-in for Redis. Its keys expire in real time. Make it with StartRedis; it must be closed.
type Redis struct {
	server  *miniredis.Miniredis
	stop    chan struct{}
	stopped chan struct{}
}

// StartRedis starts the stand-in on the port.
func StartRedis(port int) (*Redis, error) {
	r := &Redis{server: miniredis.NewMiniRedis(), stop: make(chan struct{}), stopped: make(chan struct{})}
	if err := r.server.StartAddr(ports.Addr(port)); err != nil {
		return nil, fmt.Errorf("start the Redis stand-in: %w", err)
	}
	go r.tick()
	return r, nil
}

// tick moves the stand-in's clock along with the real one; by itself it stands still and no key ever expires.
func (r *Redis) tick() {
	defer close(r.stopped)
	ticker := time.NewTicker(redisTick)
	defer ticker.Stop()
	last := time.Now()
	for {
		select {
		case <-r.stop:
			return
		case now := <-ticker.C:
			r.server.FastForward(now.Sub(last))
			last = now
		}
	}
}

// URL is the stand-in's address.
func (r *Redis) URL() string { return "redis://" + r.server.Addr() + "/0" }

// Close ends the stand-in; its content is gone.
func (r *Redis) Close() error {
	close(r.stop)
	<-r.stopped
	r.server.Close()
	return nil
}
