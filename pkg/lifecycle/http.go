package lifecycle

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"
)

// HTTP returns the service that serves on a listener. When it is stopped it takes no new connections and gives the open
// requests the drain time to finish; then it cuts them off, which is not a failure. The contexts of requests do not end
// before that. Streams that would never finish end by themselves when they are told to by server.RegisterOnShutdown.
//
// The service owns the listener, also when the server cannot start.
func HTTP(name string, server *http.Server, listener net.Listener, drain time.Duration) Service {
	return Service{
		Name:  name,
		Grace: drain + DefaultGrace,
		Run: func(ctx context.Context) error {
			served := make(chan error, 1)
			go func() { served <- server.Serve(listener) }()
			select {
			case err := <-served:
				return fmt.Errorf("serve %s: %w", listener.Addr(), err)
			case <-ctx.Done():
			}
			return shutdown(ctx, server, drain, served)
		},
	}
}

func shutdown(ctx context.Context, server *http.Server, drain time.Duration, served <-chan error) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), drain)
	defer cancel()
	err := server.Shutdown(ctx)
	if errors.Is(err, context.DeadlineExceeded) {
		err = server.Close()
	}
	if end := <-served; err == nil && !errors.Is(end, http.ErrServerClosed) {
		err = end
	}
	if err != nil {
		return fmt.Errorf("shut down: %w", err)
	}
	return nil
}
