package httpapi_test

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

const runs = "/v1/agents/" + acmeAgent + "/runs"

func TestRunIsAcceptedAsAJob(t *testing.T) {
	t.Parallel()
	g := start(t)
	a := g.call(member, "POST", runs, map[string]any{"user_input": "Taxi?", "max_iterations": 3}).wants(202)
	j := a.job()
	if a.header.Get("Location") != "/api/v1/jobs/"+j.ID || a.header.Get("Retry-After") == "" {
		t.Errorf("headers %v", a.header)
	}
	if j.Kind != "agent.run" || j.Status != "queued" || j.Class != "interactive" {
		t.Errorf("job %+v", j)
	}
	a.has(`"links":{"self":"/api/v1/jobs/`+j.ID+`"`, `"agent_id":"`+acmeAgent+`"`, `"project_id":"`+acmeProject+`"`)

	claimed := g.claim(j.ID)
	var in events.AgentRunInput
	if err := json.Unmarshal(claimed.Input, &in); err != nil {
		t.Fatal(err)
	}
	if in.UserInput != "Taxi?" || in.LLM.Model != "gemini-2.5-flash" || in.LLM.MaxTokens != 2048 || *in.LLM.Temperature != 0.7 ||
		*in.LLM.TopP != 0.9 || in.MaxIterations != 3 || len(in.Tools) != 1 || in.Tools[0] != events.ToolSearchDocuments ||
		in.SystemPrompt == "" || in.Scope.All || len(in.Scope.Projects) != 1 || in.Scope.Projects[0] != acmeProject {
		t.Errorf("the job's input is %s", claimed.Input)
	}
	g.end(claimed, store.Succeed(events.AgentRunResult{Content: "Yes [1]"}))
	g.call(member, "GET", "/v1/jobs/"+j.ID, nil).wants(200).has(`"status":"succeeded"`, `"content":"Yes [1]"`, `"finished_at"`)
	g.call(stranger, "GET", "/v1/jobs/"+j.ID, nil).wants(404)
}

func TestSubmitWithAKeyHappensOnce(t *testing.T) {
	t.Parallel()
	g := start(t)
	send := func(as, key string, body any) answer { return g.call(as, "POST", runs, body, "Idempotency-Key", key) }
	first := send(admin, "k1", `{"user_input":"a", "max_iterations":2}`).wants(202)
	if first.header.Get("Idempotency-Replayed") != "" {
		t.Error("the first answer says that it is a replay")
	}
	again := send(admin, "k1", `{"max_iterations":2,"user_input":"a"}`).wants(202)
	if again.job().ID != first.job().ID || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the replay made %s (%v), want %s", again.job().ID, again.header, first.job().ID)
	}
	send(admin, "k1", `{"user_input":"b"}`).wants(422).has("idempotency.mismatch")
	if other := send(admin, "k2", `{"user_input":"a","max_iterations":2}`).wants(202); other.job().ID == first.job().ID {
		t.Error("another key gave the same job")
	}
	if other := send(member, "k1", `{"user_input":"a","max_iterations":2}`).wants(202); other.job().ID == first.job().ID {
		t.Error("another user's key gave the same job")
	}
	send(admin, "not visible", `{"user_input":"a"}`).wants(422).has("header.Idempotency-Key")
}

func TestParallelSubmitsWithOneKeyMakeOneJob(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.tokenFor(admin)
	var mu sync.Mutex
	made := map[string]int{}
	var all sync.WaitGroup
	for range 16 {
		all.Go(func() {
			a := g.call(admin, "POST", "/v1/embeddings", `{"texts":["a"]}`, "Idempotency-Key", "one")
			mu.Lock()
			defer mu.Unlock()
			if a.status == 202 {
				made[a.job().ID]++
			} else if a.status != 409 {
				t.Errorf("%d: %s", a.status, a.body)
			}
		})
	}
	all.Wait()
	if len(made) != 1 {
		t.Errorf("%d jobs were made, want 1: %v", len(made), made)
	}
}

