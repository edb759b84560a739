package client_test

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarento/copilot/gateway/client"
)

// issuer plays the part of the API that gives tokens: access tokens a1, a2, ... of which the last one is good.
type issuer struct {
	mu        sync.Mutex
	refreshes int
	refused   bool // refresh tokens are
	lifetime  int  // in seconds, as it says
	seen      []string
}

func (i *issuer) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	i.mu.Lock()
	defer i.mu.Unlock()
	tokens := func() map[string]any {
		return map[string]any{
			"access_token": fmt.Sprintf("a%d", i.refreshes+1), "refresh_token": fmt.Sprintf("r%d", i.refreshes+1),
			"token_type": "bearer", "expires_in": i.lifetime,
		}
	}
	given := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
	switch r.URL.Path {
	case "/api/v1/auth/login":
		reply(w, http.StatusOK, map[string]any{"user": map[string]any{"email": "ada@example.com"}, "tokens": tokens()})
	case "/api/v1/auth/refresh":
		if given != "" {
			refuse(w, http.StatusBadRequest, "refresh.with_token")
			return
		}
		if i.refused {
			refuse(w, http.StatusUnauthorized, "refresh.reused")
			return
		}
		i.refreshes++
		reply(w, http.StatusOK, tokens())
	default:
		i.seen = append(i.seen, given)
		if given != fmt.Sprintf("a%d", i.refreshes+1) {
			refuse(w, http.StatusUnauthorized, "token.expired")
			return
		}
		reply(w, http.StatusOK, map[string]any{"id": "1"})
	}
}

// expire makes the tokens given so far worthless, as if somebody had waited long.
func (i *issuer) expire() {
	i.mu.Lock()
	defer i.mu.Unlock()
	i.refreshes++
}

func loggedIn(t *testing.T, i *issuer) *client.Client {
	t.Helper()
	c := dial(t, i)
	if out, err := c.Login(t.Context(), client.Credentials{Username: "ada", Password: "x"}); err != nil || out.User.Email != "ada@example.com" {
		t.Fatalf("login: %+v, %v", out, err)
	}
	return c
}

func TestCallsThatFindTheTokenExpiredShareOneRefresh(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{}
		c := loggedIn(t, i)
		i.expire()
		var wg sync.WaitGroup
		errs := make([]error, 50)
		for n := range errs {
			wg.Go(func() { _, errs[n] = c.GetJob(t.Context(), "1") })
		}
		wg.Wait()
		if err := errors.Join(errs...); err != nil {
			t.Error(err)
		}
		if i.refreshes != 2 { // one of them is the expiry
			t.Errorf("%d refreshes, want 1", i.refreshes-1)
		}
		if got := c.Tokens(); got.AccessToken != "a3" || got.RefreshToken != "r3" {
			t.Errorf("keeps %+v", got)
		}
	})
}

func TestTokenThatIsAboutToExpireIsRenewedBeforeTheCall(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i := &issuer{lifetime: 60}
		c := loggedIn(t, i)
		for range 3 {
			if _, err := c.GetJob(t.Context(), "1"); err != nil {
				t.Fatal(err)
			}
			time.Sleep(56 * time.Second) //nolint:forbidigo // of synctest
		}
		if got := strings.Join(i.seen, " "); got != "a1 a2 a3" {
			t.Errorf("the calls carried %s", got)
		}
	})
}

func TestRefusedRefreshIsTheCallersProblem(t *testing.T) {
	t.Parallel()
	i := &issuer{refused: true}
	c := loggedIn(t, i)
	i.expire()
	_, err := c.GetJob(t.Context(), "1")
	if !strings.Contains(fmt.Sprint(err), "token.expired") && !strings.Contains(fmt.Sprint(err), "GET /api/v1/jobs/1: 401") {
		t.Errorf("the error %v does not name the call", err)
	}
	if !strings.Contains(fmt.Sprint(err), "POST /api/v1/auth/refresh: 401") {
		t.Errorf("the error %v does not name the refresh", err)
	}
	if len(i.seen) != 1 {
		t.Errorf("%d calls, want 1", len(i.seen))
	}
}

func TestOtherRefusalsDoNotRefresh(t *testing.T) {
	t.Parallel()
	calls := map[string]int{}
	c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		calls[r.URL.Path]++
		refuse(w, http.StatusUnauthorized, "session.revoked")
	}), client.WithTokens(client.Tokens{AccessToken: "a", RefreshToken: "r"}))
	if _, err := c.GetJob(t.Context(), "1"); err == nil {
		t.Error("no error")
	}
	if calls["/api/v1/auth/refresh"] != 0 || calls["/api/v1/jobs/1"] != 1 {
		t.Errorf("calls %v", calls)
	}
}

func TestOneWhoGivesUpDoesNotEndTheRefreshOfOthers(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, slow := &issuer{}, make(chan struct{})
		c := dial(t, http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if r.URL.Path == "/api/v1/auth/refresh" {
				select {
				case <-slow:
				case <-r.Context().Done():
					return
				}
			}
			i.ServeHTTP(w, r)
		}), client.WithTokens(client.Tokens{AccessToken: "a0", RefreshToken: "r0"}))
		hasty, giveUp := context.WithCancelCause(t.Context())
		var wg sync.WaitGroup
		var first, second error
		wg.Go(func() { _, first = c.GetJob(hasty, "1") })
		synctest.Wait()
		wg.Go(func() { _, second = c.GetJob(t.Context(), "1") })
		synctest.Wait()
		giveUp(errors.New("no time"))
		synctest.Wait()
		close(slow)
		wg.Wait()
		if first == nil || !strings.Contains(first.Error(), "no time") {
			t.Errorf("who gave up got %v", first)
		}
		if second != nil {
			t.Errorf("who waited got %v", second)
		}
	})
}

func TestRefreshWhoseAnswerIsLostIsMadeAgain(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		i, losses := &issuer{}, 0
		through := inMemory{i}
		lossy := roundTripper(func(r *http.Request) (*http.Response, error) {
			if strings.HasSuffix(r.URL.Path, "/refresh") && losses < 2 {
				losses++
				return nil, errors.New("connection reset")
			}
			return through.RoundTrip(r)
		})
		var told []string
		c := dial(t, nil, client.WithHTTPClient(&http.Client{Transport: lossy}), client.WithTokens(client.Tokens{AccessToken: "a0", RefreshToken: "r0"}),
			client.OnTokens(func(t client.Tokens) { told = append(told, t.RefreshToken) }))
		if _, err := c.GetJob(t.Context(), "1"); err != nil {
			t.Error(err)
		}
		if got := strings.Join(told, " "); got != "r2" || losses != 2 {
			t.Errorf("told of the tokens %q after %d losses", got, losses)
		}
	})
}

// roundTripper is a function as a transport.
type roundTripper func(*http.Request) (*http.Response, error)

// RoundTrip implements http.RoundTripper.
func (f roundTripper) RoundTrip(r *http.Request) (*http.Response, error) { return f(r) }

func TestLogoutForgetsTheTokens(t *testing.T) {
	t.Parallel()
	c := loggedIn(t, &issuer{})
	if err := c.Logout(t.Context()); err != nil {
		t.Fatal(err)
	}
	if got := c.Tokens(); got != (client.Tokens{}) {
		t.Errorf("keeps %+v", got)
	}
	if err := c.Refresh(t.Context()); err == nil {
		t.Error("refreshed a session that has ended")
	}
}
