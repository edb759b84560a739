package httpapi_test

import (
	"bufio"
	"context"
	"io"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/gateway/internal/app"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/wiretest"
)

// goneWithin is how soon access that was taken away must be gone, everywhere.
const goneWithin = time.Second

// taking is a way to take access away: how somebody gets it, and how it goes.
type taking struct {
	// role is the person's.
	role string
	// path is what the person may read.
	path string
	// prepare gives the access first, where the role does not; nil means that it does.
	prepare func(g *gateway, who person)
	// credential is a header with which the person reads; nil means the token of a login.
	credential func(g *gateway, who person) []string
	// take takes the access away, by way of the gateway.
	take func(g *gateway, who person) answer
	want int
}

// person is somebody with an account and a session.
type person struct {
	id, name string
	session  session
}

func (p person) header() []string {
	return []string{"Authorization", "Bearer " + p.session.Tokens.Access}
}

// newcomer is a person who has just logged in.
func (g *gateway) newcomer(name, role string) person {
	g.t.Helper()
	email := g.person(name, role)
	p := person{name: email, session: g.login(email, password)}
	p.id = p.session.User.ID
	return p
}

func takings() map[string]taking {
	as := func(g *gateway, who person, method, path string, body any) answer {
		return g.callFrom(g.t, "", method, path, body, who.header()...)
	}
	return map[string]taking{
		"a logout": {
			role: access.Member, path: "/v1/auth/me", want: http.StatusUnauthorized,
			take: func(g *gateway, who person) answer { return as(g, who, "POST", "/v1/auth/logout", nil).wants(200) },
		},
		"a session that its user ends elsewhere": {
			role: access.Member, path: "/v1/auth/me", want: http.StatusUnauthorized,
			take: func(g *gateway, who person) answer {
				var listed struct {
					Data []struct {
						ID      string
						Current bool
					}
				}
				as(g, who, "GET", "/v1/auth/sessions", nil).wants(200).into(&listed)
				elsewhere := person{session: g.login(who.name, password)}
				return as(g, elsewhere, "DELETE", "/v1/auth/sessions/"+listed.Data[0].ID, nil).wants(204)
			},
		},
		"all other sessions": {
			role: access.Member, path: "/v1/auth/me", want: http.StatusUnauthorized,
			take: func(g *gateway, who person) answer {
				elsewhere := person{session: g.login(who.name, password)}
				return as(g, elsewhere, "DELETE", "/v1/auth/sessions", nil).wants(204)
			},
		},
		"a new password": {
			role: access.Member, path: "/v1/auth/me", want: http.StatusUnauthorized,
			take: func(g *gateway, who person) answer {
				elsewhere := person{session: g.login(who.name, password)}
				return as(g, elsewhere, "POST", "/v1/auth/change-password", map[string]string{
					"current_password": password, "new_password": "another password", "confirm_password": "another password",
				}).wants(200)
			},
		},
		"a stolen refresh token": {
			role: access.Member, path: "/v1/auth/me", want: http.StatusUnauthorized,
			take: func(g *gateway, who person) answer {
				refresh := func() answer {
					return g.callFrom(g.t, "", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": who.session.Tokens.Refresh})
				}
				refresh().wants(200)
				g.sql("UPDATE refresh_tokens SET used_at = used_at - interval '1 hour' WHERE used_at IS NOT NULL AND user_id = $1", who.id)
				return refresh().wants(401)
			},
		},
		"a deleted API key": {
			role: access.Member, path: "/v1/auth/me", want: http.StatusUnauthorized,
			credential: func(g *gateway, who person) []string {
				var made struct{ Key string }
				as(g, who, "POST", "/v1/auth/api-keys", map[string]any{"name": "CI", "scopes": []string{"jobs:read"}}).wants(201).into(&made)
				return []string{"X-API-Key", made.Key}
			},
			take: func(g *gateway, who person) answer {
				var listed struct{ Data []struct{ ID string } }
				as(g, who, "GET", "/v1/auth/api-keys", nil).wants(200).into(&listed)
				return as(g, who, "DELETE", "/v1/auth/api-keys/"+listed.Data[0].ID, nil).wants(204)
			},
		},
		"a deactivated user": {
			role: access.Member, path: "/v1/auth/me", want: http.StatusUnauthorized,
			take: func(g *gateway, who person) answer {
				return g.callFrom(g.t, admin, "DELETE", "/v1/users/"+who.id, nil).wants(200)
			},
		},
		"a revoked permission": {
			role: access.Member, path: "/v1/audit-logs", want: http.StatusForbidden,
			prepare: func(g *gateway, who person) {
				var role struct{ ID string }
				g.callFrom(g.t, admin, "POST", "/v1/roles", map[string]any{
					"name": "Auditor", "permission_ids": []string{g.permissionID(string(access.AuditRead))},
				}).wants(201).into(&role)
				g.callFrom(g.t, admin, "POST", "/v1/users/"+who.id+"/role", map[string]string{"role_id": role.ID}).wants(200)
			},
			take: func(g *gateway, _ person) answer {
				role, permission := g.roleOf("Auditor"), g.permissionID(string(access.AuditRead))
				return g.callFrom(g.t, admin, "DELETE", "/v1/roles/"+role+"/permissions/"+permission, nil)
			},
		},
		"a removed membership": {
			role: access.Member, path: "/v1/projects/" + acmeProject, want: http.StatusNotFound,
			take: func(g *gateway, who person) answer {
				return g.callFrom(g.t, admin, "DELETE", "/v1/projects/"+acmeProject+"/members/"+who.id, nil).wants(204)
			},
		},
		"another role": {
			role: access.Admin, path: "/v1/audit-logs", want: http.StatusForbidden,
			take: func(g *gateway, who person) answer {
				return g.callFrom(g.t, admin, "POST", "/v1/users/"+who.id+"/role", map[string]string{"role_id": g.roleOf(access.Member)}).wants(200)
			},
		},
	}
}

// lastIn asks until it is refused. It returns how long after a moment the last request was made that was let in, and how the next one was
// answered: what the machine adds to an answer is not the gateways' doing.
func lastIn(since time.Time, reads func() (status int)) (after time.Duration, status int) {
	again := time.NewTicker(5 * time.Millisecond)
	defer again.Stop()
	for {
		asked := time.Since(since)
		if status = reads(); status != http.StatusOK || asked > patience {
			return after, status
		}
		after = asked
		<-again.C
	}
}

// on is the gateway for a subtest, whose failures it then tells.
func (g *gateway) on(t *testing.T) *gateway {
	t.Helper()
	g.tokenFor(admin)
	inner := *g
	inner.t = t
	return &inner
}

func TestAccessThatIsTakenAwayIsGoneWithinASecondOnEveryGateway(t *testing.T) {
	t.Parallel()
	byDefault := ""
	for _, v := range config.Describe(&app.Config{}) {
		if v.Name == "ACCOUNT_CACHE_TTL" {
			byDefault = v.Default
		}
	}
	near := start(t, "ACCOUNT_CACHE_TTL", byDefault)
	near.tokenFor(admin)
	wire := wiretest.Lay(t, bustest.URL(t))
	gateways := map[string]*gateway{
		"the gateway itself":                 near,
		"another gateway":                    near.beside("ACCOUNT_CACHE_TTL", byDefault),
		"another gateway, cut off from NATS": near.beside("ACCOUNT_CACHE_TTL", byDefault, "NATS_URL", wire.Near),
	}
	wire.Cut()
	n := 0
	for name, c := range takings() {
		n++
		who := near.newcomer("person"+string(rune('a'+n)), c.role)
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			near := near.on(t)
			if c.prepare != nil {
				c.prepare(near, who)
			}
			header := who.header()
			if c.credential != nil {
				header = c.credential(near, who)
			}
			reads := func(g *gateway) int { return g.callFrom(t, "", "GET", c.path, nil, header...).status }
			for where, g := range gateways {
				for range 3 {
					if status := reads(g); status != http.StatusOK {
						t.Fatalf("%s: status %d while access is there", where, status)
					}
				}
			}
			c.take(near, who)
			// Who hears nothing over NATS depends on what Redis was told.
			near.eventually("Redis was told", func() bool { return strings.Contains(near.metrics(), "copilot_access_untold 0") })
			taken := time.Now()
			var all sync.WaitGroup
			for where, g := range gateways {
				all.Go(func() {
					after, status := lastIn(taken, func() int { return reads(g) })
					t.Logf("%s: let in until %s after", where, after.Round(time.Millisecond))
					if status != c.want || after >= goneWithin {
						t.Errorf("%s: let in until %s after, then status %d; want %d within %s", where, after, status, c.want, goneWithin)
					}
				})
			}
			all.Wait()
		})
	}
}

