package httpapi_test

import (
	"context"
	"fmt"
	"log/slog"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/runnertest"
	"github.com/tarento/copilot/pkg/store"
)

// queued is what an answer says of a job's place in the queue.
type queued struct {
	Status    string
	WaitingOn string   `json:"waiting_on"`
	Position  *int     `json:"queue_position"`
	ETA       *float64 `json:"eta_seconds"`
}

func (q queued) String() string {
	text := q.Status + " on " + q.WaitingOn
	if q.Position != nil {
		text += fmt.Sprint(" at ", *q.Position)
	}
	if q.ETA != nil {
		text += fmt.Sprint(" in ", *q.ETA)
	}
	return text
}

func (g *gateway) queued(as, id string) (q queued) {
	g.t.Helper()
	g.call(as, "GET", "/v1/jobs/"+id, nil).wants(200).into(&q)
	return q
}

// beat lets the gateway believe, until the test ends, that there is a worker that does nothing.
func (g *gateway) beat(kind events.Kind, slots, running int) {
	g.t.Helper()
	runnertest.Background(g.t, func(ctx context.Context) error {
		tick := time.NewTicker(events.BeatEvery / 4)
		defer tick.Stop()
		for {
			g.bus.PublishBeat(events.WorkerBeat{Worker: "idler", Kind: kind, Slots: slots, Running: running})
			select {
			case <-ctx.Done():
				return nil
			case <-tick.C:
			}
		}
	})
}

