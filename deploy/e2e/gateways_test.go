package e2e_test

import (
	"fmt"
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
		leader, survivor := 0, 1
		eventually(t, takeover, "one gateway leads", func() (bool, string) {
			first, second := s.gateways[0].leading(t), s.gateways[1].leading(t)
			if second {
				leader, survivor = 1, 0
			}
			return first != second, fmt.Sprintf("first %v, second %v", first, second)
		})
		s.gateways[leader].kill(t)
		killed := time.Now()
		c := s.clientOf(s.gateways[survivor])
		c.token = here.token
		s.model.script(says("Still here.", "1ms"))
		j := c.run(agentAcme, "Is anybody there?")
		if ended := c.await(j.ID, time.Minute); runResult(t, ended).Content != "Still here." {
			t.Errorf("the run says %s", ended.Result)
		}
		if took := time.Since(killed); took > takeover {
			t.Errorf("the job ended %s after the leader's death, want at most %s", took, takeover)
		}
		if !s.gateways[survivor].leading(t) {
			t.Error("the survivor does not lead")
		}
	})
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
	s.gateways[0].stop(t, 15*time.Second)
	seen := f.all(time.Second)
	rest, err := there.take(t.Context(), j.ID, seen[len(seen)-1].id, -1)
	if err != nil {
		t.Fatal(err)
	}
	if told := mustTell(t, append(seen, rest...)); told.text != longAnswer {
		t.Errorf("the two halves tell %q", told.text)
	}
	s.db.verify()
}
