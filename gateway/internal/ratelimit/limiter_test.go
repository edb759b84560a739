package ratelimit_test

import (
	"bytes"
	"context"
	"errors"
	"log/slog"
	"net"
	"os"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/gateway/internal/ratelimit"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/secret"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// limiter counts in the test Redis, under a prefix of its own.
func limiter(t *testing.T) *ratelimit.Limiter {
	t.Helper()
	url := os.Getenv("TEST_REDIS_URL")
	if url == "" {
		t.Fatal("TEST_REDIS_URL is not set: run `make test`, or start the tests through `devstack exec`, which serves a Redis for them")
	}
	return limiterAt(t, url, ratelimit.Options{Timeout: time.Minute})
}

func limiterAt(t *testing.T, url string, opts ratelimit.Options) *ratelimit.Limiter {
	t.Helper()
	client, err := ratelimit.Open(secret.New(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	opts.Prefix = "test:" + uuid.NewString() + ":"
	l, err := ratelimit.New(client, opts)
	if err != nil {
		t.Fatal(err)
	}
	return l
}

func allow(t *testing.T, l *ratelimit.Limiter, rule ratelimit.Rule, key string) ratelimit.Decision {
	t.Helper()
	d, err := l.Allow(t.Context(), rule, key)
	if err != nil {
		t.Fatal(err)
	}
	return d
}

func TestBurstIsAllowedAndNoMore(t *testing.T) {
	t.Parallel()
	l := limiter(t)
	rule := ratelimit.PerMinute("login", 2, 3) // the next one is allowed after 30 s
	for i := range 3 {
		d := allow(t, l, rule, "a")
		if !d.Allowed || d.Limit != 3 || d.Remaining != 2-i || d.RetryAfter != 0 || d.Degraded || d.Err() != nil {
			t.Errorf("event %d: %+v, %v", i, d, d.Err())
		}
		if want := time.Duration(i+1) * 30 * time.Second; d.Reset > want || d.Reset < want-20*time.Second {
			t.Errorf("event %d: reset in %v, want about %v", i, d.Reset, want)
		}
	}
	d := allow(t, l, rule, "a")
	if d.Allowed || d.Remaining != 0 || d.RetryAfter <= 10*time.Second || d.RetryAfter > 30*time.Second {
		t.Errorf("beyond the burst: %+v", d)
	}
	err := l.Check(t.Context(), rule, "a")
	if f := fault.Of(err); f == nil || f.Kind != fault.RateLimited || f.RetryAfter <= 10*time.Second {
		t.Errorf("Check = %v", err)
	}
}

func TestKeysAndRulesCountApart(t *testing.T) {
	t.Parallel()
	l := limiter(t)
	one := ratelimit.PerMinute("one", 1, 1)
	two := ratelimit.PerMinute("two", 1, 1)
	long := strings.Repeat("x", 1<<20)
	for _, c := range []struct {
		rule ratelimit.Rule
		key  string
		want bool
	}{
		{one, "a", true},
		{one, "a", false},
		{one, "b", true},
		{two, "a", true},
		{one, long, true},
		{one, long + "y", true},
		{one, long, false},
	} {
		if d := allow(t, l, c.rule, c.key); d.Allowed != c.want {
			t.Errorf("rule %s, key of %d bytes: %+v, want allowed %v", c.rule.Name, len(c.key), d, c.want)
		}
	}
}

func TestEventsAreAllowedAgainWithTime(t *testing.T) {
	t.Parallel()
	l := limiter(t)
	rule := ratelimit.PerSecond("fast", 20, 1) // one every 50 ms
	if !allow(t, l, rule, "a").Allowed {
		t.Fatal("the first was refused")
	}
	deadline := time.NewTimer(time.Minute)
	defer deadline.Stop()
	for refused := 0; ; {
		d := allow(t, l, rule, "a")
		if d.Allowed {
			return
		}
		refused++
		if d.RetryAfter > 50*time.Millisecond {
			t.Fatalf("refused for %v", d.RetryAfter)
		}
		select {
		case <-time.After(d.RetryAfter):
		case <-deadline.C:
			t.Fatalf("still refused after %d tries", refused)
		}
	}
}

func TestManyAtOnceGetExactlyTheBurst(t *testing.T) {
	t.Parallel()
	l := limiter(t)
	rule := ratelimit.Rule{Name: "crowd", Rate: 5, Per: time.Hour}
	var allowed atomic.Int64
	var all sync.WaitGroup
	for range 50 {
		all.Go(func() {
			if d, err := l.Allow(t.Context(), rule, "a"); err != nil {
				t.Error(err)
			} else if d.Allowed {
				allowed.Add(1)
			}
		})
	}
	all.Wait()
	if allowed.Load() != 5 {
		t.Errorf("%d of 50 were allowed, want the burst of 5", allowed.Load())
	}
}

func TestRuleWithoutARateIsNoLimit(t *testing.T) {
	t.Parallel()
	l := limiterAt(t, refusing(t), ratelimit.Options{})
	for range 3 {
		if d := allow(t, l, ratelimit.Rule{Name: "off", FailClosed: true}, "a"); !d.Allowed || d.Degraded {
			t.Errorf("%+v", d)
		}
	}
}

func TestRedisAwayIsDecidedByTheRule(t *testing.T) {
	t.Parallel()
	open, closed := ratelimit.PerSecond("open", 1, 1), ratelimit.PerSecond("closed", 1, 1)
	closed.FailClosed = true
	for name, server := range map[string]func(*testing.T) string{"refusing connections": refusing, "accepting and saying nothing": silent} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var clock atomic.Int64 // seconds
			var logs bytes.Buffer
			metrics := prometheus.NewRegistry()
			l := limiterAt(t, server(t), ratelimit.Options{
				Timeout: 50 * time.Millisecond, Pause: 10 * time.Second, LogEvery: time.Minute,
				Log: slog.New(slog.NewTextHandler(&logs, nil)), Metrics: metrics,
				Now: func() time.Time { return time.Unix(clock.Load(), 0) },
			})
			for range 100 {
				if d := allow(t, l, open, "a"); !d.Allowed || !d.Degraded || d.Limit != 0 {
					t.Fatalf("open rule: %+v", d)
				}
				d := allow(t, l, closed, "a")
				if f := fault.Of(d.Err()); d.Allowed || !d.Degraded || f.Kind != fault.Unavailable || f.RetryAfter != 10*time.Second {
					t.Fatalf("closed rule: %+v, %v", d, d.Err())
				}
			}
			// One question may take the timeout; 200 of them would take ten seconds.
			if failures := counted(t, metrics, "copilot_ratelimit_redis_failures_total"); failures != 1 {
				t.Errorf("Redis was asked %v times within the pause, want once", failures)
			}
			for _, second := range []int64{11, 50, 61, 75} {
				clock.Store(second)
				allow(t, l, open, "a")
			}
			if failures := counted(t, metrics, "copilot_ratelimit_redis_failures_total"); failures != 5 {
				t.Errorf("Redis was asked %v times, want once in each pause", failures)
			}
			if lines := strings.Count(logs.String(), "Redis is away"); lines != 2 {
				t.Errorf("%d log lines in 75 s, want one each minute:\n%s", lines, &logs)
			}
			if n := counted(t, metrics, "copilot_ratelimit_decisions_total", "failed_open", "open"); n != 104 {
				t.Errorf("%v decisions counted for the open rule, want 104", n)
			}
			if n := counted(t, metrics, "copilot_ratelimit_decisions_total", "failed_closed", "closed"); n != 100 {
				t.Errorf("%v decisions counted for the closed rule, want 100", n)
			}
		})
	}
}

