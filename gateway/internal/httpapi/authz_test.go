package httpapi_test

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/access"
)

// mayCall says who may call each operation, by the first letters of the roles: Admin, Project manager, Member, Viewer; a plus means
// that the others reach what is their own. Everybody may is a dot, and a star is for the superuser alone. It is written by
// hand from what the roles are for, and not taken from the code that decides: an operation that is missing here fails the test.
func mayCall() map[string]string {
	return map[string]string{
		"register": ".", "login": ".", "refresh": ".",
		"change-password": "APMV", "get-me": "APMV", "logout": "APMV",
		"list-sessions": "APMV", "delete-session": "APMV", "delete-sessions": "APMV",
		"create-api-key": "APMV", "list-api-keys": "A+", "get-api-key": "A+", "delete-api-key": "A+",
		"list-users": "AP+", "get-user": "AP+", "create-user": "A", "update-user": "A+", "put-user": "A+", "delete-user": "A",
		"activate-user": "A", "assign-user-role": "A",
		"list-organizations": "AP", "get-organization": "AP", "create-organization": "*", "update-organization": "A",
		"put-organization": "A", "delete-organization": "*", "list-organization-members": "AP", "add-organization-member": "A",
		"create-project": "AP", "list-projects": "APMV", "get-project": "APMV", "update-project": "AP", "put-project": "AP",
		"delete-project": "AP", "list-project-members": "APMV", "add-project-member": "AP", "remove-project-member": "AP",
		"create-role": "A", "list-roles": "A", "get-role": "A", "update-role": "A", "put-role": "A", "delete-role": "A",
		"assign-permission": "A", "revoke-permission": "A", "assign-permissions": "A", "revoke-permissions": "A",
		"list-permissions": "A", "get-permission": "A",
		"create-agent-config": "A", "list-agent-configs": "APMV", "get-agent-config": "APMV",
		"update-agent-config": "A", "put-agent-config": "A", "delete-agent-config": "A", "activate-agent-config": "A",
		"run-agent":             "APM",
		"create-agent-schedule": "APM", "list-agent-schedules": "APM", "get-agent-schedule": "APM", "update-agent-schedule": "APM",
		"put-agent-schedule": "APM", "delete-agent-schedule": "APM",
		"list-agent-types": "APMV", "list-agent-config-types": "APMV", "get-agent-type": "APMV", "get-agents-health": "APMV",
		"create-agent": "A", "execute-agent": "APM", "execute-agentic-loop": "APM", "batch-execute-agent": "APM", "stream-agent": "APM",
		"create-conversation": "APM", "list-conversations": "APMV", "get-conversation": "APMV",
		"update-conversation": "APM", "put-conversation": "APM", "archive-conversation": "APM", "delete-conversation": "APM",
		"search-conversations": "APMV", "export-conversation": "APMV",
		"list-messages": "APMV", "get-message": "APMV", "create-message": "APM", "delete-message": "APM",
		"list-documents": "APMV", "list-documents-by-type": "APMV", "get-document": "APMV", "list-document-chunks": "APMV",
		"download-document": "APMV", "upload-document": "AP", "create-document": "AP", "update-document": "AP", "put-document": "AP",
		"delete-document": "AP", "index-document": "AP", "add-document-tags": "AP", "remove-document-tags": "AP",
		"search-documents": "APMV", "search-documents-query": "APMV",
		"search-documents-semantic": "APMV", "search-documents-hybrid": "APMV",
		"create-embeddings": "APM",
		"list-jobs":         "APMV", "get-job": "APMV", "cancel-job": "APM", "list-job-steps": "APMV", "follow-job": "APMV",
		"follow-events": "APMV", "open-socket": "APMV",
		"list-job-attempts": "APMV", "retry-job": "A", "redrive-jobs": "A", "discard-job": "A", "submit-jobs": "APMV",
		"get-job-stats":  "A",
		"get-job-limits": "A", "update-job-limits": "*", "put-job-limits": "*",
		"create-webhook": "A", "list-webhooks": "A", "get-webhook": "A", "update-webhook": "A", "put-webhook": "A", "delete-webhook": "A",
		"rotate-webhook-secret": "A", "test-webhook": "A", "list-webhook-deliveries": "A", "get-webhook-delivery": "A",
		"redeliver-webhook-delivery": "A",
		"list-workers":               "*", "update-worker": "*",
		"list-audit-logs": "AP", "get-audit-log": "AP",
	}
}

