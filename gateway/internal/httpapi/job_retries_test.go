package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

// dies has a job run out of attempts.
func (g *gateway) dies(id, code string) {
	g.t.Helper()
	g.end(g.claim(id), store.Fail(events.Failure{Code: code, Message: "It broke."}, true))
}

// claimSoon claims a job that the dispatcher may be changing at this moment.
func (g *gateway) claimSoon(id string) (j *store.Job) {
	g.t.Helper()
	g.eventually("the job can be claimed", func() bool {
		var err error
		if j, err = g.engine.Claim(g.t.Context(), uuid.MustParse(id), "test", time.Minute); err != nil {
			g.t.Fatal(err)
		}
		return j != nil
	})
	return j
}

func (g *gateway) retry(as, id string) answer {
	g.t.Helper()
	return g.call(as, "POST", "/v1/jobs/"+id+"/retry", nil)
}

func TestADeadJobIsTriedAgainOnceAndAsANewJob(t *testing.T) {
	t.Parallel()
	g := start(t)
	old := g.embed(member, 1)[0]
	g.retry(admin, old).wants(409).has("job.open")
	g.dies(old, "test.broken")
	g.retry(member, old).wants(403)
	g.retry(stranger, old).wants(404)
	path := "/v1/jobs/" + old + "/retry"
	made := g.call(admin, "POST", path, nil, "Idempotency-Key", "r").wants(202).job()
	if made.RetryOf != old || made.Status != "queued" || made.ID == old {
		t.Errorf("the retry is %+v", made)
	}
	again := g.call(admin, "POST", path, nil, "Idempotency-Key", "r").wants(202)
	if again.job().ID != made.ID || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the key made %s, then %s", made.ID, again.body)
	}
	g.retry(admin, old).wants(409).has("job.retried", made.ID)
	g.call(member, "GET", "/v1/jobs/"+old, nil).wants(200).
		has(`"status":"failed"`, `"dead":false`, `"retried_as":"`+made.ID+`"`, "test.broken")
	g.call(member, "GET", "/v1/jobs/"+made.ID, nil).wants(200).has(`"retry_of":"` + old + `"`)
	g.call(admin, "GET", "/v1/audit-logs?action=job.retry", nil).wants(200).has(old, made.ID)
	taken := g.claim(made.ID)
	if taken.Attempt != 1 || !strings.Contains(string(taken.Input), `"a"`) {
		t.Errorf("attempt %d of %s", taken.Attempt, taken.Input)
	}
	g.end(taken, store.Succeed(nil))
	g.retry(admin, made.ID).wants(409).has("job.succeeded")
	cancelled := g.embed(member, 1)[0]
	g.call(member, "POST", "/v1/jobs/"+cancelled+"/cancel", nil).wants(200)
	g.retry(admin, cancelled).wants(202)
}

func TestWhatMakesNoSenseAnyMoreIsNotTriedAgain(t *testing.T) {
	t.Parallel()
	g := start(t)
	upload := func(name string) job {
		return g.upload(admin, name, "text/plain", name, nil).wants(202).job()
	}
	ingest := upload("a.txt")
	g.dies(ingest.ID, "test.broken")
	g.call(admin, "GET", "/v1/documents/"+ingest.DocumentID, nil).wants(200).has(`"processing_status":"failed"`)
	retried := g.retry(admin, ingest.ID).wants(202).job()
	if retried.DocumentID != ingest.DocumentID || retried.Kind != "document.ingest" {
		t.Errorf("the retry is %+v", retried)
	}
	g.call(admin, "GET", "/v1/documents/"+ingest.DocumentID, nil).wants(200).has(`"processing_status":"pending"`)

	superseded := upload("b.txt")
	g.dies(superseded.ID, "test.broken")
	g.call(admin, "POST", "/v1/documents/"+superseded.DocumentID+"/index", nil).wants(202)
	g.retry(admin, superseded.ID).wants(409).has("document.superseded")

	deleted := upload("c.txt")
	g.dies(deleted.ID, "test.broken")
	g.call(admin, "DELETE", "/v1/documents/"+deleted.DocumentID, nil).wants(202)
	g.retry(admin, deleted.ID).wants(409).has("document.deleted")

	parent := upload("d.txt")
	part := store.NewJob{Kind: events.KindEmbeddingCreate, Input: events.EmbeddingCreateInput{Texts: []string{"a"}}, Weight: 1}
	g.end(g.claim(parent.ID), store.WaitFor([]store.NewJob{part}, nil))
	ids, _ := g.jobs(admin, "parent_id="+parent.ID)
	g.dies(ids[0], "test.broken")
	g.retry(admin, ids[0]).wants(409).has("job.part", parent.ID)
	g.retry(admin, parent.ID).wants(202)

	var conversation struct{ ID string }
	g.call(member, "POST", "/v1/conversations", `{"title":"x","agent_config_id":"`+acmeAgent+`"}`).wants(201).into(&conversation)
	answer := g.call(member, "POST", "/v1/conversations/"+conversation.ID+"/messages", `{"content":"hello"}`).wants(202).job()
	g.dies(answer.ID, "test.broken")
	g.call(member, "DELETE", "/v1/conversations/"+conversation.ID+"/messages/"+answer.MessageID, nil).wants(204)
	g.retry(admin, answer.ID).wants(409).has("message.deleted")

	run := g.call(member, "POST", runs, `{"user_input":"x"}`).wants(202).job()
	g.dies(run.ID, "test.broken")
	g.call(admin, "DELETE", "/v1/agent-configs/"+acmeAgent, nil).wants(200)
	g.retry(admin, run.ID).wants(409).has("agent.inactive")
	g.call(admin, "POST", "/v1/agent-configs/"+acmeAgent+"/activate", nil).wants(200)
	g.sql("DELETE FROM project_members WHERE user_id = (SELECT id FROM users WHERE email = $1)", member)
	g.retry(admin, run.ID).wants(409).has("job.owner_refused")
	g.sql("UPDATE users SET is_active = false WHERE email = $1", member)
	g.retry(admin, run.ID).wants(409).has("job.owner_inactive")
}