func TestAJobSaysWhyItDoesNotRun(t *testing.T) {
	t.Parallel()
	g := start(t)
	waits := func(id, on string, placed bool) {
		t.Helper()
		var q queued
		defer func() {
			if t.Failed() {
				t.Errorf("it is %s", q)
			}
		}()
		g.eventually("the job waits on "+on, func() bool {
			q = g.queued(admin, id)
			return q.WaitingOn == on
		})
		if placed != (q.Position != nil) || q.ETA != nil {
			t.Errorf("a job that waits on %s is %s", on, q)
		}
		if list := g.call(admin, "GET", "/v1/jobs?limit=100", nil).wants(200); strings.Contains(list.body, "queue_position") {
			t.Error("a list counts")
		}
	}
	later := g.call(member, "POST", runs, map[string]any{"user_input": "x", "run_at": time.Now().Add(time.Hour)}).wants(202).job()
	waits(later.ID, "schedule", false)
	for _, on := range []events.WaitingOn{events.WaitingProvider, events.WaitingApproval} {
		id := g.call(member, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
		g.end(g.claim(id), store.Snooze(time.Now().Add(time.Hour), on))
		waits(id, string(on), false)
	}
	parent := g.upload(admin, "a.txt", "text/plain", "text", nil).wants(202).job().ID
	child := store.NewJob{Kind: events.KindEmbeddingCreate, Input: events.EmbeddingCreateInput{Texts: []string{"a"}}, Weight: 1}
	g.end(g.claim(parent), store.WaitFor([]store.NewJob{child}, nil))
	waits(parent, "children", false)

	alone := g.call(member, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	waits(alone, "worker", true) // there is none
	g.beat(events.KindAgentRun, 2, 2)
	waits(alone, "worker", true) // all are busy
	g.call(stranger, "POST", "/v1/agents/"+otherAgent+"/runs", `{"user_input":"x"}`).wants(202)
	waits(alone, "fairness", true)
	g.call(admin, "GET", "/v1/jobs?status=queued&sort=created_at", nil).wants(200).has(`"waiting_on":"fairness"`)

	// One of two runs of an agent that may have one.
	g.beat(events.KindEmbeddingCreate, 4, 0)
	var narrow struct{ ID string }
	g.call(admin, "POST", "/v1/agent-configs", `{"name":"Narrow","max_concurrent_runs":1}`).wants(201).into(&narrow)
	run := func() string {
		return g.call(admin, "POST", "/v1/agents/"+narrow.ID+"/runs", `{"user_input":"x"}`).wants(202).job().ID
	}
	g.claim(run())
	waits(run(), "quota", true)
}

func TestATenantAtItsLimitWaitsOnItsQuota(t *testing.T) {
	t.Parallel()
	g := start(t)
	root := g.person("root", access.Admin)
	g.sql("UPDATE users SET is_superuser = true WHERE email = $1", root)
	g.call(root, "PATCH", "/v1/organizations/"+acmeOrg+"/job-limits", `{"max_running":1}`, "If-Match", "*").wants(200)
	ids := g.embed(member, 3)
	g.claim(ids[0])
	g.beat(events.KindEmbeddingCreate, 4, 1)
	var second queued
	g.eventually("the limit is known", func() bool {
		second = g.queued(member, ids[2])
		return second.WaitingOn == "quota"
	})
	if second.Position == nil || *second.Position != 2 || second.ETA != nil {
		t.Errorf("the second in line is %s", second)
	}
	if q := g.queued(member, ids[0]); q.Position != nil || q.WaitingOn != "" {
		t.Errorf("the one that runs is %s", q)
	}
}

// idle is a handler whose jobs take their time.
type idle time.Duration

// Kind implements runner.Handler.
func (idle) Kind() events.Kind { return events.KindEmbeddingCreate }

// Handle implements runner.Handler.
func (d idle) Handle(ctx context.Context, _ *runner.Run) (runner.Outcome, error) {
	timer := time.NewTimer(time.Duration(d))
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return runner.Outcome{}, ctx.Err()
	case <-timer.C:
		return runner.Outcome{}, nil
	}
}

// work runs jobs as a worker does, until the test ends.
func (g *gateway) work(h runner.Handler, slots int) {
	g.t.Helper()
	r := runner.New(runner.Config{Worker: "worker", Slots: slots, Grace: time.Second}, h, g.store, g.engine, g.bus,
		slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	runnertest.Background(g.t, r.Run)
}

// What a job takes, and the machine, may be twice as slow or fast in the time that was foreseen as before it. Should the machine have
// stood still for a while, another job shows whether the figure is wrong.
func TestTheETAIsAboutRight(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.work(idle(100*time.Millisecond), 2)
	var tries []string
	for began := time.Now(); time.Since(began) < patience; {
		ids := g.embed(member, 50)
		last := ids[len(ids)-1]
		var q queued
		g.eventually("the last is well ahead", func() bool {
			q = g.queued(member, last)
			return q.ETA != nil && *q.Position < 45 || q.Status != "queued"
		})
		asked := time.Now()
		if q.Status != "queued" {
			tries = append(tries, "not asked in time")
			continue
		}
		var took float64
		g.eventually("it has begun", func() bool {
			took = time.Since(asked).Seconds()
			return g.queued(member, last).Status != "queued"
		})
		if ratio := *q.ETA / took; ratio > 0.5 && ratio < 2 {
			return
		}
		tries = append(tries, fmt.Sprintf("%s after %.2f s", q, took))
		g.eventually("all have ended", func() bool { open, _ := g.jobs(member, "status=running"); return len(open) == 0 })
	}
	t.Errorf("it never was: %v", tries)
}

// sample reads the value of a metric, and whether it is there at all.
func (g *gateway) sample(series string) (value float64, exists bool) {
	g.t.Helper()
	for line := range strings.Lines(g.metrics()) {
		if rest, found := strings.CutPrefix(line, series+" "); found {
			if _, err := fmt.Sscan(rest, &value); err != nil {
				g.t.Fatal(err)
			}
			return value, true
		}
	}
	return math.NaN(), false
}

func TestTheGatewayThatLeadsMeasuresAllJobs(t *testing.T) {
	t.Parallel()
	g := start(t)
	second := g.beside()
	const of = `{kind="embedding.create",plan="enterprise"`
	g.embed(member, 3)
	ended := g.claim(g.embed(member, 1)[0])
	together := func(series string) (sum float64) {
		for _, each := range []*gateway{g, second} {
			if value, exists := each.sample(series); exists {
				sum += value
			}
		}
		return sum
	}
	settles := func(series string, want float64) {
		t.Helper()
		g.eventually(series, func() bool { return together(series) == want })
	}
	settles(`copilot_jobs_queued`+of+`,waiting_on="fairness"}`, 3)
	settles(`copilot_jobs_in_flight`+of+`}`, 1)
	settles(`copilot_workers{kind="embedding.create"}`, 0)
	g.eventually("the oldest gets older", func() bool { return together(`copilot_jobs_oldest_seconds`+of+`}`) > 1 })
	_, one := g.sample(`copilot_jobs_oldest_seconds` + of + `}`)
	if _, other := second.sample(`copilot_jobs_oldest_seconds` + of + `}`); one == other {
		t.Errorf("told by the first: %t, by the second: %t; want one of them to", one, other)
	}
	g.end(ended, store.Fail(events.Failure{Code: "test.broken", Message: "It broke."}, true))
	settles(`copilot_jobs_dead`+of+`}`, 1)
	g.work(idle(time.Millisecond), 2)
	settles(`copilot_jobs_queued`+of+`,waiting_on="fairness"}`, 0)
	settles(`copilot_workers_slots{kind="embedding.create"}`, 2)
	// Another gateway may begin to lead at any moment, and does not know what the first has handed out.
	for _, series := range []string{
		`copilot_job_attempts_total{kind="embedding.create",outcome="succeeded",plan="enterprise"}`, `copilot_job_wait_seconds_count` + of + `}`,
		`copilot_job_run_seconds_count` + of + `}`, `copilot_dispatch_lag_seconds_count` + of + `}`,
	} {
		g.eventually(series, func() bool {
			g.embed(member, 1)
			return together(series) >= 3
		})
	}
}

type jobStats struct {
	At, Since time.Time
	Kinds     []struct {
		Kind                           string
		Queued, Running, Waiting, Dead int
		QueuedFor                      map[string]int                             `json:"queued_for"`
		Oldest                         *float64                                   `json:"oldest_seconds"`
		Wait                           *struct{ P50, P95, P99 float64 }           `json:"wait_seconds"`
		Run                            *struct{ P50, P95, P99 float64 }           `json:"run_seconds"`
		LastHour                       struct{ Succeeded, Failed, Cancelled int } `json:"last_hour"`
		LastDay                        struct{ Succeeded, Failed, Cancelled int } `json:"last_day"`
	}
}

func TestStatsTellHowTheJobsStand(t *testing.T) {
	t.Parallel()
	g := start(t)
	root := g.person("root", access.Admin)
	began := time.Now()
	ids := g.embed(member, 6)
	g.claim(ids[0])
	g.end(g.claim(ids[1]), store.Succeed(nil))
	g.dies(ids[2], "test.broken")
	g.call(member, "POST", "/v1/jobs/"+ids[3]+"/cancel", nil).wants(200)
	g.call(member, "POST", "/v1/embeddings", map[string]any{"texts": []string{"a"}, "run_at": time.Now().Add(time.Hour)}).wants(202)
	g.call(stranger, "POST", "/v1/embeddings", `{"texts":["a"]}`).wants(202)

	var s jobStats
	g.call(admin, "GET", "/v1/jobs/stats", nil).wants(200).into(&s)
	if len(s.Kinds) != len(events.Kinds())-1 || s.At.Sub(s.Since) != 24*time.Hour {
		t.Fatalf("stats %+v", s)
	}
	for _, k := range s.Kinds {
		if k.Kind != "embedding.create" {
			if k.Queued+k.Running+k.Waiting+k.Dead != 0 || k.Oldest != nil || k.Wait != nil || k.Run != nil {
				t.Errorf("of another kind: %+v", k)
			}
			continue
		}
		if k.Queued != 3 || k.QueuedFor["fairness"] != 2 || k.QueuedFor["schedule"] != 1 || k.Running != 1 || k.Waiting != 0 || k.Dead != 1 {
			t.Errorf("open: %+v", k)
		}
		if ended := struct{ Succeeded, Failed, Cancelled int }{1, 1, 1}; k.LastHour != ended || k.LastDay != ended {
			t.Errorf("ended: %+v", k)
		}
		if k.Oldest == nil || *k.Oldest <= 0 || *k.Oldest > time.Since(began).Seconds() || k.Wait == nil || k.Wait.P50 <= 0 || k.Wait.P99 < k.Wait.P50 ||
			k.Run == nil || k.Run.P95 <= 0 {
			t.Errorf("times: %+v", k)
		}
	}
	g.call(member, "GET", "/v1/jobs/stats", nil).wants(403)
	g.call(admin, "GET", "/v1/jobs/stats?scope=platform", nil).wants(403).has("platform.superuser")
	g.call(admin, "GET", "/v1/jobs/stats?scope=all", nil).wants(422)
	g.sql("UPDATE users SET is_superuser = true WHERE email = $1", root)
	g.call(root, "GET", "/v1/jobs/stats?scope=platform", nil).wants(200).into(&s)
	for _, k := range s.Kinds {
		if k.Kind == "embedding.create" && (k.QueuedFor["fairness"] != 3 || k.LastDay.Succeeded != 1 || k.Oldest == nil) {
			t.Errorf("of the platform: %+v", k)
		}
	}
	if len(s.Kinds) != len(events.Kinds()) {
		t.Errorf("the platform has %d kinds", len(s.Kinds))
	}
	// The path is not that of a job.
	g.call(member, "GET", "/v1/jobs/"+uuid.NewString(), nil).wants(404)
}
