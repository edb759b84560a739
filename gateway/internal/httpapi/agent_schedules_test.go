package httpapi_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

const schedules = "/v1/agent-configs/" + acmeAgent + "/schedules"

type scheduleBody struct {
	ID             string
	AgentConfigID  string `json:"agent_config_id"`
	UserID         string `json:"user_id"`
	Name, Cron     string
	Timezone       string
	Overlap, Class string
	Priority       int
	Scopes         []string
	IsActive       bool        `json:"is_active"`
	DisabledReason string      `json:"disabled_reason"`
	NextRunAt      *time.Time  `json:"next_run_at"`
	NextRuns       []time.Time `json:"next_runs"`
	LastRunAt      *time.Time  `json:"last_run_at"`
	LastJobID      string      `json:"last_job_id"`
	UpdatedAt      time.Time   `json:"updated_at"`
}

func (g *gateway) schedule(as, body string) (s scheduleBody) {
	g.t.Helper()
	g.call(as, "POST", schedules, body).wants(201).into(&s)
	return s
}

func (g *gateway) scheduled(as, id string) (s scheduleBody) {
	g.t.Helper()
	g.call(as, "GET", schedules+"/"+id, nil).wants(200).into(&s)
	return s
}

// comes lets the time of a schedule come.
func (g *gateway) comes(id string) {
	g.t.Helper()
	g.sql("UPDATE agent_schedules SET next_run_at = now() - interval '1 second' WHERE id = $1 AND is_active", id)
}

// runsOf counts the runs that schedules of the agent have made.
func (g *gateway) runsOf(agent string) (n int) {
	g.t.Helper()
	err := g.db.Conn(g.t, g.db.OwnerURL).QueryRow(g.t.Context(), "SELECT count(*) FROM jobs WHERE agent_config_id = $1", agent).Scan(&n)
	if err != nil {
		g.t.Fatal(err)
	}
	return n
}

// disables waits until a schedule is turned off.
func (g *gateway) disables(as, id, reason string) {
	g.t.Helper()
	g.eventually("the schedule is turned off", func() bool {
		s := g.scheduled(as, id)
		return !s.IsActive && s.NextRunAt == nil && strings.Contains(s.DisabledReason, reason)
	})
}

func TestAgentsRunBySchedule(t *testing.T) { //nolint:tparallel // one agent and its schedules, one thing after the other
	t.Parallel()
	g := start(t, "DEFAULT_MODEL", "gemini-default")
	other := g.beside()

	t.Run("a schedule is made, read, listed, changed and deleted", g.changesSchedules)
	t.Run("what cannot be is refused with its place", g.refusesSchedules)
	t.Run("people have schedules of their own", g.keepsSchedulesApart)
	t.Run("a time makes the job that its user would make then", g.runsAsItsUser)
	t.Run("what a key sets up does no more than the key", g.boundsSchedulesOfKeys)
	t.Run("a schedule that cannot go on is turned off", g.turnsSchedulesOff)
	t.Run("one of two gateways makes each run, and the other when that is gone", func(t *testing.T) { twoGateways(t, g, other) })
}