func TestARetriedRunReadsWhatItsPersonMayReadNow(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.sql("INSERT INTO projects (id, organization_id, name) VALUES ($1, $2, 'Secret')", nothing, acmeOrg)
	g.sql("INSERT INTO project_members (organization_id, project_id, user_id) SELECT organization_id, $1, id FROM users WHERE email = $2",
		nothing, member)
	run := g.call(member, "POST", runs, `{"user_input":"x"}`).wants(202).job()
	g.dies(run.ID, "test.broken")
	g.sql("DELETE FROM project_members WHERE project_id = $1", nothing)
	var in events.AgentRunInput
	if err := json.Unmarshal(g.claim(g.retry(admin, run.ID).wants(202).job().ID).Input, &in); err != nil {
		t.Fatal(err)
	}
	if in.Scope.All || len(in.Scope.Projects) != 1 || in.Scope.Projects[0] != acmeProject || in.UserInput != "x" {
		t.Errorf("the retry may read %+v and does %q", in.Scope, in.UserInput)
	}
}

func TestDeadJobsAreRedrivenByFilter(t *testing.T) {
	t.Parallel()
	g := start(t)
	type redriven struct {
		Data []struct {
			JobID     string `json:"job_id"`
			RetriedAs string `json:"retried_as"`
			Skipped   *events.Failure
		}
		Retried int
		HasMore bool `json:"has_more"`
		DryRun  bool `json:"dry_run"`
	}
	redrive := func(as, body string, headers ...string) (r redriven) {
		g.call(as, "POST", "/v1/jobs/redrive", body, headers...).wants(200).into(&r)
		return r
	}
	broken := g.embed(member, 3)
	for _, id := range broken {
		g.dies(id, "test.broken")
	}
	lost := g.embed(member, 1)[0]
	g.dies(lost, "test.lost")
	foreign := g.embed(stranger, 1)[0]
	g.dies(foreign, "test.broken")
	stale := g.upload(admin, "a.txt", "text/plain", "text", nil).wants(202).job()
	g.dies(stale.ID, "test.stale")
	g.call(admin, "POST", "/v1/documents/"+stale.DocumentID+"/index", nil).wants(202)

	g.call(member, "POST", "/v1/jobs/redrive", `{}`).wants(403)
	g.call(admin, "POST", "/v1/jobs/redrive", `{"limit":501}`).wants(422)
	if r := redrive(admin, `{"dry_run":true}`); len(r.Data) != 5 || r.Retried != 0 || !r.DryRun || r.Data[0].JobID != broken[0] {
		t.Errorf("a dry run means %+v", r)
	}
	for body, want := range map[string]int{
		`{"dry_run":true,"kind":"agent.run"}`: 0, `{"dry_run":true,"kind":"embedding.create"}`: 4, `{"dry_run":true,"error_code":"test.lost"}`: 1,
		`{"dry_run":true,"since":"2000-01-01T00:00:00Z"}`: 5, `{"dry_run":true,"until":"2000-01-01T00:00:00Z"}`: 0,
		`{"dry_run":true,"agent_id":"` + acmeAgent + `"}`: 0,
	} {
		if r := redrive(admin, body); len(r.Data) != want {
			t.Errorf("%s means %d jobs, want %d", body, len(r.Data), want)
		}
	}
	first := redrive(admin, `{"error_code":"test.broken","limit":2}`, "Idempotency-Key", "r")
	if first.Retried != 2 || !first.HasMore || first.Data[0].JobID != broken[0] || first.Data[1].RetriedAs == "" {
		t.Errorf("redrove %+v", first)
	}
	if again := redrive(admin, `{"error_code":"test.broken","limit":2}`, "Idempotency-Key", "r"); again.Data[1].RetriedAs != first.Data[1].RetriedAs {
		t.Errorf("the key redrove %+v", again)
	}
	g.call(admin, "GET", "/v1/jobs/"+first.Data[0].RetriedAs, nil).wants(200).has(`"retry_of":"` + broken[0] + `"`)
	rest := redrive(admin, `{}`)
	if rest.Retried != 2 || len(rest.Data) != 3 || rest.Data[2].Skipped == nil || rest.Data[2].Skipped.Code != "document.superseded" {
		t.Errorf("redrove %+v", rest)
	}
	if ids, _ := g.jobs(admin, "dead=true"); len(ids) != 1 || ids[0] != stale.ID {
		t.Errorf("dead are %v yet", ids)
	}
	if ids, _ := g.jobs(stranger, "dead=true"); len(ids) != 1 {
		t.Error("another organization's job was redriven")
	}
	var log auditPage
	g.call(admin, "GET", "/v1/audit-logs?action=job.redrive", nil).wants(200).into(&log)
	if len(log.Data) != 2 {
		t.Errorf("%d entries in the audit log, want one for each request", len(log.Data))
	}
}

