package e2e_test

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"
)

// session is what a client keeps to stay logged in.
type session struct {
	Access  string `json:"access_token"`
	Refresh string `json:"refresh_token"`
}

const refreshPath = "/api/v1/auth/refresh"

// refresh spends a refresh token on a gateway.
func (c *client) refresh(token string) (answer, error) {
	return c.try(request{method: http.MethodPost, path: refreshPath, json: map[string]string{"refresh_token": token}})
}

func TestFiftyParallelRefreshesOnTwoGatewaysGiveOneSuccessorAndNoLogout(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{gateways: 2, without: []string{agentProgram, ingestProgram, embeddingProgram}})
	both := []*client{s.clientOf(s.gateways[0]), s.clientOf(s.gateways[1])}
	var login struct {
		Tokens session `json:"tokens"`
	}
	both[0].post("/api/v1/auth/login", map[string]string{"username": memberAcme, "password": password}).
		wants(http.StatusOK).into(&login)
	first := login.Tokens

	const parallel = 50
	refreshed := make([]session, parallel)
	var all sync.WaitGroup
	start := make(chan struct{})
	for i := range refreshed {
		all.Go(func() {
			<-start
			a, err := both[i%2].refresh(first.Refresh)
			if err != nil || a.status != http.StatusOK {
				t.Errorf("refresh %d: %v, status %d: %s", i, err, a.status, a.body)
				return
			}
			if err := json.Unmarshal(a.body, &refreshed[i]); err != nil {
				t.Errorf("refresh %d: %v in %s", i, err, a.body)
			}
		})
	}
	close(start)
	all.Wait()
	if t.Failed() {
		return
	}

	next := refreshed[0].Refresh
	for i, r := range refreshed {
		if r.Refresh != next || r.Refresh == first.Refresh || r.Access == "" {
			t.Errorf("refresh %d gave another successor than the first one did, or none", i)
		}
	}
	if n := s.db.count("SELECT count(*) FROM refresh_tokens"); n != 2 {
		t.Errorf("%d refresh tokens are kept, want the first one and its successor", n)
	}
	if n := s.db.count("SELECT count(*) FROM refresh_tokens WHERE revoked_at IS NOT NULL"); n != 0 {
		t.Errorf("%d refresh tokens were revoked", n)
	}
	for i, r := range refreshed {
		c := both[(i+1)%2] // not the gateway that made it
		c.token = r.Access
		c.get("/api/v1/auth/me").wants(http.StatusOK)
	}

	t.Run("the successor works", func(t *testing.T) {
		a, err := both[1].refresh(next)
		if err != nil || a.status != http.StatusOK {
			t.Fatalf("%v, status %d: %s", err, a.status, a.body)
		}
		a.into(&refreshed[0])
	})
	t.Run("a replay after the grace ends the session on every gateway", func(t *testing.T) {
		s.db.count("WITH aged AS (UPDATE refresh_tokens SET used_at = used_at - interval '1 hour' WHERE used_at IS NOT NULL RETURNING 1) " +
			"SELECT count(*) FROM aged")
		if a, err := both[0].refresh(first.Refresh); err != nil || a.status != http.StatusUnauthorized {
			t.Fatalf("the replay: %v, status %d: %s", err, a.status, a.body)
		}
		for i, c := range both {
			if a, err := c.refresh(refreshed[0].Refresh); err != nil || a.status != http.StatusUnauthorized {
				t.Errorf("the newest token on gateway %d: %v, status %d: %s", i, err, a.status, a.body)
			}
		}
		if n := s.db.count("SELECT count(DISTINCT family_id) FROM refresh_tokens WHERE revoked_at IS NOT NULL"); n != 1 {
			t.Errorf("%d sessions were revoked, want the one", n)
		}
	})
}
