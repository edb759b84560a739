package ratelimit_test

import (
	"context"
	"errors"
	"os"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/tarento/copilot/gateway/internal/ratelimit"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/secret"
)

// questions counts what a Redis client asks.
type questions struct{ n atomic.Int64 }

// DialHook implements redis.Hook.
func (*questions) DialHook(next redis.DialHook) redis.DialHook { return next }

// ProcessPipelineHook implements redis.Hook.
func (*questions) ProcessPipelineHook(next redis.ProcessPipelineHook) redis.ProcessPipelineHook {
	return next
}

// ProcessHook implements redis.Hook.
func (q *questions) ProcessHook(next redis.ProcessHook) redis.ProcessHook {
	return func(ctx context.Context, cmd redis.Cmder) error {
		// Each question is asked by the name of its script. A Redis that does not know it yet is then given its text, with eval.
		if cmd.Name() == "evalsha" {
			q.n.Add(1)
		}
		return next(ctx, cmd)
	}
}

// gateways returns as many purses as there were gateways, which share the test Redis, and what they ask it together.
func gateways(tb testing.TB, n int, opts ratelimit.Options) ([]*ratelimit.Purse, *questions) {
	tb.Helper()
	url := os.Getenv("TEST_REDIS_URL")
	if url == "" {
		tb.Fatal("TEST_REDIS_URL is not set: run `make test`, or start the tests through `devstack exec`, which serves a Redis for them")
	}
	asked := &questions{}
	opts.Prefix, opts.Timeout = "test:"+uuid.NewString()+":", time.Minute
	purses := make([]*ratelimit.Purse, n)
	for i := range purses {
		client, err := ratelimit.Open(secret.New(url))
		if err != nil {
			tb.Fatal(err)
		}
		tb.Cleanup(func() {
			if err := client.Close(); err != nil {
				tb.Error(err)
			}
		})
		client.AddHook(asked)
		l, err := ratelimit.New(client, opts)
		if err != nil {
			tb.Fatal(err)
		}
		purses[i] = ratelimit.NewPurse(l, ratelimit.PurseOptions{})
	}
	return purses, asked
}

// clock is one that only moves when it is told.
type clock struct{ ns atomic.Int64 }

func (c *clock) now() time.Time             { return time.Unix(0, c.ns.Load()) }
func (c *clock) advance(d time.Duration)    { c.ns.Add(int64(d)) }
func (c *clock) options() ratelimit.Options { return ratelimit.Options{Now: c.now} }

func spend(tb testing.TB, p *ratelimit.Purse, rule ratelimit.Rule, key string) ratelimit.Decision {
	tb.Helper()
	d, err := p.Allow(tb.Context(), rule, key)
	if err != nil {
		tb.Fatal(err)
	}
	return d
}

// off reports that a count is not the one that is wanted; Redis reckons in fractions and may round one down.
func off(n, want int) bool { return n != want && n != want-1 }

func TestBusyKeyAsksRedisSeldom(t *testing.T) {
	t.Parallel()
	var c clock
	purses, asked := gateways(t, 1, c.options())
	rule := ratelimit.Rule{Name: "busy", Rate: 10_000, Per: time.Hour, Burst: 10_000}
	for i := range 5000 {
		d := spend(t, purses[0], rule, "a")
		if !d.Allowed || d.Limit != 10_000 || off(d.Remaining, 9999-i) || d.Reset <= 0 {
			t.Fatalf("event %d: %+v", i, d)
		}
	}
	// 1 + 2 + 4 ... + 256, and 500 at most from then on.
	if n := asked.n.Load(); n < 10 || n > 20 {
		t.Errorf("5000 events asked Redis %d times, want less than 20 times", n)
	}
}

func TestQuietKeyCostsAPermitForEachEvent(t *testing.T) {
	t.Parallel()
	var c clock
	purses, asked := gateways(t, 2, c.options())
	rule := ratelimit.Rule{Name: "quiet", Rate: 1000, Per: time.Hour}
	for i := range 10 {
		c.advance(400 * time.Millisecond)
		spend(t, purses[0], rule, "a")
		if n := asked.n.Load(); n != int64(i+1) {
			t.Fatalf("%d events asked Redis %d times", i+1, n)
		}
	}
	if d := spend(t, purses[1], rule, "a"); off(d.Remaining, 1000-11) {
		t.Errorf("another gateway sees %+v after 11 events", d)
	}
}

