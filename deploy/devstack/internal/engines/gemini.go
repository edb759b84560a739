package engines

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/tarento/copilot/deploy/devstack/geminilocal"
	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

// Gemini is the stand-in for the Gemini API behind an HTTP server. Make it with StartGemini; it must be closed.
type Gemini struct {
	server *http.Server
	served chan error
	port   int
}

// StartGemini serves the stand-in on the port. scripted opens the endpoints by which tests tell it what to answer.
func StartGemini(ctx context.Context, port int, scripted bool) (*Gemini, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", ports.Addr(port))
	if err != nil {
		return nil, fmt.Errorf("start the Gemini stand-in: %w", err)
	}
	g := &Gemini{
		server: &http.Server{
			Handler:           geminilocal.New(geminilocal.Config{Admin: scripted}),
			ReadHeaderTimeout: 10 * time.Second,
		},
		served: make(chan error, 1),
		port:   port,
	}
	go func() { g.served <- g.server.Serve(listener) }()
	return g, nil
}

// URL is the base address of the API.
func (g *Gemini) URL() string { return "http://" + ports.Addr(g.port) }

// Close ends the stand-in and cuts open streams.
func (g *Gemini) Close() error {
	err := g.server.Close()
	if served := <-g.served; !errors.Is(served, http.ErrServerClosed) {
		err = errors.Join(err, served)
	}
	return err
}
