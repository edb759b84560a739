package ratelimit

import (
	"context"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"
	"log/slog"
	"sync/atomic"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/tarento/copilot/pkg/secret"
)

// The defaults of Options.
const (
	DefaultTimeout  = 100 * time.Millisecond
	DefaultPause    = time.Second
	DefaultLogEvery = 30 * time.Second
	DefaultPrefix   = "copilot:"
)

// The outcomes that are counted.
const (
	outcomeAllowed = "allowed"
	outcomeLimited = "limited"
	outcomeOpen    = "failed_open"
	outcomeClosed  = "failed_closed"
)

// Options are the settings of a Limiter; the zero value is good.
type Options struct {
	// Prefix stands before every key; empty means DefaultPrefix. Installations that share a Redis differ in it.
	Prefix string
	// Timeout is how long Redis may take to answer; zero means DefaultTimeout.
	Timeout time.Duration
	// Pause is how long Redis is left alone after it failed; zero means DefaultPause. Rules decide by themselves meanwhile.
	Pause time.Duration
	// LogEvery is the least time between two log lines about failures; zero means DefaultLogEvery.
	LogEvery time.Duration
	// Log gets those lines; nil means none.
	Log *slog.Logger
	// Metrics gets the counters; nil means none.
	Metrics prometheus.Registerer
	// Now is the clock; nil means time.Now.
	Now func() time.Time
}

// Limiter counts events. It is safe for many goroutines.
type Limiter struct {
	opts      Options
	redis     *redis_rate.Limiter
	decisions *prometheus.CounterVec
	failures  prometheus.Counter

	askAgain atomic.Int64 // when Redis is asked again after a failure, in Unix nanoseconds
	logAgain atomic.Int64 // when a failure is logged again
	away     atomic.Bool  // whether the last answer was a failure
}

// Open returns a Redis client that suits a Limiter: it observes the deadlines of contexts, and does not retry, because a late
// answer is as bad as none. The caller closes it. The URL is redis:// or rediss://.
func Open(url secret.Text) (*redis.Client, error) {
	opts, err := redis.ParseURL(url.Reveal())
	if err != nil {
		return nil, errors.New("ratelimit: the Redis URL cannot be read; it looks like redis://:password@host:6379/0")
	}
	opts.ContextTimeoutEnabled = true
	opts.MaxRetries = -1
	opts.DialerRetries = 1
	return redis.NewClient(opts), nil
}

// New returns a Limiter that counts in the given Redis. A client that does not observe the deadlines of contexts (see Open) is
// refused, because a Redis that hangs would make every request hang.
func New(client *redis.Client, opts Options) (*Limiter, error) {
	if !client.Options().ContextTimeoutEnabled {
		return nil, errors.New("ratelimit: the Redis client needs ContextTimeoutEnabled")
	}
	l := &Limiter{
		opts:  opts.withDefaults(),
		redis: redis_rate.NewLimiter(client),
		decisions: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_ratelimit_decisions_total",
			Help: "Decisions by rule and outcome: allowed, limited, and while Redis was away failed_open or failed_closed.",
		}, []string{"rule", "outcome"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "copilot_ratelimit_redis_failures_total",
			Help: "Questions that Redis did not answer in time or at all.",
		}),
	}
	if opts.Metrics != nil {
		for _, c := range []prometheus.Collector{l.decisions, l.failures} {
			if err := opts.Metrics.Register(c); err != nil {
				return nil, fmt.Errorf("ratelimit: register metrics: %w", err)
			}
		}
	}
	return l, nil
}

