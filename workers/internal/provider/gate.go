package provider

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/pkg/runner"
)

const (
	// patience is how long a job's call waits in place, with its slot and its lease held, before the job is put off.
	patience = 2 * time.Second
	// askWithin is how long Redis may take to answer, pauseAfter how long it is left alone after it did not.
	askWithin  = 250 * time.Millisecond
	pauseAfter = time.Second
	// logEvery is the least time between two log lines about Redis being away.
	logEvery = 30 * time.Second
)

// Options are what a Gate is made with.
type Options struct {
	// Redis holds what all replicas know together. Its client must observe the deadlines of contexts; see Open.
	Redis *redis.Client
	// Prefix stands before every key; installations that share a Redis differ in it.
	Prefix string
	// Limits are those of the models; nil means none.
	Limits Limits
	// Log is told when a circuit opens and closes, and when Redis comes and goes.
	Log *slog.Logger
	// Metrics gets the counters and gauges.
	Metrics prometheus.Registerer
}

// Gate decides which calls of models are made. It is safe for many goroutines and starts none.
type Gate struct {
	limits  Limits
	within  time.Duration // how long Redis may take to answer
	shared  *shared
	local   *local
	log     *slog.Logger
	metrics *metrics

	askAgain atomic.Int64 // when Redis is asked again after a failure, in Unix nanoseconds
	logAgain atomic.Int64 // when that is logged again
	away     atomic.Bool  // whether the last question was not answered
}

// New returns a Gate. It asks Redis nothing yet.
func New(o Options) (*Gate, error) {
	if !o.Redis.Options().ContextTimeoutEnabled {
		return nil, errors.New("provider: the Redis client needs ContextTimeoutEnabled")
	}
	g := &Gate{
		limits: o.Limits, within: askWithin, shared: newShared(o.Redis, o.Prefix+":provider:"), local: newLocal(), log: o.Log,
		metrics: newMetrics(o.Limits),
	}
	for _, c := range append(g.metrics.all(), circuits{g}) {
		if err := o.Metrics.Register(c); err != nil {
			return nil, fmt.Errorf("provider: register metrics: %w", err)
		}
	}
	return g, nil
}

// enter waits for the right to make a call of about so many tokens, or returns why it may not be made now. A job waits a moment in
// place; others do not wait. The error is a fault.Unavailable with RetryAfter that is a runner.SnoozeError, too, or that of a ctx that
// has ended.
func (g *Gate) enter(ctx context.Context, model string, tokens int, job bool) (*permit, error) {
	limit := g.limits.of(model)
	class, where := standing(ctx, job)
	left := patience
	for {
		said, isShared, err := g.admit(ctx, model, limit.ask(tokens, class, where))
		if err != nil {
			return nil, err
		}
		if said.reason == admitted {
			return &permit{
				gate: g, model: model, limit: limit, tokens: tokens, class: class, line: where, job: job,
				epoch: said.epoch, probe: said.state != closed, isShared: isShared, since: time.Now(),
			}, nil
		}
		wait := said.wait
		if job {
			wait = spread(wait)
		}
		if !job || wait > left {
			g.metrics.refused.WithLabelValues(g.metrics.label(model), said.reason.String()).Inc()
			return nil, refusal(model, said.reason, wait)
		}
		left -= wait
		g.metrics.waited.WithLabelValues(g.metrics.label(model)).Inc()
		if !lifecycle.Pause(ctx, wait) {
			return nil, ctx.Err()
		}
	}
}

// classKey is the context's key of the class.
type classKey struct{}

// WithClass returns a context for the calls of a job of that class; without it, they are bulk work. Those who wait stand in a line
// for each class, and where a model is limited, bulk work leaves some of it to the interactive.
func WithClass(ctx context.Context, class events.Class) context.Context {
	return context.WithValue(ctx, classKey{}, class)
}

