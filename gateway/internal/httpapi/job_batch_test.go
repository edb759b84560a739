package httpapi_test

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

func inAnHour() string { return time.Now().Add(time.Hour).UTC().Format(time.RFC3339) }

type accepted struct {
	IDs   []string
	Total int
}

func TestABatchOfJobsIsAcceptedOnceWholeAndInOrder(t *testing.T) {
	t.Parallel()
	g := start(t)
	run := map[string]any{"run": map[string]any{"agent_id": acmeAgent, "user_input": "hello", "priority": 2}}
	vectors := map[string]any{"embeddings": map[string]any{"texts": []string{strings.Repeat("a", 3000)}}}
	batch := func(jobs ...map[string]any) map[string]any { return map[string]any{"jobs": jobs} }
	many := make([]map[string]any, 1000)
	for i := range many {
		many[i] = vectors
	}
	many[7] = run
	var first, again accepted
	g.call(member, "POST", "/v1/jobs/batch", batch(many...), "Idempotency-Key", "b").wants(202).into(&first)
	repeated := g.call(member, "POST", "/v1/jobs/batch", batch(many...), "Idempotency-Key", "b").wants(202)
	repeated.into(&again)
	if first.Total != 1000 || len(first.IDs) != 1000 || repeated.header.Get("Idempotency-Replayed") != "true" {
		t.Fatalf("%d jobs, header %v", first.Total, repeated.header)
	}
	for i := range first.IDs {
		if first.IDs[i] != again.IDs[i] {
			t.Fatalf("job %d is %s, and %s when the request is repeated", i, first.IDs[i], again.IDs[i])
		}
	}
	g.call(member, "GET", "/v1/jobs/"+first.IDs[7], nil).wants(200).has(`"kind":"agent.run"`, `"class":"bulk"`, `"priority":2`)
	g.call(member, "GET", "/v1/jobs/"+first.IDs[8], nil).wants(200).has(`"kind":"embedding.create"`, `"priority":5`)
	g.call(member, "POST", "/v1/jobs/batch", batch(run), "Idempotency-Key", "b").wants(422).has("idempotency.mismatch")

	urgent := batch(run)
	urgent["class"] = "interactive"
	g.call(member, "POST", "/v1/jobs/batch", urgent).wants(202).into(&first)
	g.call(member, "GET", "/v1/jobs/"+first.IDs[0], nil).wants(200).has(`"class":"interactive"`)
	before, _ := g.jobs(admin, "limit=1")

	wrong := func(item map[string]any) map[string]any { return batch(run, vectors, item) }
	tooMany := slices.Concat(many, []map[string]any{run})
	for name, c := range map[string]struct {
		body   any
		status int
		says   string
	}{
		"no job":           {batch(), 422, "body.jobs"},
		"too many":         {batch(tooMany...), 422, "body.jobs"},
		"an empty one":     {wrong(map[string]any{}), 422, `"body.jobs[2]"`},
		"both in one":      {wrong(map[string]any{"run": run["run"], "embeddings": vectors["embeddings"]}), 422, `"body.jobs[2]"`},
		"an empty task":    {wrong(map[string]any{"run": map[string]any{"agent_id": acmeAgent, "user_input": " "}}), 422, `"body.jobs[2].run.user_input"`},
		"an unknown agent": {wrong(map[string]any{"run": map[string]any{"agent_id": nothing, "user_input": "x"}}), 404, `"body.jobs[2].run.agent_id"`},
		"another's agent":  {wrong(map[string]any{"run": map[string]any{"agent_id": otherAgent, "user_input": "x"}}), 404, `"body.jobs[2].run.agent_id"`},
		"an unknown project": {
			wrong(map[string]any{"run": map[string]any{"agent_id": acmeAgent, "project_id": nothing, "user_input": "x"}}), 404, `"body.jobs[2].run.project_id"`,
		},
		"a bad time": {
			wrong(map[string]any{"embeddings": map[string]any{"texts": []string{"a"}, "run_at": "2999-01-01T00:00:00Z"}}), 422, `"body.jobs[2].embeddings.run_at"`,
		},
		"an unknown field": {wrong(map[string]any{"poem": 1}), 422, "body.jobs[2].poem"},
	} {
		if got := g.call(member, "POST", "/v1/jobs/batch", c.body); got.status != c.status || !strings.Contains(got.body, c.says) {
			t.Errorf("%s: %d %s, want %d with %s", name, got.status, clipped(got.body), c.status, c.says)
		}
	}
	if after, _ := g.jobs(admin, "limit=1"); after[0] != before[0] {
		t.Error("a refused batch made jobs")
	}
	g.call(member, "POST", "/v1/jobs/batch", `{"jobs":[`+strings.Repeat(" ", 9<<20)+`]}`).wants(413).has("8 MiB")
	g.call(g.person("viola", access.Viewer), "POST", "/v1/jobs/batch", batch(vectors)).wants(403).has("body.jobs[0].embeddings", "embeddings:create")
	_, key := g.key(admin, access.EmbeddingsCreate)
	asKey := []string{"Authorization", "Bearer " + key}
	g.call("", "POST", "/v1/jobs/batch", batch(vectors), asKey...).wants(202)
	g.call("", "POST", "/v1/jobs/batch", batch(vectors, run), asKey...).wants(403).has("body.jobs[1].run", "agents:execute")
}

func TestABatchIsBoundedByWhatItAsksForAndNotByItsOwnSize(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.call(admin, "PUT", "/v1/agent-configs/"+acmeAgent, map[string]any{"system_prompt": strings.Repeat("x", 100_000)}).wants(200)
	batch := func(n int) map[string]any {
		run := map[string]any{"run": map[string]any{"agent_id": acmeAgent, "user_input": "hello"}}
		return map[string]any{"jobs": slices.Repeat([]map[string]any{run}, n)}
	}
	before, _ := g.jobs(admin, "limit=1")
	g.call(member, "POST", "/v1/jobs/batch", batch(400)).wants(413).has("jobs.too_large", "32 MiB")
	if after, _ := g.jobs(admin, "limit=1"); len(before) != len(after) {
		t.Errorf("jobs before %+v, after %+v", before, after)
	}
	g.call(member, "POST", "/v1/jobs/batch", batch(300)).wants(202)
}

func TestJobsWaitForTheirTimeAndKnowTheirDeadline(t *testing.T) {
	t.Parallel()
	g := start(t)
	later := g.call(member, "POST", runs, `{"user_input":"x","run_at":"`+inAnHour()+`","priority":1,"timeout_seconds":60}`).wants(202)
	later.has(`"waiting_on":"schedule"`, `"priority":1`, `"run_at"`, `"deadline_at"`)
	j, err := g.engine.Claim(t.Context(), uuid.MustParse(later.job().ID), "test", patience)
	if err != nil || j != nil {
		t.Errorf("a job was claimed before its time: %v, %v", j, err)
	}
	g.call(member, "GET", "/v1/jobs/"+later.job().ID+"/attempts", nil).wants(200)
	past := g.call(member, "POST", "/v1/embeddings", `{"texts":["a"],"run_at":"2020-01-01T00:00:00Z"}`).wants(202).
		has(`"waiting_on":"fairness"`).lacks(`"run_at"`, `"deadline_at"`)
	g.end(g.claim(past.job().ID), store.Succeed(nil))
	short := g.call(member, "POST", "/v1/embeddings", `{"texts":["a"],"timeout_seconds":1}`).wants(202).job()
	g.eventually("the job has failed for its deadline", func() bool {
		return strings.Contains(g.call(member, "GET", "/v1/jobs/"+short.ID, nil).wants(200).body, "job.deadline")
	})
	var batch struct{ Data []job }
	g.call(member, "POST", "/v1/agents/batch-execute", map[string]any{
		"agent_id": acmeAgent, "inputs": []string{"one"}, "run_at": inAnHour(), "priority": 9,
	}).wants(202).into(&batch)
	if batch.Data[0].WaitingOn != string(events.WaitingSchedule) {
		t.Errorf("the batch waits on %q", batch.Data[0].WaitingOn)
	}
	for body, place := range map[string]string{
		`{"texts":["a"],"run_at":"2999-01-01T00:00:00Z"}`:                                  "body.run_at",
		`{"texts":["a"],"deadline_at":"2020-01-01T00:00:00Z"}`:                             "body.deadline_at",
		`{"texts":["a"],"deadline_at":"` + inAnHour() + `","run_at":"` + inAnHour() + `"}`: "body.deadline_at",
		`{"texts":["a"],"deadline_at":"` + inAnHour() + `","timeout_seconds":5}`:           "body.deadline_at",
		`{"texts":["a"],"priority":10}`:                                                    "body.priority",
		`{"texts":["a"],"run_at":"tomorrow"}`:                                              "body.run_at",
	} {
		g.call(member, "POST", "/v1/embeddings", body).wants(422).has(place)
	}
}