func TestPreferWaitHoldsForTheResult(t *testing.T) {
	t.Parallel()
	// The body's deadline must not end a request that waits.
	g := start(t, "BODY_READ_TIMEOUT", "100ms")
	g.tokenFor(admin)
	done := make(chan answer)
	go func() {
		done <- g.call(admin, "POST", "/v1/embeddings", `{"texts":["a"]}`, "Prefer", "respond-async, wait=30")
	}()
	var list struct{ Data []job }
	g.eventually("the job is there", func() bool {
		g.call(admin, "GET", "/v1/jobs", nil).wants(200).into(&list)
		return len(list.Data) == 1
	})
	waiting := time.NewTimer(300 * time.Millisecond)
	defer waiting.Stop()
	select {
	case a := <-done:
		t.Fatalf("did not wait: %d %s", a.status, a.body)
	case <-waiting.C:
	}
	g.end(g.claim(list.Data[0].ID), store.Succeed(events.EmbeddingCreateResult{Dimension: 768}))
	a := (<-done).wants(200).has(`"status":"succeeded"`, `"dimension":768`)
	if a.header.Get("Preference-Applied") != "wait=30" || a.header.Get("Retry-After") != "" {
		t.Errorf("headers %v", a.header)
	}
	late := g.call(admin, "POST", "/v1/embeddings", `{"texts":["a"]}`, "Prefer", "wait=1").wants(202)
	if late.job().Status != "queued" || late.header.Get("Preference-Applied") != "wait=1" {
		t.Errorf("after the wait: %s %v", late.body, late.header)
	}
	g.call(admin, "GET", "/v1/jobs/"+late.job().ID+"?wait=1", nil).wants(200).has(`"status":"queued"`)
	g.call(admin, "GET", "/v1/jobs/"+list.Data[0].ID, nil, "Prefer", "wait=5").wants(200).has(`"status":"succeeded"`)
}

func TestUploadIsOfTheTypeThatItsNameOrItsSenderTells(t *testing.T) {
	t.Parallel()
	g := start(t)
	for name, c := range map[string]struct{ file, declared, want string }{
		"a name tells more than bytes":            {"a.md", "application/octet-stream", "text/markdown"},
		"a name tells more than plain text":       {"a.htm", "text/plain", "text/html"},
		"a name stands in for no type":            {"a.TXT", "", "text/plain"},
		"a type tells more than a name":           {"a.txt", "text/markdown", "text/markdown"},
		"plain text is what has no other name":    {"notes", "text/plain", "text/plain"},
		"a charset stays with the type":           {"a.txt", "text/plain; charset=windows-1252", "text/plain; charset=windows-1252"},
		"what else was declared is not passed on": {"a.txt", `text/plain; format=flowed; x="y"`, "text/plain"},
	} {
		j := g.upload(admin, c.file, c.declared, name, nil).wants(202).job()
		if got := g.call(admin, "GET", "/v1/documents/"+j.DocumentID, nil).wants(200); !strings.Contains(got.body, `"mime_type":"`+c.want+`"`) {
			t.Errorf("%s: want %s, got %s", name, c.want, got.body)
		}
	}
}