// bodyOf is a body that lets a request reach its handler, for operations on one resource that need one.
func bodyOf() map[string]string {
	return map[string]string{
		"update-user": `{}`, "put-user": `{}`, "assign-user-role": `{"role_id":"` + nothing + `"}`,
		"update-organization": `{}`, "put-organization": `{}`, "update-project": `{}`, "put-project": `{}`,
		"update-role": `{}`, "put-role": `{}`, "assign-permissions": `{"permission_ids":["` + nothing + `"]}`,
		"revoke-permissions":  `{"permission_ids":["` + nothing + `"]}`,
		"update-agent-config": `{}`, "put-agent-config": `{}`, "update-document": `{}`, "put-document": `{}`,
		"update-job-limits": `{}`, "put-job-limits": `{}`,
		"update-worker":         `{"slots":2}`,
		"add-document-tags":     `{"tags":["x"]}`,
		"run-agent":             `{"user_input":"hello"}`,
		"create-agent-schedule": `{"name":"x","cron":"@daily","user_input":"hello"}`, "update-agent-schedule": `{}`, "put-agent-schedule": `{}`,
		"create-message":      `{"content":"hello","run":false}`,
		"update-conversation": `{}`, "put-conversation": `{}`,
		"update-webhook": `{}`, "put-webhook": `{}`, "rotate-webhook-secret": `{}`,
	}
}

// queryOf is what operations demand in the query.
func queryOf() map[string]string {
	return map[string]string{
		"remove-document-tags": "?tag=x", "search-conversations": "?q=x",
		"follow-events": "?last_event_id=none", // a stream would not end by itself
	}
}

// described is an operation as the OpenAPI document tells it.
type described struct {
	ID, method, path string
	permission       string
	public, person   bool
	needsBody        bool
}

// operations reads all operations below /api/v1 from the document that the gateway serves.
func (g *gateway) operations() (all []described) {
	g.t.Helper()
	var doc struct {
		Paths map[string]map[string]struct {
			OperationID string `json:"operationId"`
			Security    []map[string][]string
			Permission  string `json:"x-permission"`
			Person      bool   `json:"x-person"`
			RequestBody *struct{ Required bool }
		}
	}
	g.call("", "GET", "/openapi.json", nil).wants(200).into(&doc)
	for path, item := range doc.Paths {
		for method, op := range item {
			if !strings.HasPrefix(path, "/api/v1/") {
				continue
			}
			all = append(all, described{
				ID: op.OperationID, method: strings.ToUpper(method), path: path, permission: op.Permission, person: op.Person,
				public: len(op.Security) == 0, needsBody: op.RequestBody != nil && op.RequestBody.Required,
			})
		}
	}
	slices.SortFunc(all, func(a, b described) int { return strings.Compare(a.ID, b.ID) })
	if len(all) < len(mayCall()) {
		g.t.Fatalf("the document tells of %d operations, the table of %d", len(all), len(mayCall()))
	}
	return all
}

// belongings are ids of Acme's, by the path they are called with.
type belongings map[string]string

// fill puts ids into a path; the unknown one where there is none of ours.
func (b belongings) fill(path string, known bool) string {
	template := strings.Split(path, "/")
	parts := slices.Clone(template)
	for i, part := range template {
		if !strings.HasPrefix(part, "{") {
			continue
		}
		id, found := b[strings.Join(template[3:i+1], "/")]
		if !found || !known {
			id = nothing
		}
		parts[i] = id
	}
	return strings.Join(parts, "/")
}

// populate makes one of everything for Acme.
func (g *gateway) populate() belongings {
	g.t.Helper()
	made := func(as, path, body string) string {
		var one struct{ ID string }
		g.call(as, "POST", path, body).wants(201).into(&one)
		return one.ID
	}
	b := belongings{
		"agent-configs/{id}": acmeAgent, "agents/{id}": acmeAgent, "users/{id}": adminID, "organizations/{id}": acmeOrg,
		"organizations/{id}/members/{user_id}": adminID, "projects/{id}": acmeProject, "projects/{id}/members/{user_id}": adminID,
		"roles/permissions/{id}": "01900000-0000-7000-8000-00000000feed", "roles/{id}/permissions/{permission_id}": "01900000-0000-7000-8000-00000000feed",
	}
	g.sql("INSERT INTO permissions (id, organization_id, name, resource, action) VALUES ($1, $2, 'moon:fly', 'moon', 'fly')",
		b["roles/permissions/{id}"], acmeOrg)
	b["roles/{id}"] = made(admin, "/v1/roles", `{"name":"Ours"}`)
	b["conversations/{id}"] = made(admin, "/v1/conversations", `{"title":"Ours","agent_config_id":"`+acmeAgent+`"}`)
	b["conversations/{id}/messages/{message_id}"] = made(admin, "/v1/conversations/"+b["conversations/{id}"]+"/messages", `{"content":"hello","run":false}`)
	document := g.upload(admin, "secret.md", "text/markdown", "# Ours", map[string]string{"is_public": "true"}).wants(202).job()
	b["workers/{name}"] = "some-worker"
	b["documents/by-type/{type}"], b["agent-types/{type}"] = "policy", "hr"
	b["documents/{id}"], b["jobs/{id}"] = document.DocumentID, document.ID
	g.call(admin, "PATCH", "/v1/agent-configs/"+acmeAgent, `{"description":"ours"}`).wants(200)
	var log auditPage
	g.call(admin, "GET", "/v1/audit-logs?limit=1", nil).wants(200).into(&log)
	b["audit-logs/{id}"] = log.Data[0].ID
	b["webhooks/{id}"] = made(admin, "/v1/webhooks", `{"url":"http://hooks.invalid/","event_types":["job.dead"]}`)
	var sent struct{ ID string }
	g.call(admin, "POST", "/v1/webhooks/"+b["webhooks/{id}"]+"/test", nil).wants(202).into(&sent)
	b["webhooks/{id}/deliveries/{delivery_id}"] = sent.ID
	b["agent-configs/{id}/schedules/{schedule_id}"] = made(admin, schedules, `{"name":"Ours","cron":"@yearly","user_input":"x"}`)
	b["auth/api-keys/{id}"], _ = g.key(admin, access.JobsRead)
	var sessions struct{ Data []struct{ ID string } }
	g.call(admin, "GET", "/v1/auth/sessions", nil).wants(200).into(&sessions)
	b["auth/sessions/{id}"] = sessions.Data[0].ID
	return b
}

