package account

import (
	"context"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"errors"
	"log/slog"
	"maps"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// shared is what the gateways remember together, in Redis: for each tenant a hash with a field for each session and key, and a
// generation. When somebody of the tenant may do more or less, a new hash with a new generation takes the place of the old one, and
// who writes back names the generation that was there before it read the record. So nobody puts back what was read before a change.
//
// Where Redis could not be told of a change, what it holds of the tenant is not trusted until it was told, or until all of it is
// too old to count.
type shared struct {
	redis   *redis.Client
	keep    *redis.Script
	prefix  string
	within  time.Duration // how long Redis may take to answer
	log     *slog.Logger
	failed  prometheus.Counter
	away    atomic.Bool
	askNext atomic.Int64 // when Redis is asked again after a failure, in Unix nanoseconds

	mu     sync.Mutex
	untold map[tenant.ID]time.Time // until when not to trust
}

const (
	// sharedFor is how long an entry counts from when the record was read.
	sharedFor = 30 * time.Second
	// hashFor is how long an unused hash stays; longer than any look-up takes, or a generation could be forgotten under one.
	hashFor = 2 * time.Minute
	// fieldsMax bounds a hash; beyond, it starts anew.
	fieldsMax = 5_000
	// askWithin is how long Redis may take to answer, pauseAfter how long it is left alone after it did not.
	askWithin  = 100 * time.Millisecond
	pauseAfter = time.Second
	// retryAfter is when Redis is told again of a change that did not reach it.
	retryAfter = 200 * time.Millisecond

	fieldGeneration = "generation"
)

func newShared(client *redis.Client, prefix string, log *slog.Logger, failed prometheus.Counter) *shared {
	return &shared{
		redis: client, keep: redis.NewScript(writeBack), prefix: prefix, within: askWithin, log: log, failed: failed,
		untold: map[tenant.ID]time.Time{},
	}
}

func (s *shared) key(t tenant.ID) string { return s.prefix + ":access:" + t.String() }

func field(id credentialID) string { return base64.RawURLEncoding.EncodeToString(id[:]) }

// entry is what a field holds.
type entry struct {
	// ReadAt is when the record was read, in Unix milliseconds.
	ReadAt     int64             `json:"read_at"`
	Credential *store.Credential `json:"credential"`
}

func (e *entry) counts(now time.Time) bool {
	age := now.Sub(time.UnixMilli(e.ReadAt))
	// Clocks of gateways differ a little; one from far in the future is as bad as an old one.
	return e.Credential != nil && age < sharedFor && age > -sharedFor
}

// get returns what is remembered of a credential, nil if nothing is, and the generation to name when it is written back, empty when
// that is no use.
func (s *shared) get(ctx context.Context, t tenant.ID, id credentialID) (c *store.Credential, generation string) {
	if !s.trusted(t) || time.Now().UnixNano() < s.askNext.Load() {
		return nil, ""
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	found, err := s.redis.HMGet(ctx, s.key(t), fieldGeneration, field(id)).Result()
	if err != nil {
		s.failure(ctx, err)
		return nil, ""
	}
	s.success(ctx)
	generation, _ = found[0].(string)
	if generation == "" {
		return nil, s.begin(ctx, t)
	}
	text, _ := found[1].(string)
	var e entry
	if text == "" || json.Unmarshal([]byte(text), &e) != nil || !e.counts(time.Now()) {
		return nil, generation
	}
	return e.Credential, generation
}

// begin gives a tenant's hash a generation where it has none, and returns the one that it has then.
func (s *shared) begin(ctx context.Context, t tenant.ID) (generation string) {
	pipe := s.redis.TxPipeline()
	pipe.HSetNX(ctx, s.key(t), fieldGeneration, rand.Text())
	now := pipe.HGet(ctx, s.key(t), fieldGeneration)
	pipe.PExpire(ctx, s.key(t), hashFor)
	if _, err := pipe.Exec(ctx); err != nil {
		s.failure(ctx, err)
		return ""
	}
	return now.Val()
}

// writeBack keeps an entry if the generation is still the one that was seen before the record was read.
const writeBack = `
if redis.call('HGET', KEYS[1], 'generation') ~= ARGV[1] then return 0 end
if redis.call('HLEN', KEYS[1]) >= tonumber(ARGV[5]) then
	redis.call('DEL', KEYS[1])
	redis.call('HSET', KEYS[1], 'generation', ARGV[1])
end
redis.call('HSET', KEYS[1], ARGV[2], ARGV[3])
redis.call('PEXPIRE', KEYS[1], ARGV[4])
return 1`

// put shares what the record said at readAt, unless it may have changed since get returned the generation.
func (s *shared) put(ctx context.Context, t tenant.ID, id credentialID, generation string, c *store.Credential, readAt time.Time) {
	if generation == "" || !s.trusted(t) || time.Since(readAt) > lookupWithin {
		return
	}
	text, err := json.Marshal(entry{readAt.UnixMilli(), c})
	if err != nil {
		s.log.ErrorContext(ctx, "access not shared", "error", err)
		return
	}
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	err = s.keep.Run(ctx, s.redis, []string{s.key(t)}, generation, field(id), text, hashFor.Milliseconds(), fieldsMax).Err()
	if err != nil {
		s.failure(ctx, err)
	}
}

// forget drops what is remembered of a tenant, and reports whether Redis knows now. If not, it is not trusted meanwhile.
func (s *shared) forget(ctx context.Context, t tenant.ID) bool {
	ctx, cancel := context.WithTimeout(ctx, s.within)
	defer cancel()
	if err := s.replace(ctx, t); err != nil {
		s.failure(ctx, err)
		s.distrust(t)
		return false
	}
	s.success(ctx)
	return true
}

func (s *shared) replace(ctx context.Context, t tenant.ID) error {
	pipe := s.redis.TxPipeline()
	pipe.Del(ctx, s.key(t))
	pipe.HSet(ctx, s.key(t), fieldGeneration, rand.Text())
	pipe.PExpire(ctx, s.key(t), hashFor)
	_, err := pipe.Exec(ctx)
	return err
}

// distrust remembers that Redis was not told of a change of a tenant.
func (s *shared) distrust(t tenant.ID) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.untold[t] = time.Now().Add(sharedFor + lookupWithin)
}

func (s *shared) trusted(t tenant.ID) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	_, untold := s.untold[t]
	return !untold
}

