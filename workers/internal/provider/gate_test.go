package provider

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/wiretest"
	"github.com/tarento/copilot/workers/internal/gemini"
)

// replica is a process with a Gate of its own.
type replica struct {
	*Gate

	metrics *prometheus.Registry
	log     *logbook
}

// logbook keeps what is logged.
type logbook struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *logbook) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

func (l *logbook) has(text string) bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	return strings.Contains(l.text.String(), text)
}

// replicas share the Redis at each URL under one prefix.
func replicas(t *testing.T, limits Limits, urls ...string) []*replica {
	t.Helper()
	prefix := "test:" + uuid.NewString()
	all := make([]*replica, len(urls))
	for i, url := range urls {
		r := &replica{metrics: prometheus.NewRegistry(), log: &logbook{}}
		var err error
		r.Gate, err = New(Options{
			Redis: client(t, url), Prefix: prefix, Limits: limits, Metrics: r.metrics, Log: slog.New(slog.NewTextHandler(r.log, nil)),
		})
		if err != nil {
			t.Fatal(err)
		}
		r.Patiently()
		all[i] = r
	}
	return all
}

// service is a Client that fails as it is told, and counts.
type service struct {
	calls atomic.Int32
	fail  atomic.Pointer[fault.Error]
	hold  chan struct{} // when not nil, calls wait for it before they answer
	text  string        // said before that
}

func (s *service) Generate(_ context.Context, _ gemini.Request, onText func(string) error) (*gemini.Response, error) {
	s.calls.Add(1)
	if s.text != "" {
		if err := onText(s.text); err != nil {
			return nil, err
		}
	}
	if s.hold != nil {
		<-s.hold
	}
	if f := s.fail.Load(); f != nil {
		return nil, f
	}
	return &gemini.Response{Usage: gemini.Usage{InputTokens: 30, OutputTokens: 20, ThoughtTokens: 10}}, nil
}

func (s *service) Embed(_ context.Context, _ string, texts []string, _ string, _ int) ([][]float32, gemini.Usage, error) {
	s.calls.Add(1)
	if f := s.fail.Load(); f != nil {
		return nil, gemini.Usage{}, f
	}
	return make([][]float32, len(texts)), gemini.Usage{InputTokens: 10}, nil
}

func quota(after time.Duration) *fault.Error {
	return fault.New(fault.RateLimited, "provider.rate_limited", "Quota.").After(after)
}

func outage() *fault.Error { return fault.New(fault.Unavailable, "provider.unavailable", "Away.") }

func ask1(t *testing.T, m *Model) error {
	t.Helper()
	_, err := m.Generate(t.Context(), gemini.Request{Model: model, Messages: []gemini.Message{{Role: gemini.RoleUser, Text: "?"}}}, nil)
	return err
}

// mustWait checks that a job with this error waits for the provider, for about that long.
func mustWait(t *testing.T, err error, least, most time.Duration) {
	t.Helper()
	snooze, ok := errors.AsType[*runner.SnoozeError](err)
	if !ok || snooze.On != events.WaitingProvider || snooze.For < least || snooze.For > most {
		t.Errorf("got %v (%+v), want a wait of %s to %s", err, snooze, least, most)
	}
}

func TestAll429sOfAModelAreSeenByAllReplicasAtOnce(t *testing.T) {
	t.Parallel()
	url := testRedis(t)
	two := replicas(t, nil, url, url)
	var s service
	s.fail.Store(quota(time.Minute))
	mustWait(t, ask1(t, two[0].ForJobs(&s)), 40*time.Second, 78*time.Second)
	for range 50 {
		mustWait(t, ask1(t, two[1].ForJobs(&s)), 40*time.Second, 80*time.Second)
	}
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d calls, want one", n)
	}
	if !two[0].log.has("calls of a model are paused") || two[1].log.has("paused") {
		t.Error("it is logged once, by the one that found out")
	}
	for _, r := range two {
		err := testutil.GatherAndCompare(r.metrics, strings.NewReader(`
# HELP copilot_provider_circuit 1 for the state that the circuit of a model is in: closed, half_open or open.
# TYPE copilot_provider_circuit gauge
copilot_provider_circuit{model="m",state="closed"} 0
copilot_provider_circuit{model="m",state="half_open"} 0
copilot_provider_circuit{model="m",state="open"} 1
# HELP copilot_provider_shared 1 while this process limits and pauses its calls together with all others, 0 while Redis is away.
# TYPE copilot_provider_shared gauge
copilot_provider_shared 1
`), "copilot_provider_circuit", "copilot_provider_shared")
		if err != nil {
			t.Error(err)
		}
	}
	if n := testutil.ToFloat64(two[1].Gate.metrics.refused.WithLabelValues(model, "open")); n != 50 {
		t.Errorf("%v refusals counted", n)
	}
}