func (g *gateway) changesSchedules(t *testing.T) {
	const body = `{"name":"Morning report","cron":"30 2 * * *","timezone":"America/New_York","user_input":"What is new?"}`
	made := g.call(member, "POST", schedules, body, "Idempotency-Key", "morning").wants(201)
	var s scheduleBody
	made.into(&s)
	path := schedules + "/" + s.ID
	if s.AgentConfigID != acmeAgent || s.Overlap != "skip" || s.Class != "bulk" || s.Priority != 5 || !s.IsActive || s.NextRunAt == nil ||
		len(s.NextRuns) != 5 || !s.NextRunAt.Equal(s.NextRuns[0]) || s.LastRunAt != nil || made.header.Get("Location") != "/api"+path {
		t.Fatalf("got %+v at %s", s, made.header.Get("Location"))
	}
	for _, at := range s.NextRuns {
		// The clock there, which may jump over it.
		if _, offset := at.Zone(); offset > -4*3600 || !slices.Contains([]string{"02:30", "03:00"}, at.Format("15:04")) {
			t.Errorf("comes at %s", at)
		}
	}
	again := g.call(member, "POST", schedules, body, "Idempotency-Key", "morning").wants(201)
	if again.header.Get("Idempotency-Replayed") != "true" || again.header.Get("ETag") != made.header.Get("ETag") || !strings.Contains(again.body, s.ID) {
		t.Errorf("repeated: %s", again.body)
	}
	g.call(member, "POST", schedules, strings.Replace(body, "30 2", "40 2", 1), "Idempotency-Key", "morning").wants(422)

	tag := g.call(member, "GET", path, nil).wants(200).header.Get("ETag")
	if tag != made.header.Get("ETag") {
		t.Errorf("the ETag is %s after %s", tag, made.header.Get("ETag"))
	}
	changed := g.call(member, "PATCH", path, `{"cron":"@hourly","overlap":"allow"}`, "If-Match", tag).wants(200).has(`"overlap":"allow"`)
	g.call(member, "PATCH", path, `{"cron":"@daily"}`, "If-Match", tag).wants(412)
	changed.into(&s)
	if s.NextRunAt.Minute() != 0 || time.Until(*s.NextRunAt) > time.Hour {
		t.Errorf("the next time is %s", s.NextRunAt)
	}
	g.call(member, "PUT", path, `{"is_active":false}`).wants(200).has(`"next_run_at":null`, `"is_active":false`, `"name":"Morning report"`)
	g.call(member, "PATCH", path, `{"is_active":true}`).wants(200).lacks(`"next_run_at":null`)

	for i := range 3 {
		g.schedule(member, fmt.Sprintf(`{"name":"List %d","cron":"0 0 1 1 *","user_input":"x","is_active":%t}`, i, i == 1))
	}
	var names []string
	for cursor := ""; ; {
		var page struct {
			Data       []scheduleBody
			Total      int
			NextCursor string `json:"next_cursor"`
		}
		g.call(member, "GET", schedules+"?search=list&sort=-name&limit=2"+cursor, nil).wants(200).into(&page)
		for _, s := range page.Data {
			names = append(names, s.Name)
		}
		if page.Total != 3 {
			t.Errorf("the total is %d, want 3", page.Total)
		}
		if cursor = "&cursor=" + page.NextCursor; page.NextCursor == "" {
			break
		}
	}
	if !slices.Equal(names, []string{"List 2", "List 1", "List 0"}) {
		t.Errorf("listed %v", names)
	}
	g.call(member, "GET", schedules+"?search=list&is_active=true", nil).wants(200).has("List 1").lacks("List 0", "List 2")

	g.call(member, "DELETE", path, nil, "If-Match", tag).wants(412)
	g.call(member, "DELETE", path, nil).wants(204)
	g.call(member, "GET", path, nil).wants(404)
	var log auditPage
	g.call(admin, "GET", "/v1/audit-logs?resource_type=agent_schedule&sort=created_at&limit=100", nil).wants(200).lacks("What is new?").into(&log)
	var actions []string
	for _, e := range log.Data {
		if e.ResourceID == s.ID {
			actions = append(actions, strings.TrimPrefix(e.Action, "agent_schedule."))
		}
	}
	if !slices.Equal(actions, []string{"create", "update", "update", "update", "delete"}) {
		t.Errorf("audited %s", actions)
	}
}

func (g *gateway) refusesSchedules(t *testing.T) {
	for _, c := range []struct{ name, body, where string }{
		{"no expression", `{"name":"x","user_input":"x","cron":"often"}`, "body.cron"},
		{"seconds", `{"name":"x","user_input":"x","cron":"0 * * * * *"}`, "body.cron"},
		{"an interval", `{"name":"x","user_input":"x","cron":"@every 5s"}`, "body.cron"},
		{"a zone in the expression", `{"name":"x","user_input":"x","cron":"CRON_TZ=UTC * * * * *"}`, "body.cron"},
		{"a day that never comes", `{"name":"x","user_input":"x","cron":"0 0 30 2 *"}`, "body.cron"},
		{"an unknown zone", `{"name":"x","user_input":"x","cron":"* * * * *","timezone":"+02:00"}`, "body.timezone"},
		{"no task", `{"name":"x","cron":"* * * * *"}`, "body.user_input"},
		{"input of another type of agents", `{"name":"x","cron":"* * * * *","input":{"question":"x"}}`, "body.input"},
		{"no name", `{"cron":"* * * * *","user_input":"x"}`, "body"},
		{"another policy", `{"name":"x","cron":"* * * * *","user_input":"x","overlap":"queue"}`, "body.overlap"},
	} {
		p := g.callFrom(t, member, "POST", schedules, c.body).wants(422).problem()
		if len(p.Errors) == 0 || p.Errors[0].Location != c.where {
			t.Errorf("%s: %+v, want %s", c.name, p.Errors, c.where)
		}
	}
	s := g.schedule(member, `{"name":"x","cron":"0 0 1 1 *","user_input":"x"}`)
	g.call(member, "PATCH", schedules+"/"+s.ID, `{"cron":"61 * * * *"}`).wants(422)
	g.call(member, "PATCH", schedules+"/"+s.ID, `{"user_input":""}`).wants(422)
	if now := g.scheduled(member, s.ID); !now.UpdatedAt.Equal(s.UpdatedAt) {
		t.Errorf("a change that was refused has changed it: %+v", now)
	}
	g.sql(`INSERT INTO agent_schedules (id, organization_id, agent_config_id, user_id, name, cron, timezone, is_active)
		SELECT gen_random_uuid(), organization_id, agent_config_id, user_id, 'many', cron, timezone, false
		FROM agent_schedules, generate_series(1, $1) WHERE id = $2`, store.MaxAgentSchedules, s.ID)
	if p := g.call(member, "POST", schedules, `{"name":"x","cron":"* * * * *","user_input":"x"}`).wants(409).problem(); p.Code != "agent_schedule.too_many" {
		t.Errorf("got %s", p.Code)
	}
	g.sql("DELETE FROM agent_schedules WHERE name = 'many'")
}

func (g *gateway) keepsSchedulesApart(*testing.T) {
	colleague, viewer := g.person("colin", access.Member), g.person("vera", access.Viewer)
	s := g.schedule(member, `{"name":"Mine","cron":"0 0 1 1 *","user_input":"x"}`)
	path := schedules + "/" + s.ID
	for _, who := range []string{colleague, stranger} {
		g.call(who, "GET", path, nil).wants(404)
		g.call(who, "PATCH", path, `{"name":"Yours"}`).wants(404)
		g.call(who, "DELETE", path, nil).wants(404)
	}
	g.call(colleague, "GET", schedules, nil).wants(200).lacks(s.ID)
	g.call(colleague, "GET", schedules+"?user_id="+s.UserID, nil).wants(200).lacks(s.ID)
	g.call(stranger, "GET", schedules, nil).wants(404)
	for _, method := range []string{"GET", "PATCH", "DELETE"} {
		g.call(viewer, method, path, `{}`).wants(403)
	}
	g.call(viewer, "POST", schedules, `{"name":"x","cron":"* * * * *","user_input":"x"}`).wants(403)
	g.call(member, "GET", "/v1/agent-configs/"+otherAgent+"/schedules/"+s.ID, nil).wants(404)

	g.call(admin, "GET", schedules+"?user_id="+s.UserID, nil).wants(200).has(s.ID)
	g.call(admin, "PATCH", path, `{"name":"Ours"}`).wants(200).has(`"user_id":"`+s.UserID+`"`, `"name":"Ours"`)
	g.call(admin, "DELETE", path, nil).wants(204)
}

func (g *gateway) runsAsItsUser(t *testing.T) {
	s := g.schedule(member, `{"name":"Once","cron":"0 0 1 1 *","user_input":"What is new?","system_prompt":"Be brief.","max_iterations":3,
		"priority":2,"timeout_seconds":600,"class":"interactive"}`)
	tag := g.call(member, "GET", schedules+"/"+s.ID, nil).wants(200).header.Get("ETag")
	g.comes(s.ID)
	g.eventually("the schedule has run", func() bool { return g.scheduled(member, s.ID).LastJobID != "" })
	now := g.scheduled(member, s.ID)
	if now.NextRunAt == nil || !now.NextRunAt.Equal(*s.NextRunAt) || now.LastRunAt == nil {
		t.Errorf("got %+v", now)
	}
	if got := g.call(member, "GET", schedules+"/"+s.ID, nil).header.Get("ETag"); got != tag {
		t.Errorf("a run has changed the ETag from %s to %s", tag, got)
	}
	g.call(member, "GET", "/v1/jobs/"+now.LastJobID, nil).wants(200).has(`"kind":"agent.run"`, `"class":"interactive"`, `"priority":2`)
	job := g.claim(now.LastJobID)
	in, err := job.AgentRun()
	if err != nil {
		t.Fatal(err)
	}
	if in.UserInput != "What is new?" || in.SystemPrompt != "Be brief." || in.MaxIterations != 3 || in.LLM.Model == "" || in.Scope.All ||
		!slices.Contains(in.Scope.Projects, acmeProject) || job.CreatedBy.String() != s.UserID || job.DeadlineAt == nil {
		t.Errorf("the job takes %+v until %v for %s", in, job.DeadlineAt, job.CreatedBy)
	}
	// While it runs, the next time is left out.
	g.comes(s.ID)
	g.eventually("the time is left out", func() bool {
		return !strings.Contains(g.call(member, "GET", schedules+"/"+s.ID, nil).wants(200).body, `"last_skipped_at":null`)
	})
	if again := g.scheduled(member, s.ID); again.LastJobID != now.LastJobID {
		t.Errorf("ran again, as %s", again.LastJobID)
	}
	g.end(job, store.Succeed(events.AgentRunResult{}))
	g.comes(s.ID)
	g.eventually("it runs again", func() bool { return g.scheduled(member, s.ID).LastJobID != now.LastJobID })
	g.call(member, "DELETE", schedules+"/"+s.ID, nil).wants(204)
}

func (g *gateway) boundsSchedulesOfKeys(t *testing.T) {
	_, key := g.key(admin, access.AgentsExecute, access.AgentsRead)
	var s scheduleBody
	g.call("", "POST", schedules, `{"name":"By a key","cron":"0 0 1 1 *","user_input":"x"}`, "X-API-Key", key).wants(201).into(&s)
	if !slices.Equal(s.Scopes, []string{"agents:execute", "agents:read"}) {
		t.Errorf("the scopes are %v", s.Scopes)
	}
	// Not even when its user changes it.
	g.call(admin, "PATCH", schedules+"/"+s.ID, `{"name":"By hand"}`).wants(200).has(`"scopes":["agents:execute","agents:read"]`)
	g.comes(s.ID)
	g.eventually("the schedule has run", func() bool { return g.scheduled(admin, s.ID).LastJobID != "" })
	in, err := g.claim(g.scheduled(admin, s.ID).LastJobID).AgentRun()
	if err != nil || in.Scope.All {
		t.Errorf("the run reads %+v, %v", in.Scope, err)
	}
	g.call(admin, "DELETE", schedules+"/"+s.ID, nil).wants(204)
}

