package system

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	mathrand "math/rand/v2"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
)

// The names of the system's programs.
const (
	Gateway         = "gateway"
	AgentWorker     = "agent-worker"
	IngestWorker    = "ingest-worker"
	EmbeddingWorker = "embedding-worker"
	Migrate         = "migrate"

	floorProgram = "floor"
)

// Programs are all programs of the system.
func Programs() []string {
	return []string{Gateway, AgentWorker, IngestWorker, EmbeddingWorker, Migrate}
}

// Site is where systems are started: the programs, built, and a database to copy. Make one with Prepare; it must be closed.
type Site struct {
	// BcryptCost is the cost of password hashes in the gateways that are started from now on; zero leaves the gateway's own.
	BcryptCost int

	engines  Engines
	dir      string
	template string
	systems  atomic.Int64
	ports    atomic.Int64
}

// Prepare builds the programs of the repository at root and makes the database that systems copy, with the program that
// operators use.
func Prepare(ctx context.Context, e Engines, root string) (prepared *Site, err error) {
	dir, err := os.MkdirTemp("", "copilot-bench-")
	if err != nil {
		return nil, fmt.Errorf("make a folder for the programs: %w", err)
	}
	s := &Site{engines: e, dir: dir, template: "bench-" + strings.ToLower(rand.Text()[:10])}
	defer func() {
		if err != nil {
			err = errors.Join(err, s.Close(context.WithoutCancel(ctx)))
		}
	}()
	if err := s.build(ctx, root); err != nil {
		return nil, err
	}
	if err := e.statement(ctx, "CREATE DATABASE "+quote(s.template)); err != nil {
		return nil, fmt.Errorf("make the database to copy: %w", err)
	}
	owner, err := e.database(s.template, "")
	if err != nil {
		return nil, err
	}
	for _, command := range []string{"up", "seed"} {
		migrate := exec.CommandContext(ctx, s.program(Migrate), command) //nolint:gosec // built by build
		migrate.Env = []string{"MIGRATE_DATABASE_URL=" + owner, "ENVIRONMENT=development"}
		if out, err := migrate.CombinedOutput(); err != nil {
			return nil, fmt.Errorf("migrate %s: %w\n%s", command, err, out)
		}
	}
	return s, nil
}

// build makes the programs as a release does, and the floor beside them.
func (s *Site) build(ctx context.Context, root string) error {
	bin := filepath.Join(s.dir, "bin") + string(filepath.Separator)
	build := exec.CommandContext(ctx, "go", "build", "-o", bin, //nolint:gosec // bin is a folder of ours
		"./gateway/cmd/gateway", "./workers/cmd/agent-worker", "./workers/cmd/ingest-worker", "./workers/cmd/embedding-worker",
		"./migrations/cmd/migrate", "./deploy/bench/cmd/floor")
	build.Dir = root
	for _, entry := range os.Environ() {
		// The programs belong to several modules, which only the workspace ties together.
		if !strings.HasPrefix(entry, "GOWORK=") {
			build.Env = append(build.Env, entry)
		}
	}
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}

func (s *Site) program(name string) string { return filepath.Join(s.dir, "bin", name) }

// BinarySize is the size in bytes of a program, built as a release is.
func (s *Site) BinarySize(program string) (int64, error) {
	info, err := os.Stat(s.program(program))
	if err != nil {
		return 0, fmt.Errorf("measure %s: %w", program, err)
	}
	return info.Size(), nil
}

// Close removes what Prepare made. All systems must have been stopped.
func (s *Site) Close(ctx context.Context) error {
	return errors.Join(s.drop(ctx, s.template), os.RemoveAll(s.dir))
}

func (s *Site) drop(ctx context.Context, database string) error {
	if err := s.engines.statement(ctx, "DROP DATABASE IF EXISTS "+quote(database)+" WITH (FORCE)"); err != nil {
		return fmt.Errorf("drop database %s: %w", database, err)
	}
	return nil
}

func quote(name string) string { return pgx.Identifier{name}.Sanitize() }

// freeAddress finds a port that nobody listens on and that no other program of the site gets. It is below those that systems give to
// outgoing connections, so that none takes it before the program does.
func (s *Site) freeAddress(ctx context.Context) (string, error) {
	const first, count = 12_000, 6_000
	s.ports.CompareAndSwap(0, 1+mathrand.Int64N(count)) // other sites begin elsewhere
	for range count {
		address := net.JoinHostPort("127.0.0.1", strconv.FormatInt(first+s.ports.Add(1)%count, 10))
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return "", fmt.Errorf("release port: %w", err)
		}
		return address, nil
	}
	return "", errors.New("no port is free")
}
