package system

import (
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarento/copilot/deploy/bench/internal/floor"
	"github.com/tarento/copilot/events"
)

// System is some of the system's programs, running. Start one at a Site; it must be stopped.
type System struct {
	// Client speaks to the gateway as the seeded administrator of a tenant.
	*Client

	site      *Site
	dir       string // of its files and logs
	name      string // tells the system apart wherever engines are shared
	secret    string
	processes []*process
	floor     floor.Config
	besides   []string // databases that were made beside the system's
	// postmaster is Postgres's first process, once it was looked for.
	postmaster int
	http       *http.Client
}

// Seeded users of one tenant: Admin does the work, Member is somebody else in the tenant. Both have the Password.
const (
	Admin    = "admin@acme.com"
	Member   = "member@acme.com"
	Password = "SecurePassword123!"
)

// The roles by which the system's programs enter its database.
const (
	appRole    = "copilot_app"
	engineRole = "copilot_engine"
)

// Start starts the programs, waits until all are ready, and logs in. Gateway must be among them. Without any program the system is no
// more than its database.
func (s *Site) Start(ctx context.Context, programs ...string) (sys *System, err error) {
	sys = &System{
		site: s, name: fmt.Sprintf("%s-%d", s.template, s.systems.Add(1)), secret: rand.Text() + rand.Text(),
		http: &http.Client{Transport: &http.Transport{MaxIdleConnsPerHost: 256}},
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, sys.Stop(context.WithoutCancel(ctx)))
		}
	}()
	sys.dir = filepath.Join(s.dir, sys.name)
	if err := os.Mkdir(sys.dir, 0o700); err != nil {
		return sys, fmt.Errorf("make a folder for the system: %w", err)
	}
	if err := s.engines.statement(ctx, fmt.Sprintf("CREATE DATABASE %s TEMPLATE %s", quote(sys.name), quote(s.template))); err != nil {
		return sys, fmt.Errorf("copy the database: %w", err)
	}
	for _, name := range programs {
		env, ops, err := sys.environment(ctx, name)
		if err != nil {
			return sys, err
		}
		p, err := start(ctx, name, s.program(name), sys.dir, env)
		if err != nil {
			return sys, err
		}
		p.ready = "http://" + ops + "/readyz"
		sys.processes = append(sys.processes, p)
	}
	for _, p := range sys.processes {
		if err := p.awaitReady(ctx, sys.http); err != nil {
			return sys, err
		}
	}
	if len(programs) == 0 {
		return sys, nil
	}
	if err := sys.login(ctx, Admin, Password); err != nil {
		err = sys.Explain(fmt.Errorf("log in: %w", err))
		return sys, err
	}
	return sys, nil
}

// environment is all that a program gets to see, and where it serves its health.
func (s *System) environment(ctx context.Context, program string) (env []string, ops string, err error) {
	app, engine, err := s.Roles()
	if err != nil {
		return nil, "", err
	}
	if ops, err = s.site.freeAddress(ctx); err != nil {
		return nil, "", err
	}
	e := s.site.engines
	env = []string{
		"ENVIRONMENT=development", "LOG_LEVEL=info", "LOG_FORMAT=json", "OPS_ADDR=" + ops,
		"DATABASE_URL=" + app, "ENGINE_DATABASE_URL=" + engine,
		"NATS_URL=" + e.NATS, "NATS_NAMESPACE=" + s.name, "REDIS_URL=" + e.Redis,
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value := os.Getenv(name); value != "" {
			env = append(env, name+"="+value)
		}
	}
	blobs := "BLOB_DIR=" + filepath.Join(s.dir, "blobs")
	model := []string{"GEMINI_API_KEY=" + s.name, "GEMINI_BASE_URL=" + e.Gemini}
	switch program {
	case Gateway:
		listen, err := s.site.freeAddress(ctx)
		if err != nil {
			return nil, "", err
		}
		s.Client = &Client{Address: listen, http: s.http}
		env = append(env, blobs, "JWT_SECRET="+s.secret, "HTTP_ADDR="+listen, "DRAIN_DELAY=0s")
		if s.site.BcryptCost > 0 {
			env = append(env, "BCRYPT_COST="+strconv.Itoa(s.site.BcryptCost))
		}
		// The limiter is in the way of every request, as it is in production; but nobody is refused.
		for _, limit := range []string{
			"LOGINS_PER_ACCOUNT", "LOGINS_PER_ADDRESS", "RATE_LIMIT_USER", "RATE_LIMIT_KEY", "RATE_LIMIT_ORGANIZATION",
			"RATE_LIMIT_ADDRESS",
		} {
			env = append(env, limit+"=10000000")
		}
	case IngestWorker:
		env = append(env, blobs, "CACHE_DIR="+filepath.Join(s.site.dir, "cache"))
	case AgentWorker:
		env = append(env, model...)
	case EmbeddingWorker:
		env = append(append(env, model...), "QDRANT_URL="+e.Qdrant, "QDRANT_PREFIX="+s.name)
	}
	return env, ops, nil
}

