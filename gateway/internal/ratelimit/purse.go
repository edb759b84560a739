package ratelimit

import (
	"context"
	"fmt"
	"hash/maphash"
	"sync"
	"time"

	"github.com/go-redis/redis_rate/v10"
	"github.com/prometheus/client_golang/prometheus"
)

// The defaults of PurseOptions.
const (
	DefaultKeep    = time.Second
	DefaultPockets = 64 << 10
)

// share says how large a draw may get: one in so many of the burst.
const share = 20

// shards is how many locks the pockets are spread over.
const shards = 64

// PurseOptions are the settings of a Purse; the zero value is good.
type PurseOptions struct {
	// Keep is how long drawn permits are good; zero means DefaultKeep. What is not spent by then is lost to its key.
	Keep time.Duration
	// Pockets is how many keys are remembered at most; zero means DefaultPockets. A key that is forgotten only asks Redis again.
	Pockets int
}

// Purse counts as its Limiter does, and asks Redis seldom: it draws some permits of a key at once and spends them without
// asking. A key that is used now and then costs a permit and a question for each event. For one that is used much the draws
// grow, up to a twentieth of the burst, so that Redis is asked a few times a second. A key that Redis refused is refused
// without asking until it may pass again.
//
// Redis counts a permit when it is drawn, and one that is not spent within Keep is forgotten. So all gateways together never
// let more through than the rule says since its key was first used: they err on the strict side. Within one span of time it can
// be more than the rule gives that span by what they had drawn just before it began.
//
// It is safe for many goroutines and starts none. Those that need the same key at the same time share one question.
type Purse struct {
	limiter *Limiter
	keep    time.Duration
	room    int // pockets in one shard
	seed    maphash.Seed
	shards  [shards]shard
}

// NewPurse returns a purse that draws from the limiter.
func NewPurse(l *Limiter, opts PurseOptions) *Purse {
	if opts.Keep == 0 {
		opts.Keep = DefaultKeep
	}
	if opts.Pockets == 0 {
		opts.Pockets = DefaultPockets
	}
	p := &Purse{limiter: l, keep: opts.Keep, room: max(1, opts.Pockets/shards), seed: maphash.MakeSeed()}
	for i := range p.shards {
		p.shards[i].pockets = map[pocketKey]*pocket{}
	}
	return p
}

// Allow is Limiter.Allow, except that Decision.Remaining and Decision.Reset are as they were at the last question to Redis, less
// what was spent here since.
func (p *Purse) Allow(ctx context.Context, rule Rule, key string) (Decision, error) {
	if rule.Rate <= 0 {
		return Decision{Allowed: true}, nil
	}
	s := &p.shards[maphash.String(p.seed, key)%shards]
	for {
		if err := ctx.Err(); err != nil {
			return Decision{}, fmt.Errorf("ask the rate limit %s: %w", rule.Name, err)
		}
		now := p.limiter.opts.Now()
		s.mu.Lock()
		k := p.pocket(s, pocketKey{rule.Name, key}, now)
		if d, known := k.decide(rule, now); known {
			s.mu.Unlock()
			return d, nil
		}
		drawing := k.drawing
		if drawing == nil {
			n := k.wish(rule, now, p.keep)
			k.drawing = make(chan struct{})
			s.mu.Unlock()
			return p.draw(ctx, s, k, rule, key, n)
		}
		k.waiting++
		s.mu.Unlock()
		select {
		case <-drawing:
		case <-ctx.Done():
		}
		s.mu.Lock()
		k.waiting--
		s.mu.Unlock()
	}
}