func TestPermitsThatAreNotSpentSoonAreForgotten(t *testing.T) {
	t.Parallel()
	var c clock
	purses, asked := gateways(t, 1, c.options())
	rule := ratelimit.Rule{Name: "lapsing", Rate: 1000, Per: time.Hour}
	for range 4 { // 1, 2 and one of the next 4
		spend(t, purses[0], rule, "a")
	}
	c.advance(999 * time.Millisecond)
	if d := spend(t, purses[0], rule, "a"); off(d.Remaining, 1000-5) || asked.n.Load() != 3 {
		t.Errorf("within the second: %+v after %d questions", d, asked.n.Load())
	}
	c.advance(time.Millisecond)
	if d := spend(t, purses[0], rule, "a"); off(d.Remaining, 1000-8) || asked.n.Load() != 4 {
		t.Errorf("after the second: %+v after %d questions, want 8 permits gone, two of them unspent", d, asked.n.Load())
	}
}

func TestRefusedKeyCostsRedisNothing(t *testing.T) {
	t.Parallel()
	var c clock
	purses, asked := gateways(t, 1, c.options())
	rule := ratelimit.Rule{Name: "flooded", Rate: 2, Per: time.Hour}
	var last ratelimit.Decision
	for range 1000 {
		last = spend(t, purses[0], rule, "a")
	}
	if last.Allowed || last.Remaining != 0 || last.RetryAfter < 29*time.Minute || last.RetryAfter > 30*time.Minute {
		t.Errorf("refused with %+v, want a permit in half an hour", last)
	}
	if n := asked.n.Load(); n != 3 {
		t.Errorf("a flood asked Redis %d times, want 3: two that passed and one refusal", n)
	}
	c.advance(last.RetryAfter)
	if d := spend(t, purses[0], rule, "a"); d.Allowed || asked.n.Load() != 4 {
		t.Errorf("when it may pass again, by a clock that runs ahead: %+v after %d questions", d, asked.n.Load())
	}
}

func TestGatewaysTogetherLetNoMoreThroughThanTheBurst(t *testing.T) {
	t.Parallel()
	purses, asked := gateways(t, 3, ratelimit.Options{})
	rule := ratelimit.Rule{Name: "shared", Rate: 500, Per: 24 * time.Hour}
	var allowed atomic.Int64
	var all sync.WaitGroup
	for i := range 30 {
		all.Go(func() {
			for {
				d, err := purses[i%3].Allow(t.Context(), rule, "a")
				if err != nil {
					t.Error(err)
				}
				if err != nil || !d.Allowed {
					return
				}
				allowed.Add(1)
			}
		})
	}
	all.Wait()
	// On a machine that stalls for a second, permits lapse: at most a twentieth for each gateway and stall.
	if n := allowed.Load(); n > 500 || n < 350 {
		t.Errorf("%d events passed, want the burst of 500", n)
	}
	if n := asked.n.Load(); n > 250 {
		t.Errorf("Redis was asked %d times for 500 events", n)
	}
}

func TestWhoNeedsTheSameKeyAtOnceSharesAQuestion(t *testing.T) {
	t.Parallel()
	purses, asked := gateways(t, 1, ratelimit.Options{})
	rule := ratelimit.Rule{Name: "crowd", Rate: 10_000, Per: time.Hour}
	var all sync.WaitGroup
	for range 200 {
		all.Go(func() {
			if d, err := purses[0].Allow(t.Context(), rule, "a"); err != nil || !d.Allowed {
				t.Errorf("%+v, %v", d, err)
			}
		})
	}
	all.Wait()
	if n := asked.n.Load(); n > 20 {
		t.Errorf("200 at once asked Redis %d times", n)
	}
}

