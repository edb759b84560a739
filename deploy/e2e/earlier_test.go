package e2e_test

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strings"
	"testing"
	"time"
)

// flow is a client of the earlier service, which knows its paths, bodies and field names and nothing newer: what one call answers,
// the next ones name as {word}.
type flow struct {
	*client

	known map[string]string
}

// call makes a call and keeps fields of the answer, by the word to name them with and their path in the answer.
func (f *flow) call(method, path, body string, status int, keep ...string) map[string]any {
	f.t.Helper()
	for word, value := range f.known {
		path = strings.ReplaceAll(path, "{"+word+"}", value)
		body = strings.ReplaceAll(body, "{"+word+"}", value)
	}
	r := request{method: method, path: "/api/v1" + path}
	if body != "" {
		r.json = json.RawMessage(body)
	}
	got := f.send(r).wants(status)
	var answer map[string]any
	if len(got.body) > 0 {
		got.into(&answer)
	}
	for i := 0; i < len(keep); i += 2 {
		f.known[keep[i]] = fmt.Sprint(field(f.t, answer, keep[i+1]))
	}
	return answer
}

// has fails the test unless the answer's fields, by their paths, are these.
func (f *flow) has(answer, wanted map[string]any) {
	f.t.Helper()
	for path, want := range wanted {
		if got := field(f.t, answer, path); fmt.Sprint(got) != fmt.Sprint(want) {
			f.t.Errorf("%s is %v, want %v", path, got, want)
		}
	}
}

// field finds a value by its path, such as data.0.id.
func field(t *testing.T, in any, path string) any {
	t.Helper()
	for name := range strings.SplitSeq(path, ".") {
		switch v := in.(type) {
		case map[string]any:
			inner, ok := v[name]
			if !ok {
				t.Fatalf("the answer has no %s of %s: %v", name, path, in)
			}
			in = inner
		case []any:
			var i int
			if _, err := fmt.Sscan(name, &i); err != nil || i >= len(v) {
				t.Fatalf("the answer has no %s of %s: %v", name, path, in)
			}
			in = v[i]
		default:
			t.Fatalf("the answer has no %s of %s: %v", name, path, in)
		}
	}
	return in
}

// as makes the next calls with another access token.
func (f *flow) as(word string) { f.token = f.known[word] }

func TestAClientOfTheEarlierServiceFindsItsWay(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{})
	f := &flow{s.login(adminAcme), map[string]string{}}
	f.token = ""
	f.accounts()
	f.organization()
	f.agents()
	f.conversations()
	f.documents()
}

// accounts registers, logs in, refreshes and changes the password.
func (f *flow) accounts() {
	f.t.Helper()
	registered := f.call("POST", "/auth/register", `{"email":"ada@newco.example","username":"ada_newco","password":"FirstPassword1!",
		"full_name":"Ada New","organization_name":"NewCo"}`, http.StatusCreated,
		"ada", "user.id", "org", "user.organization_id", "access", "tokens.access_token")
	f.has(registered, map[string]any{"user.email": "ada@newco.example", "user.is_active": true, "tokens.token_type": "bearer"})
	f.call("POST", "/auth/login", `{"username":"ada_newco","password":"FirstPassword1!"}`, http.StatusOK, "refresh", "tokens.refresh_token")
	f.call("POST", "/auth/login", `{"username":"ada@newco.example","password":"wrong password"}`, http.StatusUnauthorized)
	f.as("access")
	f.has(f.call("GET", "/auth/me", "", http.StatusOK, "admin_role", "role_id"), map[string]any{
		"id": f.known["ada"], "username": "ada_newco", "full_name": "Ada New", "is_superuser": false, "is_verified": false,
	})
	refreshed := f.call("POST", "/auth/refresh", `{"refresh_token":"{refresh}"}`, http.StatusOK, "access", "access_token")
	f.has(refreshed, map[string]any{"tokens.access_token": refreshed["access_token"], "token_type": "bearer"})
	f.as("access")
	f.call("POST", "/auth/change-password", `{"current_password":"FirstPassword1!","new_password":"SecondPassword2!",
		"confirm_password":"SecondPassword2!"}`, http.StatusOK)
	f.call("POST", "/auth/login", `{"username":"ada_newco","password":"FirstPassword1!"}`, http.StatusUnauthorized)
	f.call("POST", "/auth/login", `{"email":"ada@newco.example","password":"SecondPassword2!"}`, http.StatusOK, "access", "tokens.access_token")
	f.call("POST", "/auth/logout", "", http.StatusOK)
	f.as("access")
}

