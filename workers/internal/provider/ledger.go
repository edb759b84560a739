package provider

import (
	"context"
	_ "embed"
	"errors"
	"fmt"
	"sync"
	"time"

	"github.com/redis/go-redis/v9"

	"github.com/tarento/copilot/pkg/secret"
)

// Open returns a Redis client that suits a Gate: it observes the deadlines of contexts, and does not retry, because a late answer is
// as bad as none. The caller closes it. The URL is redis:// or rediss://.
func Open(url secret.Text) (*redis.Client, error) {
	opts, err := redis.ParseURL(url.Reveal())
	if err != nil {
		return nil, errors.New("provider: the Redis URL cannot be read; it looks like redis://:password@host:6379/0")
	}
	opts.ContextTimeoutEnabled = true
	opts.MaxRetries = -1
	opts.DialerRetries = 1
	return redis.NewClient(opts), nil
}

//go:embed circuit.lua
var circuitScript string

// shared keeps circuits in Redis, where all replicas see them.
type shared struct {
	redis  *redis.Client
	script *redis.Script
	prefix string
	// now replaces the clock of Redis in tests; nil means that clock.
	now func() time.Time
}

func newShared(client *redis.Client, prefix string) *shared {
	return &shared{redis: client, script: redis.NewScript(circuitScript), prefix: prefix}
}

func (s *shared) admit(ctx context.Context, model string, a ask) (answer, error) {
	return s.run(ctx, model, "admit",
		a.requestCost.Microseconds(), a.requestRoom.Microseconds(), a.tokenCost.Microseconds(), a.tokenRoom.Microseconds(),
		int64(a.line), a.gap().Microseconds(), lineMax.Microseconds(), probeFor.Microseconds(), probeAgain.Microseconds())
}

func (s *shared) settle(ctx context.Context, model string, r report) (answer, error) {
	return s.run(ctx, model, "settle",
		int64(r.outcome), r.epoch, r.spent.Microseconds(), min(r.asked, askedMax).Microseconds(), r.jitter,
		int64(r.line), r.gap.Microseconds(), lineMax.Microseconds(),
		int64(failuresToOpen), steady.Microseconds(), firstPause.Microseconds(), longestPause.Microseconds())
}

func (s *shared) look(ctx context.Context, model string) (answer, error) {
	return s.run(ctx, model, "look")
}

func (s *shared) run(ctx context.Context, model, what string, numbers ...int64) (answer, error) {
	args := make([]any, 0, len(numbers)+2)
	var now int64
	if s.now != nil {
		now = s.now().UnixMicro()
	}
	args = append(args, what, now)
	for _, n := range numbers {
		args = append(args, n)
	}
	said, err := s.script.Run(ctx, s.redis, []string{s.prefix + model}, args...).Int64Slice()
	if err != nil {
		return answer{}, fmt.Errorf("provider: ask Redis to %s: %w", what, err)
	}
	if len(said) != 6 {
		return answer{}, fmt.Errorf("provider: Redis answered %v", said)
	}
	return answer{
		reason: reason(said[0]), state: state(said[1]), epoch: said[2],
		wait: microseconds(said[3]), until: microseconds(said[4]), changed: said[5] == 1,
	}, nil
}

// local keeps the circuits of one process, for as long as Redis is away.
type local struct {
	mu       sync.Mutex
	circuits map[string]*circuit
}

// maxLocal bounds the models that a process remembers; beyond, it begins anew with those that are closed.
const maxLocal = 1000

func newLocal() *local { return &local{circuits: map[string]*circuit{}} }

func (l *local) admit(model string, a ask) answer {
	now := time.Now().UnixMicro()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(model).admit(now, a)
}

func (l *local) settle(model string, r report) answer {
	now := time.Now().UnixMicro()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(model).settle(now, r)
}

// settleElsewhere takes the report of a call that Redis had admitted.
func (l *local) settleElsewhere(model string, r report) answer {
	l.mu.Lock()
	r.epoch = l.of(model).epoch
	l.mu.Unlock()
	return l.settle(model, r)
}

func (l *local) look(model string) answer {
	now := time.Now().UnixMicro()
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.of(model).say(now, admitted, 0)
}

// follow notes what Redis said of a circuit, so that the process can go on from there without it.
func (l *local) follow(model string, said answer) {
	now := time.Now().UnixMicro()
	l.mu.Lock()
	defer l.mu.Unlock()
	c := l.of(model)
	switch {
	case said.state == closed && c.until != 0:
		c.until, c.probe = 0, 0
		c.epoch++
	case said.state != closed && c.until == 0:
		c.epoch++
		fallthrough
	case said.state != closed:
		c.until = now + said.until.Microseconds()
	}
}

func (l *local) of(model string) *circuit {
	c, known := l.circuits[model]
	if !known {
		if len(l.circuits) >= maxLocal {
			l.forget()
		}
		c = &circuit{}
		l.circuits[model] = c
	}
	return c
}

func (l *local) forget() {
	for model, c := range l.circuits {
		if c.until == 0 {
			delete(l.circuits, model)
		}
	}
}
