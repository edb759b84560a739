package httpapi_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/access"
)

type apiKeyBody struct {
	ID, Name, Prefix, Key string
	UserID                string `json:"user_id"`
	Scopes                []string
	ExpiresAt             *time.Time `json:"expires_at"`
	LastUsedAt            *time.Time `json:"last_used_at"`
	LastUsedIP            string     `json:"last_used_ip"`
}

func TestAProgramWorksWithAKeyWithinItsScopes(t *testing.T) {
	t.Parallel()
	g := start(t)
	made := g.call(member, "POST", "/v1/auth/api-keys", map[string]any{
		"name": "Nightly", "scopes": []string{"jobs:read", "agents:read", "jobs:read"},
	}).wants(201)
	var key apiKeyBody
	made.into(&key)
	if made.header.Get("Cache-Control") != "no-store" || made.header.Get("Location") != "/api/v1/auth/api-keys/"+key.ID ||
		!strings.HasPrefix(key.Key, key.Prefix) || len(key.Scopes) != 2 || key.ExpiresAt != nil || key.LastUsedAt != nil {
		t.Fatalf("made %+v with %v", key, made.header)
	}
	with := func(method, path string, body any) answer {
		return g.call("", method, path, body, "X-API-Key", key.Key)
	}

	g.call("", "GET", "/v1/jobs", nil, "Authorization", "Bearer "+key.Key).wants(200)
	with("GET", "/v1/jobs", nil).wants(200)
	with("GET", "/v1/agent-configs", nil).wants(200)
	with("GET", "/v1/auth/me", nil).wants(200).has(member)
	with("GET", "/v1/conversations", nil).wants(403).has("permission.missing", "not meant for")
	with("GET", "/v1/audit-logs", nil).wants(403)
	for path, method := range map[string]string{
		"/v1/auth/api-keys": "POST", "/v1/auth/sessions": "GET", "/v1/auth/logout": "POST", "/v1/auth/change-password": "POST",
	} {
		if p := with(method, path, `{}`).wants(403).problem(); p.Code != "session.required" {
			t.Errorf("%s %s with a key: %+v", method, path, p)
		}
	}
	with("DELETE", "/v1/auth/api-keys/"+key.ID, nil).wants(403).has("session.required")
	with("GET", "/v1/auth/api-keys", nil).wants(403).has("not meant for")

	// Never more than its user may at the moment.
	g.sql(`DELETE FROM role_permissions rp USING permissions p, roles r WHERE p.id = rp.permission_id AND r.id = rp.role_id
		AND p.name = 'jobs:read' AND r.name = 'Member'`)
	with("GET", "/v1/jobs", nil).wants(403)
	with("GET", "/v1/agent-configs", nil).wants(200)

	g.eventually("the use is kept", func() bool {
		var one apiKeyBody
		g.call(member, "GET", "/v1/auth/api-keys/"+key.ID, nil).wants(200).into(&one)
		return one.LastUsedAt != nil && one.LastUsedIP == "127.0.0.1"
	})
	g.call(member, "DELETE", "/v1/auth/api-keys/"+key.ID, nil).wants(204)
	with("GET", "/v1/agent-configs", nil).wants(401).has("token.refused")
	g.call(member, "DELETE", "/v1/auth/api-keys/"+key.ID, nil).wants(404).has("api_key.not_found")
	g.call(admin, "GET", "/v1/audit-logs?resource_type=api_key", nil).wants(200).has("api_key.create", "api_key.delete").
		lacks(key.Key, key.Key[20:40])
}

