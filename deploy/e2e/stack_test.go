package e2e_test

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarento/copilot/events"
)

// The seeded accounts, and what they own.
const (
	password    = "SecurePassword123!"
	adminAcme   = "admin@acme.com"
	memberAcme  = "member@acme.com"
	adminOther  = "admin@startup.io"
	agentAcme   = "01900000-0000-7000-8000-000000000a41"
	agentOther  = "01900000-0000-7000-8000-000000000b41"
	projectAcme = "01900000-0000-7000-8000-000000000a31"
)

// The programs, by the names of their binaries.
const (
	gatewayProgram   = "gateway"
	agentProgram     = "agent-worker"
	ingestProgram    = "ingest-worker"
	embeddingProgram = "embedding-worker"
)

// setup says what a stack is made of. The zero value has one process of each program on the shared engines.
type setup struct {
	// gateways is how many gateways run; zero means one.
	gateways int
	// without leaves workers out.
	without []string
	// twice names workers that have a second process.
	twice []string
	// natsURL is a server of the test's own; empty means the shared one.
	natsURL string
	// env adds to the environment of the programs with the name.
	env map[string]map[string]string
}

// stack is the whole system, running for one test.
type stack struct {
	t        *testing.T
	db       *database
	gateways []*gateway
	workers  map[string]*process // by program
	model    *standIn

	name      string // tells the stack apart wherever engines are shared
	natsURL   string
	tokenKey  string
	blobs     string
	setup     setup
	transport *http.Transport
	logs      []*process
}

// gateway is a process that serves the API.
type gateway struct {
	*process

	url string
}

// newStack starts a system of the test's own and returns when all of it is ready. The test's end stops it, and shows its
// logs when the test failed.
func newStack(t *testing.T, with setup) *stack {
	t.Helper()
	select {
	case shared.stacks <- struct{}{}:
	case <-t.Context().Done():
		t.Fatal("no room for another stack before the tests' time was over")
	}
	t.Cleanup(func() { <-shared.stacks })
	name := "e2e" + randomName(t)
	s := &stack{
		t: t, db: shared.cloneDatabase(t), workers: map[string]*process{}, name: name, natsURL: with.natsURL,
		tokenKey: rand.Text() + rand.Text(), blobs: filepath.Join(t.TempDir(), "blobs"), setup: with,
		transport: &http.Transport{MaxIdleConnsPerHost: 64}, model: newStandIn(t, shared.engines.gemini, name),
	}
	t.Cleanup(s.transport.CloseIdleConnections)
	if s.natsURL == "" {
		s.natsURL = shared.engines.nats
		t.Cleanup(s.deleteStreams)
	}
	t.Cleanup(s.stop)
	for _, program := range []string{agentProgram, ingestProgram, embeddingProgram} {
		if !slices.Contains(with.without, program) {
			s.workers[program] = s.newProcess(program, program)
		}
	}
	for _, program := range with.twice {
		s.newProcess(program+"-too", program)
	}
	for i := range max(1, with.gateways) {
		s.addGateway(fmt.Sprintf("%s-%d", gatewayProgram, i+1), nil)
	}
	for _, p := range s.logs {
		p.start(t)
	}
	for _, p := range s.logs {
		p.awaitReady(t)
	}
	return s
}

// newProcess describes a process of the stack; it does not start it.
func (s *stack) newProcess(name, program string) *process {
	s.t.Helper()
	p := &process{
		name: name, path: filepath.Join(shared.bin, program), ops: address(freePort(s.t)), log: &tail{},
	}
	p.env = environ(s.environment(program, p.ops))
	s.logs = append(s.logs, p)
	return p
}

// startWorker adds a worker beside those of the setup and waits until it is ready.
func (s *stack) startWorker(program string) *process {
	s.t.Helper()
	p := s.newProcess(program+"-too", program)
	p.restart(s.t)
	return p
}

// startGateway adds a gateway with further variables and waits until it is ready.
func (s *stack) startGateway(env map[string]string) *gateway {
	s.t.Helper()
	g := s.addGateway(fmt.Sprintf("%s-%d", gatewayProgram, len(s.gateways)+1), env)
	g.restart(s.t)
	return g
}

func (s *stack) addGateway(name string, env map[string]string) *gateway {
	s.t.Helper()
	p := s.newProcess(name, gatewayProgram)
	listen := address(freePort(s.t))
	p.env = append(p.env, "HTTP_ADDR="+listen)
	p.env = append(p.env, environ(env)...)
	g := &gateway{process: p, url: "http://" + listen}
	s.gateways = append(s.gateways, g)
	return g
}

// lease is how long a job stays with a worker that was killed, short enough to wait for, and long enough for a worker to keep its job on
// a machine that stands still for a while.
const lease = 9 * time.Second

// environment is all that a program gets to see.
func (s *stack) environment(program, ops string) map[string]string {
	env := map[string]string{
		"ENVIRONMENT": "development", "LOG_LEVEL": "info", "LOG_FORMAT": "json", "OPS_ADDR": ops,
		"DATABASE_URL": s.db.app, "ENGINE_DATABASE_URL": s.db.engine,
		"NATS_URL": s.natsURL, "NATS_NAMESPACE": s.name, "REDIS_URL": shared.engines.redis,
	}
	for _, name := range []string{"PATH", "HOME", "TMPDIR"} {
		if value := os.Getenv(name); value != "" {
			env[name] = value
		}
	}
	var more map[string]string
	switch program {
	case gatewayProgram:
		// Stacks share a Redis, an address and the ids of the seeded users, so that they would use up each other's limits.
		more = map[string]string{
			"BLOB_DIR": s.blobs, "JWT_SECRET": s.tokenKey, "LOGINS_PER_ACCOUNT": "0", "LOGINS_PER_ADDRESS": "0", "DRAIN_DELAY": "0s",
			"RATE_LIMIT_USER": "0", "RATE_LIMIT_KEY": "0", "RATE_LIMIT_ORGANIZATION": "0", "RATE_LIMIT_ADDRESS": "0",
		}
	case ingestProgram:
		more = map[string]string{"WORKER_LEASE": lease.String(), "BLOB_DIR": s.blobs, "CACHE_DIR": shared.cache}
	case agentProgram:
		more = map[string]string{"WORKER_LEASE": lease.String(), "GEMINI_API_KEY": s.name, "GEMINI_BASE_URL": shared.engines.gemini}
	case embeddingProgram:
		more = map[string]string{
			"WORKER_LEASE": lease.String(), "GEMINI_API_KEY": s.name, "GEMINI_BASE_URL": shared.engines.gemini,
			"QDRANT_URL": shared.engines.qdrant, "QDRANT_PREFIX": s.name,
		}
	}
	maps.Copy(env, more)
	maps.Copy(env, s.setup.env[program])
	return env
}

// stop ends the gateways first, as the launcher does, and shows the logs of a test that failed.
func (s *stack) stop() {
	const grace = time.Minute
	for _, g := range s.gateways {
		g.stop(s.t, grace)
	}
	for _, p := range s.logs {
		p.stop(s.t, grace)
	}
	if s.t.Failed() {
		for _, p := range s.logs {
			s.t.Logf("the last lines of %s:\n%s", p.name, p.log.last(30))
		}
	}
}

// deleteStreams gives the shared NATS back what the stack's streams have reserved.
func (s *stack) deleteStreams() {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(s.t.Context()), time.Minute)
	defer cancel()
	nc, err := nats.Connect(s.natsURL, nats.Timeout(time.Minute))
	if err != nil {
		s.t.Errorf("connect to NATS to clean up: %v", err)
		return
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		s.t.Errorf("open JetStream to clean up: %v", err)
		return
	}
	subjects := events.NewSubjects(s.name)
	for _, stream := range []string{subjects.JobsStream(), subjects.EventsStream()} {
		if err := js.DeleteStream(ctx, stream); err != nil {
			s.t.Errorf("delete stream %s: %v", stream, err)
		}
	}
}

// client returns a client of the first gateway that nobody is logged in at.
func (s *stack) client() *client { return s.clientOf(s.gateways[0]) }

func (s *stack) clientOf(g *gateway) *client {
	return &client{t: s.t, base: g.url, http: &http.Client{Transport: s.transport}}
}

// login returns a client of the first gateway for the account.
func (s *stack) login(email string) *client {
	s.t.Helper()
	c := s.client()
	c.login(email)
	return c
}

// leading reports whether the gateway is the one that dispatches.
func (g *gateway) leading(t *testing.T) bool {
	t.Helper()
	for line := range strings.Lines(metrics(t, g.process)) {
		if value, found := strings.CutPrefix(line, "copilot_dispatch_leading "); found {
			return strings.TrimSpace(value) == "1"
		}
	}
	return false
}

// metrics reads a process's metrics; empty when it does not answer.
func metrics(t *testing.T, p *process) string {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: time.Minute}
	req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.ops+"/metrics", http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	resp, err := client.Do(req)
	if err != nil {
		return ""
	}
	defer func() { _ = resp.Body.Close() }()
	return readAll(t, resp.Body)
}

// randomName is short, lower case and fit for the names of databases, streams and collections.
func randomName(t *testing.T) string {
	t.Helper()
	var raw [5]byte
	if _, err := rand.Read(raw[:]); err != nil {
		t.Fatal(err)
	}
	return hex.EncodeToString(raw[:])
}
