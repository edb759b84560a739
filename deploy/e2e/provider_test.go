package e2e_test

import (
	"fmt"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

func TestWhatTheProviderRefusesWaitsWithoutLosingAnAttemptAndGoesOnByItself(t *testing.T) {
	t.Parallel()
	const runs, slotsOfAll, asked = 40, 2 * 16, 4
	s := newStack(t, setup{})
	s.startWorker(agentProgram)
	c := s.login(adminAcme)
	refused := &fails{Code: http.StatusTooManyRequests, RetryAfter: fmt.Sprintf("%ds", asked)}
	s.model.script(step{Endpoint: generates, Repeat: forever, Error: refused}, step{Endpoint: embeds, Repeat: forever, Error: refused})
	began := time.Now()
	ids := []string{c.embed("a text").ID}
	for range runs {
		ids = append(ids, c.run(agentAcme, "What is the nightly limit?").ID)
	}
	for _, id := range ids {
		eventually(t, time.Minute, "job "+id+" waits for the provider", func() (bool, string) {
			j := c.job(id)
			return j.Status == events.StatusQueued && j.WaitingOn == events.WaitingProvider && j.Attempt == 0,
				fmt.Sprintf("%s %s, attempt %d", j.Status, j.WaitingOn, j.Attempt)
		})
	}
	found := c.send(request{method: http.MethodPost, path: "/api/v1/documents/search", json: map[string]string{"query": "limit"}})
	after, err := strconv.Atoi(found.header.Get("Retry-After"))
	if found.status != http.StatusServiceUnavailable || err != nil || after < 1 || after > asked || found.took > 5*time.Second+patience {
		t.Errorf("a search meanwhile: %d, Retry-After %q, after %s", found.status, found.header.Get("Retry-After"), found.took)
	}
	// Those that were under way when the first refusal came, and one each time the provider has had its pause.
	n := s.model.count(generates)
	if probes := int(time.Since(began).Seconds())/asked + 1; n > slotsOfAll+probes {
		t.Errorf("%d calls while the quota was used up", n)
	}
	s.model.forget()
	for _, id := range ids {
		if j := c.await(id, recovered); j.Status != events.StatusSucceeded || j.Attempt != 1 {
			t.Errorf("a job is %s after %d attempts: %+v", j.Status, j.Attempt, j.Error)
		}
	}
}
