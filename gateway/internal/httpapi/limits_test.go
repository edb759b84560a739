package httpapi_test

import (
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/uuid"
)

// RateLimit and RateLimit-Policy, in the spelling of http.Header.
const rateLimit, rateLimitPolicy = "Ratelimit", "Ratelimit-Policy"

// newcomer logs in as somebody whom no other test counts: the tests share a Redis, and the seeded users have the same ids everywhere.
func newcomer(g *gateway) string {
	g.t.Helper()
	name := "n" + uuid.NewString()[:8]
	var s session
	g.call("", "POST", "/v1/auth/register", map[string]string{
		"email": name + "@new.example", "username": name, "password": password, "organization_name": name,
	}).wants(201).into(&s)
	g.tokens[name] = s.Tokens.Access
	return name
}

// limitOf reads the number behind a key of a RateLimit field: "r" of `"user";r=599;t=1`.
func limitOf(t *testing.T, field, key string) int {
	t.Helper()
	for part := range strings.SplitSeq(field, ";") {
		if number, ok := strings.CutPrefix(part, key+"="); ok {
			n, err := strconv.Atoi(number)
			if err != nil {
				t.Errorf("%s is %q", key, field)
			}
			return n
		}
	}
	t.Errorf("no %s in %q", key, field)
	return -1
}

func TestEveryAnswerSaysHowManyRequestsAreLeft(t *testing.T) {
	t.Parallel()
	g := start(t, "RATE_LIMIT_USER", "30", "RATE_LIMIT_ORGANIZATION", "300")
	as := newcomer(g)
	begun := time.Now()
	for i, c := range []struct {
		path   string
		status int
	}{{"/v1/auth/me", 200}, {"/v1/jobs/" + nothing, 404}, {"/v1/jobs?limit=0", 422}} {
		a := g.call(as, "GET", c.path, nil).wants(c.status)
		if policy := a.header.Get(rateLimitPolicy); policy != `"user";q=60;w=120, "organization";q=600;w=120` {
			t.Errorf("%s: the policy is %q", c.path, policy)
		}
		state := a.header.Get(rateLimit)
		back := int(time.Since(begun) / (2 * time.Second)) // there is one more each 2 s
		if left, full := limitOf(t, state, "r"), limitOf(t, state, "t"); !strings.HasPrefix(state, `"user";`) ||
			left < 58-i || left > 59-i+back || full < 1 || full > 10 {
			t.Errorf("%s: the state is %q", c.path, state)
		}
	}
}

func TestTooManyRequestsAreRefusedAndTheOthersServed(t *testing.T) {
	t.Parallel()
	g := start(t, "RATE_LIMIT_USER", "3", "RATE_LIMIT_ORGANIZATION", "5", "RATE_LIMIT_ADDRESS", "0")
	busy, other := newcomer(g), newcomer(g)
	for range 6 {
		g.call(busy, "GET", "/v1/auth/me", nil).wants(200)
	}
	refused := g.call(busy, "GET", "/v1/auth/me", nil).wants(http.StatusTooManyRequests)
	if p := refused.problem(); p.Code != "rate.limited" || p.Type != "urn:copilot:problem:rate-limited" {
		t.Errorf("refused with %s", refused.body)
	}
	after, err := strconv.Atoi(refused.header.Get("Retry-After"))
	if state := refused.header.Get(rateLimit); err != nil || after < 1 || after > 20 ||
		!strings.HasPrefix(state, `"user";r=0;t=1`) { // 120 s less what the test took
		t.Errorf("refused with Retry-After %q, RateLimit %q", refused.header.Get("Retry-After"), state)
	}
	g.call(other, "GET", "/v1/auth/me", nil).wants(200)
	g.call("", "GET", "/health", nil).wants(200)
}

func TestOrganizationIsLimitedAsAWhole(t *testing.T) {
	t.Parallel()
	g := start(t, "RATE_LIMIT_ORGANIZATION", "3")
	founder := newcomer(g)
	for range 6 {
		g.call(founder, "GET", "/v1/auth/me", nil).wants(200)
	}
	g.sql(`INSERT INTO users (id, organization_id, role_id, email, username, password_hash)
		SELECT gen_random_uuid(), organization_id, role_id, 'second@' || username || '.example', 'second' || username, password_hash
		FROM users WHERE username = $1`, founder)
	a := g.call("second"+founder, "GET", "/v1/auth/me", nil).wants(http.StatusTooManyRequests)
	if state := a.header.Get(rateLimit); !strings.HasPrefix(state, `"organization";r=0`) {
		t.Errorf("refused with RateLimit %q", state)
	}
}

func TestStrangersAreLimitedByTheirAddress(t *testing.T) {
	t.Parallel()
	g := start(t, "RATE_LIMIT_ADDRESS", "2", "TRUSTED_PROXIES", "127.0.0.1")
	from := func(address string) answer {
		return g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": "rt_none"}, "X-Forwarded-For", address)
	}
	network := "2001:db8:" + uuid.NewString()[:4] + ":" + uuid.NewString()[:4]
	for i, host := range []string{"::1", "::2", "::3"} {
		if state := from(network + host).wants(401).header.Get(rateLimit); limitOf(t, state, "r") != 3-i {
			t.Errorf("request %d: RateLimit is %q", i, state)
		}
	}
	// A token that is refused counts as well, so that nobody guesses one.
	bad := func() answer {
		return g.call("", "GET", "/v1/auth/me", nil, "X-Forwarded-For", network+"::4", "Authorization", "Bearer x")
	}
	bad().wants(401)
	bad().wants(http.StatusTooManyRequests)
	from(network + "::5").wants(http.StatusTooManyRequests)
	from("2001:db8:" + uuid.NewString()[:4] + "::1").wants(401)
}

