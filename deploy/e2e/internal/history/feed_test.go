package history_test

import (
	"encoding/json"
	"testing"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

// feeding shows a reader the logs of jobs, event by event, as the harm has it.
func feeding(feed *history.Feed, jobs []*history.Job, skip func(job string, seq int64) (times int)) {
	for _, j := range jobs {
		for _, e := range j.Log {
			for range skip(j.ID, e.Seq) {
				// Spaces do not matter, nor does their order.
				feed.Add(j.ID, e.Seq, e.Type, append(json.RawMessage(" "), e.Data...))
			}
		}
	}
}

func TestAFeedShowsEachEventOfItsOrganizationOnceAndInOrder(t *testing.T) {
	t.Parallel()
	once := func(string, int64) int { return 1 }
	for name, c := range map[string]struct {
		shown func(job string, seq int64) (times int)
		harm  func(feed *history.Feed, jobs []*history.Job)
		what  string // empty wants nothing
	}{
		"all of them": {once, nil, ""},
		"one is missing": {func(job string, seq int64) int {
			if job == "one" && seq == 3 {
				return 0
			}
			return 1
		}, nil, "events 3 to 3 are missing"},
		"the last is missing": {func(job string, seq int64) int {
			if job == "two" && seq == 12 {
				return 0
			}
			return 1
		}, nil, "it is shown 11 events, the log has 12"},
		"a whole job is missing": {func(job string, _ int64) int {
			if job == "two" {
				return 0
			}
			return 1
		}, nil, "it is shown 0 events, the log has 12"},
		"one comes twice": {func(job string, seq int64) int {
			if job == "two" && seq == 7 {
				return 2
			}
			return 1
		}, nil, "event 7, job.state, after event 7"},
		"one comes again much later": {once, func(feed *history.Feed, jobs []*history.Job) {
			feed.Add("one", 1, jobs[0].Log[0].Type, jobs[0].Log[0].Data)
		}, "event 1, job.state, after event 12"},
		"one says something else": {once, func(_ *history.Feed, jobs []*history.Job) {
			jobs[1].Log[3].Data = json.RawMessage(`{"step":9}`)
		}, "another event 4"},
		"one is of another type": {once, func(_ *history.Feed, jobs []*history.Job) {
			jobs[1].Log[3].Type = events.TypeUsage
		}, "another event 4"},
		"a job of somebody else": {once, func(_ *history.Feed, jobs []*history.Job) {
			jobs[1].Record.Tenant = "other"
		}, "a job that it is not to see"},
		"the service's own work": {once, func(_ *history.Feed, jobs []*history.Job) {
			jobs[1].Kind = events.KindWebhookDeliver
		}, "a job that it is not to see"},
		"a job that is not there": {once, func(feed *history.Feed, _ []*history.Job) {
			feed.Add("three", 1, events.TypeJobState, json.RawMessage(`{}`))
		}, "a job that the record does not know"},
		"it begins anew": {once, func(feed *history.Feed, _ []*history.Job) { feed.Restarted() }, "begins anew"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jobs := []*history.Job{good(), good()}
			jobs[1].ID = "two"
			feed := history.NewFeed("reader", "acme")
			for _, j := range jobs {
				j.Record.Tenant = "acme"
			}
			feeding(feed, jobs, c.shown)
			if c.harm != nil {
				c.harm(feed, jobs)
			}
			for _, j := range jobs {
				feed.Check(j)
			}
			expect(t, feed.Violations(), history.FedOnce, c.what)
		})
	}
}

func TestTwoFeedsOfOneOrganizationHaveOneOrder(t *testing.T) {
	t.Parallel()
	read := func(tenant string, jobs ...string) *history.Feed {
		feed := history.NewFeed("reader of "+tenant, tenant)
		for _, job := range jobs {
			feed.Add(job, 1, events.TypeJobState, json.RawMessage(`{}`))
		}
		return feed
	}
	for name, c := range map[string]struct {
		feeds []*history.Feed
		what  string
	}{
		"the same":                 {[]*history.Feed{read("a", "one", "two"), read("a", "one", "two")}, ""},
		"of other organizations":   {[]*history.Feed{read("a", "one", "two"), read("b", "two", "one")}, ""},
		"one has not seen it all":  {[]*history.Feed{read("a", "one", "two"), read("a", "one")}, ""},
		"one sees the other first": {[]*history.Feed{read("a", "one", "two"), read("a", "two", "one")}, "in another order"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, history.CheckOrder(c.feeds), history.FedOnce, c.what)
		})
	}
}
