package engines

import (
	"context"
	"errors"
	"fmt"
	"io"
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
func StartNATS(ctx context.Context, dir string, port int, log io.Writer) (*NATS, error) {
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

// natsLog writes the server's messages as lines.
type natsLog struct{ to io.Writer }

// Noticef reports what is normal.
func (l natsLog) Noticef(format string, v ...any) { l.write("INF", format, v) }

// Warnf reports what deserves a look.
func (l natsLog) Warnf(format string, v ...any) { l.write("WRN", format, v) }

// Fatalf reports what the server cannot live with. It does not end the process.
func (l natsLog) Fatalf(format string, v ...any) { l.write("FTL", format, v) }

// Errorf reports what went wrong.
func (l natsLog) Errorf(format string, v ...any) { l.write("ERR", format, v) }

// Debugf reports details.
func (l natsLog) Debugf(format string, v ...any) { l.write("DBG", format, v) }

// Tracef reports every message on the wire.
func (l natsLog) Tracef(format string, v ...any) { l.write("TRC", format, v) }

func (l natsLog) write(level, format string, v []any) {
	now := time.Now().UTC().Format(time.RFC3339Nano)
	_, _ = fmt.Fprintf(l.to, "%s [%s] %s\n", now, level, fmt.Sprintf(format, v...))
}