func (o Options) withDefaults() Options {
	if o.Prefix == "" {
		o.Prefix = DefaultPrefix
	}
	if o.Timeout == 0 {
		o.Timeout = DefaultTimeout
	}
	if o.Pause == 0 {
		o.Pause = DefaultPause
	}
	if o.LogEvery == 0 {
		o.LogEvery = DefaultLogEvery
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	if o.Now == nil {
		o.Now = time.Now
	}
	return o
}

// Allow counts an event under a rule and a key, such as an account's name in lower case, and says whether it may happen. Keys may
// be long or private; Redis sees a hash. The only error is that of a ctx that has ended.
func (l *Limiter) Allow(ctx context.Context, rule Rule, key string) (Decision, error) {
	if err := ctx.Err(); err != nil {
		return Decision{}, fmt.Errorf("ask the rate limit %s: %w", rule.Name, err)
	}
	if rule.Rate <= 0 {
		return Decision{Allowed: true}, nil
	}
	result, known, err := l.draw(ctx, rule, key, 1)
	switch {
	case err != nil:
		return Decision{}, err
	case !known:
		return l.decideAlone(rule), nil
	default:
		return l.decision(rule, result), nil
	}
}

// draw takes up to n permits from Redis, fewer when there are not so many. It is not known how many there are while Redis is
// away. The only error is that of a ctx that has ended.
func (l *Limiter) draw(ctx context.Context, rule Rule, key string, n int) (result *redis_rate.Result, known bool, err error) {
	if !l.mayAsk() {
		return nil, false, nil
	}
	asking, cancel := context.WithTimeout(ctx, l.opts.Timeout)
	defer cancel()
	if n == 1 {
		// Where the burst is 1 as well, AllowAtMost would sometimes round it down to none.
		result, err = l.redis.Allow(asking, l.key(rule, key), rule.limit())
	} else {
		result, err = l.redis.AllowAtMost(asking, l.key(rule, key), rule.limit(), n)
	}
	if err != nil {
		if gone := ended(ctx); gone != nil {
			return nil, false, fmt.Errorf("ask the rate limit %s: %w", rule.Name, gone)
		}
		l.failed(ctx, rule, err)
		return nil, false, nil
	}
	l.answered(ctx)
	return result, true, nil
}

// mayAsk reports whether Redis is asked at this moment. While it is away, one caller in each pause finds out whether it is
// back; the others do not wait for that.
func (l *Limiter) mayAsk() bool {
	now, again := l.opts.Now(), l.askAgain.Load()
	if now.UnixNano() < again {
		return false
	}
	return !l.away.Load() || l.askAgain.CompareAndSwap(again, now.Add(l.opts.Pause).UnixNano())
}

// ended returns why the caller's context is over. The client's socket observes a deadline too, and may notice it a moment
// before the context does.
func ended(ctx context.Context) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	if deadline, ok := ctx.Deadline(); ok && !time.Now().Before(deadline) {
		return context.DeadlineExceeded
	}
	return nil
}

// Check is Allow for callers that need no headers: nil, Decision.Err, or the error of a ctx that has ended.
func (l *Limiter) Check(ctx context.Context, rule Rule, key string) error {
	d, err := l.Allow(ctx, rule, key)
	if err != nil {
		return err
	}
	return d.Err()
}

func (l *Limiter) key(rule Rule, key string) string {
	sum := sha256.Sum256([]byte(key))
	return l.opts.Prefix + rule.Name + ":" + base64.RawURLEncoding.EncodeToString(sum[:16])
}

// decision reads Redis's answer.
func (l *Limiter) decision(rule Rule, r *redis_rate.Result) Decision {
	d := Decision{Allowed: r.Allowed > 0, Limit: r.Limit.Burst, Remaining: r.Remaining, Reset: r.ResetAfter}
	outcome := outcomeAllowed
	if !d.Allowed {
		d.RetryAfter = r.RetryAfter
		outcome = outcomeLimited
	}
	l.decisions.WithLabelValues(rule.Name, outcome).Inc()
	return d
}

// decideAlone is the rule's word while Redis is away.
func (l *Limiter) decideAlone(rule Rule) Decision {
	if rule.FailClosed {
		l.decisions.WithLabelValues(rule.Name, outcomeClosed).Inc()
		return Decision{Degraded: true, RetryAfter: l.opts.Pause}
	}
	l.decisions.WithLabelValues(rule.Name, outcomeOpen).Inc()
	return Decision{Allowed: true, Degraded: true}
}

// failed leaves Redis alone for a while and says so, if it was not said lately.
func (l *Limiter) failed(ctx context.Context, rule Rule, cause error) {
	now := l.opts.Now()
	l.failures.Inc()
	l.away.Store(true)
	l.askAgain.Store(now.Add(l.opts.Pause).UnixNano())
	due := l.logAgain.Load()
	if now.UnixNano() >= due && l.logAgain.CompareAndSwap(due, now.Add(l.opts.LogEvery).UnixNano()) {
		meanwhile := "requests pass"
		if rule.FailClosed {
			meanwhile = "requests are refused"
		}
		l.opts.Log.WarnContext(ctx, "Redis is away, rate limits are not counted",
			"rule", rule.Name, "meanwhile", meanwhile, "error", cause)
	}
}

// answered notices that Redis is back.
func (l *Limiter) answered(ctx context.Context) {
	if l.away.Load() && l.away.CompareAndSwap(true, false) {
		l.askAgain.Store(0)
		l.opts.Log.InfoContext(ctx, "Redis is back, rate limits are counted again")
	}
}