func TestUploadBecomesADocumentAndAJob(t *testing.T) {
	t.Parallel()
	g := start(t)
	a := g.upload(admin, `C:\papers\policy.md`, "text/markdown", "# Policy", map[string]string{
		"title": "Policy", "description": "Who may", "tags": "travel, money", "project_id": acmeProject, "document_type": "policy",
	}, "Idempotency-Key", "up1").wants(202)
	j := a.job()
	if j.Kind != "document.ingest" || j.Class != "bulk" || j.DocumentID == "" {
		t.Errorf("job %+v", j)
	}
	g.call(admin, "GET", "/v1/documents/"+j.DocumentID, nil).wants(200).has(
		`"title":"Policy"`, `"file_name":"policy.md"`, `"processing_status":"pending"`, `"tags":["travel","money"]`, `"file_size":8`,
		`"document_type":"policy"`, `"content_hash":"`).lacks("file_path")
	var in events.DocumentIngestInput
	if err := json.Unmarshal(g.claim(j.ID).Input, &in); err != nil {
		t.Fatal(err)
	}
	text, err := os.ReadFile(filepath.Join(g.blobs, filepath.FromSlash(in.BlobKey)))
	if err != nil || string(text) != "# Policy" {
		t.Errorf("the blob is %q, %v", text, err)
	}
	same := map[string]string{
		"title": "Policy", "description": "Who may", "tags": "travel, money", "project_id": acmeProject, "document_type": "policy",
	}
	again := g.upload(admin, "policy.md", "text/markdown", "# Policy", same, "Idempotency-Key", "up1").wants(202)
	if again.job().ID != j.ID || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the replay made another job")
	}
	g.upload(admin, "policy.md", "text/markdown", "# Other", same, "Idempotency-Key", "up1").wants(422)
	if n := g.files(); n != 1 {
		t.Errorf("%d files lie there, want 1", n)
	}
	g.call(admin, "GET", "/v1/documents?tag=travel&search=poli&processing_status=processing", nil).wants(200)
	g.call(member, "GET", "/v1/documents/"+j.DocumentID, nil).wants(200)
	g.call(stranger, "GET", "/v1/documents/"+j.DocumentID, nil).wants(404)
	g.sql("DELETE FROM project_members")
	g.call(member, "GET", "/v1/documents/"+j.DocumentID, nil).wants(404)
	g.call(admin, "GET", "/v1/documents", nil).wants(200).has(`"total":1`)
	g.call(member, "GET", "/v1/documents", nil).wants(200).has(`"total":0`)
}

func TestMessageStartsARunAndAnswersInItsConversation(t *testing.T) {
	t.Parallel()
	g := start(t)
	viewer := g.person("viola", "Viewer")
	var c struct {
		ID        string
		ProjectID string `json:"project_id"`
	}
	g.call(member, "POST", "/v1/conversations", map[string]string{"agent_config_id": acmeAgent, "title": "Taxis"}).wants(201).into(&c)
	if c.ProjectID != acmeProject {
		t.Errorf("the conversation's project is %q, want the agent's", c.ProjectID)
	}
	messages := "/v1/conversations/" + c.ID + "/messages"
	a := g.call(member, "POST", messages, map[string]string{"content": "May I take one?"}, "Idempotency-Key", "m1").wants(202)
	j := a.job()
	if j.ConversationID != c.ID || j.MessageID == "" {
		t.Errorf("job %+v", j)
	}
	again := g.call(member, "POST", messages, map[string]string{"content": "May I take one?"}, "Idempotency-Key", "m1").wants(202)
	if again.job().ID != j.ID {
		t.Error("the replay made another job")
	}
	claimed := g.claim(j.ID)
	if !strings.Contains(string(claimed.Input), j.MessageID) || !strings.Contains(string(claimed.Input), c.ID) {
		t.Errorf("the job's input is %s", claimed.Input)
	}
	kept := g.call(member, "POST", messages, map[string]any{"content": "A note", "run": false}).wants(201).has(`"role":"user"`)
	g.call(member, "GET", strings.TrimPrefix(kept.header.Get("Location"), "/api"), nil).wants(200).has("A note")
	brief := func(text string) answer {
		return g.call(member, "POST", messages, map[string]any{"content": text, "role": "system"}, "Idempotency-Key", "m2")
	}
	first := brief("Be brief").wants(201).has(`"role":"system"`)
	if again := brief("Be brief").wants(201); again.body != first.body || again.header.Get("Idempotency-Replayed") != "true" ||
		again.header.Get("Location") != first.header.Get("Location") {
		t.Errorf("the message was written again: %s, %s", again.body, again.header)
	}
	brief("Be long").wants(422)

	var page struct {
		Data       []struct{ Content string }
		HasMore    bool   `json:"has_more"`
		NextCursor string `json:"next_cursor"`
	}
	var read []string
	for cursor := ""; ; cursor = page.NextCursor {
		page.NextCursor = ""
		g.call(viewer, "GET", messages+"?limit=2&cursor="+cursor, nil).wants(200).into(&page)
		for _, m := range page.Data {
			read = append(read, m.Content)
		}
		if !page.HasMore {
			break
		}
	}
	if got := strings.Join(read, "|"); got != "May I take one?|A note|Be brief" {
		t.Errorf("read %q", got)
	}
	g.call(viewer, "POST", messages, map[string]string{"content": "x"}).wants(403)
	g.call(admin, "POST", messages, map[string]string{"content": "x"}).wants(403).has("conversation.not_owner")
	g.call(stranger, "GET", messages, nil).wants(404)
	g.call(admin, "GET", "/v1/conversations", nil).wants(200).has(`"total":1`, "Taxis", `"message_count":3`)
	g.call(viewer, "GET", "/v1/conversations", nil).wants(200).has(`"total":0`)
	g.call(viewer, "GET", "/v1/conversations?project_id="+acmeProject, nil).wants(200).has(`"total":1`)
	g.call(stranger, "GET", "/v1/conversations/"+c.ID, nil).wants(404)
	g.sql("UPDATE conversations SET is_archived = true")
	g.call(member, "POST", messages, map[string]string{"content": "x"}).wants(409).has("conversation.archived")
}