// standing is how a call stands to others: requests do not wait, and are what somebody waits for.
func standing(ctx context.Context, job bool) (events.Class, line) {
	switch class, _ := ctx.Value(classKey{}).(events.Class); {
	case !job:
		return events.ClassInteractive, noLine
	case class == events.ClassInteractive:
		return class, interactiveLine
	default:
		return events.ClassBulk, bulkLine
	}
}

// spread adds up to a quarter, so that those who were told the same moment do not come together.
func spread(wait time.Duration) time.Duration { return wait + rand.N(wait/4+time.Millisecond) }

// refusal is the error for a call that is not made.
func refusal(model string, why reason, wait time.Duration) error {
	wait = max(wait, time.Millisecond)
	snooze := runner.Snooze(wait, events.WaitingProvider)
	if why == requestsUsedUp || why == tokensUsedUp {
		return fault.Wrap(snooze, fault.Unavailable, "provider.limited",
			"The model %q is used as much as its limit of %s a minute allows. Try again in a moment.", model, why).After(wait)
	}
	return fault.Wrap(snooze, fault.Unavailable, "provider.paused",
		"The model %q does not answer, or asked for a pause. Try again in a moment.", model).After(wait)
}

func (g *Gate) tell(ctx context.Context, model string, said answer, cause error) {
	if said.state == closed {
		g.log.InfoContext(ctx, "the model provider answers again", "model", model)
		return
	}
	g.log.WarnContext(ctx, "calls of a model are paused", "model", model, "for", said.until.Round(time.Millisecond), "error", cause)
}

// admit asks Redis, or decides alone while it is away.
func (g *Gate) admit(ctx context.Context, model string, a ask) (said answer, isShared bool, err error) {
	if err := ctx.Err(); err != nil {
		return said, false, err
	}
	if g.mayAsk() {
		asking, cancel := context.WithTimeout(ctx, g.within)
		defer cancel()
		said, err := g.shared.admit(asking, model, a)
		if err == nil {
			g.present(ctx)
			g.local.follow(model, said)
			return said, true, nil
		}
		if gone := ctx.Err(); gone != nil {
			return said, false, gone
		}
		g.missing(ctx, err)
	}
	return g.local.admit(model, a), false, nil
}

// settle reports also when the caller has left.
func (g *Gate) settle(ctx context.Context, p *permit, r report) answer {
	if !p.isShared {
		return g.local.settle(p.model, r)
	}
	if g.mayAsk() {
		ctx := context.WithoutCancel(ctx)
		asking, cancel := context.WithTimeout(ctx, g.within)
		defer cancel()
		said, err := g.shared.settle(asking, p.model, r)
		if err == nil {
			g.present(ctx)
			g.local.follow(p.model, said)
			return said
		}
		g.missing(ctx, err)
	}
	return g.local.settleElsewhere(p.model, r)
}

// mayAsk reports whether Redis is asked at this moment. While it is away, one call in each pause finds out whether it is back.
func (g *Gate) mayAsk() bool {
	now, again := time.Now(), g.askAgain.Load()
	if now.UnixNano() < again {
		return false
	}
	return !g.away.Load() || g.askAgain.CompareAndSwap(again, now.Add(pauseAfter).UnixNano())
}

// missing leaves Redis alone for a while and says so, if it was not said lately.
func (g *Gate) missing(ctx context.Context, cause error) {
	now := time.Now()
	g.metrics.failures.Inc()
	g.away.Store(true)
	g.askAgain.Store(now.Add(pauseAfter).UnixNano())
	due := g.logAgain.Load()
	if now.UnixNano() >= due && g.logAgain.CompareAndSwap(due, now.Add(logEvery).UnixNano()) {
		g.log.WarnContext(ctx, "Redis is away, this process limits and pauses its calls of models by itself", "error", cause)
	}
}

// present notices that Redis is back.
func (g *Gate) present(ctx context.Context) {
	if g.away.Load() && g.away.CompareAndSwap(true, false) {
		g.askAgain.Store(0)
		g.log.InfoContext(ctx, "Redis is back, calls of models are limited and paused together again")
	}
}
