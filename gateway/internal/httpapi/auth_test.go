package httpapi_test

import (
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestFounderOfAnOrganizationRunsIt(t *testing.T) {
	t.Parallel()
	g := start(t)
	var s session
	g.call("", "POST", "/v1/auth/register", map[string]string{
		"email": "ada@new.example", "username": "ada", "password": "a good password", "organization_name": "New Inc",
	}).wants(201).lacks("a good password", "password_hash").into(&s)
	if s.User.Role != access.Admin || !slices.Contains(s.User.Permissions, string(access.RolesManage)) {
		t.Errorf("the founder is %q with %v, want an Admin", s.User.Role, s.User.Permissions)
	}
	if s.Tokens.Access == "" || s.Tokens.Refresh == "" || s.Tokens.Type != "bearer" || s.Tokens.ExpiresIn < 1790 {
		t.Errorf("tokens %+v", s.Tokens)
	}
	g.tokens["ada"] = s.Tokens.Access
	g.call("ada", "GET", "/v1/agent-configs", nil).wants(200).has(`"total":0`)
	g.call("", "POST", "/v1/auth/register", map[string]string{
		"email": "ADA@new.example", "username": "ada2", "password": "a good password", "organization_name": "Newer Inc",
	}).wants(409).has("user.email_taken")
}

func TestOrganizationsAreJoinedOnlyWhenTheyAllowIt(t *testing.T) {
	t.Parallel()
	g := start(t)
	join := func(organization string) answer {
		return g.call("", "POST", "/v1/auth/register", map[string]string{
			"email": "bob@acme.com", "username": "bob", "password": "a good password", "organization_id": organization,
		})
	}
	closed, unknown := join(acmeOrg).wants(403).problem(), join(nothing).wants(403).problem()
	if closed.Code != unknown.Code || closed.Detail != unknown.Detail {
		t.Errorf("a closed organization (%v) and an unknown one (%v) differ", closed, unknown)
	}
	g.sql("UPDATE organizations SET allows_self_registration = true WHERE id = $1", acmeOrg)
	var s session
	join(acmeOrg).wants(201).into(&s)
	if s.User.Role != access.Member || s.User.OrganizationID != acmeOrg {
		t.Errorf("joined as %+v, want a Member of Acme", s.User)
	}
}

func TestLoginTakesUsernameOrEmailInEitherField(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, body := range []map[string]string{
		{"username": "member_acme", "password": password},
		{"username": "Member@ACME.com", "password": password},
		{"email": member, "password": password},
	} {
		var s session
		g.call("", "POST", "/v1/auth/login", body).wants(200).into(&s)
		if s.User.Email != member || s.User.Role != access.Member {
			t.Errorf("%v logged in as %+v", body, s.User)
		}
	}
	g.call(member, "GET", "/v1/auth/me", nil).wants(200).has(member, `"role":"Member"`, acmeProject).lacks("hash")
}

func TestWrongPasswordAndUnknownUserGetTheSameAnswer(t *testing.T) {
	t.Parallel()
	g := start(t)
	wrong := g.call("", "POST", "/v1/auth/login", map[string]string{"username": member, "password": "not this one"}).wants(401)
	unknown := g.call("", "POST", "/v1/auth/login", map[string]string{"username": "nobody", "password": "not this one"}).wants(401)
	a, b := wrong.problem(), unknown.problem()
	if a.Code != b.Code || a.Detail != b.Detail || a.Type != b.Type {
		t.Errorf("%+v and %+v differ", a, b)
	}
	if wrong.header.Get("WWW-Authenticate") == "" {
		t.Error("401 without WWW-Authenticate")
	}
}

func TestRefreshRotatesAndNoticesReuse(t *testing.T) {
	t.Parallel()
	g := start(t)
	first := g.login(member, password).Tokens
	refresh := func(token string) answer {
		return g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": token})
	}
	var again, replayed struct {
		tokens
		Tokens tokens
	}
	refresh(first.Refresh).wants(200).into(&again)
	if again.Refresh == first.Refresh || again.Refresh == "" || again.Tokens.Refresh != again.Refresh {
		t.Fatalf("refreshed to %+v", again)
	}
	// Whoever lost the answer asks again and gets the same successor.
	refresh(first.Refresh).wants(200).into(&replayed)
	if replayed.Refresh != again.Refresh {
		t.Error("a second refresh within the grace gave another successor")
	}
	g.sql("UPDATE refresh_tokens SET used_at = used_at - interval '1 hour' WHERE used_at IS NOT NULL")
	refresh(first.Refresh).wants(401).has("token.refused")
	refresh(again.Refresh).wants(401)
	refresh("rt_garbage").wants(401)
	refresh(first.Access).wants(401)
}

func TestParallelRefreshesGiveOneSuccessor(t *testing.T) {
	t.Parallel()
	g := start(t)
	first := g.login(member, password).Tokens
	var mu sync.Mutex
	successors := map[string]bool{}
	var all sync.WaitGroup
	for range 10 {
		all.Go(func() {
			var got tokens
			g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": first.Refresh}).wants(200).into(&got)
			mu.Lock()
			defer mu.Unlock()
			successors[got.Refresh] = true
		})
	}
	all.Wait()
	if len(successors) != 1 {
		t.Errorf("%d successors, want 1", len(successors))
	}
}

func TestChangedPasswordEndsTheOtherSessions(t *testing.T) {
	t.Parallel()
	g := start(t)
	other, own := g.login(member, password).Tokens, g.login(member, password).Tokens
	g.tokens[member] = own.Access
	change := func(current, next, confirm string) answer {
		return g.call(member, "POST", "/v1/auth/change-password", map[string]string{
			"current_password": current, "new_password": next, "confirm_password": confirm,
		})
	}
	change("not this one", "another password", "another password").wants(422).has("password.wrong")
	change(password, "another password", "another passwort").wants(422).has("body.confirm_password").lacks("passwort")
	change(password, "short", "short").wants(422).lacks("short")
	change(password, "another password", "another password").wants(200)
	g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": other.Refresh}).wants(401)
	g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": own.Refresh}).wants(200)
	g.call("", "POST", "/v1/auth/login", map[string]string{"username": member, "password": password}).wants(401)
	g.login(member, "another password")
}

func TestLogoutEndsTheSession(t *testing.T) {
	t.Parallel()
	g := start(t)
	s := g.login(member, password).Tokens
	g.tokens[member] = s.Access
	g.call(member, "POST", "/v1/auth/logout", nil).wants(200)
	g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": s.Refresh}).wants(401)
}

func TestDeactivatedAccountsAreOutAtOnce(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.call(member, "GET", "/v1/auth/me", nil).wants(200)
	g.sql("UPDATE users SET is_active = false WHERE email = $1", member)
	g.call(member, "GET", "/v1/auth/me", nil).wants(401).has("account.inactive")
	g.call("", "POST", "/v1/auth/login", map[string]string{"username": member, "password": password}).wants(401)
	g.call(admin, "GET", "/v1/auth/me", nil).wants(200)
	g.sql("UPDATE organizations SET is_active = false WHERE id = $1", acmeOrg)
	g.call(admin, "GET", "/v1/auth/me", nil).wants(401).has("account.inactive")
}

func TestTokensThatAreNotGoodAreRefused(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.login(admin, password)
	var session uuid.UUID
	if err := g.db.Conn(t, g.db.OwnerURL).QueryRow(t.Context(), "SELECT family_id FROM refresh_tokens").Scan(&session); err != nil {
		t.Fatal(err)
	}
	subject := auth.Subject{
		UserID: uuid.MustParse(adminID), Tenant: tenant.FromUUID(uuid.MustParse(acmeOrg)), SessionID: session,
	}
	issue := func(issuer string, now time.Time) string {
		key, err := auth.HS256(secret.New(jwtSecret))
		if err != nil {
			t.Fatal(err)
		}
		ring, err := auth.NewKeyring(key)
		if err != nil {
			t.Fatal(err)
		}
		made, err := auth.NewTokens(auth.TokenOptions{
			Keys: ring, Issuer: issuer, Audience: "copilot-api", Now: func() time.Time { return now },
		})
		if err != nil {
			t.Fatal(err)
		}
		token, _, err := made.Issue(subject)
		if err != nil {
			t.Fatal(err)
		}
		return token
	}
	subject.SessionID = uuid.New()
	g.tokens["of no session"] = issue("copilot", time.Now())
	subject.SessionID = session
	g.tokens["good"] = issue("copilot", time.Now())
	g.tokens["foreign"] = issue("elsewhere", time.Now())
	g.tokens["old"] = issue("copilot", time.Now().Add(-time.Hour))
	g.tokens["garbage"] = "not.a.token"
	g.call("good", "GET", "/v1/auth/me", nil).wants(200)
	for as, code := range map[string]string{"foreign": "token.invalid", "garbage": "token.invalid", "old": "token.expired", "of no session": "token.refused"} {
		a := g.call(as, "GET", "/v1/auth/me", nil).wants(401)
		if p := a.problem(); p.Code != code || !strings.HasPrefix(a.header.Get("WWW-Authenticate"), "Bearer") {
			t.Errorf("%s: %+v, %q", as, p, a.header.Get("WWW-Authenticate"))
		}
	}
}

func TestGuessingIsSlowedDown(t *testing.T) {
	t.Parallel()
	g := start(t, "LOGINS_PER_ACCOUNT", "1")
	guess := func() answer {
		return g.call("", "POST", "/v1/auth/login", map[string]string{"username": g.db.AppURL[len(g.db.AppURL)-60:], "password": "x"})
	}
	guess().wants(401)
	guess().wants(401)
	limited := guess().wants(429)
	if limited.header.Get("Retry-After") == "" || limited.problem().Code != "rate.limited" {
		t.Errorf("refused with %v %s", limited.header, limited.body)
	}
}