func TestConversationWithoutAnAgentKeepsMessagesOnly(t *testing.T) {
	t.Parallel()
	g := start(t)
	var c struct{ ID string }
	g.call(member, "POST", "/v1/conversations", `{}`).wants(201).into(&c)
	g.call(member, "POST", "/v1/conversations/"+c.ID+"/messages", `{"content":"x"}`).wants(409).has("conversation.no_agent")
	g.call(member, "POST", "/v1/conversations/"+c.ID+"/messages", `{"content":"x","run":false}`).wants(201)
	g.sql("UPDATE agent_configs SET is_active = false")
	g.call(member, "POST", runs, `{"user_input":"x"}`).wants(409).has("agent.inactive")
}

func TestAgentConfigTakesFlatAndNestedNames(t *testing.T) {
	t.Parallel()
	g := start(t)
	flat := g.call(admin, "POST", "/v1/agent-configs",
		`{"name":"Flat","agent_type":"hr","llm_model":"m1","temperature":0,"max_tokens":10,"tools":["search_documents"]}`).wants(201)
	nested := g.call(admin, "POST", "/v1/agent-configs", `{"name":"Nested","agent_type":"hr","is_default":true,
		"llm_config":{"model":"m1","temperature":0,"max_tokens":10,"top_k":7},
		"tools_config":[{"name":"search_documents","enabled":true,"depth":2}],"parameters":{"a":1},"knowledge_bases":["kb"]}`).wants(201)
	for _, a := range []answer{flat, nested} {
		a.has(`"llm_model":"m1"`, `"temperature":0`, `"max_tokens":10`, `"tools":["search_documents"]`, `"version":1`, `"is_active":true`)
		g.call(member, "GET", strings.TrimPrefix(a.header.Get("Location"), "/api"), nil).wants(200).has(`"agent_type":"hr"`)
		g.call(stranger, "GET", strings.TrimPrefix(a.header.Get("Location"), "/api"), nil).wants(404)
	}
	g.call(admin, "POST", "/v1/agent-configs",
		`{"name":"Null","project_id":null,"temperature":null,"llm_config":{"temperature":null,"top_p":null},"tools":null,"tools_config":null}`).
		wants(201).has(`"project_id":null`, `"tools":[]`, `"temperature":null`)
	nested.has(`"top_k":7`, `"depth":2`, `"knowledge_bases":["kb"]`)
	g.call(admin, "GET", "/v1/agent-configs?limit=2", nil).wants(200).
		has(`"total":4`, `"has_more":true`, `"skip":0`, `"limit":2`, "Nested").lacks("Analyzer")
	g.call(admin, "GET", "/v1/agent-configs?skip=3", nil).wants(200).has("Document Analyzer", `"has_more":false`)
	g.call(admin, "GET", "/v1/agent-configs?search=nest&agent_type=hr&is_active=true", nil).wants(200).has(`"total":1`)
	g.call(stranger, "GET", "/v1/agent-configs", nil).wants(200).has(`"total":1`).lacks("Nested")
}