// callers are all who call, by name, with their Authorization header.
func (g *gateway) callers() map[string]string {
	g.t.Helper()
	bearer := func(as string) string { return "Bearer " + g.token(as) }
	root := g.person("root", access.Admin)
	g.sql("UPDATE users SET is_superuser = true WHERE email = $1", root)
	gone := bearer(g.person("gone", access.Admin))
	g.sql("UPDATE users SET is_active = false WHERE username = 'gone'")
	_, full := g.key(admin, access.Roles()[0].Grants...)
	_, narrow := g.key(admin, access.AuditRead)
	id, deleted := g.key(admin, access.Roles()[0].Grants...)
	g.call(admin, "DELETE", "/v1/auth/api-keys/"+id, nil).wants(204)
	return map[string]string{
		fullKey: "Bearer " + full, narrowKey: "Bearer " + narrow, deletedKey: "Bearer " + deleted,
		"nobody": "", "malformed": "Bearer not.a.token", "basic": "Basic YWRtaW46YWRtaW4=", "expired": "Bearer " + g.expired(),
		"deactivated": gone, "stranger": bearer(stranger), "Superuser": bearer(root),
		access.Admin: bearer(admin), access.Member: bearer(member),
		access.ProjectManager: bearer(g.person("pam", access.ProjectManager)), access.Viewer: bearer(g.person("viola", access.Viewer)),
	}
}

// The callers with an Admin's API key: with all permissions as scopes, with audit:read alone, and deleted.
const (
	fullKey    = "full key"
	narrowKey  = "narrow key"
	deletedKey = "deleted key"
)

// key makes an API key and returns its id and its text.
func (g *gateway) key(as string, scopes ...access.Permission) (id, text string) {
	g.t.Helper()
	var made struct{ ID, Key string }
	g.call(as, "POST", "/v1/auth/api-keys", map[string]any{"name": "a test's", "scopes": scopes}).wants(201).into(&made)
	return made.ID, made.Key
}

// expired is Ada's token of an hour ago.
func (g *gateway) expired() string {
	g.t.Helper()
	known, _, err := jwt.NewParser().ParseUnverified(g.token(admin), jwt.MapClaims{})
	if err != nil {
		g.t.Fatal(err)
	}
	claims, ok := known.Claims.(jwt.MapClaims)
	if !ok {
		g.t.Fatalf("claims are %T", known.Claims)
	}
	past := time.Now().Add(-time.Hour)
	claims["exp"], claims["iat"], claims["nbf"], claims["jti"] = past.Unix(), past.Add(-time.Hour).Unix(), past.Add(-time.Hour).Unix(), uuid.NewString()
	old := jwt.NewWithClaims(jwt.SigningMethodHS256, claims)
	old.Header["kid"], old.Header["typ"] = known.Header["kid"], known.Header["typ"]
	text, err := old.SignedString([]byte(jwtSecret))
	if err != nil {
		g.t.Fatal(err)
	}
	return text
}

