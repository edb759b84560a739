package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

// takeover is how soon another gateway must dispatch when the leading one has died.
const takeover = 5 * time.Second

func TestJobIsFollowedOnAnotherGatewayThanItWasSubmittedTo(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{gateways: 2, without: []string{ingestProgram, embeddingProgram}})
	here := s.login(adminAcme)
	there := s.clientOf(s.gateways[1])
	there.token = here.token

	s.model.script(says(longAnswer, "10ms"))
	j := here.run(agentAcme, "Speak.")
	local, remote := here.follow(j.ID), there.follow(j.ID)
	a, b := mustTell(t, local.all(time.Minute)), mustTell(t, remote.all(time.Minute))
	if difference := b.differs(a); difference != "" || b.text != longAnswer {
		t.Errorf("the two gateways tell different stories %s", difference)
	}

	t.Run("and dispatched by the survivor when the leading gateway is killed", func(t *testing.T) {
		leader, survivor := s.leader(t)
		leader.kill(t)
		killed := time.Now()
		c := s.clientOf(survivor)
		c.token = here.token
		s.model.script(says("Still here.", "1ms"))
		j := c.run(agentAcme, "Is anybody there?")
		if ended := c.await(j.ID, time.Minute); runResult(t, ended).Content != "Still here." {
			t.Errorf("the run says %s", ended.Result)
		}
		// A drill measures it where nothing else goes on.
		if took := time.Since(killed); took > takeover+patience {
			t.Errorf("the job ended %s after the leader's death, want at most %s", took, takeover)
		}
		eventually(t, time.Minute, "the survivor leads", func() (bool, string) { return survivor.leading(t), "it does not" })
	})
	s.db.verify()
}

// leader waits until one of two gateways dispatches, and returns it and the other.
func (s *stack) leader(t *testing.T) (leader, other *gateway) {
	t.Helper()
	a, b := s.gateways[0], s.gateways[1]
	eventually(t, time.Minute, "one gateway leads", func() (bool, string) {
		first, second := a.leading(t), b.leading(t)
		if leader, other = a, b; second {
			leader, other = b, a
		}
		return first != second, fmt.Sprintf("first %v, second %v", first, second)
	})
	return leader, other
}

func TestEveryAcceptedJobEndsWhenTheLeadingGatewayIsKilledUnderLoad(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{gateways: 2, without: []string{agentProgram, ingestProgram}})
	token := s.login(adminAcme).token
	leader, survivor := s.leader(t)

	const half = 150
	var mu sync.Mutex
	accepted := map[string]bool{}
	enough, halfway := make(chan struct{}), make(chan struct{})
	note := func(a answer) {
		var j job
		if a.status != http.StatusAccepted || json.Unmarshal(a.body, &j) != nil {
			t.Errorf("a submit was answered with %d: %s", a.status, a.body)
			return
		}
		mu.Lock()
		defer mu.Unlock()
		switch accepted[j.ID] = true; len(accepted) {
		case half:
			close(halfway)
		case 2 * half:
			close(enough)
		}
	}
	var clients sync.WaitGroup
	for i := range 6 {
		clients.Go(func() {
			c := s.clientOf([]*gateway{leader, survivor}[i%2])
			c.token = token
			for n := 0; ; n++ {
				select {
				case <-enough:
					return
				case <-t.Context().Done():
					return
				default:
				}
				a, err := c.try(request{
					method: http.MethodPost, path: "/api/v1/embeddings", json: map[string]any{"texts": []string{fmt.Sprintf("%d of %d", n, i)}},
				})
				if err != nil { // only the killed one may be silent
					if c.base == survivor.url {
						t.Errorf("the survivor does not answer: %v", err)
					}
					return
				}
				note(a)
			}
		})
	}
	select {
	case <-halfway:
	case <-time.After(time.Minute):
		t.Fatalf("the gateways accepted fewer than %d jobs in a minute", half)
	}
	leader.kill(t)
	clients.Wait()
	s.db.awaitAllEnded(time.Minute)

	ended := map[string]events.Status{}
	for _, row := range list[struct {
		ID     string
		Status events.Status
	}](s.db, "SELECT id::text, status FROM jobs") {
		ended[row.ID] = row.Status
	}
	for id := range accepted {
		if ended[id] != events.StatusSucceeded {
			t.Errorf("job %s was accepted and is %q", id, ended[id])
		}
	}
	s.db.verify()
}

func TestStreamEndsPolitelyWhenItsGatewayIsStoppedAndGoesOnAtAnother(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{gateways: 2, without: []string{ingestProgram, embeddingProgram}})
	here := s.login(adminAcme)
	there := s.clientOf(s.gateways[1])
	there.token = here.token

	s.model.script(says(longAnswer, "50ms"))
	j := here.run(agentAcme, "Speak.")
	f := here.follow(j.ID)
	f.await(time.Minute, "that the answer is being written", func(seen []streamed) bool {
		return len(decode[events.TextDelta](t, seen)) >= 5
	})
	s.gateways[0].stop(t, time.Minute)
	seen := f.all(time.Minute)
	rest, err := there.take(t.Context(), j.ID, seen[len(seen)-1].id, -1)
	if err != nil {
		t.Fatal(err)
	}
	if told := mustTell(t, append(seen, rest...)); told.text != longAnswer {
		t.Errorf("the two halves tell %q", told.text)
	}
	s.db.verify()
}
