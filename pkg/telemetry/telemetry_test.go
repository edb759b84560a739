package telemetry_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/pkg/telemetry"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestReadinessNamesThePartThatIsAwayButNotWhy(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	ready := telemetry.NewReadiness(map[string]telemetry.Check{
		"nats":     func(context.Context) error { return nil },
		"postgres": func(context.Context) error { return errors.New("dial tcp 10.0.0.7: refused") },
	})
	addr, stop := serve(t, ready, slog.New(slog.NewJSONHandler(&log, nil)))
	code, body := get(t, addr+"/readyz")
	stop()
	if code != http.StatusServiceUnavailable || !strings.Contains(body, `"postgres":"unavailable"`) || !strings.Contains(body, `"nats":"ok"`) {
		t.Errorf("answered %d %s", code, body)
	}
	if strings.Contains(body, "10.0.0.7") || !strings.Contains(log.String(), "10.0.0.7") {
		t.Errorf("the cause belongs into the log: %s", log.String())
	}
}

func TestAPartThatIsAwayIsLoggedOnceUntilItIsBack(t *testing.T) {
	t.Parallel()
	var log bytes.Buffer
	out := slog.New(slog.NewTextHandler(&log, nil))
	var away error
	ready := telemetry.NewReadiness(map[string]telemetry.Check{"nats": func(context.Context) error { return away }})
	for _, away = range []error{nil, errors.New("refused"), errors.New("refused"), nil, nil, errors.New("refused")} {
		if _, ok := ready.State(t.Context(), out); ok != (away == nil) {
			t.Errorf("ready is %t with %v", ok, away)
		}
	}
	if gone, back := strings.Count(log.String(), "not ready"), strings.Count(log.String(), "ready again"); gone != 2 || back != 1 {
		t.Errorf("told %d times that it is away and %d that it is back, want 2 and 1:\n%s", gone, back, log.String())
	}
}

func TestACheckThatHangsCountsAsAway(t *testing.T) {
	t.Parallel()
	ready := telemetry.NewReadiness(map[string]telemetry.Check{
		"slow": func(ctx context.Context) error { <-ctx.Done(); return ctx.Err() },
	})
	began := time.Now()
	if _, ok := ready.State(t.Context(), slog.New(slog.DiscardHandler)); ok || time.Since(began) > time.Minute {
		t.Errorf("ready %v after %s", ok, time.Since(began))
	}
}

func TestLivenessAndMetricsNeedNothing(t *testing.T) {
	t.Parallel()
	addr, stop := serve(t, telemetry.NewReadiness(nil), slog.New(slog.DiscardHandler))
	defer stop()
	for path, want := range map[string]string{"/livez": `"alive"`, "/readyz": `"ready"`, "/metrics": "go_goroutines"} {
		if code, body := get(t, addr+path); code != http.StatusOK || !strings.Contains(body, want) {
			t.Errorf("%s answered %d %.200s", path, code, body)
		}
	}
}

func TestATakenAddressIsSaidAtOnce(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	addr := taken.Addr().String()
	err = telemetry.ServeOps(t.Context(), addr, telemetry.NewRegistry(), telemetry.NewReadiness(nil), slog.New(slog.DiscardHandler))
	if err == nil || !strings.Contains(err.Error(), addr) {
		t.Errorf("got %v", err)
	}
}

func TestLogLinesNameTheirComponentAndKeepTheLevel(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	log := telemetry.LogConfig{Level: "warn", Format: "json"}.Logger(&out, "gateway")
	log.Info("quiet")
	log.Warn("loud", "after", 1500*time.Millisecond)
	var line map[string]any
	if err := json.Unmarshal(out.Bytes(), &line); err != nil {
		t.Fatalf("%v in %s", err, out.String())
	}
	if line["component"] != "gateway" || line["msg"] != "loud" || line["after"] != "1.5s" {
		t.Errorf("logged %v", line)
	}
	for _, bad := range []telemetry.LogConfig{{Level: "loud", Format: "json"}, {Level: "info", Format: "xml"}} {
		if bad.Validate() == nil {
			t.Errorf("%+v is accepted", bad)
		}
	}
}

// serve starts the operations server on a free port.
func serve(t *testing.T, ready *telemetry.Readiness, log *slog.Logger) (addr string, stop func()) {
	t.Helper()
	free, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := free.Addr().String()
	if err := free.Close(); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- telemetry.ServeOps(ctx, address, telemetry.NewRegistry(), ready, log) }()
	return "http://" + address, func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}
}

// get asks until somebody listens.
func get(t *testing.T, url string) (code int, body string) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	deadline := time.Now().Add(time.Minute)
	for {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			data, err := io.ReadAll(resp.Body)
			if err := errors.Join(err, resp.Body.Close()); err != nil {
				t.Fatal(err)
			}
			return resp.StatusCode, string(data)
		}
		if time.Now().After(deadline) {
			t.Fatal(err)
		}
	}
}