// StartFloor starts the API of the floor beside the system: on the same servers, in the same database, taking the same tokens. It
// returns its address. Stop ends it too.
func (s *System) StartFloor(ctx context.Context) (address string, err error) {
	owner, err := s.site.engines.database(s.name, "")
	if err != nil {
		return "", err
	}
	if err := onDatabase(ctx, owner, func(conn *pgx.Conn) error { return floor.Prepare(ctx, conn) }); err != nil {
		return "", err
	}
	if address, err = s.site.freeAddress(ctx); err != nil {
		return "", err
	}
	s.floor = floor.Config{DatabaseURL: owner, NATSURL: s.site.engines.NATS, Namespace: s.name, Address: address, Secret: s.secret}
	p, err := start(ctx, Floor, s.site.program(floorProgram), s.dir, s.floor.Environ(), "serve")
	if err != nil {
		return "", err
	}
	p.ready = "http://" + address + floor.PathReady
	s.processes = append(s.processes, p)
	return address, p.awaitReady(ctx, s.http)
}

// StartFloorWorker starts the worker of a floor that was started. It need not be ready: what is published waits for it.
func (s *System) StartFloorWorker(ctx context.Context) error {
	p, err := start(ctx, "floor work", s.site.program(floorProgram), s.dir, s.floor.Environ(), "work")
	if err != nil {
		return err
	}
	s.processes = append(s.processes, p)
	return nil
}

// FloorLive is where the followers of a job at the floor find what is published.
func (s *System) FloorLive(job string) string { return s.floor.Live(job) }

// Restart ends a program and starts it again on the same addresses.
func (s *System) Restart(ctx context.Context, program string) error {
	i := slices.IndexFunc(s.processes, func(p *process) bool { return p.name == program })
	if i < 0 {
		return fmt.Errorf("restart %s: it does not run", program)
	}
	old := s.processes[i]
	if err := old.end(); err != nil {
		return err
	}
	p, err := start(ctx, program, old.cmd.Path, s.dir, old.cmd.Env, old.cmd.Args[1:]...)
	if err != nil {
		return err
	}
	p.ready = old.ready
	s.processes[i] = p
	return p.awaitReady(ctx, s.http)
}

// As logs in as somebody else.
func (s *System) As(ctx context.Context, username string) (*Client, error) {
	c := &Client{Address: s.Address, http: s.http}
	if err := c.login(ctx, username, Password); err != nil {
		return nil, fmt.Errorf("log in as %s: %w", username, err)
	}
	return c, nil
}

// Database connects to the system's database, as the owner of the tables, for as long as do takes.
func (s *System) Database(ctx context.Context, do func(*pgx.Conn) error) error {
	owner, err := s.site.engines.database(s.name, "")
	if err != nil {
		return err
	}
	return onDatabase(ctx, owner, do)
}

// Explain adds to an error what trouble the programs wrote of last.
func (s *System) Explain(err error) error {
	if err == nil {
		return nil
	}
	var said strings.Builder
	for _, p := range s.processes {
		if text := p.last(5, trouble); text != "" {
			fmt.Fprintf(&said, "\n%s: %s", p.name, text)
		}
	}
	return fmt.Errorf("%w%s", err, said.String())
}

// Stop ends the programs, the gateway first, and removes its database and its streams.
func (s *System) Stop(ctx context.Context) error {
	problems := make([]error, 0, len(s.processes)+2)
	byRank := slices.SortedStableFunc(slices.Values(s.processes), func(a, b *process) int { return rank(a) - rank(b) })
	for _, p := range byRank {
		problems = append(problems, p.end())
	}
	s.http.CloseIdleConnections()
	problems = append(problems, s.deleteStreams(ctx), s.site.drop(ctx, s.name))
	for _, database := range s.besides {
		problems = append(problems, s.site.drop(ctx, database))
	}
	return errors.Join(problems...)
}

func rank(p *process) int {
	if p.name == Gateway {
		return 0
	}
	return 1
}

// deleteStreams gives NATS back what the system's streams have reserved.
func (s *System) deleteStreams(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	conn, err := nats.Connect(s.site.engines.NATS)
	if err != nil {
		return fmt.Errorf("connect to NATS to clean up: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("open JetStream to clean up: %w", err)
	}
	subjects := events.NewSubjects(s.name)
	streams := []string{subjects.JobsStream(), subjects.EventsStream()}
	if s.floor.Namespace != "" {
		streams = append(streams, s.floor.Stream())
	}
	for _, stream := range streams {
		if err := js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("delete stream %s: %w", stream, err)
		}
	}
	return nil
}
