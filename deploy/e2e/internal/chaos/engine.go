package chaos

import (
	"context"
	"crypto/rand"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"time"
)

// The engines, by the names that the launcher knows them by.
const (
	postgres = "postgres"
	nats     = "nats"
	redis    = "redis"
	qdrant   = "qdrant"
	gemini   = "gemini"
)

// engine is a server that the system stands on.
type engine struct {
	*process

	address string
	dir     string
}

// engines are all of them.
type engines struct {
	all      map[string]*engine
	password string
	dir      string
}

// startEngines starts all engines, keeping their files in a folder, and returns when they are ready.
func startEngines(ctx context.Context, launcher, dir, logs string, client *http.Client) (*engines, error) {
	e := &engines{all: map[string]*engine{}, password: rand.Text(), dir: dir}
	for i, name := range []string{postgres, nats, redis, qdrant, gemini} {
		port, err := freePort(ctx, i)
		if err != nil {
			return e, err
		}
		home := filepath.Join(dir, name)
		one := &engine{address: address(port), dir: home, process: &process{
			name: name, path: launcher,
			args: []string{"serve", "--durable", "--dir", home, "--port", strconv.Itoa(port), name},
			env:  append(inherited(), "DEVSTACK_OWNER_PASSWORD="+e.password),
		}}
		if err := start(one.process, logs); err != nil {
			return e, err
		}
		e.all[name] = one
	}
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	for _, one := range e.all {
		if err := one.await(ctx, client); err != nil {
			return e, fmt.Errorf("%w; see %s", err, filepath.Join(logs, one.name+".log"))
		}
	}
	return e, nil
}

// stop ends all engines and removes what they kept.
func (e *engines) stop() error {
	for _, one := range e.all {
		one.stop(20 * time.Second)
	}
	return os.RemoveAll(e.dir)
}

// loseStore throws away all that NATS keeps; it must be down.
func (e *engines) loseStore() error { return os.RemoveAll(e.all[nats].dir) }

// databaseName is the database of the run.
const databaseName = "chaos"

// database is the address of a database at Postgres or at a link to it: as its owner, or as another role. The writer is what the
// triggers of audit.sql know the connection by.
func (e *engines) database(at, name, role, writer string) string {
	query := "sslmode=disable"
	if role != "" {
		query += "&role=" + role + "&application_name=" + writer
	}
	return fmt.Sprintf("postgres://copilot_owner:%s@%s/%s?%s", e.password, at, name, query)
}

// owner is the address of the run's database for ourselves.
func (e *engines) owner() string { return e.database(e.all[postgres].address, databaseName, "", "") }

// inherited is what the programs see of our own environment.
func inherited() (env []string) {
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	return env
}

// run runs a program to its end.
func run(ctx context.Context, dir string, env []string, path string, args ...string) error {
	cmd := exec.CommandContext(ctx, path, args...) //nolint:gosec // the programs are ours
	cmd.Dir, cmd.Env = dir, env
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("%s %s: %w\n%s", filepath.Base(path), strings.Join(args, " "), err, out)
	}
	return nil
}

// firstPort begins a range below the ports that systems give to outgoing connections, so that none is taken while the program that
// listens there is down.
const firstPort, ports = 18_000, 12_000

// freePort returns the number of a port that nobody listens on. Runs at the same time begin to look at different places.
func freePort(ctx context.Context, nth int) (int, error) {
	begin := os.Getpid() * 64 % ports
	for i := nth * 4; i < ports; i++ {
		port := firstPort + (begin+i)%ports
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address(port))
		if err == nil {
			return port, listener.Close()
		}
		if i%4 == 3 {
			i += 60
		}
	}
	return 0, fmt.Errorf("no port from %d on is free", firstPort)
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }
