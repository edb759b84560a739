package httpapi_test

import (
	"bufio"
	"net/http"
	"strings"
	"testing"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

func TestAgentTypesComeWithWhatARunTakes(t *testing.T) {
	t.Parallel()
	g := start(t)
	type kind struct {
		AgentType   string `json:"agent_type"`
		IsPreset    bool   `json:"is_preset"`
		Prompt      string `json:"system_prompt"`
		InputSchema struct {
			Properties map[string]any
			Required   []string
		} `json:"input_schema"`
	}
	var types struct{ Data []kind }
	for _, path := range []string{"/v1/agent-types", "/v1/agent-configs/agent-types"} {
		g.call(member, "GET", path, nil).wants(200).into(&types)
		if len(types.Data) != 8 || !types.Data[0].IsPreset || types.Data[7].IsPreset {
			t.Fatalf("%s: got %+v", path, types)
		}
	}
	var hr kind
	g.call(member, "GET", "/v1/agent-types/hr", nil).wants(200).into(&hr)
	if hr.Prompt == "" || hr.InputSchema.Properties["question"] == nil || hr.InputSchema.Required[0] != "question" {
		t.Errorf("got %+v", hr)
	}
	g.call(member, "GET", "/v1/agent-types/poet", nil).wants(422)

	var agent struct {
		ID          string
		Prompt      string `json:"system_prompt"`
		Tools       []string
		Temperature float64
		MaxTokens   int `json:"max_tokens"`
	}
	g.call(admin, "POST", "/v1/agent-configs", `{"name":"HR","agent_type":"hr","max_tokens":99}`).wants(201).into(&agent)
	if agent.Prompt != hr.Prompt || len(agent.Tools) != 1 || agent.Temperature != 0.1 || agent.MaxTokens != 99 {
		t.Errorf("got %+v", agent)
	}
	runs := "/v1/agents/" + agent.ID + "/runs"
	g.call(admin, "POST", runs, `{"input":{"country":"Germany"}}`).wants(422).has("body.input.country", "question")
	g.call(admin, "POST", runs, `{"input":{"question":"Leave?","poem":"x"}}`).wants(422).has("body.input.poem")
	g.call(admin, "POST", runs, `{}`).wants(422).has("user_input")
	j := g.call(admin, "POST", runs, `{"user_input":"Answer briefly.","input":{"question":"How many days of leave?","country":"DE"}}`).wants(202).job()
	if input := string(g.claim(j.ID).Input); !strings.Contains(input, `Answer briefly.\n\n## Question\nHow many days of leave?\n\n## Country\nDE`) {
		t.Errorf("the task is %s", input)
	}
	g.call(admin, "POST", "/v1/agents/"+acmeAgent+"/runs", `{"input":{"question":"x"}}`).wants(422).has("words only")
}

func TestTheEarlierServicesNamesRunAgents(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.call(admin, "POST", "/v1/agents/create", `{"name":"Second","llm_model":"m","tools":["search_documents"]}`).wants(201).has(`"llm_model":"m"`)
	body := map[string]any{"agent_id": acmeAgent, "project_id": acmeProject, "user_input": "hello", "system_prompt": "Be brief."}
	for _, path := range []string{"/v1/agents/execute", "/v1/agents/execute/agentic-loop"} {
		if strings.HasSuffix(path, "loop") {
			body["max_iterations"] = 3
		}
		first := g.call(member, "POST", path, body, "Idempotency-Key", "k").wants(202).job()
		if again := g.call(member, "POST", path, body, "Idempotency-Key", "k").wants(202).job(); again.ID != first.ID {
			t.Errorf("%s: the key made another job", path)
		}
		if input := string(g.claim(first.ID).Input); !strings.Contains(input, "Be brief.") {
			t.Errorf("%s: %s", path, input)
		}
	}
	viewer := g.person("viola", "Viewer")
	for as, want := range map[string]int{viewer: 403, stranger: 404} {
		g.call(as, "POST", "/v1/agents/execute", map[string]any{"agent_id": acmeAgent, "user_input": "hello"}).wants(want)
	}
	g.call(admin, "POST", "/v1/agents/execute", map[string]any{"agent_id": acmeAgent, "project_id": nothing, "user_input": "hello"}).wants(404)
	g.call(member, "GET", "/v1/agents/health", nil).wants(200).has(`"agents":2`, `"status":"waiting"`)
}

func TestABatchIsAcceptedOnceAndWhole(t *testing.T) {
	t.Parallel()
	g := start(t)
	batch := func(inputs ...string) map[string]any { return map[string]any{"agent_id": acmeAgent, "inputs": inputs} }
	type accepted struct {
		Data  []job
		Total int
	}
	var first, again accepted
	g.call(member, "POST", "/v1/agents/batch-execute", batch("one", "two", "three"), "Idempotency-Key", "b").wants(202).into(&first)
	repeated := g.call(member, "POST", "/v1/agents/batch-execute", batch("one", "two", "three"), "Idempotency-Key", "b").wants(202)
	repeated.into(&again)
	if first.Total != 3 || len(again.Data) != 3 || again.Data[2].ID != first.Data[2].ID || repeated.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("got %+v, then %+v", first, again)
	}
	g.call(member, "POST", "/v1/agents/batch-execute", batch("one", "two"), "Idempotency-Key", "b").wants(422).has("idempotency.mismatch")
	g.call(member, "POST", "/v1/agents/batch-execute", batch("one", " ")).wants(422)
	g.call(member, "POST", "/v1/agents/batch-execute", batch()).wants(422)
	var list struct{ Data []job }
	g.call(member, "GET", "/v1/jobs", nil).wants(200).into(&list)
	if len(list.Data) != 3 {
		t.Errorf("%d jobs, want those of the first batch", len(list.Data))
	}
}

