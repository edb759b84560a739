package system

import (
	"context"
	"fmt"
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

// Redis is the server that holds the system's rate limits.
func (s *System) Redis() string { return s.site.engines.Redis }
