package e2e_test

import (
	"context"
	"fmt"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

func TestStreamThatIsCutAnywhereGoesOnWithTheExactRest(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{})
	c := s.login(adminAcme)
	if j := c.await(c.upload(runbook(t)).ID, time.Minute); j.Status != events.StatusSucceeded {
		t.Fatalf("the runbook was not ingested: %+v", j)
	}
	// A model that writes, looks something up and writes again, so that a run has two texts.
	thinking := searches("secondary on-call engineer")
	thinking.Parts = append([]part{{Text: "Let me look "}, {Text: "that up: "}}, thinking.Parts...)
	s.model.script(thinking, says(longAnswer, "25ms"))
	j := c.run(agentAcme, "When is the secondary paged?")

	whole := c.follow(j.ID)
	live := cutAfterEach(t, c, j.ID, 48)
	once := mustTell(t, whole.all(time.Minute))
	if once.text != longAnswer {
		t.Fatalf("the uninterrupted stream tells %q", once.text)
	}
	if pieces := len(decode[events.TextDelta](t, whole.seenSoFar())); pieces < 20 {
		t.Fatalf("the text came in %d pieces: there was nothing to cut", pieces)
	}
	for cut, seen := range live {
		compare(t, fmt.Sprintf("cut after %d events while it ran", cut), seen, once)
	}
	every, err := cutAfterEvery(t.Context(), c, j.ID)
	if err != nil {
		t.Fatal(err)
	}
	compare(t, "cut after every single event", every, once)

	t.Run("from every position that was seen while it ran", func(t *testing.T) {
		seen := whole.all(time.Second)
		for i, e := range seen {
			rest, err := c.take(t.Context(), j.ID, e.id, -1)
			if err != nil {
				t.Fatal(err)
			}
			compare(t, "resumed after it ended, from "+e.id, append(seen[:i+1:i+1], rest...), once)
		}
	})
	t.Run("from every position of the finished log", func(t *testing.T) {
		seen, err := c.take(t.Context(), j.ID, "", -1)
		if err != nil {
			t.Fatal(err)
		}
		for i, e := range seen {
			rest, err := c.take(t.Context(), j.ID, e.id, -1)
			if err != nil {
				t.Fatal(err)
			}
			if got, want := outline(rest), outline(seen[i+1:]); got != want {
				t.Errorf("after %s comes\n%swant\n%s", e.id, got, want)
			}
		}
	})
	t.Run("not from a position that is none", func(t *testing.T) {
		a := c.send(request{method: "GET", path: "/api/v1/jobs/" + j.ID + "/events", header: map[string]string{"Last-Event-ID": "yesterday"}})
		if p := a.wants(422).problem(); !strings.Contains(string(a.body), "Last-Event-ID") {
			t.Errorf("the problem does not say what is wrong: %+v", p)
		}
	})
	s.db.verify()
}

// compare fails the test unless the events tell the story.
func compare(t *testing.T, how string, seen []streamed, want story) {
	t.Helper()
	got, err := tell(seen)
	if err != nil {
		t.Errorf("%s: %v\n%s", how, err, outline(seen))
		return
	}
	if difference := got.differs(want); difference != "" {
		t.Errorf("%s: %s", how, difference)
	}
}

// cutAfterEach follows a running job with n clients at once; the kth cuts its connection after k+1 events and connects again
// for the rest. It returns what each has seen.
func cutAfterEach(t *testing.T, c *client, job string, n int) [][]streamed {
	t.Helper()
	all := make([][]streamed, n)
	errs := make([]error, n)
	var clients sync.WaitGroup
	for k := range n {
		clients.Go(func() {
			first, err := c.take(t.Context(), job, "", k+1)
			if err == nil {
				var rest []streamed
				rest, err = c.take(t.Context(), job, first[len(first)-1].id, -1)
				first = append(first, rest...)
			}
			all[k], errs[k] = first, err
		})
	}
	clients.Wait()
	for k, err := range errs {
		if err != nil {
			t.Errorf("cut after %d events: %v", k+1, err)
		}
	}
	return all
}

// cutAfterEvery connects anew for each event.
func cutAfterEvery(ctx context.Context, c *client, job string) ([]streamed, error) {
	var all []streamed
	after := ""
	for {
		one, err := c.take(ctx, job, after, 1)
		if err != nil {
			return all, err
		}
		if len(one) == 0 {
			return all, nil
		}
		all = append(all, one...)
		after = one[0].id
	}
}
