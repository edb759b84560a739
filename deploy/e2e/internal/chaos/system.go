package chaos

import (
	"cmp"
	"context"
	"crypto/rand"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
)

// The programs, by the names of their binaries.
const (
	gatewayProgram   = "gateway"
	agentProgram     = "agent-worker"
	ingestProgram    = "ingest-worker"
	embeddingProgram = "embedding-worker"
	migrateProgram   = "migrate"
	launcherProgram  = "devstack"
)

// packages are where the programs are built from.
func packages() []string {
	return []string{
		"./gateway/cmd/gateway", "./workers/cmd/agent-worker", "./workers/cmd/ingest-worker", "./workers/cmd/embedding-worker",
		"./migrations/cmd/migrate", "./deploy/devstack/cmd/devstack",
	}
}

// node is a process of the system with its links.
type node struct {
	*process

	program string
	// links lead to engines, by their names.
	links map[string]*link
	// front is the way of clients to a gateway; nil for workers.
	front *link
}

// system is all that runs.
type system struct {
	engines *engines
	nodes   []*node
	model   *meter
	hooks   *receiver
	client  *http.Client // for health
	options Options
	bin     string
	dir     string // thrown away at the end
}

// startSystem builds what is not built yet and starts everything. What it returns must be stopped, also after an error.
func startSystem(ctx context.Context, o Options) (*system, error) {
	s := &system{
		options: o, bin: o.Bin,
		client: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Second},
	}
	dir, err := os.MkdirTemp("", "copilot-chaos-")
	if err != nil {
		return s, fmt.Errorf("make a temporary folder: %w", err)
	}
	s.dir = dir
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // Postgres's user has to pass through it
		return s, fmt.Errorf("open the temporary folder: %w", err)
	}
	if s.bin == "" {
		err = s.build(ctx)
	} else {
		s.bin, err = filepath.Abs(s.bin)
	}
	if err != nil {
		return s, err
	}
	if s.engines, err = startEngines(ctx, s.path(launcherProgram), filepath.Join(dir, "engines"), o.Logs, s.client); err != nil {
		return s, err
	}
	if err := s.migrate(ctx); err != nil {
		return s, err
	}
	if s.model, err = startMeter(ctx, s.engines.all[gemini].address); err != nil {
		return s, err
	}
	if s.hooks, err = startReceiver(ctx, o.Seed); err != nil {
		return s, err
	}
	err = s.startNodes(ctx)
	return s, err
}

func (s *system) path(program string) string { return filepath.Join(s.bin, program) }

// build makes the programs the way a release does.
func (s *system) build(ctx context.Context) error {
	root, err := filepath.Abs(s.options.Root)
	if err != nil {
		return fmt.Errorf("find the repository: %w", err)
	}
	s.bin = filepath.Join(s.dir, "bin")
	env := slices.DeleteFunc(os.Environ(), func(entry string) bool { return strings.HasPrefix(entry, "GOWORK=") })
	return run(ctx, root, env, "go", append([]string{"build", "-o", s.bin + string(filepath.Separator)}, packages()...)...)
}

// migrate makes the run's database with the program that operators use, and our triggers in it.
func (s *system) migrate(ctx context.Context) error {
	server, err := pgx.Connect(ctx, s.engines.database(s.engines.all[postgres].address, "postgres", "", ""))
	if err != nil {
		return fmt.Errorf("connect to Postgres: %w", err)
	}
	_, err = server.Exec(ctx, "CREATE DATABASE "+databaseName)
	if closing := server.Close(ctx); err == nil {
		err = closing
	}
	if err != nil {
		return fmt.Errorf("make the database: %w", err)
	}
	env := append(inherited(), "MIGRATE_DATABASE_URL="+s.engines.owner(), "ENVIRONMENT=development")
	for _, command := range []string{"up", "seed"} {
		if err := run(ctx, s.dir, env, s.path(migrateProgram), command); err != nil {
			return err
		}
	}
	return installAudit(ctx, s.engines.owner())
}

// startNodes starts two gateways and five workers.
func (s *system) startNodes(ctx context.Context) error {
	secret, nth := rand.Text()+rand.Text(), 10
	for _, of := range []struct {
		program string
		n       int
	}{{agentProgram, 2}, {embeddingProgram, 2}, {ingestProgram, 1}, {gatewayProgram, 2}} {
		for i := range of.n {
			n := &node{
				process: &process{name: fmt.Sprintf("%s-%d", of.program, i+1), path: s.path(of.program)},
				program: of.program, links: map[string]*link{},
			}
			s.nodes = append(s.nodes, n)
			for _, engine := range []string{postgres, nats, redis} {
				way, err := openLink(ctx, s.engines.all[engine].address)
				if err != nil {
					return err
				}
				n.links[engine] = way
			}
			ops, err := freePort(ctx, nth)
			if err != nil {
				return err
			}
			nth++
			n.ready = address(ops)
			env := s.environment(n, secret)
			if of.program == gatewayProgram {
				listen, err := freePort(ctx, nth)
				if err != nil {
					return err
				}
				nth++
				env["HTTP_ADDR"] = address(listen)
				if n.front, err = openLink(ctx, address(listen)); err != nil {
					return err
				}
			}
			n.env = inherited()
			for name, value := range env {
				n.env = append(n.env, name+"="+value)
			}
			if err := start(n.process, s.options.Logs); err != nil {
				return err
			}
		}
	}
	ctx, cancel := context.WithTimeout(ctx, 90*time.Second)
	defer cancel()
	for _, n := range s.nodes {
		if err := n.await(ctx, s.client); err != nil {
			return fmt.Errorf("%w; see %s", err, filepath.Join(s.options.Logs, n.name+".log"))
		}
	}
	return nil
}