// organization keeps users, the organization, projects and roles.
func (f *flow) organization() {
	f.t.Helper()
	f.call("POST", "/users", `{"email":"bob@newco.example","username":"bob_newco","password":"BobsPassword1!","full_name":"Bob"}`,
		http.StatusCreated, "bob", "id")
	f.has(f.call("GET", "/users?skip=0&limit=10&search=bob", "", http.StatusOK), map[string]any{
		"total": 1, "skip": 0, "limit": 10, "data.0.username": "bob_newco",
	})
	f.has(f.call("PUT", "/users/{bob}", `{"full_name":"Bob Builder","bio":"builds"}`, http.StatusOK), map[string]any{"full_name": "Bob Builder", "bio": "builds"})
	f.has(f.call("DELETE", "/users/{bob}", "", http.StatusOK), map[string]any{"is_active": false})
	f.has(f.call("POST", "/users/{bob}/activate", "", http.StatusOK), map[string]any{"is_active": true})

	f.has(f.call("GET", "/organizations/{org}", "", http.StatusOK), map[string]any{"name": "NewCo", "subscription_plan": "starter", "is_active": true})
	f.has(f.call("PUT", "/organizations/{org}", `{"description":"A new company","settings":{"theme":"dark"}}`, http.StatusOK),
		map[string]any{"description": "A new company", "settings.theme": "dark"})
	f.has(f.call("GET", "/organizations/{org}/members", "", http.StatusOK), map[string]any{"total": 2})

	f.call("POST", "/projects", `{"name":"Launch","description":"The launch","settings":{}}`, http.StatusCreated, "project", "id")
	f.call("POST", "/projects/{project}/members/{bob}", "", http.StatusCreated)
	f.has(f.call("GET", "/projects/{project}/members", "", http.StatusOK), map[string]any{"total": 2})
	f.call("DELETE", "/projects/{project}/members/{bob}", "", http.StatusNoContent)
	f.has(f.call("PUT", "/projects/{project}", `{"name":"Launch 2"}`, http.StatusOK), map[string]any{"name": "Launch 2", "description": "The launch"})
	f.has(f.call("GET", "/projects", "", http.StatusOK), map[string]any{"data.0.id": f.known["project"]})

	f.call("GET", "/roles/permissions?resource=agents", "", http.StatusOK, "permission", "data.0.id", "another", "data.1.id")
	f.call("POST", "/roles", `{"name":"Operator","description":"Runs agents"}`, http.StatusCreated, "role", "id")
	f.call("POST", "/roles/{role}/permissions/{permission}", "", http.StatusOK)
	f.call("POST", "/roles/{role}/permissions/bulk-assign", `{"permission_ids":["{permission}","{another}"]}`, http.StatusOK)
	f.call("POST", "/roles/{role}/permissions/bulk-revoke", `{"permission_ids":["{another}"]}`, http.StatusOK)
	f.call("POST", "/users/{bob}/role", `{"role_id":"{role}"}`, http.StatusOK)
	f.call("DELETE", "/roles/{role}", "", http.StatusConflict)
	f.call("POST", "/users/{bob}/role", `{"role_id":"{admin_role}"}`, http.StatusOK)
	f.call("DELETE", "/roles/{role}", "", http.StatusNoContent)
	f.has(f.call("GET", "/roles", "", http.StatusOK), map[string]any{"total": 4})
}