func TestAnotherModelGoesOn(t *testing.T) {
	t.Parallel()
	one := replicas(t, nil, testRedis(t))[0]
	var s service
	s.fail.Store(quota(time.Minute))
	_ = ask1(t, one.ForJobs(&s))
	s.fail.Store(nil)
	if _, _, err := one.ForJobs(&s).Embed(t.Context(), "another", []string{"x"}, gemini.TaskQuery, 1); err != nil {
		t.Error(err)
	}
}

func TestAnOutageOpensTheCircuitAndOneProbeOfAllReplicasClosesIt(t *testing.T) {
	t.Parallel()
	url := testRedis(t)
	two := replicas(t, nil, url, url)
	var s service
	s.fail.Store(outage())
	for i := range failuresToOpen {
		err := ask1(t, two[i%2].ForJobs(&s))
		if _, waits := errors.AsType[*runner.SnoozeError](err); waits != (i == failuresToOpen-1) || !fault.Is(err, fault.Unavailable) {
			t.Errorf("failure %d is %v", i+1, err)
		}
	}
	s.fail.Store(nil)
	s.calls.Store(0)
	s.hold = make(chan struct{})
	// Both ask all the time until the provider is called again.
	var probing errgroup.Group
	for _, r := range two {
		for range 8 {
			probing.Go(func() error {
				for s.calls.Load() == 0 {
					if _, err := r.enter(t.Context(), model, 0, false); err == nil {
						s.calls.Add(1)
					}
				}
				return nil
			})
		}
	}
	if err := probing.Wait(); err != nil {
		t.Fatal(err)
	}
	if n := s.calls.Load(); n != 1 {
		t.Fatalf("%d probes, want one", n)
	}
	if err := ask1(t, two[1].ForRequests(&s)); !fault.Is(err, fault.Unavailable) {
		t.Errorf("while the probe is under way: %v", err)
	}
}

func TestTheFirstWordsOfAProbeLetTheOthersGoOn(t *testing.T) {
	t.Parallel()
	url := testRedis(t)
	two := replicas(t, nil, url, url)
	var s service
	s.fail.Store(quota(10 * time.Millisecond))
	_ = ask1(t, two[0].ForJobs(&s))
	s.fail.Store(nil)
	probe := &service{text: "Well,", hold: make(chan struct{})}
	done := make(chan error, 1)
	go func() { done <- ask1(t, two[0].ForJobs(probe)) }() // it waits for its turn in place
	until(t, "others may call", func() bool { return probe.calls.Load() == 1 && ask1(t, two[1].ForRequests(&s)) == nil })
	close(probe.hold)
	if err := <-done; err != nil {
		t.Error(err)
	}
	if !two[0].log.has("the model provider answers again") {
		t.Error("nobody said that it answers again")
	}
}

func TestRequestsFailAtOnceAndSayWhenToComeBack(t *testing.T) {
	t.Parallel()
	one := replicas(t, Limits{"*": {Requests: 1}}, testRedis(t))[0]
	var s service
	m := one.ForRequests(&s)
	if err := ask1(t, m); err != nil {
		t.Fatal(err)
	}
	// One that waited would be answered, or have less to wait.
	err := ask1(t, m)
	f := fault.Of(err)
	if f == nil || f.Kind != fault.Unavailable || f.Code != "provider.limited" || f.RetryAfter < 40*time.Second || s.calls.Load() != 1 {
		t.Errorf("got %+v after %d calls", f, s.calls.Load())
	}
	two := replicas(t, nil, testRedis(t))[0]
	s.fail.Store(quota(time.Minute))
	if f := fault.Of(ask1(t, two.ForRequests(&s))); f.Kind != fault.Unavailable || f.RetryAfter != time.Minute {
		t.Errorf("a 429 is told as %+v", f)
	}
	if f := fault.Of(ask1(t, two.ForRequests(&s))); f.Kind != fault.Unavailable || f.Code != "provider.paused" || f.RetryAfter < 40*time.Second {
		t.Errorf("an open circuit is told as %+v", f)
	}
}

func TestAJobWaitsForAMomentInPlace(t *testing.T) {
	t.Parallel()
	one := replicas(t, Limits{"*": {Requests: 100}}, testRedis(t))[0]
	var s service
	// Eight at once, and then one each 0.66 s. While the test stands still, the limit admits some more.
	until(t, "two calls had to wait", func() bool {
		if err := ask1(t, one.ForJobs(&s)); err != nil {
			t.Fatal(err)
		}
		return testutil.ToFloat64(one.Gate.metrics.waited.WithLabelValues(model)) >= 2
	})
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := one.ForJobs(&s).Generate(ctx, gemini.Request{Model: model}, nil); !errors.Is(err, context.Canceled) {
		t.Errorf("a job that was cancelled gets %v", err)
	}
}