// How long a program may take to end in order.
const (
	workerGrace = 2 * time.Second
	drain       = 5 * time.Second
	endsWithin  = 20 * time.Second
)

// environment is what a program is told, beside what it inherits.
func (s *system) environment(n *node, secret string) map[string]string {
	at := n.links[postgres].address()
	env := map[string]string{
		"ENVIRONMENT": "development", "LOG_LEVEL": s.options.LogLevel, "LOG_FORMAT": "json", "OPS_ADDR": n.ready,
		"DATABASE_URL":        s.engines.database(at, databaseName, "copilot_app", n.name),
		"ENGINE_DATABASE_URL": s.engines.database(at, databaseName, "copilot_engine", n.name),
		"NATS_URL":            "nats://" + n.links[nats].address(),
		"REDIS_URL":           "redis://" + n.links[redis].address() + "/0",
	}
	blobs := filepath.Join(s.dir, "blobs")
	if n.program == gatewayProgram {
		maps.Copy(env, map[string]string{
			"BLOB_DIR": blobs, "JWT_SECRET": secret, "DRAIN_TIMEOUT": drain.String(), "DRAIN_DELAY": "0s",
			// The receiver of webhooks is here, and refuses now and then what a message is not to be given up for.
			"EGRESS_ALLOWED_NETWORKS": "127.0.0.0/8", "WEBHOOK_RETRIES": strings.Repeat("1s,", 98) + "1s",
			"WEBHOOK_LEASE":    s.options.Lease.String(),
			"ACCESS_TOKEN_TTL": (s.options.For + s.options.Settle + time.Hour).String(),
		})
		for _, limit := range []string{
			"LOGINS_PER_ACCOUNT", "LOGINS_PER_ADDRESS", "RATE_LIMIT_USER", "RATE_LIMIT_KEY", "RATE_LIMIT_ORGANIZATION",
			"RATE_LIMIT_ADDRESS",
		} {
			env[limit] = "0"
		}
		return env
	}
	maps.Copy(env, map[string]string{
		"WORKER_LEASE": s.options.Lease.String(), "WORKER_TIMEOUT": "1m", "WORKER_GRACE": workerGrace.String(), "WORKER_SLOTS": "8",
		// The key tells the meter who calls.
		"GEMINI_API_KEY": n.name, "GEMINI_BASE_URL": "http://" + s.model.address(),
	})
	switch n.program {
	case ingestProgram:
		maps.Copy(env, map[string]string{
			"BLOB_DIR": blobs, "CACHE_DIR": cmp.Or(s.options.Cache, filepath.Join(s.dir, "cache")),
			"INGEST_CHUNK_TOKENS": "32", "INGEST_PARSE_WORKERS": "1",
		})
	case embeddingProgram:
		env["QDRANT_URL"] = "http://" + s.engines.all[qdrant].address
	}
	return env
}

// gateways returns the addresses by which clients reach the gateways.
func (s *system) gateways() (urls []string) {
	for _, n := range s.nodes {
		if n.front != nil {
			urls = append(urls, "http://"+n.front.address())
		}
	}
	return urls
}

// heal makes everything whole: links carry, processes run.
func (s *system) heal(ctx context.Context) error {
	for _, n := range s.nodes {
		for _, l := range n.ways() {
			l.heal()
		}
		n.signal(contSignal)
		n.release()
	}
	for _, e := range s.engines.all {
		e.release() // those that were frozen have been thawed
	}
	ctx, cancel := context.WithTimeoutCause(ctx, s.options.Settle, errSettle)
	defer cancel()
	for _, e := range s.engines.all {
		if err := e.await(ctx, s.client); err != nil {
			return err
		}
	}
	for _, n := range s.nodes {
		if err := n.await(ctx, s.client); err != nil {
			return err
		}
	}
	return nil
}

// ways are all links of a process.
func (n *node) ways() []*link {
	ways := slices.Collect(maps.Values(n.links))
	if n.front != nil {
		ways = append(ways, n.front)
	}
	return ways
}

// stopNodes ends all processes of the system, the gateways first.
func (s *system) stopNodes() {
	for _, gateways := range []bool{true, false} {
		var all sync.WaitGroup
		for _, n := range s.nodes {
			if (n.front != nil) == gateways {
				all.Go(func() { n.stop(endsWithin) })
			}
		}
		all.Wait()
	}
}

// stop ends everything and removes what was kept.
func (s *system) stop() error {
	s.stopNodes()
	for _, n := range s.nodes {
		for _, l := range n.ways() {
			l.close()
		}
	}
	if s.model != nil {
		s.model.close()
	}
	if s.hooks != nil {
		s.hooks.close()
	}
	var err error
	if s.engines != nil {
		err = s.engines.stop()
	}
	if s.dir != "" {
		if removing := os.RemoveAll(s.dir); err == nil {
			err = removing
		}
	}
	return err
}