func TestAccessIsGoneAlthoughTheGatewayThatTookItCannotReachRedis(t *testing.T) {
	t.Parallel()
	wire := wiretest.Lay(t, env(t, "TEST_REDIS_URL"))
	near := start(t, "ACCOUNT_CACHE_TTL", "750ms", "REDIS_URL", wire.Near)
	far := near.beside("ACCOUNT_CACHE_TTL", "750ms", "REDIS_URL", env(t, "TEST_REDIS_URL"))
	who := near.newcomer("ada", access.Member)
	reads := func(g *gateway) answer { return g.call("", "GET", "/v1/auth/me", nil, who.header()...) }
	far.eventually("one gateway uses what another has looked up", func() bool {
		reads(near).wants(200)
		reads(far).wants(200)
		n, _ := far.sample(`copilot_access_lookups_total{answered_by="redis"}`)
		return n > 0
	})

	wire.Cut()
	near.call("", "POST", "/v1/auth/logout", nil, who.header()...).wants(200)
	// It has heard of it: what Redis still says would let in for longer than anybody waits here.
	taken := time.Now()
	if after, status := lastIn(taken, func() int { return reads(far).status }); status != http.StatusUnauthorized || after > 20*time.Second {
		t.Errorf("let in until %s after, then status %d", after, status)
	}
	reads(near).wants(401)
	// What a gateway knows that starts now, it knows from Redis, which the other one has told by then.
	far.eventually("Redis was told", func() bool { return strings.Contains(far.metrics(), "copilot_access_untold 0") })
	reads(near.beside("ACCOUNT_CACHE_TTL", "750ms", "REDIS_URL", env(t, "TEST_REDIS_URL"))).wants(401)
	away, back := strings.Count(near.log.String(), "access is looked up in Postgres"), strings.Count(near.log.String(), "Redis is back, access")
	if away != back+1 {
		t.Errorf("said %d times that Redis is away and %d times that it is back, want one more", away, back)
	}
	wire.Mend()
	near.eventually("the gateway that was cut off tells Redis, too", func() bool {
		return strings.Contains(near.metrics(), "copilot_access_untold 0")
	})
}