func TestAConversationIsNotPutBehindBulkWork(t *testing.T) {
	t.Parallel()
	one := replicas(t, nil, testRedis(t))[0]
	var s service
	s.fail.Store(quota(time.Minute))
	m := one.ForJobs(&s)
	began := time.Now() // what passes from here on, nobody has to wait for
	for range 2000 {    // 20 ms apart
		_ = ask1(t, m)
	}
	_, err := m.Generate(WithClass(t.Context(), events.ClassInteractive), gemini.Request{Model: model}, nil)
	mustWait(t, err, time.Minute-time.Since(began), 76*time.Second)
	_, err = m.Generate(WithClass(t.Context(), events.ClassBulk), gemini.Request{Model: model}, nil)
	mustWait(t, err, 99*time.Second-time.Since(began), 126*time.Second)
}

func TestTokensOfACallAreCorrectedBehindIt(t *testing.T) {
	t.Parallel()
	one := replicas(t, Limits{"*": {Tokens: 10_000}}, testRedis(t))[0]
	var s service
	// Each call is taken for 501 tokens and costs 60; without the correction the second one would have to wait.
	for range 5 {
		if err := ask1(t, one.ForRequests(&s)); err != nil {
			t.Fatal(err)
		}
	}
}

func TestMistakesOfCallersSayNothingAboutTheProvider(t *testing.T) {
	t.Parallel()
	one := replicas(t, nil, testRedis(t))[0]
	lost := errors.New("lease lost")
	for range 2 * failuresToOpen {
		s := &service{text: "x"}
		_, err := one.ForJobs(s).Generate(t.Context(), gemini.Request{Model: model}, func(string) error {
			return fault.Wrap(lost, fault.Unavailable, "store.unavailable", "The database is away.")
		})
		if !errors.Is(err, lost) {
			t.Fatalf("got %v", err)
		}
		s.fail.Store(fault.New(fault.Invalid, "model.rejected", "No."))
		s.text = ""
		if err := ask1(t, one.ForJobs(s)); !fault.Is(err, fault.Invalid) {
			t.Fatalf("got %v", err)
		}
	}
}

func TestWithoutRedisAProcessPausesByItselfAndSaysSo(t *testing.T) {
	t.Parallel()
	wire := wiretest.Lay(t, testRedis(t))
	two := replicas(t, nil, wire.Near, testRedis(t))
	var s service
	s.fail.Store(quota(time.Minute))
	_ = ask1(t, two[1].ForJobs(&s))
	mustWait(t, ask1(t, two[0].ForJobs(&s)), 50*time.Second, 80*time.Second)
	wire.Cut()
	// What it knew, it still knows, and what it finds out, it remembers.
	mustWait(t, ask1(t, two[0].ForJobs(&s)), 50*time.Second, 80*time.Second)
	if n := s.calls.Load(); n != 1 {
		t.Errorf("%d calls, want one", n)
	}
	_, _, err := two[0].ForJobs(&s).Embed(t.Context(), "another", []string{"x"}, gemini.TaskQuery, 1)
	mustWait(t, err, 50*time.Second, 80*time.Second)
	_, _, err = two[0].ForRequests(&s).Embed(t.Context(), "another", []string{"x"}, gemini.TaskQuery, 1)
	if fault.Of(err).Code != "provider.paused" || s.calls.Load() != 2 {
		t.Errorf("got %v after %d calls", err, s.calls.Load())
	}
	if !two[0].log.has("Redis is away") || testutil.ToFloat64(two[0].Gate.metrics.failures) == 0 {
		t.Error("nobody says that Redis is away")
	}
	wire.Mend()
	until(t, "Redis is used again", func() bool {
		_ = ask1(t, two[0].ForRequests(&s))
		return two[0].log.has("Redis is back")
	})
}

func TestModelsThatPeopleMakeUpShareALabel(t *testing.T) {
	t.Parallel()
	m := newMetrics(Limits{"named": {Requests: 1}})
	labels := map[string]bool{}
	for range 10 * maxLabels {
		labels[m.label(uuid.NewString())] = true
	}
	if len(labels) != maxLabels || !labels[otherModels] || m.label("named") != "named" {
		t.Errorf("%d labels", len(labels))
	}
}

// until waits for ok, which it asks again and again.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	deadline := time.After(time.Minute)
	for !ok() {
		select {
		case <-tick.C:
		case <-deadline:
			t.Fatalf("it never came to be that %s", what)
		}
	}
}

// BenchmarkCall is what the gate adds to a call of a model: two questions to Redis.
func BenchmarkCall(b *testing.B) {
	for _, c := range []struct {
		name   string
		limits Limits
	}{{"without limits", nil}, {"with limits", Limits{"*": {Requests: maxLimit, Tokens: maxLimit}}}} {
		b.Run(c.name, func(b *testing.B) {
			redis, err := Open(secret.New(os.Getenv("TEST_REDIS_URL")))
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = redis.Close() }()
			gate, err := New(Options{
				Redis: redis, Prefix: "test:" + uuid.NewString(), Limits: c.limits, Metrics: prometheus.NewRegistry(),
				Log: slog.New(slog.DiscardHandler),
			})
			if err != nil {
				b.Fatal(err)
			}
			m := gate.ForRequests(&service{})
			for b.Loop() {
				if _, err := m.Generate(b.Context(), gemini.Request{Model: model}, nil); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
