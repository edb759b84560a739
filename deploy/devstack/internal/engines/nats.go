package engines

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	natsserver "github.com/nats-io/nats-server/v2/server"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

// natsStartLimit includes reading back the streams of the last run.
const natsStartLimit = 30 * time.Second

// NATS is a NATS server with JetStream on files. Make it with StartNATS; it must be closed.
type NATS struct {
	server *natsserver.Server
	port   int
}

// StartNATS starts a server on the port that keeps its streams in dir, and returns once it takes connections.
func StartNATS(ctx context.Context, dir string, port int, log *slog.Logger) (*NATS, error) {
	server, err := natsserver.NewServer(&natsserver.Options{
		ServerName: "devstack",
		Host:       ports.Host,
		Port:       port,
		JetStream:  true,
		StoreDir:   dir,
		NoSigs:     true,
		MaxConn:    4096,
	})
	if err != nil {
		return nil, fmt.Errorf("start NATS: %w", err)
	}
	server.SetLoggerV2(natsLog{log}, false, false, false)
	server.Start()
	n := &NATS{server: server, port: port}

	limit := natsStartLimit
	if deadline, ok := ctx.Deadline(); ok {
		limit = min(limit, time.Until(deadline))
	}
	if !server.ReadyForConnections(limit) {
		return nil, errors.Join(errors.New("start NATS: it does not take connections"), n.Close())
	}
	if !server.JetStreamEnabled() {
		return nil, errors.Join(fmt.Errorf("start NATS: JetStream could not be enabled on %s", dir), n.Close())
	}
	return n, nil
}

// URL is the server's address.
func (n *NATS) URL() string { return "nats://" + ports.Addr(n.port) }

// Close ends the server and waits for it; the streams stay on disk.
func (n *NATS) Close() error {
	n.server.Shutdown()
	n.server.WaitForShutdown()
	return nil
}

// natsLog writes the server's messages to a structured logger.
type natsLog struct{ to *slog.Logger }

func (l natsLog) Noticef(format string, v ...any) { l.to.Info(fmt.Sprintf(format, v...)) }
func (l natsLog) Warnf(format string, v ...any)   { l.to.Warn(fmt.Sprintf(format, v...)) }
func (l natsLog) Fatalf(format string, v ...any)  { l.to.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Errorf(format string, v ...any)  { l.to.Error(fmt.Sprintf(format, v...)) }
func (l natsLog) Debugf(format string, v ...any)  { l.to.Debug(fmt.Sprintf(format, v...)) }
func (l natsLog) Tracef(format string, v ...any)  { l.to.Debug(fmt.Sprintf(format, v...)) }