func TestRedisComingBackIsNoticed(t *testing.T) {
	t.Parallel()
	proxy := newProxy(t)
	var clock atomic.Int64
	var logs bytes.Buffer
	l := limiterAt(t, proxy.url(), ratelimit.Options{
		Timeout: time.Minute, Pause: 10 * time.Second,
		Log: slog.New(slog.NewTextHandler(&logs, nil)),
		Now: func() time.Time { return time.Unix(clock.Load(), 0) },
	})
	rule := ratelimit.PerMinute("login", 2, 2)
	if d := allow(t, l, rule, "a"); d.Degraded || d.Remaining != 1 {
		t.Errorf("at first: %+v", d)
	}
	proxy.cut()
	if d := allow(t, l, rule, "a"); !d.Degraded {
		t.Errorf("while it is away: %+v", d)
	}
	proxy.mend()
	if d := allow(t, l, rule, "a"); !d.Degraded {
		t.Errorf("Redis was asked within the pause: %+v", d)
	}
	clock.Store(11)
	if d := allow(t, l, rule, "a"); d.Degraded || d.Remaining != 0 || !d.Allowed {
		t.Errorf("when it is back: %+v", d)
	}
	if !strings.Contains(logs.String(), "Redis is back") {
		t.Errorf("the log does not say that Redis is back:\n%s", &logs)
	}
}

