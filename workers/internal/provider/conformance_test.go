package provider

import (
	"math/rand/v2"
	"os"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/redis/go-redis/v9"
	"golang.org/x/sync/errgroup"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/secret"
)

func testRedis(t *testing.T) string {
	t.Helper()
	url := os.Getenv("TEST_REDIS_URL")
	if url == "" {
		t.Fatal("TEST_REDIS_URL is not set: run `make test`, or start the tests through `devstack exec`, which serves a Redis for them")
	}
	return url
}

func client(t *testing.T, url string) *redis.Client {
	t.Helper()
	c, err := Open(secret.New(url))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = c.Close() })
	return c
}

// clock is the one of all replicas in a test.
type clock struct {
	mu  sync.Mutex
	now time.Time
}

func (c *clock) read() time.Time {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.now
}

func (c *clock) advance(d time.Duration) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.now = c.now.Add(d)
}

// TestTheScriptIsTheStateMachine plays random calls against both, with every answer compared.
func TestTheScriptIsTheStateMachine(t *testing.T) {
	t.Parallel()
	server := client(t, testRedis(t))
	for seed := range uint64(8) {
		random := rand.New(rand.NewPCG(seed, 7))
		limit := []Limit{{}, {Requests: 30}, {Tokens: 5000}, {Requests: 600, Tokens: 100_000}}[seed%4]
		now := &clock{now: time.UnixMicro(1_790_000_000_123_457)}
		s := newShared(server, "test:"+uuid.NewString()+":")
		s.now = now.read
		var c circuit
		var open []answer
		seen := map[reason]int{}
		for step := range 300 {
			now.advance(time.Duration(random.ExpFloat64() * float64([]time.Duration{
				time.Millisecond, 100 * time.Millisecond, 2 * time.Second, 20 * time.Second,
			}[random.IntN(4)])).Truncate(time.Microsecond))
			var want, got answer
			var err error
			if n := len(open); n > 0 && random.IntN(2) == 0 {
				i := random.IntN(n)
				r := report{
					outcome: outcome(random.IntN(4)), epoch: open[i].epoch, jitter: 750 + random.Int64N(501), line: line(random.IntN(3)),
					gap: limit.ask(10, events.ClassBulk, bulkLine).gap(), spent: microseconds(random.Int64N(2_000_000) - 1_000_000),
				}
				if random.IntN(3) == 0 {
					r.asked = time.Duration(random.IntN(20)) * time.Second
				}
				open = append(open[:i], open[i+1:]...)
				want = c.settle(now.read().UnixMicro(), r)
				got, err = s.settle(t.Context(), model, r)
			} else {
				a := limit.ask(1+random.IntN(800), events.ClassInteractive, line(random.IntN(3)))
				want = c.admit(now.read().UnixMicro(), a)
				got, err = s.admit(t.Context(), model, a)
				seen[want.reason]++
				if want.reason == admitted {
					open = append(open, want)
				}
			}
			if err != nil || got != want {
				t.Fatalf("seed %d, step %d: the script says %+v (%v), the state machine %+v", seed, step, got, err, want)
			}
		}
		if seen[admitted] == 0 || seen[circuitOpen] == 0 {
			t.Errorf("seed %d tried little: %v", seed, seen)
		}
	}
}

func TestTwoReplicasNeverExceedTheLimitTogether(t *testing.T) {
	t.Parallel()
	url, prefix := testRedis(t), "test:"+uuid.NewString()+":"
	now := &clock{now: time.UnixMicro(1_790_000_000_000_000)}
	limit := Limit{Requests: 100, Tokens: 20_000}
	replicas := []*shared{newShared(client(t, url), prefix), newShared(client(t, url), prefix)}
	var admittedAt []time.Time
	for range 120 { // two minutes, each second with a crowd from both sides
		var mu sync.Mutex
		var crowd errgroup.Group
		for _, replica := range replicas {
			replica.now = now.read
			for range 6 {
				crowd.Go(func() error {
					said, err := replica.admit(t.Context(), model, limit.ask(200, events.ClassInteractive, interactiveLine))
					if err == nil && said.reason == admitted {
						mu.Lock()
						admittedAt = append(admittedAt, now.read())
						mu.Unlock()
					}
					return err
				})
			}
		}
		if err := crowd.Wait(); err != nil {
			t.Fatal(err)
		}
		now.advance(time.Second)
	}
	most := 0
	for i, first := range admittedAt {
		n := 0
		for _, other := range admittedAt[i:] {
			if other.Sub(first) < time.Minute {
				n++
			}
		}
		most = max(most, n)
	}
	if most > 100 || most < 90 {
		t.Errorf("the fullest minute held %d calls, want at most and nearly 100", most)
	}
}

func TestACircuitIsForgottenWhenItIsOldEnough(t *testing.T) {
	t.Parallel()
	server, prefix := client(t, testRedis(t)), "test:"+uuid.NewString()+":"
	s, began := newShared(server, prefix), time.Now()
	if _, err := s.admit(t.Context(), model, Limit{Requests: 1}.ask(0, events.ClassBulk, noLine)); err != nil {
		t.Fatal(err)
	}
	left, err := server.PTTL(t.Context(), prefix+model).Result()
	if err != nil || left < askedMax || left > 3*time.Hour {
		t.Errorf("it stays for %s, %v", left, err)
	}
	said, err := s.admit(t.Context(), model, Limit{Requests: 1}.ask(0, events.ClassBulk, noLine))
	if err != nil || said.reason != requestsUsedUp || said.wait < 59*time.Second-time.Since(began) || said.wait > time.Minute {
		t.Errorf("by the clock of Redis it says %+v, %v", said, err)
	}
}
