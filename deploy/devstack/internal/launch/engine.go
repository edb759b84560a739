package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"github.com/tarento/copilot/deploy/devstack/internal/engines"
	"github.com/tarento/copilot/deploy/devstack/internal/postgres"
)

// The engines' names, which are also those of their flags.
const (
	enginePostgres = "postgres"
	engineNATS     = "nats"
	engineRedis    = "redis"
	engineQdrant   = "qdrant"
	engineGemini   = "gemini"
)

// engine is one service the system depends on.
type engine struct {
	name string
	// runVariable, when set, names a server to use instead in the whole system, testVariable one for the exec command.
	runVariable, testVariable string
	// port is where such a server listens when its address does not say; empty when the variable holds no address.
	port string
	// standIn says what takes the real service's place; empty when it is the real one.
	standIn string
	start   func(ctx context.Context, place place) (*running, error)
}

// place says where and how an engine runs.
type place struct {
	dir  string // everything it keeps
	port int
	log  io.Writer
	say  func(string)

	ownerPassword string // of Postgres
	searchPath    string // for the binaries of Postgres and Redis
	builds        string // for those of them that have to be fetched
	durable       bool   // survive a crash of the machine
	discarded     bool   // leave nothing behind when it is stopped
	scripted      bool   // let tests tell the Gemini stand-in what to answer
	realRedis     bool   // take a redis-server of this machine, if there is one, instead of the stand-in
}

// running is an engine that was started.
type running struct {
	url    string
	detail string
	stop   func(context.Context) error
	// pid is the engine's process; zero means the launcher's own.
	pid int
	// died is closed when the engine ends unasked; nil when that cannot be without the launcher's own end.
	died <-chan struct{}
}

// allEngines are the engines in the order in which they start.
func allEngines() []engine {
	return []engine{
		{
			name: enginePostgres, runVariable: varOwnerDatabase, testVariable: "TEST_DATABASE_URL", port: "5432",
			start: startPostgres,
		},
		{
			name: engineNATS, runVariable: varNATS, testVariable: "TEST_NATS_URL", port: "4222",
			start: func(ctx context.Context, at place) (*running, error) {
				server, err := engines.StartNATS(ctx, at.dir, at.port, at.log)
				if err != nil {
					return nil, err
				}
				return &running{url: server.URL(), detail: server.URL(), stop: closing(server)}, nil
			},
		},
		{
			name: engineRedis, runVariable: varRedis, testVariable: "TEST_REDIS_URL", port: "6379",
			standIn: "miniredis, in memory",
			start:   startRedis,
		},
		{
			name: engineQdrant, runVariable: varQdrant, testVariable: "TEST_QDRANT_URL", port: "6334",
			standIn: "qdrantlocal, exact search on one machine",
			start: func(ctx context.Context, at place) (*running, error) {
				server, err := engines.StartQdrant(ctx, at.dir, at.port, at.logger())
				if err != nil {
					return nil, err
				}
				return &running{url: server.URL(), detail: server.URL(), stop: closing(server)}, nil
			},
		},
		{
			name: engineGemini, runVariable: varGeminiKey, testVariable: "TEST_GEMINI_URL",
			standIn: "geminilocal, which quotes what was retrieved and is no model",
			start: func(ctx context.Context, at place) (*running, error) {
				server, err := engines.StartGemini(ctx, at.port, at.scripted)
				if err != nil {
					return nil, err
				}
				return &running{url: server.URL(), detail: server.URL(), stop: closing(server)}, nil
			},
		},
	}
}

func startPostgres(ctx context.Context, at place) (*running, error) {
	server, err := postgres.Start(ctx, postgres.Config{
		Home:       at.dir,
		Port:       at.port,
		Password:   at.ownerPassword,
		Durable:    at.durable,
		SearchPath: at.searchPath,
		Builds:     at.builds,
		Log:        at.log,
		Say:        at.say,
	})
	if err != nil {
		return nil, err
	}
	stop := server.Stop
	if at.discarded {
		stop = func(ctx context.Context) error {
			// The data need not be in the temporary folder: its user may not have been able to enter that.
			return errors.Join(server.Stop(ctx), os.RemoveAll(server.Home()))
		}
	}
	return &running{
		url:    server.OwnerURL("postgres"),
		detail: fmt.Sprintf("version %d on port %d", server.Version(), at.port),
		stop:   stop,
		pid:    server.PID(),
		died:   server.Done(),
	}, nil
}

func startRedis(ctx context.Context, at place) (*running, error) {
	if at.realRedis {
		if path := engines.FindRedisServer(at.searchPath); path != "" {
			server, err := engines.StartRedisServer(ctx, path, at.dir, at.port, at.log)
			if err != nil {
				return nil, err
			}
			return &running{
				url: server.URL(), detail: server.URL(), stop: server.Stop, pid: server.PID(), died: server.Done(),
			}, nil
		}
		at.say("no redis-server on this machine: miniredis, a stand-in, takes its place")
	}
	server, err := engines.StartRedis(at.port)
	if err != nil {
		return nil, err
	}
	return &running{url: server.URL(), detail: server.URL(), stop: closing(server)}, nil
}

// builds is where fetched Postgres binaries are kept.
func builds(root string) string { return filepath.Join(root, "bin", "postgres") }

func (p place) logger() *slog.Logger { return slog.New(slog.NewTextHandler(p.log, nil)) }

func closing(c io.Closer) func(context.Context) error {
	return func(context.Context) error { return c.Close() }
}

// temporary makes a folder for one run, which closing the stack removes.
func temporary(done *stack) (string, error) {
	dir, err := os.MkdirTemp("", "copilot-devstack-")
	if err != nil {
		return "", fmt.Errorf("make a temporary folder: %w", err)
	}
	done.push("the temporary folder", func(context.Context) error { return os.RemoveAll(dir) })
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		return "", fmt.Errorf("make a temporary folder: %w", err)
	}
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // Postgres's user has to pass through it
		return "", fmt.Errorf("open the temporary folder: %w", err)
	}
	return dir, nil
}