// draw fills a pocket from Redis and takes one permit out of it. The caller has set k.drawing.
func (p *Purse) draw(ctx context.Context, s *shard, k *pocket, rule Rule, key string, n int) (Decision, error) {
	defer func() {
		s.mu.Lock()
		close(k.drawing)
		k.drawing = nil
		s.mu.Unlock()
	}()
	before := p.limiter.opts.Now() // permits age from here on, so that a slow answer does not make them good for longer
	result, known, err := p.limiter.draw(ctx, rule, key, n)
	if err != nil {
		return Decision{}, err
	}
	if !known {
		return p.limiter.decideAlone(rule), nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	now := p.limiter.opts.Now()
	k.fill(result, n, before, now, p.keep)
	// One permit is spent here even if it lapsed on the way: Redis has counted it for this very event.
	if k.permits > 0 {
		return k.spend(rule, now), nil
	}
	return k.refuse(rule, now), nil
}

// shard is a part of the pockets with its own lock.
type shard struct {
	mu      sync.Mutex
	pockets map[pocketKey]*pocket
}

type pocketKey struct{ rule, key string }

// pocket returns the pocket of a key, which is a new one when there was none. The caller holds the lock.
func (p *Purse) pocket(s *shard, key pocketKey, now time.Time) *pocket {
	k := s.pockets[key]
	if k == nil {
		if len(s.pockets) >= p.room {
			s.clear(now, p.room/2)
		}
		k = &pocket{
			allowed: p.limiter.decisions.WithLabelValues(key.rule, outcomeAllowed),
			limited: p.limiter.decisions.WithLabelValues(key.rule, outcomeLimited),
		}
		s.pockets[key] = k
	}
	return k
}

// clear forgets the pockets that hold nothing any more, and then any others until so many are left. Those that are in use stay.
func (s *shard) clear(now time.Time, left int) {
	for key, k := range s.pockets {
		if k.idle() && now.After(k.lapse) {
			delete(s.pockets, key)
		}
	}
	for key, k := range s.pockets {
		if len(s.pockets) <= left {
			return
		}
		if k.idle() {
			delete(s.pockets, key)
		}
	}
}

// pocket holds the permits of one key under one rule, or that there are none. The lock of its shard guards it.
type pocket struct {
	permits int       // drawn and not spent
	refused bool      // Redis had none
	drawn   time.Time // when Redis was asked
	lapse   time.Time // until when permits and refused say something
	size    int       // what the last draw asked for
	left    int       // what Redis had left after it
	full    time.Time // when Redis will have all of them again

	drawing chan struct{} // closed when the question under way is answered; nil while there is none
	waiting int           // who waits for it

	allowed, limited prometheus.Counter
}

func (k *pocket) idle() bool { return k.drawing == nil && k.waiting == 0 }

// decide answers if the pocket knows an answer.
func (k *pocket) decide(rule Rule, now time.Time) (d Decision, known bool) {
	switch {
	case !now.Before(k.lapse):
		return Decision{}, false
	case k.refused:
		return k.refuse(rule, now), true
	case k.permits > 0:
		return k.spend(rule, now), true
	default:
		return Decision{}, false
	}
}

// wish is how many permits the next draw asks for: twice as many as the last one if those were gone soon, one after a pause, and
// never more than Redis is known to have, because of a fraction of a permit it would keep the fraction.
func (k *pocket) wish(rule Rule, now time.Time, keep time.Duration) int {
	n := 1
	if age := now.Sub(k.drawn); age < keep {
		n = max(1, k.size)
		if age < keep/4 {
			n *= 2
		}
		n = min(max(n, k.waiting+1), k.left)
	}
	return max(1, min(n, rule.limit().Burst/share))
}

// fill puts in what was drawn.
func (k *pocket) fill(r *redis_rate.Result, asked int, before, now time.Time, keep time.Duration) {
	*k = pocket{
		permits: r.Allowed, refused: r.Allowed == 0, drawn: before, lapse: before.Add(keep), size: asked, left: r.Remaining,
		full: now.Add(r.ResetAfter), drawing: k.drawing, waiting: k.waiting, allowed: k.allowed, limited: k.limited,
	}
	if k.refused {
		k.lapse = now.Add(r.RetryAfter)
	}
}

func (k *pocket) spend(rule Rule, now time.Time) Decision {
	k.permits--
	k.allowed.Inc()
	return Decision{
		Allowed: true, Limit: rule.limit().Burst, Remaining: k.left + k.permits, Reset: max(0, k.full.Sub(now)),
	}
}

func (k *pocket) refuse(rule Rule, now time.Time) Decision {
	k.limited.Inc()
	return Decision{Limit: rule.limit().Burst, RetryAfter: max(1, k.lapse.Sub(now)), Reset: max(0, k.full.Sub(now))}
}
