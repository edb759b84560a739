package telemetry

import (
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tarento/copilot/pkg/lifecycle"
)

// NewRegistry returns a metrics registry with the Go runtime's and the process's own metrics.
func NewRegistry() *prometheus.Registry {
	reg := prometheus.NewRegistry()
	reg.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return reg
}

// Check tells whether something that the process needs is there. It should return within a second or two.
type Check func(ctx context.Context) error

// Readiness is a set of named checks. It is safe for concurrent use. Make it with NewReadiness.
type Readiness struct {
	checks map[string]Check

	mu   sync.Mutex
	away map[string]bool // the parts that the log called not ready last
}

// NewReadiness returns the set of these checks.
func NewReadiness(checks map[string]Check) *Readiness {
	return &Readiness{checks: checks, away: make(map[string]bool)}
}

// readyWithin bounds one round of checks, below what probes usually allow.
const readyWithin = 2 * time.Second

// State runs all checks side by side and returns "ok" or "unavailable" for each. What exactly is wrong goes to the log, since
// the answer may be public: once when a part goes away and once when it is back, however often probes ask.
func (r *Readiness) State(ctx context.Context, log *slog.Logger) (parts map[string]string, ready bool) {
	ctx, cancel := context.WithTimeout(ctx, readyWithin)
	defer cancel()
	var mu sync.Mutex
	var all sync.WaitGroup
	parts, ready = make(map[string]string, len(r.checks)), true
	for name, check := range r.checks {
		all.Go(func() {
			err := check(ctx)
			mu.Lock()
			defer mu.Unlock()
			parts[name] = "ok"
			if err != nil {
				parts[name], ready = "unavailable", false
			}
			r.tell(ctx, log, name, err)
		})
	}
	all.Wait()
	return parts, ready
}

// tell logs that a part went away or came back.
func (r *Readiness) tell(ctx context.Context, log *slog.Logger, name string, err error) {
	r.mu.Lock()
	was := r.away[name]
	r.away[name] = err != nil
	r.mu.Unlock()
	switch {
	case err != nil && !was:
		log.WarnContext(ctx, "not ready", "part", name, "error", err)
	case err == nil && was:
		log.InfoContext(ctx, "ready again", "part", name)
	default:
	}
}

// ServeOps serves /livez, /readyz and /metrics on addr until ctx ends. It returns an error at once when the address is taken.
func ServeOps(ctx context.Context, addr string, reg *prometheus.Registry, ready *Readiness, log *slog.Logger) error {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /livez", func(w http.ResponseWriter, _ *http.Request) { writeState(w, http.StatusOK, "alive", nil) })
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, req *http.Request) {
		parts, ok := ready.State(req.Context(), log)
		if !ok {
			writeState(w, http.StatusServiceUnavailable, "unavailable", parts)
			return
		}
		writeState(w, http.StatusOK, "ready", parts)
	})
	mux.Handle("GET /metrics", promhttp.HandlerFor(reg, promhttp.HandlerOpts{}))

	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", addr)
	if err != nil {
		return fmt.Errorf("telemetry: listen on %s: %w", addr, err)
	}
	srv := &http.Server{Handler: mux, ReadHeaderTimeout: 5 * time.Second}
	return lifecycle.HTTP("operations", srv, listener, time.Second).Run(ctx)
}

func writeState(w http.ResponseWriter, code int, status string, parts map[string]string) {
	w.Header().Set("Content-Type", "application/json")
	w.Header().Set("Cache-Control", "no-store")
	w.WriteHeader(code)
	//nolint:errchkjson // it encodes; the client may be gone, and there is nobody to tell
	_ = json.NewEncoder(w).Encode(struct {
		Status string            `json:"status"`
		Parts  map[string]string `json:"parts,omitempty"`
	}{status, parts})
}