func TestAStreamedRunIsTheJobsStream(t *testing.T) {
	t.Parallel()
	g := start(t)
	req := g.request(t, member, "POST", "/v1/agents/stream", map[string]any{"agent_id": acmeAgent, "user_input": "hello"})
	resp, err := g.http.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	at := resp.Header.Get("Location")
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" || !strings.HasPrefix(at, "/api/v1/jobs/") {
		t.Fatalf("%d, %v", resp.StatusCode, resp.Header)
	}
	g.end(g.claim(strings.TrimPrefix(at, "/api/v1/jobs/")), store.Succeed(events.AgentRunResult{Content: "hi"}))
	var lines []string
	for scanner := bufio.NewScanner(resp.Body); scanner.Scan(); {
		if line := scanner.Text(); strings.HasPrefix(line, "id: ") || strings.HasPrefix(line, "event: ") {
			lines = append(lines, line)
		}
	}
	got := strings.Join(lines, "|")
	if got != "id: 1|event: job.state|id: 2|event: job.state|id: 3|event: job.state" {
		t.Errorf("the stream had %s", got)
	}
	g.call(member, "GET", at+"/events", nil, "Last-Event-ID", "2").wants(200).has("id: 3").lacks("id: 2")
}

func TestAgentsOfAProjectAreItsMembers(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.sql("INSERT INTO projects (id, organization_id, name) VALUES ($1, $2, 'Secret')", nothing, acmeOrg)
	var agent struct{ ID string }
	g.call(admin, "POST", "/v1/agent-configs", `{"name":"Hidden","project_id":"`+nothing+`"}`).wants(201).into(&agent)
	g.call(member, "GET", "/v1/agent-configs/"+agent.ID, nil).wants(404)
	g.call(member, "GET", "/v1/agent-configs", nil).wants(200).lacks(agent.ID).has(acmeAgent)
	g.call(member, "POST", "/v1/agents/"+agent.ID+"/runs", `{"user_input":"x"}`).wants(404)
	g.call(g.person("pam", "Project Manager"), "GET", "/v1/agent-configs/"+agent.ID, nil).wants(200)
}
