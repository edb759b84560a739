package launch

import (
	"bytes"
	"context"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

// screen is a terminal for several goroutines.
type screen struct {
	mu sync.Mutex
	b  bytes.Buffer
}

func (s *screen) Write(p []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.Write(p)
}

func (s *screen) String() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.b.String()
}

// newFakeSystem returns a session whose programs are this test program under other names, without engines.
func newFakeSystem(t *testing.T, env ...string) (*session, *screen) {
	t.Helper()
	bin := t.TempDir()
	for _, p := range programs() {
		if err := os.Symlink(testProgram(t), filepath.Join(bin, p.name)); err != nil {
			t.Fatal(err)
		}
	}
	o := options{state: t.TempDir(), logLevel: "info", ports: make(map[string]int), extra: env}
	free, err := ports.Free(t.Context(), len(portOptions()))
	if err != nil {
		t.Fatal(err)
	}
	for i, p := range portOptions() {
		o.ports[p.name] = free[i]
	}
	out := new(screen)
	c := &command{system: System{
		Env:    []string{"PATH=/usr/bin:/bin", "SECRET_OF_THE_SHELL=1", "HTTPS_PROXY=http://proxy", "NO_COLOR=1"},
		Stdout: out, Stderr: out,
	}}
	s := c.newSession(o, o.state, true)
	s.bin = bin
	_, s.fail = context.WithCancelCause(t.Context())
	if err := s.open(); err != nil {
		t.Fatal(err)
	}
	for _, name := range []string{
		varOwnerDatabase, varAppDatabase, varEngineDatabase, varNATS, varRedis, varQdrant, varQdrantKey, varGeminiKey, varGeminiURL,
	} {
		s.variables[name] = "value-of-" + name
	}
	t.Cleanup(s.client.CloseIdleConnections)
	return s, out
}

func testProgram(t *testing.T) string {
	t.Helper()
	path, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	return path
}

func (s *session) ask(t *testing.T, method, name, path string) (string, error) {
	t.Helper()
	i := slices.IndexFunc(programs(), func(p program) bool { return p.name == name })
	address := "http://" + ports.Addr(s.options.ports[programs()[i].ops]) + path
	request, err := http.NewRequestWithContext(t.Context(), method, address, http.NoBody)
	if err != nil {
		t.Fatal(err)
	}
	response, err := s.client.Do(request)
	if err != nil {
		return "", err
	}
	defer func() { _ = response.Body.Close() }()
	raw, err := io.ReadAll(response.Body)
	return string(raw), err
}

func TestEveryProgramGetsWhatItNeedsAndNothingElse(t *testing.T) {
	t.Parallel()
	s, _ := newFakeSystem(t, "MORE=given")
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.startPrograms(ctx); err != nil {
		t.Fatal(err)
	}
	everybody := []string{
		varEnvironment, varLogLevel, varLogFormat, varPath, varOps,
		varAppDatabase, varEngineDatabase, varNATS, varNamespace, varRedis, "MORE",
	}
	for name, also := range map[string][]string{
		"gateway":          {varBlobs, varTokenKey, varHTTP, varDrainDelay},
		"agent-worker":     {varGeminiKey, varGeminiURL, "HTTPS_PROXY"},
		"ingest-worker":    {varBlobs, varCache},
		"embedding-worker": {varGeminiKey, varGeminiURL, varQdrant, varQdrantKey, "HTTPS_PROXY"},
	} {
		raw, err := s.ask(t, http.MethodGet, name, "/env")
		if err != nil {
			t.Fatal(err)
		}
		var got []string
		for line := range strings.Lines(raw) {
			variable, _, _ := strings.Cut(line, "=")
			got = append(got, variable)
		}
		want := slices.Sorted(slices.Values(slices.Concat(everybody, also)))
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s gets %v, want %v", name, got, want)
		}
	}
	if err := s.done.closeAll(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	cancel()
	s.watchers.Wait()
}

