package provider_test

import (
	"context"
	"log/slog"
	"os"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/runnertest"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/wiretest"
	"github.com/tarento/copilot/workers/internal/agent"
	"github.com/tarento/copilot/workers/internal/gemini"
	"github.com/tarento/copilot/workers/internal/gemini/geminitest"
	"github.com/tarento/copilot/workers/internal/provider"
)

const slots = 8

// fleet is a runner whose calls go through two gates in turn, as those of two replicas would.
type fleet struct {
	*runnertest.Bench

	calls atomic.Int32 // that reached the client
	turn  atomic.Int32
	gates [2]agent.Model
}

// Generate implements agent.Model.
func (f *fleet) Generate(ctx context.Context, r gemini.Request, onText func(string) error) (*gemini.Response, error) {
	return f.gates[f.turn.Add(1)%2].Generate(ctx, r, onText)
}

// counted is a provider.Client that counts.
type counted struct {
	*gemini.Client

	calls *atomic.Int32
}

func (c counted) Generate(ctx context.Context, r gemini.Request, onText func(string) error) (*gemini.Response, error) {
	c.calls.Add(1)
	return c.Client.Generate(ctx, r, onText)
}

// nothing is a Searcher that finds nothing.
type nothing struct{ searches atomic.Int32 }

func (n *nothing) Search(context.Context, events.SearchRequest) ([]events.SearchHit, error) {
	n.searches.Add(1)
	return nil, nil
}

func newFleet(t *testing.T, config gemini.Config, limits provider.Limits, search agent.Searcher) *fleet {
	t.Helper()
	model, err := gemini.New(t.Context(), config)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(model.Close)
	f := &fleet{}
	prefix := "test:" + uuid.NewString()
	for i := range f.gates {
		redis, err := provider.Open(secret.New(os.Getenv("TEST_REDIS_URL")))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = redis.Close() })
		gate, err := provider.New(provider.Options{
			Redis: redis, Prefix: prefix, Limits: limits, Log: slog.New(slog.DiscardHandler), Metrics: prometheus.NewRegistry(),
		})
		if err != nil {
			t.Fatal(err)
		}
		f.gates[i] = gate.Patiently().ForJobs(counted{model, &f.calls})
	}
	f.Bench = runnertest.Start(t, runner.Config{Slots: slots}, agent.New(f, search))
	return f
}

func (f *fleet) submit(n int) []uuid.UUID {
	ids := make([]uuid.UUID, n)
	for i := range ids {
		// One attempt is all they have.
		ids[i] = f.Submit(store.NewJob{MaxAttempts: 1, Input: events.AgentRunInput{
			UserInput: "What is the limit?", LLM: events.LLM{Model: "gemini-2.5-flash"}, Tools: []string{events.ToolSearchDocuments},
		}})
	}
	return ids
}

func (f *fleet) untilAllWait(ids []uuid.UUID) {
	for _, id := range ids {
		f.Until(id, "one that waits for the provider", func(j *store.Job) bool {
			return j.Status == events.StatusQueued && j.WaitingOn == events.WaitingProvider && j.Attempt == 0
		})
	}
}

func (f *fleet) untilAllSucceed(t *testing.T, ids []uuid.UUID) {
	t.Helper()
	for _, id := range ids {
		if job := f.UntilEnded(id); job.Status != events.StatusSucceeded || job.Attempt != 1 {
			t.Errorf("a job is %s after %d attempts", job.Status, job.Attempt)
		}
	}
}

func TestJobsWaitForAQuotaInTheMiddleOfTheirRunsAndGoOnByThemselves(t *testing.T) {
	t.Parallel()
	const jobs = 30
	standin, search := geminitest.Open(t), &nothing{}
	const pause = 2500 * time.Millisecond
	limited := geminitest.Limit(pause)
	// The first call of a run asks for a search; the second one, which has its result, meets the limit.
	limited.Repeat, limited.Contains = -1, "passages"
	standin.Script(t, limited)
	f := newFleet(t, standin.Config(), nil, search)
	began := time.Now()
	ids := f.submit(jobs)
	f.untilAllWait(ids)
	during := int(f.calls.Load())
	// Those whose first call came before the 429 are over it, the others have made none; none is made twice. One asks after each pause.
	if probes := int(time.Since(began)/pause) + 1; during > jobs+slots+probes {
		t.Errorf("%d calls while the quota was used up, for %d jobs", during, jobs)
	}
	standin.Forget(t)
	probes := int(time.Since(began)/pause) + 1
	f.untilAllSucceed(t, ids)
	if total := int(f.calls.Load()); total > 2*jobs+slots+probes {
		t.Errorf("%d calls for %d runs of two calls each", total, jobs)
	}
	if n := search.searches.Load(); n != jobs {
		t.Errorf("%d searches for %d runs: a journaled step was done again, or left out", n, jobs)
	}
}

func TestJobsWaitForAProviderThatIsDownAndGoOnByThemselves(t *testing.T) {
	t.Parallel()
	const jobs = 30
	standin := geminitest.Open(t)
	wire := wiretest.Lay(t, standin.URL)
	f := newFleet(t, gemini.Config{APIKey: standin.Key, BaseURL: wire.Near}, nil, &nothing{})
	wire.Cut()
	began := time.Now()
	ids := f.submit(jobs)
	f.untilAllWait(ids)
	<-time.After(2 * time.Second) // for a probe or two
	// Those that were under way when the fifth failure opened the circuit, and then one probe after each pause.
	n := int(f.calls.Load())
	if probes := int(time.Since(began)/time.Second) + 1; n > 4+slots+probes {
		t.Errorf("%d calls of a provider that was down for %s", n, time.Since(began))
	}
	wire.Mend()
	f.untilAllSucceed(t, ids)
}

func TestJobsBeyondTheLimitComeBackAsItAdmitsThem(t *testing.T) {
	t.Parallel()
	const jobs = 70
	standin := geminitest.Open(t)
	said := geminitest.Say("Yes.")
	said.Repeat = -1
	standin.Script(t, said)
	// 60 at once, and 9 each second.
	f := newFleet(t, standin.Config(), provider.Limits{"gemini-2.5-flash": {Requests: 600}}, &nothing{})
	began := time.Now()
	f.untilAllSucceed(t, f.submit(jobs))
	if n := f.calls.Load(); n != jobs {
		t.Errorf("%d calls for %d jobs", n, jobs)
	}
	if took := time.Since(began); took < time.Second {
		t.Errorf("ten jobs beyond the burst took %s", took)
	}
}
