package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"
)

// hint stands behind every complaint about missing engines.
const hint = "these tests need the engines: run `make test`, " +
	"or `go run ./deploy/devstack/cmd/devstack exec -- go test ./deploy/e2e/...`"

// suite is what all tests of one run share. It is made once, before the first test, and only read afterwards.
type suite struct {
	root    string // of the repository
	bin     string // where the programs were built to
	cache   string // the compiled PDF sandbox, which takes seconds to make
	engines engines
	// template is the migrated and seeded database that tests clone.
	template string
	// stacks bounds how many stacks run at once: more would only wait for the processor.
	stacks chan struct{}
	drills *drills
}

// engines are the servers' addresses.
type engines struct{ database, nats, redis, qdrant, gemini string }

// shared is set by TestMain.
var shared *suite

func TestMain(m *testing.M) { os.Exit(run(m)) }

func run(m *testing.M) (code int) {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Minute)
	defer cancel()
	drills := new(drills)
	fail := func(err error) int {
		fmt.Fprintln(os.Stderr, "e2e:", err)
		return 1
	}
	if err := drills.parse(); err != nil {
		return fail(err)
	}
	dir, err := os.MkdirTemp("", "copilot-e2e-")
	if err != nil {
		return fail(err)
	}
	defer func() { _ = os.RemoveAll(dir) }()
	if shared, err = prepare(ctx, dir); err != nil {
		return fail(err)
	}
	shared.drills = drills
	defer func() {
		if err := dropDatabase(context.Background(), shared.engines.database, shared.template); err != nil {
			code = fail(err)
		}
	}()
	if code = drills.write(os.Stdout, m.Run()); code != 0 {
		return code
	}
	if err := goleak.Find(); err != nil {
		return fail(err)
	}
	return 0
}

// prepare finds the engines, builds the programs and makes the template database with them.
func prepare(ctx context.Context, dir string) (*suite, error) {
	s := &suite{bin: filepath.Join(dir, "bin"), cache: filepath.Join(dir, "cache"), stacks: make(chan struct{}, 3)}
	for name, address := range map[string]*string{
		"TEST_DATABASE_URL": &s.engines.database, "TEST_NATS_URL": &s.engines.nats, "TEST_REDIS_URL": &s.engines.redis,
		"TEST_QDRANT_URL": &s.engines.qdrant, "TEST_GEMINI_URL": &s.engines.gemini,
	} {
		if *address = os.Getenv(name); *address == "" {
			return nil, fmt.Errorf("%s is not set: %s", name, hint)
		}
	}
	var err error
	if s.root, err = filepath.Abs(filepath.Join("..", "..")); err != nil {
		return nil, fmt.Errorf("find the repository: %w", err)
	}
	if err := errors.Join(os.Mkdir(s.bin, 0o700), os.Mkdir(s.cache, 0o700)); err != nil {
		return nil, err
	}
	if err := s.build(ctx); err != nil {
		return nil, err
	}
	s.template, err = s.makeTemplate(ctx)
	return s, err
}

// build makes the programs the way a release does: without the race detector, which belongs to the tests of their packages.
func (s *suite) build(ctx context.Context) error {
	cmd := exec.CommandContext(ctx, "go", "build", "-o", s.bin+string(filepath.Separator),
		"./gateway/cmd/gateway", "./workers/cmd/agent-worker", "./workers/cmd/ingest-worker", "./workers/cmd/embedding-worker",
		"./migrations/cmd/migrate", "./deploy/devstack/cmd/devstack")
	cmd.Dir = s.root
	for _, entry := range os.Environ() {
		// The programs belong to several modules, which only the workspace ties together.
		if !strings.HasPrefix(entry, "GOWORK=") {
			cmd.Env = append(cmd.Env, entry)
		}
	}
	if out, err := cmd.CombinedOutput(); err != nil {
		return fmt.Errorf("build the programs: %w\n%s", err, out)
	}
	return nil
}