func TestCallerThatLeavesIsNoOutage(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	l := limiterAt(t, silent(t), ratelimit.Options{Timeout: time.Minute, Metrics: metrics})
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
	defer cancel()
	rule := ratelimit.PerSecond("any", 1, 1)
	if _, err := l.Allow(ctx, rule, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Allow = %v", err)
	}
	if err := l.Check(ctx, rule, "a"); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("Check = %v", err)
	}
	if failures := counted(t, metrics, "copilot_ratelimit_redis_failures_total"); failures != 0 {
		t.Errorf("%v failures counted", failures)
	}
}

func TestUnfitSettingsAreRefused(t *testing.T) {
	t.Parallel()
	if _, err := ratelimit.Open(secret.New("http://:hunter2@host")); err == nil || strings.Contains(err.Error(), "hunter2") {
		t.Errorf("Open = %v", err)
	}
	patient := redis.NewClient(&redis.Options{Addr: "127.0.0.1:1"})
	defer patient.Close()
	if _, err := ratelimit.New(patient, ratelimit.Options{}); err == nil {
		t.Error("a client that ignores deadlines was accepted")
	}
	client, err := ratelimit.Open(secret.New(refusing(t)))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	metrics := prometheus.NewRegistry()
	for i, want := range []bool{true, false} {
		if _, err := ratelimit.New(client, ratelimit.Options{Metrics: metrics}); (err == nil) != want {
			t.Errorf("limiter %d on one registry: %v", i, err)
		}
	}
}

// counted returns the value of the counter with these label values, in the order of the labels' names.
func counted(t *testing.T, metrics *prometheus.Registry, name string, labels ...string) float64 {
	t.Helper()
	families, err := metrics.Gather()
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range families {
		for _, m := range f.GetMetric() {
			var values []string
			for _, l := range m.GetLabel() {
				values = append(values, l.GetValue())
			}
			if f.GetName() == name && slices.Equal(values, labels) {
				return m.GetCounter().GetValue()
			}
		}
	}
	t.Fatalf("no counter %s%v", name, labels)
	return 0
}

func listen(t *testing.T, address string) net.Listener {
	t.Helper()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	return listener
}

// refusing returns the URL of a port where nobody listens.
func refusing(t *testing.T) string {
	t.Helper()
	listener := listen(t, "127.0.0.1:0")
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	return "redis://" + listener.Addr().String()
}

// silent returns the URL of a server that accepts connections and never answers.
func silent(t *testing.T) string {
	t.Helper()
	listener := listen(t, "127.0.0.1:0")
	t.Cleanup(func() { listener.Close() })
	return "redis://" + listener.Addr().String() // the kernel accepts, nobody reads
}
