package engines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"

	"google.golang.org/grpc"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
	"github.com/tarento/copilot/deploy/devstack/qdrantlocal"
)

// Qdrant is the stand-in for Qdrant behind a gRPC server. Make it with StartQdrant; it must be closed.
type Qdrant struct {
	store  *qdrantlocal.Server
	server *grpc.Server
	served chan error
	port   int
}

// StartQdrant serves the collections kept in dir on the port.
func StartQdrant(ctx context.Context, dir string, port int, log *slog.Logger) (*Qdrant, error) {
	store, err := qdrantlocal.Open(dir, qdrantlocal.WithLogger(log))
	if err != nil {
		return nil, fmt.Errorf("start the Qdrant stand-in: %w", err)
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ports.Addr(port))
	if err != nil {
		return nil, errors.Join(fmt.Errorf("start the Qdrant stand-in: %w", err), store.Close())
	}
	q := &Qdrant{
		store:  store,
		server: grpc.NewServer(qdrantlocal.ServerOptions()...),
		served: make(chan error, 1),
		port:   port,
	}
	store.Register(q.server)
	go func() { q.served <- q.server.Serve(listener) }()
	return q, nil
}

// URL is the address of the gRPC endpoint.
func (q *Qdrant) URL() string { return "http://" + ports.Addr(q.port) }

// Close ends the stand-in; its collections stay on disk.
func (q *Qdrant) Close() error {
	q.server.Stop()
	return errors.Join(<-q.served, q.store.Close())
}