func TestSearchAsksTheWorkersWithinTheCallersReach(t *testing.T) {
	t.Parallel()
	g := start(t)
	nobody := g.call(member, "POST", "/v1/documents/search", `{"query":"taxi"}`).wants(503)
	if nobody.problem().Code != "search.no_worker" || nobody.header.Get("Retry-After") == "" {
		t.Errorf("without a worker: %s %v", nobody.body, nobody.header)
	}
	ctx, cancel := context.WithCancel(t.Context())
	answered := make(chan error, 1)
	asked := make(chan events.SearchRequest, 10)
	go func() {
		answered <- g.bus.Respond(ctx, g.bus.Subjects().Search(), "search", 1, nil, func(_ context.Context, data []byte) any {
			var r events.SearchRequest
			_ = json.Unmarshal(data, &r)
			asked <- r
			if r.Query == "break" {
				failure := events.Failure{Code: "model.away", Message: "The model is away."}
				return events.SearchReply{Error: &events.SearchError{Kind: "unavailable", Failure: failure, RetryAfterMS: 41_500}}
			}
			return events.SearchReply{Hits: []events.SearchHit{{
				DocumentID: nothing, ChunkID: nothing, Title: "Policy", Text: "Taxis are fine", Score: 0.5,
				Location: events.SearchLocation{Page: 3, Heading: "Travel", Start: 1, End: 15},
			}}}
		})
	}()
	t.Cleanup(func() {
		cancel()
		if err := <-answered; err != nil {
			t.Error(err)
		}
	})
	g.eventually("the worker answers", func() bool { return g.call(admin, "POST", "/v1/documents/search", `{"query":"x"}`).status == 200 })
	if first := <-asked; !first.Scope.All || first.Mode != events.SearchHybrid || first.Limit != 10 || first.TenantID != acmeOrg {
		t.Errorf("the Admin's search asked %+v", first)
	}
	g.call(member, "POST", "/v1/documents/search/semantic", `{"query":"taxi","mode":"keyword","limit":3,"filters":{"tags":["travel"]}}`).
		wants(200).has(`"title":"Policy"`, `"location":{"page":3,"heading":"Travel","start":1,"end":15}`, `"mode":"semantic"`)
	if r := <-asked; r.Scope.All || fmt.Sprint(r.Scope.Projects) != "["+acmeProject+"]" || r.Mode != events.SearchSemantic || r.Limit != 3 || r.Filter.Tags[0] != "travel" {
		t.Errorf("the Member's search asked %+v", r)
	}
	g.call(member, "GET", "/v1/documents/search/query?query=taxi&mode=keyword", nil).wants(200).has("Taxis are fine")
	away := g.call(member, "POST", "/v1/documents/search/hybrid", `{"query":"break"}`).wants(503).has("model.away", "The model is away.")
	if after := away.header.Get("Retry-After"); after != "42" {
		t.Errorf("it is said to be back after %q", after)
	}
}

func TestAnAcceptedJobIsAnsweredAlsoWhenWaitingForItFails(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.tokenFor(member)
	var a answer
	var waiting sync.WaitGroup
	waiting.Go(func() { a = g.call(member, "POST", "/v1/embeddings", `{"texts":["a"]}`, "Prefer", "wait=2") })
	g.eventually("a job is waited for", func() bool {
		var list struct{ Data []job }
		g.call(admin, "GET", "/v1/jobs", nil).wants(200).into(&list)
		return len(list.Data) == 1
	})
	g.sql("REVOKE SELECT ON jobs FROM copilot_app")
	waiting.Wait()
	g.sql("GRANT SELECT ON jobs TO copilot_app")
	a.wants(202)
	job := a.job()
	if a.header.Get("Location") != "/api/v1/jobs/"+job.ID || job.Status != "queued" {
		t.Errorf("Location %q, job %+v", a.header.Get("Location"), job)
	}
}