func TestKeysThatAreNotGoodAreRefused(t *testing.T) {
	t.Parallel()
	g := start(t)
	create := func(body map[string]any) answer { return g.call(member, "POST", "/v1/auth/api-keys", body) }
	soon := time.Now().Add(time.Hour)
	create(map[string]any{"name": "x", "scopes": []string{"jobs:read", "roles:manage", "made:up"}}).wants(422).
		has("scope.not_held", "made:up", "roles:manage").lacks("jobs:read")
	create(map[string]any{"name": "x", "scopes": []string{}}).wants(422)
	create(map[string]any{"name": "", "scopes": []string{"jobs:read"}}).wants(422)
	create(map[string]any{"name": "x", "scopes": []string{"jobs:read"}, "expires_at": time.Now().Add(-time.Minute)}).wants(422).has("api_key.expired")
	var key apiKeyBody
	create(map[string]any{"name": "x", "scopes": []string{"jobs:read"}, "expires_at": soon}).wants(201).into(&key)

	with := func(text string) answer { return g.call("", "GET", "/v1/jobs", nil, "X-API-Key", text) }
	with(key.Key).wants(200)
	g.sql("UPDATE api_keys SET expires_at = now() WHERE id = $1", key.ID)
	with(key.Key).wants(401).has("api_key.expired")
	with(key.Key[:20]).wants(401).has("token.invalid")
	with("hello").wants(401).has("token.invalid")
	_, foreign := g.key(stranger, access.JobsRead)
	g.call("", "GET", "/v1/agent-configs/"+acmeAgent, nil, "X-API-Key", foreign).wants(403)
	g.sql("UPDATE api_keys SET expires_at = NULL WHERE id = $1", key.ID)
	g.sql("UPDATE users SET is_active = false WHERE email = $1", member)
	with(key.Key).wants(401).has("account.inactive")
}

func TestKeysAreTheirUsersAndTheAdminsToSee(t *testing.T) {
	t.Parallel()
	g := start(t)
	first, _ := g.key(member, access.JobsRead)
	second, _ := g.key(member, access.AgentsRead)
	other, _ := g.key(admin, access.JobsRead)
	memberID := g.login(member, password).User.ID

	var listed struct {
		Data       []apiKeyBody
		Total      int
		NextCursor string `json:"next_cursor"`
	}
	g.call(member, "GET", "/v1/auth/api-keys", nil).wants(200).lacks(`"key"`, "hash").into(&listed)
	if len(listed.Data) != 2 || listed.Data[0].ID != second || listed.Total != 2 {
		t.Errorf("a Member's keys: %+v", listed)
	}
	g.call(member, "GET", "/v1/auth/api-keys?limit=1&sort=created_at", nil).wants(200).into(&listed)
	g.call(member, "GET", "/v1/auth/api-keys?limit=1&sort=created_at&cursor="+listed.NextCursor, nil).wants(200).has(second).lacks(first)
	g.call(admin, "GET", "/v1/auth/api-keys", nil).wants(200).has(other).lacks(first)
	g.call(admin, "GET", "/v1/auth/api-keys?user_id="+memberID, nil).wants(200).has(first, second).lacks(other)
	g.call(member, "GET", "/v1/auth/api-keys?user_id="+adminID, nil).wants(403)
	g.call(member, "GET", "/v1/auth/api-keys/"+other, nil).wants(404)
	g.call(member, "DELETE", "/v1/auth/api-keys/"+other, nil).wants(404)
	g.call(stranger, "GET", "/v1/auth/api-keys/"+first, nil).wants(404)
	g.call(stranger, "GET", "/v1/auth/api-keys?user_id="+memberID, nil).wants(200).lacks(first)

	tag := g.call(admin, "GET", "/v1/auth/api-keys/"+first, nil).wants(200).header.Get("ETag")
	g.call(admin, "GET", "/v1/auth/api-keys/"+first, nil, "If-None-Match", tag).wants(304)
	g.call(admin, "DELETE", "/v1/auth/api-keys/"+first, nil, "If-Match", `"elsewhere"`).wants(412)
	g.call(admin, "DELETE", "/v1/auth/api-keys/"+first, nil, "If-Match", tag).wants(204)
}

func TestAKeyOfTheSuperuserDoesNotRunThePlatform(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.sql("UPDATE users SET is_superuser = true WHERE email = $1", member)
	_, key := g.key(member, access.AuditRead)
	g.call("", "GET", "/v1/audit-logs", nil, "X-API-Key", key).wants(200)
	g.call("", "GET", "/v1/jobs", nil, "X-API-Key", key).wants(403)
}