func TestADeadJobIsDiscarded(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.embed(member, 1)[0]
	discard := func(as string) answer { return g.call(as, "POST", "/v1/jobs/"+id+"/discard", nil) }
	discard(admin).wants(409).has("job.not_dead")
	g.dies(id, "test.broken")
	g.eventually("the dead job is counted", func() bool {
		return strings.Contains(g.metrics(), `copilot_jobs_dead{kind="embedding.create",plan="enterprise"} 1`)
	})
	discard(member).wants(403)
	discard(stranger).wants(404)
	discard(admin).wants(200).has(`"dead":false`, `"discarded_at"`, `"status":"failed"`)
	discard(admin).wants(200)
	if ids, _ := g.jobs(admin, "dead=true"); len(ids) != 0 {
		t.Errorf("dead are %v yet", ids)
	}
	g.call(member, "GET", "/v1/jobs/"+id, nil).wants(200).has(`"discarded_at"`)
	var log auditPage
	g.call(admin, "GET", "/v1/audit-logs?action=job.discard", nil).wants(200).into(&log)
	if len(log.Data) != 1 || log.Data[0].ResourceID != id {
		t.Errorf("the audit log has %+v", log.Data)
	}
}

func TestAttemptsOfAJobAreRead(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.embed(member, 1)[0]
	path := "/v1/jobs/" + id + "/attempts"
	g.call(member, "GET", path, nil).wants(200).has(`"data":[]`)
	failure := events.Failure{Code: "test.away", Message: "It is away."}
	g.end(g.claim(id), store.Again(time.Now(), events.WaitingSchedule, failure))
	g.end(g.claimSoon(id), store.Snooze(time.Now(), events.WaitingProvider))
	g.end(g.claimSoon(id), store.Fail(events.Failure{Code: "test.broken"}, true))
	var list struct {
		Data []struct {
			Attempt         int
			Worker, Outcome string
			Error           *events.Failure
			StartedAt       time.Time  `json:"started_at"`
			FinishedAt      *time.Time `json:"finished_at"`
		}
	}
	g.call(member, "GET", path, nil).wants(200).into(&list)
	if len(list.Data) != 3 {
		t.Fatalf("got %+v", list.Data)
	}
	for i, want := range []struct {
		attempt       int
		outcome, code string
	}{{1, "again", "test.away"}, {2, "postponed", ""}, {2, "failed", "test.broken"}} {
		a := list.Data[i]
		code := ""
		if a.Error != nil {
			code = a.Error.Code
		}
		if a.Attempt != want.attempt || a.Outcome != want.outcome || code != want.code || a.Worker != "test" || a.FinishedAt == nil ||
			a.FinishedAt.Before(a.StartedAt) {
			t.Errorf("attempt %d is %+v, want %+v", i, a, want)
		}
	}
	g.call(stranger, "GET", path, nil).wants(404)
}