// tell tells Redis of the changes that it was not told of, and returns how many are left.
func (s *shared) tell(ctx context.Context) int {
	s.mu.Lock()
	open := maps.Clone(s.untold)
	s.mu.Unlock()
	for t, until := range open {
		if time.Now().Before(until) {
			asking, cancel := context.WithTimeout(ctx, s.within)
			err := s.replace(asking, t)
			cancel()
			if err != nil {
				s.failure(ctx, err)
				break // the others would not reach it either
			}
			s.success(ctx)
		}
		s.mu.Lock()
		if s.untold[t].Equal(until) { // else it changed once more
			delete(s.untold, t)
		}
		s.mu.Unlock()
	}
	return s.left()
}

// left is of how many tenants Redis was not told.
func (s *shared) left() int {
	s.mu.Lock()
	defer s.mu.Unlock()
	return len(s.untold)
}

// failure leaves Redis alone for a while, and says so once.
func (s *shared) failure(ctx context.Context, cause error) {
	if errors.Is(cause, context.Canceled) {
		return
	}
	s.failed.Inc()
	s.askNext.Store(time.Now().Add(pauseAfter).UnixNano())
	if s.away.CompareAndSwap(false, true) {
		s.log.WarnContext(ctx, "Redis is away, access is looked up in Postgres", "error", cause)
	}
}

func (s *shared) success(ctx context.Context) {
	if s.away.Load() && s.away.CompareAndSwap(true, false) {
		s.askNext.Store(0)
		s.log.InfoContext(ctx, "Redis is back, access is remembered there again")
	}
}