func TestAnAgentHasAsManyRunsAtOnceAsItMay(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.call(admin, "PATCH", "/v1/agent-configs/"+acmeAgent, `{"max_concurrent_runs":2}`).wants(200).has(`"max_concurrent_runs":2`)
	g.call(admin, "PATCH", "/v1/agent-configs/"+acmeAgent, `{"max_concurrent_runs":-1}`).wants(422)
	id := g.call(member, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	g.within(g.claim(id).Tenant(), func(tx *store.Tx) error {
		j, err := tx.Jobs().Get(uuid.MustParse(id))
		if err == nil && j.AgentLimit != 2 {
			t.Errorf("the run's limit is %d, want 2", j.AgentLimit)
		}
		return err
	})
	g.call(admin, "POST", "/v1/agent-configs", `{"name":"Narrow","max_concurrent_runs":1}`).wants(201).has(`"max_concurrent_runs":1`)
}

func TestSuperusersSetAnOrganizationsShareOfTheWorkers(t *testing.T) {
	t.Parallel()
	g := start(t)
	root := g.person("root", access.Admin)
	g.sql("UPDATE users SET is_superuser = true WHERE email = $1", root)
	path := "/v1/organizations/" + acmeOrg + "/job-limits"
	usual := g.call(admin, "GET", path, nil).wants(200).has(`"weight":1`, `"max_running":0`, `"updated_at":null`)
	g.call(member, "GET", path, nil).wants(403)
	g.call(stranger, "GET", path, nil).wants(404)
	g.call(admin, "PATCH", path, `{"weight":2}`).wants(403)
	set := g.call(root, "PATCH", path, `{"weight":3}`, "If-Match", usual.header.Get("ETag")).wants(200).has(`"weight":3`, `"max_running":0`)
	g.call(root, "PUT", path, `{"max_running":5}`, "If-Match", usual.header.Get("ETag")).wants(412)
	g.call(root, "PUT", path, `{"max_running":5}`, "If-Match", set.header.Get("ETag")).wants(200).has(`"weight":3`, `"max_running":5`)
	got := g.call(admin, "GET", path, nil).wants(200).has(`"weight":3`, `"max_running":5`)
	g.call(admin, "GET", path, nil, "If-None-Match", got.header.Get("ETag")).wants(304)
	g.call(root, "PATCH", path, `{"weight":0}`).wants(422)
	g.call(root, "PATCH", "/v1/organizations/"+nothing+"/job-limits", `{"weight":2}`).wants(404)
	var log auditPage
	g.call(admin, "GET", "/v1/audit-logs?resource_type=job_limits", nil).wants(200).into(&log)
	if len(log.Data) != 2 || log.Data[0].After["max_running"] != 5.0 || log.Data[0].Before["max_running"] != 0.0 {
		t.Errorf("the audit log has %+v", log.Data)
	}
	limits, err := g.engine.Limits(t.Context())
	if err != nil || len(limits) != 1 {
		t.Errorf("the dispatcher sees %v, %v", limits, err)
	}
}