func (g *gateway) turnsSchedulesOff(t *testing.T) {
	eve := g.person("eve", access.Member)
	s := g.schedule(eve, `{"name":"Eve's","cron":"@yearly","user_input":"x"}`)
	path, before := schedules+"/"+s.ID, g.runsOf(acmeAgent)

	// Its agent is deleted.
	g.call(admin, "DELETE", "/v1/agent-configs/"+acmeAgent, nil).wants(200)
	g.comes(s.ID)
	g.disables(eve, s.ID, "deactivated")
	g.call(eve, "PATCH", path, `{"is_active":true}`).wants(409)
	g.call(eve, "POST", schedules, `{"name":"x","cron":"* * * * *","user_input":"x"}`).wants(409)
	g.call(admin, "POST", "/v1/agent-configs/"+acmeAgent+"/activate", nil).wants(200)
	g.call(eve, "PATCH", path, `{"is_active":true}`).wants(200).has(`"disabled_reason":""`).lacks(`"next_run_at":null`)

	// Its user may no longer run agents.
	g.sql("UPDATE users SET role_id = (SELECT id FROM roles WHERE name = 'Viewer' AND organization_id = $1) WHERE username = 'eve'", acmeOrg)
	g.comes(s.ID)
	g.disables(admin, s.ID, "may not run")
	g.call(admin, "PATCH", path, `{"is_active":true}`).wants(409)
	g.sql("UPDATE users SET role_id = (SELECT id FROM roles WHERE name = 'Member' AND organization_id = $1) WHERE username = 'eve'", acmeOrg)
	g.call(admin, "PATCH", path, `{"is_active":true}`).wants(200)

	// Its user is deactivated.
	g.call(admin, "DELETE", "/v1/users/"+s.UserID, nil).wants(200)
	g.comes(s.ID)
	g.disables(admin, s.ID, "deactivated")
	if n := g.runsOf(acmeAgent); n != before {
		t.Errorf("%d runs were made", n-before)
	}
	var log auditPage
	g.call(admin, "GET", "/v1/audit-logs?resource_type=agent_schedule&limit=100", nil).wants(200).into(&log)
	disabled := 0
	for _, e := range log.Data {
		if e.ResourceID == s.ID && e.Action == "agent_schedule.disable" && e.ActorID == "" && e.After["disabled_reason"] != "" {
			disabled++
		}
	}
	if disabled != 3 {
		t.Errorf("turning it off is audited %d times, want 3", disabled)
	}
	g.call(admin, "DELETE", path, nil).wants(204)
}

func twoGateways(t *testing.T, first, second *gateway) {
	const all = 12
	for i := range all {
		first.schedule(member, fmt.Sprintf(`{"name":"Both %d","cron":"0 0 1 1 *","user_input":"x","overlap":"allow"}`, i))
	}
	run := func(round, want int) {
		t.Helper()
		first.sql("UPDATE agent_schedules SET next_run_at = now() - interval '3 days' WHERE name LIKE 'Both %'")
		first.eventually("every schedule has run", func() bool { return first.runsOf(acmeAgent) >= want })
		first.eventually("every schedule waits for its next time", func() bool {
			var due int
			err := first.db.Conn(t, first.db.OwnerURL).QueryRow(t.Context(), "SELECT count(*) FROM agent_schedules WHERE next_run_at <= now()").Scan(&due)
			return err == nil && due == 0
		})
		if n := first.runsOf(acmeAgent); n != want {
			t.Errorf("round %d: %d runs, want %d", round, n, want)
		}
	}
	before := first.runsOf(acmeAgent)
	run(1, before+all)
	run(2, before+2*all)
	// Whichever led, it is followed.
	first.stop()
	run(3, before+3*all)
	if text := second.metrics(); !strings.Contains(text, `copilot_schedule_times_total{outcome="run"}`) {
		t.Error("the runs are not counted")
	}
}