// TestAuthorizationMatrix calls every operation as everybody. It is what `make authz` runs.
func TestAuthorizationMatrix(t *testing.T) {
	t.Parallel()
	g := start(t)
	ours := g.populate()
	callers := g.callers()
	table, cases := mayCall(), 0
	operations := g.operations()
	// Logging out is for last.
	slices.SortStableFunc(operations, func(a, b described) int {
		return cmp.Compare(strings.Count(a.ID, "logout"), strings.Count(b.ID, "logout"))
	})
	for _, op := range operations {
		who, known := table[op.ID]
		if !known {
			t.Errorf("%s %s: the operation %q is missing in the table of who may call it", op.method, op.path, op.ID)
			continue
		}
		delete(table, op.ID)
		if op.public != (who == ".") {
			t.Errorf("%s: public is %t, and %t in the table", op.ID, op.public, who == ".")
		}
		for name, authorization := range callers {
			cases++
			got := g.try(t, op, op.path, ours, authorization, op.method == http.MethodGet && name != "stranger")
			if wrong := judge(op, name, who, got); wrong != "" {
				t.Errorf("%s %s (%s) as %s: %s: %d %s", op.method, op.path, op.ID, name, wrong, got.status, clipped(got.body))
			}
		}
		cases++
		g.strangerReachesNothing(t, op, ours, callers["stranger"], who)
	}
	for id := range table {
		t.Errorf("the table knows an operation that is not there: %s", id)
	}
	t.Logf("%d operations x %d callers: %d cases", len(operations), len(callers), cases)
}

// try sends a request that changes nothing even when it is let through: what changes is called on what does not exist, or with a body
// that is refused.
func (g *gateway) try(t *testing.T, op described, path string, ours belongings, authorization string, known bool) answer {
	t.Helper()
	var body any
	if op.method != http.MethodGet && op.method != http.MethodDelete {
		body = `{}`
		if enough := bodyOf()[op.ID]; enough != "" {
			body = enough
		}
	}
	headers := []string{"Accept", "application/json"}
	if authorization != "" {
		headers = append(headers, "Authorization", authorization)
	}
	// A stream would not end by itself.
	return g.callFrom(t, "", op.method, ours.fill(path, known && op.ID != "follow-job")+queryOf()[op.ID], body, headers...)
}

// judge says what is wrong with an answer; nothing when it is right.
func judge(op described, caller, who string, got answer) string {
	refusedFor := func(status int) string {
		if got.status != status {
			return fmt.Sprintf("want %d", status)
		}
		var p problem
		if json.Unmarshal([]byte(got.body), &p) != nil || p.Code == "" {
			return "want a problem document"
		}
		return ""
	}
	allowed := ""
	if got.status == http.StatusUnauthorized && op.ID != "login" && op.ID != "refresh" || got.status == http.StatusForbidden {
		allowed = "should be let through"
	}
	if got.status >= http.StatusInternalServerError {
		return "want no failure"
	}
	switch {
	case who == ".":
		return allowed
	case slices.Contains([]string{"nobody", "malformed", "basic", "expired", "deactivated", deletedKey}, caller):
		return refusedFor(http.StatusUnauthorized)
	case caller == fullKey || caller == narrowKey:
		scoped := caller == fullKey && who != "*" || op.permission == "" || op.permission == string(access.AuditRead)
		if scoped && !op.person {
			return allowed
		}
		return refusedFor(http.StatusForbidden)
	case caller == "Superuser", caller == "stranger" && who != "*":
		return allowed
	case strings.Contains(who, caller[:1]), strings.HasSuffix(who, "+"):
		return allowed
	default:
		return refusedFor(http.StatusForbidden)
	}
}

// strangerReachesNothing calls an operation on what is Acme's as the Admin of another organization.
func (g *gateway) strangerReachesNothing(t *testing.T, op described, ours belongings, stranger, who string) {
	t.Helper()
	if op.public {
		return
	}
	if op.needsBody && strings.Contains(op.path, "{") && bodyOf()[op.ID] == "" {
		t.Errorf("%s needs a body in bodyOf to reach its handler", op.ID)
		return
	}
	path := ours.fill(op.path, true)
	if strings.Contains(path, nothing) {
		t.Errorf("%s: populate makes nothing for %s", op.ID, op.path)
	}
	got := g.try(t, op, path, ours, stranger, true)
	for what, id := range ours {
		if !strings.HasSuffix(what, "{type}") && strings.Contains(got.body, id) && !strings.Contains(path, id) {
			t.Errorf("%s as a stranger tells of Acme's %s: %s", op.ID, what, clipped(got.body))
		}
	}
	switch {
	case strings.Contains(got.body, acmeOrg) && !strings.Contains(path, acmeOrg):
		t.Errorf("%s as a stranger tells of Acme: %s", op.ID, clipped(got.body))
	case !strings.Contains(op.path, "{") || strings.Contains(op.path, "{type}"): // a type is nobody's
	case who == "*" && got.status == http.StatusForbidden:
	case got.status != http.StatusNotFound:
		t.Errorf("%s as a stranger on what is Acme's: %d, want 404: %s", op.ID, got.status, clipped(got.body))
	}
}
