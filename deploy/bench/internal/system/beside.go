package system

import (
	"context"
	"fmt"
	"net"
	"os/exec"
	"time"
)

// Namespace is what the system's streams and subjects begin with.
func (s *System) Namespace() string { return s.name }

// NATS is the broker of the system.
func (s *System) NATS() string { return s.site.engines.NATS }

// Roles are the system's database as the application and as the engine see it.
func (s *System) Roles() (app, engine string, err error) {
	if app, err = s.site.engines.database(s.name, appRole); err != nil {
		return "", "", err
	}
	engine, err = s.site.engines.database(s.name, engineRole)
	return app, engine, err
}

// EmptyDatabase makes a database on the system's server and returns its address, for its owner. Stop removes it.
func (s *System) EmptyDatabase(ctx context.Context) (string, error) {
	name := fmt.Sprintf("%s-beside-%d", s.name, len(s.besides)+1)
	if err := s.site.engines.statement(ctx, "CREATE DATABASE "+quote(name)); err != nil {
		return "", fmt.Errorf("make a database beside the system's: %w", err)
	}
	s.besides = append(s.besides, name)
	return s.site.engines.database(name, "")
}

// Redis returns the address of a Redis and what it is: a redis-server of the machine, which keeps nothing on disk and which Stop ends,
// or the one among the engines where the machine has none.
func (s *System) Redis(ctx context.Context) (address, what string, err error) {
	path, err := exec.LookPath("redis-server")
	if err != nil {
		return s.site.engines.Redis, "the engines' Redis", nil //nolint:nilerr // the machine need not have one
	}
	listen, err := s.site.freeAddress(ctx)
	if err != nil {
		return "", "", err
	}
	host, port, err := net.SplitHostPort(listen)
	if err != nil {
		return "", "", fmt.Errorf("start redis-server: %w", err)
	}
	p, err := start(ctx, "redis-server", path, s.dir, nil, "--bind", host, "--port", port, "--save", "", "--appendonly", "no")
	if err != nil {
		return "", "", err
	}
	s.processes = append(s.processes, p)
	return "redis://" + listen + "/0", "redis-server", p.awaitPort(ctx, listen)
}

// awaitPort returns when the program listens.
func (p *process) awaitPort(ctx context.Context, address string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("it did not listen within %s", readyLimit))
	defer cancel()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for {
		conn, err := (&net.Dialer{}).DialContext(ctx, "tcp", address)
		if err == nil {
			return conn.Close()
		}
		select {
		case <-p.done:
			return fmt.Errorf("%s ended instead of listening:\n%s", p.name, p.last(20, nil))
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w", p.name, context.Cause(ctx))
		case <-tick.C:
		}
	}
}