// agents configures an agent and runs it by the old names.
func (f *flow) agents() {
	f.t.Helper()
	f.has(f.call("POST", "/agent-configs", `{"name":"Helper","agent_type":"custom","project_id":"{project}","llm_model":"gemini-2.5-flash",
		"temperature":0.4,"max_tokens":512,"tools":["search_documents"],"system_prompt":"Help."}`, http.StatusCreated, "agent", "id"),
		map[string]any{"llm_config.model": "gemini-2.5-flash", "temperature": 0.4, "tools.0": "search_documents", "version": 1, "is_active": true})
	f.has(f.call("PUT", "/agent-configs/{agent}", `{"temperature":0.6}`, http.StatusOK), map[string]any{"llm_config.temperature": 0.6, "version": 2})
	f.call("GET", "/agent-configs?agent_type=custom&skip=0&limit=5", "", http.StatusOK)
	f.call("DELETE", "/agent-configs/{agent}", "", http.StatusOK)
	f.call("POST", "/agents/execute", `{"agent_id":"{agent}","project_id":"{project}","user_input":"hello"}`, http.StatusConflict)
	f.call("POST", "/agent-configs/{agent}/activate", "", http.StatusOK)
	f.call("POST", "/agents/execute", `{"agent_id":"{agent}","project_id":"{project}","user_input":"Say hello"}`, http.StatusAccepted, "run", "id")
	if done := f.client.await(f.known["run"], time.Minute); done.Status != "succeeded" {
		f.t.Errorf("the run ended as %+v", done)
	}
	f.has(f.call("GET", "/agent-configs/agent-types", "", http.StatusOK), map[string]any{"data.0.agent_type": "rfp"})
}

// conversations talks with the agent.
func (f *flow) conversations() {
	f.t.Helper()
	f.call("POST", "/conversations", `{"title":"First talk","project_id":"{project}","agent_config_id":"{agent}"}`, http.StatusCreated, "talk", "id")
	f.call("POST", "/conversations/{talk}/messages", `{"content":"Hello there","role":"user"}`, http.StatusAccepted, "run", "id")
	f.client.await(f.known["run"], time.Minute)
	f.has(f.call("GET", "/conversations/{talk}/messages", "", http.StatusOK, "message", "data.0.id"), map[string]any{
		"data.0.role": "user", "data.0.content": "Hello there", "data.1.role": "assistant",
	})
	f.has(f.call("GET", "/conversations/{talk}", "", http.StatusOK), map[string]any{"message_count": 2, "is_archived": false})
	f.call("GET", "/conversations/{talk}/messages/{message}", "", http.StatusOK)
	f.call("DELETE", "/conversations/{talk}/messages/{message}", "", http.StatusNoContent)
	f.has(f.call("PUT", "/conversations/{talk}", `{"title":"Our talk"}`, http.StatusOK), map[string]any{"title": "Our talk"})
	f.call("GET", "/conversations/search?q=talk", "", http.StatusOK)
	f.has(f.call("POST", "/conversations/{talk}/archive", "", http.StatusOK), map[string]any{"is_archived": true})
	f.call("DELETE", "/conversations/{talk}", "", http.StatusOK)
	f.call("GET", "/conversations/{talk}", "", http.StatusNotFound)
}

// documents uploads, finds and deletes a document.
func (f *flow) documents() {
	f.t.Helper()
	uploaded := f.upload(runbook(f.t))
	f.known["document"] = uploaded.DocumentID
	if done := f.client.await(uploaded.ID, time.Minute); done.Status != "succeeded" {
		f.t.Fatalf("the ingest ended as %+v", done)
	}
	f.has(f.call("GET", "/documents/{document}", "", http.StatusOK), map[string]any{"is_indexed": true, "processing_status": "completed"})
	f.has(f.call("PUT", "/documents/{document}", `{"title":"Runbook","document_type":"runbook","is_public":true}`, http.StatusOK), map[string]any{"is_public": true})
	f.call("POST", "/documents/{document}/tags", `{"tags":["ops"]}`, http.StatusOK)
	f.has(f.call("GET", "/documents/by-type/runbook", "", http.StatusOK), map[string]any{"data.0.title": "Runbook", "data.0.tags.0": "ops"})
	f.has(f.call("POST", "/documents/search", `{"query":"escalation","limit":3}`, http.StatusOK), map[string]any{"data.0.document_id": f.known["document"]})
	f.call("GET", "/documents/search/query?query=escalation", "", http.StatusOK)
	f.call("POST", "/documents/{document}/index", "", http.StatusAccepted, "job", "id")
	f.client.await(f.known["job"], time.Minute)
	f.call("DELETE", "/documents/{document}", "", http.StatusAccepted, "job", "id")
	if done := f.client.await(f.known["job"], time.Minute); done.Status != "succeeded" {
		f.t.Errorf("the deletion ended as %+v", done)
	}
	f.call("GET", "/documents/{document}", "", http.StatusNotFound)
	found := f.call("POST", "/documents/search", `{"query":"escalation"}`, http.StatusOK)
	if hits, ok := found["data"].([]any); !ok || len(hits) != 0 {
		f.t.Errorf("a deleted document is found: %v", found)
	}
}