func TestAStreamEndsWithTheAccessItWasOpenedWith(t *testing.T) {
	t.Parallel()
	g := start(t)
	who := g.newcomer("ada", access.Member)
	job := g.call("", "POST", "/v1/embeddings", map[string]any{"texts": []string{"hello"}}, who.header()...).wants(202).job()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	resp, err := g.http.Do(g.request(t, "", "GET", "/v1/jobs/"+job.ID+"/events", nil, who.header()...).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if _, err := lines.ReadString('\n'); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	g.call("", "POST", "/v1/auth/logout", nil, who.header()...).wants(200)
	taken := time.Now()
	if _, err := io.Copy(io.Discard, lines); err != nil {
		t.Errorf("the stream broke off: %v", err)
	}
	// That it is not left to the next round of its vigil is seen where time can be stopped, in package account.
	t.Logf("the stream ended after %s", time.Since(taken).Round(time.Millisecond))
}

func TestAStreamEndsWhenItsJobIsNoLongerTheReadersToSee(t *testing.T) {
	t.Parallel()
	g := start(t)
	run := g.call(admin, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	who := g.newcomer("rita", access.ProjectManager)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	resp, err := g.http.Do(g.request(t, "", "GET", "/v1/jobs/"+run+"/events", nil, who.header()...).WithContext(ctx))
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	lines := bufio.NewReader(resp.Body)
	if _, err := lines.ReadString('\n'); err != nil || resp.StatusCode != http.StatusOK {
		t.Fatalf("status %d, %v", resp.StatusCode, err)
	}
	g.call(admin, "DELETE", "/v1/projects/"+acmeProject+"/members/"+who.id, nil).wants(204)
	shown, err := io.ReadAll(lines)
	if err != nil || !strings.Contains(string(shown), "event: access.revoked\n") {
		t.Errorf("the stream ended with %q, %v; want access.revoked", shown, err)
	}
}

func TestADeactivatedOrganizationIsOutOnEveryGateway(t *testing.T) {
	t.Parallel()
	near := start(t, "ACCOUNT_CACHE_TTL", "750ms")
	far := near.beside("ACCOUNT_CACHE_TTL", "750ms")
	root := near.person("root", access.Admin)
	near.sql("UPDATE users SET is_superuser = true WHERE email = $1", root)
	read := func(g *gateway) answer { return g.call(stranger, "GET", "/v1/auth/me", nil) }
	var me struct {
		Organization string `json:"organization_id"`
	}
	read(near).wants(200).into(&me)
	read(far).wants(200)
	near.call(root, "DELETE", "/v1/organizations/"+me.Organization, nil).wants(200)
	near.eventually("Redis was told", func() bool { return strings.Contains(near.metrics(), "copilot_access_untold 0") })
	taken := time.Now()
	read(near).wants(401).has("account.inactive")
	if after, status := lastIn(taken, func() int { return read(far).status }); status != http.StatusUnauthorized || after >= goneWithin {
		t.Errorf("let in until %s after, then status %d; want 401 within %s", after, status, goneWithin)
	}
}
