package provider

import (
	"context"
	"errors"
	"math/rand/v2"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
)

// permit is the right to make one call, which has to be settled.
type permit struct {
	gate     *Gate
	model    string
	limit    Limit
	tokens   int
	class    events.Class
	line     line
	epoch    int64
	probe    bool
	job      bool
	isShared bool // whether Redis gave it
	since    time.Time
	heard    bool // the provider has begun to answer
	settled  bool
}

// hear notes that the provider has begun to answer. A probe need not know more: others can go on while it is still being answered.
func (p *permit) hear(ctx context.Context) {
	p.heard = true
	if p.probe && !p.settled {
		_ = p.settle(ctx, nil, -1)
	}
}

// abandon reports that the call ended for a reason of the caller's.
func (p *permit) abandon(ctx context.Context) { _ = p.settle(ctx, context.Canceled, -1) }

// settle reports how the call went and what it really cost; it returns the error that the caller gets. tokens is negative when the
// cost is not known. Only the first call counts.
func (p *permit) settle(ctx context.Context, err error, tokens int) error {
	if p.settled {
		return err
	}
	p.settled = true
	g := p.gate
	r := report{outcome: p.outcome(err), epoch: p.epoch, jitter: 750 + rand.Int64N(501), line: p.line}
	r.gap = p.cost(p.tokens).gap()
	f := fault.Of(err)
	if f != nil {
		r.asked = f.RetryAfter
	}
	switch {
	case p.limit.Tokens == 0:
	case tokens >= 0:
		r.spent = p.cost(tokens).tokenCost - p.cost(p.tokens).tokenCost
	case r.outcome == throttled:
		r.spent = -p.cost(p.tokens).tokenCost
	}
	g.metrics.calls.WithLabelValues(g.metrics.label(p.model), r.outcome.String()).Inc()
	said := g.settle(ctx, p, r)
	if said.changed {
		g.tell(ctx, p.model, said, err)
	}
	if r.outcome < throttled || said.wait == 0 && (p.job || r.outcome != throttled) {
		return err
	}
	kind, wait := f.Kind, max(said.wait, f.RetryAfter)
	if p.job {
		wait = spread(said.wait)
	} else if r.outcome == throttled {
		kind = fault.Unavailable // it is the deployment that asks too much, not whoever waits for this answer
	}
	// The call is made again when the provider answers; what it failed of is not the job's fault.
	return fault.Wrap(errors.Join(runner.Snooze(wait, events.WaitingProvider), err), kind, f.Code, "%s", f.Message).After(wait)
}

func (p *permit) cost(tokens int) ask { return p.limit.ask(tokens, p.class, p.line) }

// silence is how long a provider must have said nothing for a caller that gives up to blame it.
const silence = 10 * time.Second

// outcome reads what an error of the call says about the provider.
func (p *permit) outcome(err error) outcome {
	f, classified := errors.AsType[*fault.Error](err)
	switch {
	case err == nil:
		return answered
	case errors.Is(err, context.DeadlineExceeded) && !p.heard && time.Since(p.since) >= silence:
		return failed
	case !classified:
		return neutral // the caller's context, or an error of our own
	case f.Kind == fault.RateLimited:
		return throttled
	case f.Kind == fault.Unavailable, f.Kind == fault.Timeout, f.Code == codeCut:
		return failed
	case f.Kind == fault.Upstream:
		return answered // it makes no sense, but the service is there
	default:
		return neutral
	}
}

// codeCut is the code of answers that break off, which is what a service does that goes away.
const codeCut = "provider.stream_cut"
