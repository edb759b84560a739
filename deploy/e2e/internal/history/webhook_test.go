package history_test

import (
	"testing"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

// told are the arrivals at a webhook that was told all about three jobs: a run that succeeded, one that died, and a document, whose
// message was not taken at first.
func told() []history.Arrival {
	arrivals := []history.Arrival{
		{ID: "a", Type: "job.succeeded", Job: "one", Taken: true},
		{ID: "b", Type: "job.failed", Job: "two", Taken: true},
		{ID: "c", Type: "job.dead", Job: "two", Taken: true},
		{ID: "d", Type: "job.succeeded", Job: "three"},
		{ID: "d", Type: "job.succeeded", Job: "three", Taken: true},
		{ID: "e", Type: "document.completed", Job: "three", Taken: true},
		{ID: "e", Type: "document.completed", Job: "three", Taken: true}, // the answer was lost
	}
	for i := range arrivals {
		arrivals[i].Signed, arrivals[i].Body = true, []byte(arrivals[i].Type+" of "+arrivals[i].Job)
	}
	return arrivals
}

func TestAWebhookIsToldOfEachEndUnderOneID(t *testing.T) {
	t.Parallel()
	all := []string{"job.succeeded", "job.failed", "job.dead", "document.completed"}
	for name, c := range map[string]struct {
		types []string
		kinds []events.Kind
		harm  func(arrivals []history.Arrival, jobs []*history.Job) []history.Arrival
		what  string // empty wants nothing
	}{
		"all is told": {types: all},
		"what it did not ask for is not told": {
			types: all[3:], harm: func(a []history.Arrival, _ []*history.Job) []history.Arrival { return a[5:] },
		},
		"jobs of kinds that it did not ask for are not told": {
			types: all, kinds: []events.Kind{events.KindDocumentIngest},
			harm: func(a []history.Arrival, _ []*history.Job) []history.Arrival { return a[3:] },
		},
		"parts and deliveries are not told": {
			types: all, harm: func(a []history.Arrival, jobs []*history.Job) []history.Arrival {
				jobs[0].Record.Part, jobs[1].Kind = true, events.KindWebhookDeliver
				return a[3:]
			},
		},
		"an end that never came": {
			types: all, harm: func(a []history.Arrival, _ []*history.Job) []history.Arrival { return a[1:] },
			what: "job.succeeded never came",
		},
		"an end that was not taken and did not come again": {
			types: all, harm: func(a []history.Arrival, _ []*history.Job) []history.Arrival { return append(a[:4:4], a[5:]...) },
			what: "did not come again until it was taken",
		},
		"an end under two ids": {
			types: all, harm: func(a []history.Arrival, _ []*history.Job) []history.Arrival { a[6].ID = "f"; return a },
			what: "document.completed came under 2 ids",
		},
		"an id with two bodies": {
			types: all, harm: func(a []history.Arrival, _ []*history.Job) []history.Arrival { a[6].Body = []byte("x"); return a },
			what: "with another body",
		},
		"an id of two ends": {
			types: all, harm: func(a []history.Arrival, _ []*history.Job) []history.Arrival { a[5].ID, a[6].ID = "d", "d"; return a },
			what: "with another body",
		},
		"an end that was another": {
			types: all, harm: func(a []history.Arrival, jobs []*history.Job) []history.Arrival {
				jobs[0].Record.Status = events.StatusCancelled
				return a
			},
			what: "job.succeeded came, and is nothing that it is to be told",
		},
		"a job of somebody else": {
			types: all, harm: func(a []history.Arrival, jobs []*history.Job) []history.Arrival {
				jobs[0].Record.Tenant = "other"
				return a
			},
			what: "is nothing that it is to be told",
		},
		"what it did not ask for": {
			types: all[:3], what: "document.completed e is nothing that it has asked for",
		},
		"a job that is not there": {
			types: all, harm: func(a []history.Arrival, _ []*history.Job) []history.Arrival {
				return append(a, history.Arrival{ID: "x", Type: "job.failed", Job: "four", Signed: true, Taken: true})
			},
			what: "a job that the record does not know",
		},
		"a message that nobody has signed": {
			types: all, harm: func(a []history.Arrival, _ []*history.Job) []history.Arrival { a[2].Signed = false; return a },
			what: "job.dead c is not signed",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jobs := []*history.Job{good(), good(), good()}
			jobs[1].ID, jobs[2].ID, jobs[2].Kind = "two", "three", events.KindDocumentIngest
			die(jobs[1])
			for _, j := range jobs {
				j.Record.Tenant = "acme"
			}
			arrivals := told()
			if c.harm != nil {
				arrivals = c.harm(arrivals, jobs)
			}
			hook := history.NewHook("hook", "acme", c.types, c.kinds)
			for _, a := range arrivals {
				hook.Add(a)
			}
			for _, j := range jobs {
				hook.Check(j)
			}
			got, _ := hook.Violations()
			expect(t, got, history.Told, c.what)
		})
	}
}

func TestAWebhooksTallyTellsWhatCameAgain(t *testing.T) {
	t.Parallel()
	hook := history.NewHook("hook", "acme", nil, nil)
	for _, a := range told() {
		hook.Add(a)
	}
	if _, got := hook.Violations(); got != (history.HookTally{Messages: 5, Came: 7, Again: 1}) {
		t.Errorf("tallied %s", &got)
	}
}