func TestCallerThatLeavesDoesNotHoldUpTheOthers(t *testing.T) {
	t.Parallel()
	// It is silent until those who leave have left.
	server := listen(t, "127.0.0.1:0")
	defer server.Close()
	limiter := limiterAt(t, "redis://"+server.Addr().String(), ratelimit.Options{Timeout: time.Hour})
	p := ratelimit.NewPurse(limiter, ratelimit.PurseOptions{})
	rule := ratelimit.PerSecond("any", 1, 1)
	var leaving, staying sync.WaitGroup
	for range 10 {
		leaving.Go(func() {
			ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
			defer cancel()
			if _, err := p.Allow(ctx, rule, "a"); !errors.Is(err, context.DeadlineExceeded) {
				t.Errorf("who left was told %v", err)
			}
		})
		staying.Go(func() {
			if d, err := p.Allow(t.Context(), rule, "a"); err != nil || !d.Allowed || !d.Degraded {
				t.Errorf("who stayed was told %+v, %v", d, err)
			}
		})
	}
	leaving.Wait()
	_ = server.Close()
	staying.Wait()
}

func TestPurseWithoutRedisDoesAsTheRuleSays(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	p := ratelimit.NewPurse(limiterAt(t, refusing(t), ratelimit.Options{Metrics: metrics, Pause: time.Hour}), ratelimit.PurseOptions{})
	open, closed := ratelimit.PerSecond("open", 1, 1), ratelimit.PerSecond("closed", 1, 1)
	closed.FailClosed = true
	for range 10 {
		if d := spend(t, p, open, "a"); !d.Allowed || !d.Degraded {
			t.Errorf("open rule: %+v", d)
		}
		if d := spend(t, p, closed, "a"); d.Allowed || fault.Of(d.Err()).Kind != fault.Unavailable {
			t.Errorf("closed rule: %+v", d)
		}
		if d := spend(t, p, ratelimit.Rule{Name: "off", FailClosed: true}, "a"); !d.Allowed || d.Degraded {
			t.Errorf("rule without a rate: %+v", d)
		}
	}
	for rule, outcome := range map[string]string{"open": "failed_open", "closed": "failed_closed"} {
		if n := counted(t, metrics, "copilot_ratelimit_decisions_total", outcome, rule); n != 10 {
			t.Errorf("%v decisions counted for the %s rule, want 10", n, rule)
		}
	}
}

func TestDecisionsAreCountedAlthoughRedisIsNotAsked(t *testing.T) {
	t.Parallel()
	metrics := prometheus.NewRegistry()
	purses, _ := gateways(t, 1, ratelimit.Options{Metrics: metrics})
	rule := ratelimit.Rule{Name: "counted", Rate: 40, Per: 24 * time.Hour}
	for range 100 {
		spend(t, purses[0], rule, "a")
	}
	passed := counted(t, metrics, "copilot_ratelimit_decisions_total", "allowed", "counted")
	refused := counted(t, metrics, "copilot_ratelimit_decisions_total", "limited", "counted")
	if passed+refused != 100 || passed > 40 || passed < 30 {
		t.Errorf("%v allowed and %v limited were counted for 100 events, 40 of which may pass", passed, refused)
	}
}

func BenchmarkPurse(b *testing.B) {
	purses, asked := gateways(b, 1, ratelimit.Options{})
	rule := ratelimit.PerMinute("bench", 1<<30, 1<<20)
	b.RunParallel(func(pb *testing.PB) {
		for pb.Next() {
			spend(b, purses[0], rule, "a")
		}
	})
	b.ReportMetric(float64(asked.n.Load())/float64(b.N), "questions/op")
}

func BenchmarkPurseOfManyKeys(b *testing.B) {
	purses, _ := gateways(b, 1, ratelimit.Options{})
	rule := ratelimit.PerMinute("bench", 1<<30, 1<<20)
	keys := make([]string, 100)
	for i := range keys {
		keys[i] = strconv.Itoa(i)
	}
	for i := 0; b.Loop(); i++ {
		spend(b, purses[0], rule, keys[i%len(keys)])
	}
}
