package account

import (
	"log/slog"
	"os"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/redis/go-redis/v9"

	"github.com/tarento/copilot/gateway/internal/ratelimit"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/wiretest"
)

func redisURL(t *testing.T) string {
	t.Helper()
	address := os.Getenv("TEST_REDIS_URL")
	if address == "" {
		t.Fatal("TEST_REDIS_URL is not set: run `make test`, or go run ./deploy/devstack/cmd/devstack exec -- go test ./...")
	}
	return address
}

func connectRedis(t *testing.T, address string) *redis.Client {
	t.Helper()
	client, err := ratelimit.Open(secret.New(address))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := client.Close(); err != nil {
			t.Error(err)
		}
	})
	return client
}

// newTestShared is what one gateway of an installation remembers in Redis, which is slow only where the test makes it so.
func newTestShared(t *testing.T, installation, address string) *shared {
	t.Helper()
	s := newShared(connectRedis(t, address), installation, slog.New(slog.DiscardHandler), prometheus.NewCounter(prometheus.CounterOpts{}))
	s.within = time.Minute
	return s
}

func TestGatewaysShareWhatOneHasRead(t *testing.T) {
	t.Parallel()
	installation, org, id := uuid.NewString(), newTenant(), credentialID{1}
	near, far := newTestShared(t, installation, redisURL(t)), newTestShared(t, installation, redisURL(t))
	c, generation := near.get(t.Context(), org, id)
	if c != nil || generation == "" {
		t.Fatalf("at first: %+v in generation %q", c, generation)
	}
	near.put(t.Context(), org, id, generation, &store.Credential{Role: "Member", Permissions: store.StringArray{"jobs:read"}}, time.Now())
	if c, _ := far.get(t.Context(), org, id); c == nil || c.Role != "Member" || len(c.Permissions) != 1 {
		t.Errorf("the other gateway reads %+v", c)
	}
	for name, read := range map[string]func() *store.Credential{
		"another credential": func() *store.Credential { c, _ := far.get(t.Context(), org, credentialID{2}); return c },
		"another tenant":     func() *store.Credential { c, _ := far.get(t.Context(), newTenant(), id); return c },
		"another installation": func() *store.Credential {
			c, _ := newTestShared(t, "x", redisURL(t)).get(t.Context(), org, id)
			return c
		},
	} {
		if c := read(); c != nil {
			t.Errorf("%s reads %+v", name, c)
		}
	}
	if !near.forget(t.Context(), org) {
		t.Fatal("Redis was not told")
	}
	if c, now := far.get(t.Context(), org, id); c != nil || now == "" || now == generation {
		t.Errorf("after the change: %+v in generation %q, which was %q", c, now, generation)
	}
}

func TestNobodySharesWhatWasReadBeforeAChange(t *testing.T) {
	t.Parallel()
	s, org, id := newTestShared(t, uuid.NewString(), redisURL(t)), newTenant(), credentialID{1}
	for name, lose := range map[string]func(){
		"the tenant changed":  func() { s.forget(t.Context(), org) },
		"Redis lost its data": func() { s.redis.Del(t.Context(), s.key(org)) },
	} {
		_, generation := s.get(t.Context(), org, id)
		lose()
		s.put(t.Context(), org, id, generation, &store.Credential{Role: "Admin"}, time.Now())
		if c, _ := s.get(t.Context(), org, id); c != nil {
			t.Errorf("%s, and yet %+v was shared", name, c)
		}
	}
}

func TestAnOldEntryDoesNotCount(t *testing.T) {
	t.Parallel()
	now := time.Now()
	for name, c := range map[string]struct {
		read time.Time
		want bool
	}{
		"just now":                   {now, true},
		"half a minute ago":          {now.Add(-sharedFor), false},
		"by a clock a little ahead":  {now.Add(time.Second), true},
		"by a clock from the future": {now.Add(time.Hour), false},
	} {
		if e := (entry{c.read.UnixMilli(), &store.Credential{}}); e.counts(now) != c.want {
			t.Errorf("read %s: counts %v", name, !c.want)
		}
	}
}

func TestAHashThatGrewTooLargeStartsAnew(t *testing.T) {
	t.Parallel()
	s, org := newTestShared(t, uuid.NewString(), redisURL(t)), newTenant()
	_, generation := s.get(t.Context(), org, credentialID{1})
	fields := make([]any, 0, 2*fieldsMax)
	for range fieldsMax {
		fields = append(fields, uuid.NewString(), "x")
	}
	if err := s.redis.HSet(t.Context(), s.key(org), fields...).Err(); err != nil {
		t.Fatal(err)
	}
	s.put(t.Context(), org, credentialID{1}, generation, &store.Credential{Role: "Member"}, time.Now())
	if n := s.redis.HLen(t.Context(), s.key(org)).Val(); n != 2 {
		t.Errorf("%d fields, want the generation and the newest", n)
	}
	if c, _ := s.get(t.Context(), org, credentialID{1}); c == nil {
		t.Error("the newest is gone")
	}
}

func TestWhatRedisWasNotToldOfIsNotTrustedUntilItIs(t *testing.T) {
	t.Parallel()
	wire := wiretest.Lay(t, redisURL(t))
	installation, org, id := uuid.NewString(), newTenant(), credentialID{1}
	near, far := newTestShared(t, installation, wire.Near), newTestShared(t, installation, redisURL(t))
	_, generation := near.get(t.Context(), org, id)
	near.put(t.Context(), org, id, generation, &store.Credential{Role: "Admin"}, time.Now())

	wire.Cut()
	if near.forget(t.Context(), org) {
		t.Fatal("told Redis over a cut wire")
	}
	if left := near.tell(t.Context()); left != 1 {
		t.Errorf("%d changes are untold, want 1", left)
	}
	wire.Mend()
	if c, generation := near.get(t.Context(), org, id); c != nil || generation != "" {
		t.Errorf("an untold tenant reads %+v", c)
	}
	if left := near.tell(t.Context()); left != 0 {
		t.Errorf("%d changes are untold over a whole wire", left)
	}
	if c, now := far.get(t.Context(), org, id); c != nil || now == generation {
		t.Errorf("told at last, Redis holds %+v", c)
	}
	if _, now := near.get(t.Context(), org, id); now == "" {
		t.Error("a tenant that was told is not trusted")
	}
}
