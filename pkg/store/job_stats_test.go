package store_test

import (
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestJobsKnowHowManyGoBeforeThem(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	order := []*store.Job{}
	third, fourth := w.submit(w.acme, store.NewJob{}), w.submit(w.acme, store.NewJob{})
	second := w.submit(w.acme, store.NewJob{Priority: 2})
	first := w.submit(w.acme, store.NewJob{Class: events.ClassInteractive, Priority: 9})
	order = append(order, first, second, third, fourth)
	w.submit(w.acme, store.NewJob{RunAt: time.Now().Add(time.Hour), Priority: 1})
	w.submit(w.startup, store.NewJob{Class: events.ClassInteractive, Priority: 1})
	w.claim(w.submit(w.acme, store.NewJob{Class: events.ClassInteractive, Priority: 1}).ID)
	for want, job := range order {
		w.in(w.acme, func(tx *store.Tx) error {
			got, err := tx.Jobs().Ahead(job)
			if err == nil && got != want {
				t.Errorf("%d jobs go before one, want %d", got, want)
			}
			return err
		})
	}
	w.in(w.acme, func(tx *store.Tx) error {
		many := make([]store.NewJob, store.AheadCounted)
		for i := range many {
			many[i] = store.NewJob{Kind: events.KindEmbeddingCreate, Input: struct{}{}, Class: events.ClassInteractive}
		}
		_, err := tx.Jobs().SubmitAll(many)
		return err
	})
	w.in(w.acme, func(tx *store.Tx) error {
		got, err := tx.Jobs().Ahead(fourth)
		if err == nil && got != store.AheadCounted {
			t.Errorf("%d jobs are counted, want %d at most", got, store.AheadCounted)
		}
		return err
	})
}

func TestTheCensusCountsTheOpenJobsOfAllTenants(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	for range 3 {
		w.submit(w.acme, store.NewJob{})
	}
	w.submit(w.acme, store.NewJob{Class: events.ClassInteractive})
	w.submit(w.startup, store.NewJob{})
	w.submit(w.startup, store.NewJob{RunAt: time.Now().Add(time.Hour)})
	parent := w.claim(w.submit(w.startup, store.NewJob{}).ID)
	child := store.NewJob{Kind: events.KindEmbeddingCreate, Input: struct{}{}}
	if err := w.end(parent, store.WaitFor([]store.NewJob{child}, nil)); err != nil {
		t.Fatal(err)
	}
	all, err := w.engine.Census(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	type row struct {
		tenant tenant.ID
		plan   string
		class  events.Class
		status events.Status
		on     events.WaitingOn
	}
	got := map[row]int{}
	for _, c := range all {
		got[row{c.Tenant, c.Plan, c.Class, c.Status, c.WaitingOn}] += c.Jobs
		if ready := c.WaitingOn == events.WaitingDispatch; ready != (c.Age > 0) || c.Age > time.Minute {
			t.Errorf("the oldest of %+v is %s old", c, c.Age)
		}
	}
	for r, want := range map[row]int{
		{w.acme, "enterprise", events.ClassBulk, "queued", "fairness"}:        3,
		{w.acme, "enterprise", events.ClassInteractive, "queued", "fairness"}: 1,
		{w.startup, "professional", events.ClassBulk, "queued", "fairness"}:   2,
		{w.startup, "professional", "", "queued", "schedule"}:                 1,
		{w.startup, "professional", "", "waiting", "children"}:                1,
	} {
		if got[r] != want {
			t.Errorf("%+v: %d jobs, want %d", r, got[r], want)
		}
	}
	if len(got) != 5 {
		t.Errorf("counted %v", got)
	}
	plans, err := w.engine.Plans(t.Context(), []tenant.ID{w.acme, w.startup})
	if err != nil || plans[w.acme] != store.PlanEnterprise || plans[w.startup] != store.PlanProfessional {
		t.Errorf("plans %v, %v", plans, err)
	}
}

func TestStatsTellHowTheJobsOfATenantStand(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	w.submit(w.acme, store.NewJob{})
	w.submit(w.acme, store.NewJob{RunAt: time.Now().Add(time.Hour)})
	w.claim(w.submit(w.acme, store.NewJob{}).ID)
	for _, ending := range []store.Ending{store.Succeed(nil), store.Succeed(nil), store.Fail(events.Failure{Code: "a.b", Message: "c"}, true)} {
		if err := w.end(w.claim(w.submit(w.acme, store.NewJob{}).ID), ending); err != nil {
			t.Fatal(err)
		}
	}
	w.submit(w.startup, store.NewJob{})
	check := func(name string, s store.JobStats, ready int) {
		open := map[events.Status]int{}
		for _, o := range s.Open {
			open[o.Status] += o.Jobs
			if (o.WaitingOn == events.WaitingDispatch) != (o.Oldest != nil) {
				t.Errorf("%s: the oldest of %+v", name, o)
			}
			if o.WaitingOn == events.WaitingDispatch && o.Jobs != ready {
				t.Errorf("%s: %d jobs are ready, want %d", name, o.Jobs, ready)
			}
		}
		if open["queued"] != ready+1 || open["running"] != 1 || open["failed"] != 1 || open["waiting"] != 0 {
			t.Errorf("%s: open %v", name, open)
		}
		if len(s.Recent) != 1 || time.Since(s.At) > time.Minute || s.At.Sub(s.Since) != 24*time.Hour {
			t.Fatalf("%s: %+v", name, s)
		}
		r := s.Recent[0]
		if r.SucceededHour != 2 || r.SucceededDay != 2 || r.FailedHour != 1 || r.CancelledDay != 0 || r.Jobs != ready+5 {
			t.Errorf("%s: ended %+v", name, r)
		}
		if r.WaitP50 == nil || *r.WaitP50 < 0 || *r.WaitP99 < *r.WaitP50 || r.RunP95 == nil || *r.RunP95 <= 0 {
			t.Errorf("%s: times %+v", name, r)
		}
	}
	w.in(w.acme, func(tx *store.Tx) error {
		s, err := tx.Jobs().Stats()
		check("the tenant", s, 1)
		return err
	})
	s, err := w.engine.JobStats(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	check("the platform", s, 2)
}

func TestEndingsHaveAnOutcome(t *testing.T) {
	t.Parallel()
	failure := events.Failure{Code: "a.b", Message: "c"}
	for want, ending := range map[events.Outcome]store.Ending{
		events.OutcomeSucceeded: store.Succeed(nil),
		events.OutcomeFailed:    store.Fail(failure, false),
		events.OutcomeDead:      store.Fail(failure, true),
		events.OutcomeRetried:   store.Again(time.Now(), events.WaitingSchedule, failure),
		events.OutcomeSnoozed:   store.Snooze(time.Now(), events.WaitingProvider),
		events.OutcomeWaiting:   store.WaitFor(nil, nil),
	} {
		if got := ending.Outcome(); got != want {
			t.Errorf("got %s, want %s", got, want)
		}
	}
}
