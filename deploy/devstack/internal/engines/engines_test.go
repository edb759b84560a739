package engines_test

import (
	"bufio"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/qdrant/go-client/qdrant"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/deploy/devstack/internal/engines"
	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

func TestMain(m *testing.M) {
	goleak.VerifyTestMain(m,
		// The server starts it once for the process, to read system figures, and never ends it.
		goleak.IgnoreAnyFunction("github.com/nats-io/nats-server/v2/server/pse.periodic"))
}

func freePort(t *testing.T) int {
	t.Helper()
	free, err := ports.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	return free[0]
}

// closing closes an engine at the end of the test, unless the test did.
func closing(t *testing.T, engine io.Closer) {
	t.Helper()
	t.Cleanup(func() {
		if err := engine.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
	})
}

func TestNATSKeepsItsStreams(t *testing.T) {
	t.Parallel()
	dir, port := t.TempDir(), freePort(t)
	publish := func(ctx context.Context, js jetstream.JetStream) error {
		if _, err := js.CreateStream(ctx, jetstream.StreamConfig{Name: "KEPT", Subjects: []string{"kept"}}); err != nil {
			return err
		}
		_, err := js.Publish(ctx, "kept", []byte("message"))
		return err
	}
	count := func(ctx context.Context, js jetstream.JetStream) error {
		stream, err := js.Stream(ctx, "KEPT")
		if err != nil {
			return err
		}
		if n := stream.CachedInfo().State.Msgs; n != 1 {
			return fmt.Errorf("the stream holds %d messages, want 1", n)
		}
		return nil
	}
	for _, step := range []func(context.Context, jetstream.JetStream) error{publish, count} {
		server, err := engines.StartNATS(t.Context(), dir, port, io.Discard)
		if err != nil {
			t.Fatal(err)
		}
		conn, err := nats.Connect(server.URL())
		if err != nil {
			t.Fatal(err)
		}
		js, err := jetstream.New(conn)
		if err == nil {
			err = step(t.Context(), js)
		}
		conn.Close()
		if err := server.Close(); err != nil {
			t.Errorf("close: %v", err)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

func TestRedisKeysExpireInRealTime(t *testing.T) {
	t.Parallel()
	server, err := engines.StartRedis(freePort(t))
	if err != nil {
		t.Fatal(err)
	}
	closing(t, server)
	keysExpire(t, server.URL())
}

func TestRedisServerLeavesNothingBehind(t *testing.T) {
	t.Parallel()
	path, dir := engines.FindRedisServer(os.Getenv("PATH")), filepath.Join(t.TempDir(), "redis")
	if path == "" {
		t.Log("there is no redis-server on this machine: the stand-in takes its place")
		return
	}
	server, err := engines.StartRedisServer(t.Context(), path, dir, freePort(t), nil)
	if err != nil {
		t.Fatal(err)
	}
	keysExpire(t, server.URL())
	if err := server.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	if left, err := os.ReadDir(dir); err != nil || len(left) > 0 {
		t.Errorf("it left %v behind (%v)", left, err)
	}
}

func TestRedisServerIsFoundInThePath(t *testing.T) {
	t.Parallel()
	empty, full := t.TempDir(), t.TempDir()
	path := filepath.Join(full, "redis-server")
	if err := os.WriteFile(path, []byte("#!/bin/sh\n"), 0o700); err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct{ searchPath, want string }{
		{"", ""}, {empty, ""}, {".", ""}, {empty + ":" + full, path}, {":" + full, path},
	} {
		if got := engines.FindRedisServer(c.searchPath); got != c.want {
			t.Errorf("found %q in %q, want %q", got, c.searchPath, c.want)
		}
	}
}

// keysExpire checks that the server at the URL forgets a key when its time is over, and no sooner.
func keysExpire(t *testing.T, url string) {
	t.Helper()
	address, ok := strings.CutPrefix(url, "redis://")
	if !ok {
		t.Fatalf("the address is %s", url)
	}
	conn, err := (&net.Dialer{Timeout: 10 * time.Second}).DialContext(t.Context(), "tcp", strings.TrimSuffix(address, "/0"))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close() }()
	answers := bufio.NewReader(conn)
	ask := func(command string) string {
		t.Helper()
		if _, err := io.WriteString(conn, command+"\r\n"); err != nil {
			t.Fatal(err)
		}
		answer, err := answers.ReadString('\n')
		if err != nil {
			t.Fatal(err)
		}
		return strings.TrimSpace(answer)
	}
	ask("*5\r\n$3\r\nSET\r\n$1\r\nk\r\n$1\r\nv\r\n$2\r\nPX\r\n$7\r\n3600000")
	if got := ask("*2\r\n$6\r\nEXISTS\r\n$1\r\nk"); got != ":1" {
		t.Fatalf("an hour before its end the key is not there: %s", got)
	}
	ask("*3\r\n$7\r\nPEXPIRE\r\n$1\r\nk\r\n$3\r\n200")
	deadline := time.After(time.Minute)
	for ask("*2\r\n$6\r\nEXISTS\r\n$1\r\nk") != ":0" {
		select {
		case <-deadline:
			t.Fatal("the key does not expire")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestQdrantAnswersItsClient(t *testing.T) {
	t.Parallel()
	port := freePort(t)
	server, err := engines.StartQdrant(t.Context(), t.TempDir(), port, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	closing(t, server)
	client, err := qdrant.NewClient(&qdrant.Config{Host: ports.Host, Port: port, SkipCompatibilityCheck: true})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = client.Close() }()
	if _, err := client.HealthCheck(t.Context()); err != nil {
		t.Errorf("health check: %v", err)
	}
}

func TestGeminiSaysThatItIsAStandIn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		scripted bool
		admin    int
	}{
		"for people, without the endpoints of tests": {scripted: false, admin: http.StatusNotFound},
		"for tests, with them":                       {scripted: true, admin: http.StatusOK},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server, err := engines.StartGemini(t.Context(), freePort(t), c.scripted)
			if err != nil {
				t.Fatal(err)
			}
			closing(t, server)
			client := &http.Client{Transport: &http.Transport{}}
			defer client.CloseIdleConnections()
			get := func(path string) *http.Response {
				t.Helper()
				request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, server.URL()+path, http.NoBody)
				if err != nil {
					t.Fatal(err)
				}
				request.Header.Set("X-Goog-Api-Key", "test")
				response, err := client.Do(request)
				if err != nil {
					t.Fatal(err)
				}
				t.Cleanup(func() { _ = response.Body.Close() })
				return response
			}
			var models struct {
				Models []struct{ DisplayName string }
			}
			if err := json.NewDecoder(get("/v1beta/models").Body).Decode(&models); err != nil || len(models.Models) == 0 {
				t.Fatalf("the list of models: %v, %v", models, err)
			}
			if name := models.Models[0].DisplayName; !strings.Contains(name, "stand-in") {
				t.Errorf("a model is called %q, want it to say that it is a stand-in", name)
			}
			if got := get("/admin/calls").StatusCode; got != c.admin {
				t.Errorf("the tests' endpoint answers %d, want %d", got, c.admin)
			}
		})
	}
}

func TestATakenPortIsAnErrorOfEveryEngine(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ports.Addr(0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	address, ok := taken.Addr().(*net.TCPAddr)
	if !ok {
		t.Fatalf("listening on %v", taken.Addr())
	}
	if _, err := engines.StartRedis(address.Port); err == nil {
		t.Error("Redis started")
	}
	if path := engines.FindRedisServer(os.Getenv("PATH")); path != "" {
		_, err := engines.StartRedisServer(t.Context(), path, t.TempDir(), address.Port, nil)
		if err == nil || !strings.Contains(err.Error(), "Address already in use") {
			t.Errorf("redis-server: %v", err)
		}
	}
	if _, err := engines.StartQdrant(t.Context(), t.TempDir(), address.Port, slog.New(slog.DiscardHandler)); err == nil {
		t.Error("Qdrant started")
	}
	if _, err := engines.StartGemini(t.Context(), address.Port, false); err == nil {
		t.Error("Gemini started")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 300*time.Millisecond)
	defer cancel()
	if _, err := engines.StartNATS(ctx, t.TempDir(), address.Port, io.Discard); err == nil {
		t.Error("NATS started")
	}
}