func TestRefusedLoginSaysWhichLimitItMet(t *testing.T) {
	t.Parallel()
	g := start(t, "LOGINS_PER_ACCOUNT", "1")
	guess := func() answer {
		return g.call("", "POST", "/v1/auth/login", map[string]string{"username": g.db.AppURL[len(g.db.AppURL)-60:], "password": "x"})
	}
	guess().wants(401)
	guess().wants(401)
	refused := guess().wants(http.StatusTooManyRequests)
	if policy := refused.header.Get(rateLimitPolicy); policy != `"login.account";q=2;w=120` {
		t.Errorf("the policy is %q", policy)
	}
	if state := refused.header.Get(rateLimit); limitOf(t, state, "r") != 0 || limitOf(t, state, "t") < 100 {
		t.Errorf("the state is %q", state)
	}
}

func TestGatewaysTogetherServeNoMoreThanTheLimit(t *testing.T) {
	t.Parallel()
	const rate = 60 // a minute, and a burst of 120
	gateways := []*gateway{
		start(t, "RATE_LIMIT_ADDRESS", strconv.Itoa(rate), "TRUSTED_PROXIES", "127.0.0.1"),
		start(t, "RATE_LIMIT_ADDRESS", strconv.Itoa(rate), "TRUSTED_PROXIES", "127.0.0.1"),
	}
	address := "2001:db8:" + uuid.NewString()[:4] + "::1"
	begun := time.Now()
	var served, refused atomic.Int64
	var all sync.WaitGroup
	for _, g := range gateways {
		for range 4 {
			all.Go(func() {
				for range 50 {
					a := g.callFrom(t, "", "GET", "/v1/auth/me", nil, "X-Forwarded-For", address)
					switch a.status {
					case http.StatusUnauthorized:
						served.Add(1)
					case http.StatusTooManyRequests:
						refused.Add(1)
					default:
						t.Errorf("%s: %d %s", a.what, a.status, a.body)
					}
				}
			})
		}
	}
	all.Wait()
	most := int64(2*rate + rate*time.Since(begun).Minutes() + 1)
	uncounted := int64(0)
	for _, g := range gateways {
		uncounted += g.uncounted()
	}
	if n := served.Load() - uncounted; n > most || n+uncounted < rate || refused.Load() == 0 {
		t.Errorf("%d of 400 requests were served, beside %d for which Redis was too slow, and %d refused, want at most %d served",
			n, uncounted, refused.Load(), most)
	}
}

// uncounted is how many requests were served without a question of their limits, because Redis did not answer in time.
func (g *gateway) uncounted() (n int64) {
	for line := range strings.Lines(g.metrics()) {
		if strings.HasPrefix(line, `copilot_ratelimit_decisions_total{outcome="failed_open"`) {
			_, value, _ := strings.Cut(line, "} ")
			count, err := strconv.ParseFloat(strings.TrimSpace(value), 64)
			if err != nil {
				g.t.Errorf("%s: %v", line, err)
			}
			n += int64(count)
		}
	}
	return n
}

func TestRedisAwayRefusesOnlyWhatFailsClosed(t *testing.T) {
	t.Parallel()
	away := []string{"REDIS_URL", "redis://127.0.0.1:1/0", "RATE_LIMIT_USER", "1", "RATE_LIMIT_ADDRESS", "1", "LOGINS_PER_ACCOUNT", "1"}
	login := map[string]string{"username": member, "password": password}
	for name, c := range map[string]struct {
		settings        []string
		login, requests int
		outcomes        []string
	}{
		"nothing, unless it is said": {nil, 200, 200, []string{`"failed_open",rule="user"`, `"failed_open",rule="login.account"`}},
		"logins alone": {
			[]string{"LOGIN_LIMITS_FAIL_CLOSED", "true"}, 503, 401, []string{`"failed_open",rule="address"`, `"failed_closed",rule="login.account"`},
		},
		"all but logins": {
			[]string{"RATE_LIMIT_FAIL_CLOSED", "true", "LOGIN_LIMITS_FAIL_CLOSED", "false", "RATE_LIMIT_ADDRESS", "0"},
			200, 503,
			[]string{`"failed_closed",rule="user"`, `"failed_open",rule="login.account"`},
		},
		"everything": {[]string{"RATE_LIMIT_FAIL_CLOSED", "true"}, 503, 503, []string{`"failed_closed",rule="address"`}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			g := start(t, slices.Concat(away, c.settings)...)
			caller := "" // whoever could not log in
			if c.login == 200 {
				caller = member
			}
			for range 5 {
				in := g.call("", "POST", "/v1/auth/login", login).wants(c.login)
				me := g.call(caller, "GET", "/v1/auth/me", nil).wants(c.requests)
				for _, a := range []answer{in, me} {
					if a.status == 503 && (a.problem().Code != "rate.unknown" || a.header.Get("Retry-After") == "") {
						t.Errorf("%s is refused with %v %s", a.what, a.header, a.body)
					}
				}
			}
			metrics := g.metrics()
			for _, outcome := range c.outcomes {
				if !strings.Contains(metrics, "copilot_ratelimit_decisions_total{outcome="+outcome+"} ") {
					t.Errorf("the metrics do not count %s", outcome)
				}
			}
			if n := strings.Count(g.log.String(), "Redis is away"); n != 1 {
				t.Errorf("%d log lines say that Redis is away, want one", n)
			}
		})
	}
}
