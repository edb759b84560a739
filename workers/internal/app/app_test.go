package app_test

import (
	"bytes"
	"context"
	"errors"
	"flag"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
	"github.com/tarento/copilot/workers/internal/app"
)

func TestMain(m *testing.M) {
	// The Gemini SDK links OpenCensus, which starts one goroutine for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

type program func(ctx context.Context, args []string, environ map[string]string, s app.Streams) error

func programs() map[string]program {
	return map[string]program{"agent-worker": app.RunAgent, "ingest-worker": app.RunIngest, "embedding-worker": app.RunEmbedding}
}

func TestEveryWorkerExplainsItselfAndNamesWhatIsWrong(t *testing.T) {
	t.Parallel()
	for name, run := range programs() {
		var out, errs bytes.Buffer
		s := app.Streams{Out: &out, Err: &errs}
		if err := run(t.Context(), []string{"-h"}, nil, s); !errors.Is(err, flag.ErrHelp) || !strings.Contains(errs.String(), "WORKER_SLOTS") {
			t.Errorf("%s -h: %v %s", name, err, &errs)
		}
		err := run(t.Context(), nil, map[string]string{"WORKER_LEASE": "1ms", "DATABASE_URL": "sesame"}, s)
		if _, ok := errors.AsType[*config.Error](err); !ok || !strings.Contains(err.Error(), "NATS_URL") || strings.Contains(err.Error(), "sesame") {
			t.Errorf("%s without a configuration: %v", name, err)
		}
	}
}

func TestLimitsThatCannotBeReadAreExplained(t *testing.T) {
	t.Parallel()
	for _, run := range []program{app.RunAgent, app.RunEmbedding} {
		var out bytes.Buffer
		err := run(t.Context(), nil, map[string]string{
			"DATABASE_URL": "x", "ENGINE_DATABASE_URL": "x", "NATS_URL": "x", "REDIS_URL": "x", "GEMINI_API_KEY": "x",
			"QDRANT_URL": "x", "PROVIDER_LIMITS": "gemini-2.5-flash=rps:5",
		}, app.Streams{Out: &out, Err: &out})
		if err == nil || !strings.Contains(err.Error(), `PROVIDER_LIMITS cannot be read: the limits of "gemini-2.5-flash": "rps:5" is neither`) {
			t.Errorf("got %v", err)
		}
	}
}

// A document that nobody has is enough to see that a job of each kind is taken, ends and stays ended.
func TestWorkersTakeEveryKindOfJob(t *testing.T) {
	t.Parallel()
	db, namespace := storetest.NewSeeded(t), bustest.Namespace(t)
	prefix := "t" + strings.ReplaceAll(uuid.NewString(), "-", "")
	messages := bustest.Join(t, namespace)
	records, err := store.Open(t.Context(), store.Config{URL: db.AppURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = records.Close() })
	engine, err := store.OpenEngine(t.Context(), store.Config{URL: db.EngineURL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	cache := sandboxCache(t)
	for name, run := range programs() {
		start(t, name, run, map[string]string{
			"DATABASE_URL": db.AppURL, "ENGINE_DATABASE_URL": db.EngineURL, "NATS_URL": bustest.URL(t), "NATS_NAMESPACE": namespace,
			"GEMINI_API_KEY": "none", "GEMINI_BASE_URL": "http://127.0.0.1:1", "BLOB_DIR": t.TempDir(),
			"QDRANT_URL": os.Getenv("TEST_QDRANT_URL"), "QDRANT_PREFIX": prefix, "LOG_LEVEL": "error",
			"CACHE_DIR": cache, "REDIS_URL": os.Getenv("TEST_REDIS_URL"),
		})
	}
	// A worker that is stopped while it compiles the PDF sandbox for the first time does not wait for the end of that.
	// The folder of the compiler's version is made before, a file within it takes its name when it is whole.
	until(t, "the PDF sandbox is compiled", 5*time.Minute, func() bool {
		kept, err := filepath.Glob(filepath.Join(cache, "*", "*"))
		return err == nil && slices.ContainsFunc(kept, func(name string) bool { return filepath.Ext(name) != ".tmp" })
	})
	acme, err := tenant.Parse("01900000-0000-7000-8000-000000000a00")
	if err != nil {
		t.Fatal(err)
	}
	// Messages to webhooks are sent by the gateways.
	theirs := slices.DeleteFunc(events.Kinds(), func(kind events.Kind) bool { return kind == events.KindWebhookDeliver })
	var jobs []*store.Job
	err = records.InTenant(t.Context(), acme, func(tx *store.Tx) error {
		for _, kind := range theirs {
			job, err := tx.Jobs().Submit(store.NewJob{Kind: kind, Input: map[string]string{"document_id": uuid.NewString()}})
			if err != nil {
				return err
			}
			jobs = append(jobs, job)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	for _, kind := range theirs {
		dispatch(t, engine, messages, kind)
	}
	for _, job := range jobs {
		until(t, string(job.Kind)+" is taken", patience, func() bool {
			var now *store.Job
			err := records.InTenant(t.Context(), acme, func(tx *store.Tx) (err error) {
				now, err = tx.Jobs().Get(job.ID)
				return err
			})
			return err == nil && now.StartedAt != nil
		})
	}
}

// sandboxCache is where tests keep the compiled PDF sandbox between runs.
func sandboxCache(t *testing.T) string {
	t.Helper()
	dir, err := os.UserCacheDir()
	if err != nil {
		return t.TempDir()
	}
	return filepath.Join(dir, "copilot-test", "pdf-sandbox")
}

func dispatch(t *testing.T, engine *store.Engine, messages *bus.Bus, kind events.Kind) {
	t.Helper()
	who, err := engine.ReadyTenants(t.Context())
	if err != nil || len(who) == 0 {
		t.Fatalf("ready are %v, %v", who, err)
	}
	ready, err := engine.ReadyJobs(t.Context(), store.ReadyQuery{Kind: kind, Tenants: []tenant.ID{who[0].Tenant}, Limit: 1})
	if err != nil || len(ready) != 1 {
		t.Fatalf("ready are %v, %v", ready, err)
	}
	j := ready[0]
	err = messages.Dispatch(t.Context(), func(int) events.Class { return j.Class }, []events.Dispatch{
		{JobID: j.ID.String(), TenantID: j.Tenant.String(), Kind: kind, Number: 1},
	})
	if err != nil {
		t.Fatal(err)
	}
}

// start runs a worker until the test ends, and returns when it is ready.
func start(t *testing.T, name string, run program, environ map[string]string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	environ["OPS_ADDR"] = address
	var logged bytes.Buffer
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() { done <- run(ctx, nil, environ, app.Streams{Out: &logged, Err: &logged}) }()
	t.Cleanup(func() {
		stop()
		if err := <-done; err != nil {
			t.Errorf("%s: %v", name, err)
		}
	})
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	until(t, name+" is ready", patience, func() bool {
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+address+"/readyz", http.NoBody)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err != nil {
			return false
		}
		_ = resp.Body.Close()
		return resp.StatusCode == http.StatusOK
	})
}

// patience bounds every wait but that for the sandbox; none should take nearly as long.
const patience = 30 * time.Second

func until(t *testing.T, what string, patience time.Duration, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(patience)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never came to be that %s", what)
		}
	}
}