func TestAProgramThatDiesAtTheStartIsShownWithItsLastLines(t *testing.T) {
	t.Parallel()
	s, out := newFakeSystem(t, behavior+"=die:ingest-worker")
	err := s.startPrograms(t.Context())
	if err == nil || !strings.Contains(err.Error(), "start ingest-worker: ingest-worker exited with code 1") ||
		!strings.Contains(err.Error(), "the color of the sky is wrong") || !strings.Contains(err.Error(), "giving up") {
		t.Errorf("got %v, want the exit code and the last lines", err)
	}
	if !strings.Contains(out.String(), "ingest-worker    | ERROR the color of the sky is wrong") {
		t.Errorf("the terminal shows %q, want the error", out)
	}
	if err := s.done.closeAll(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	for _, name := range []string{"gateway", "agent-worker", "embedding-worker"} {
		if _, err := s.ask(t, http.MethodGet, name, "/readyz"); err == nil {
			t.Errorf("%s still answers after everything was stopped", name)
		}
	}
}

func TestAProgramThatDiesLaterIsStartedAgain(t *testing.T) {
	t.Parallel()
	s, out := newFakeSystem(t)
	ctx, cancel := context.WithCancel(t.Context())
	if err := s.startPrograms(ctx); err != nil {
		t.Fatal(err)
	}
	if _, err := s.ask(t, http.MethodPost, "gateway", "/die"); err == nil {
		t.Error("the gateway answered instead of dying")
	}
	deadline := time.After(time.Minute)
	for {
		if _, err := s.ask(t, http.MethodGet, "gateway", "/readyz"); err == nil {
			break
		}
		select {
		case <-deadline:
			t.Fatal("the gateway did not come back")
		case <-time.After(10 * time.Millisecond):
		}
	}
	if !strings.Contains(out.String(), "gateway exited with code 9; starting it again") {
		t.Errorf("the terminal shows %q, want that the gateway is started again", out)
	}
	for !strings.Contains(out.String(), "gateway           is ready again") {
		select {
		case <-deadline:
			t.Fatalf("the terminal shows %q, want that the gateway is back", out)
		case <-time.After(10 * time.Millisecond):
		}
	}
	if err := s.done.closeAll(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	cancel()
	s.watchers.Wait()
	if _, err := s.ask(t, http.MethodGet, "gateway", "/readyz"); err == nil {
		t.Error("the gateway still answers after everything was stopped")
	}
}

func TestServersOfOnesOwnAreUsed(t *testing.T) {
	t.Parallel()
	// Something must listen there, or the launcher says that nothing does.
	server, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = server.Close() })
	elsewhere := server.Addr().String()
	for name, c := range map[string]struct {
		env     []string
		engine  string
		want    map[string]string
		problem string
	}{
		"NATS": {
			env: []string{"NATS_URL=nats://" + elsewhere}, engine: engineNATS, want: map[string]string{varNATS: "nats://" + elsewhere},
		},
		"Qdrant with its key": {
			env: []string{"QDRANT_URL=http://" + elsewhere, "QDRANT_API_KEY=key"}, engine: engineQdrant,
			want: map[string]string{varQdrant: "http://" + elsewhere, varQdrantKey: "key"},
		},
		"Gemini at its own address": {
			env: []string{"GEMINI_API_KEY=key"}, engine: engineGemini, want: map[string]string{varGeminiKey: "key", varGeminiURL: ""},
		},
		"Postgres with both roles": {
			env: []string{"MIGRATE_DATABASE_URL=m", "DATABASE_URL=a", "ENGINE_DATABASE_URL=e"}, engine: enginePostgres,
			want: map[string]string{varOwnerDatabase: "m", varAppDatabase: "a", varEngineDatabase: "e"},
		},
		"Postgres with one role is half a thing": {
			env: []string{"MIGRATE_DATABASE_URL=m", "DATABASE_URL=a"}, engine: enginePostgres, problem: "set both",
		},
		"Postgres without its owner cannot be migrated": {
			env: []string{"DATABASE_URL=a"}, engine: enginePostgres, problem: "set MIGRATE_DATABASE_URL too",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := (&command{system: System{Env: c.env, Stdout: new(screen)}}).newSession(options{}, t.TempDir(), true)
			s.variables = make(map[string]string)
			i := slices.IndexFunc(allEngines(), func(e engine) bool { return e.name == c.engine })
			err := s.startEngine(t.Context(), allEngines()[i])
			if c.problem != "" {
				if err == nil || !strings.Contains(err.Error(), c.problem) {
					t.Errorf("got %v, want %q", err, c.problem)
				}
				return
			}
			if err != nil {
				t.Fatal(err)
			}
			for variable, want := range c.want {
				if got := s.variables[variable]; got != want {
					t.Errorf("%s is %q, want %q", variable, got, want)
				}
			}
			if s.standIns != nil {
				t.Errorf("%v are said to be stand-ins", s.standIns)
			}
		})
	}
}

func TestAShellThatReadOurEnvFileNamesOnlyOurServers(t *testing.T) {
	t.Parallel()
	s := &session{command: &command{system: System{Env: []string{"NATS_URL=nats://127.0.0.1:42229", varMark + "=/state"}}}}
	if got := s.given(varNATS); got != "" {
		t.Errorf("our own address %s was taken for another server", got)
	}
}

func TestAStackClosesInReverseAndGoesOnAfterAnError(t *testing.T) {
	t.Parallel()
	var order []string
	var done stack
	for _, name := range []string{"first", "second", "third"} {
		done.push(name, func(context.Context) error {
			order = append(order, name)
			if name == "second" {
				return io.ErrUnexpectedEOF
			}
			return nil
		})
	}
	err := done.closeAll(t.Context())
	if err == nil || err.Error() != "stop second: unexpected EOF" {
		t.Errorf("got %v, want the error of the second", err)
	}
	if got := strings.Join(order, " "); got != "third second first" {
		t.Errorf("closed %s", got)
	}
	if err := done.closeAll(t.Context()); err != nil || len(order) != 3 {
		t.Errorf("closing again: %v, %v", err, order)
	}
}
