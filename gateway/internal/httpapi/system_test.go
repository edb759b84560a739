package httpapi_test

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
)

func TestWhatStandsOutsideOfTheAPI(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.call("", "GET", "/", nil).wants(200).has(`"name":"Co-Pilot API"`, `"version"`, `"docs":"/docs"`)
	g.call("", "GET", "/health", nil).wants(200).has(`"status":"healthy"`)
	g.call("", "GET", "/livez", nil).wants(200)
	g.call("", "GET", "/readyz", nil).wants(200).has(`"postgres":"ok"`, `"nats":"ok"`, `"blobs":"ok"`, `"redis":"ok"`)
	g.call("", "GET", "/metrics", nil).wants(404)
	for _, path := range []string{"/", "/health", "/livez", "/readyz", "/docs", "/openapi.json"} {
		if a := g.call("", "HEAD", path, nil).wants(200); a.body != "" {
			t.Errorf("HEAD %s answers with the body %.40q", path, a.body)
		}
	}
	page := g.call("", "GET", "/docs", nil).wants(200).has("/docs/start.js").lacks("http://", "https://")
	if policy := page.header.Get("Content-Security-Policy"); !strings.Contains(policy, "script-src 'self';") {
		t.Errorf("the explorer's policy is %q", policy)
	}
	for _, asset := range []string{"start.js", "swagger-ui-bundle.js", "swagger-ui.css", "favicon-32x32.png", "LICENSE"} {
		a := g.call("", "GET", "/docs/"+asset, nil).wants(200)
		g.call("", "GET", "/docs/"+asset, nil, "If-None-Match", a.header.Get("ETag")).wants(304)
	}
	if a := g.call("", "GET", "/openapi.yaml", nil).wants(200); !strings.HasPrefix(a.body, "components:") && !strings.Contains(a.body, "openapi:") {
		t.Errorf("the YAML begins with %.40s", a.body)
	}
	if metrics := g.metrics(); !strings.Contains(metrics, `copilot_http_request_seconds_count{method="GET",route="/health",status="200"} 1`) {
		t.Error("the metrics do not count GET /health by its route")
	}
}

func TestEveryAnswerCarriesTheRequestIDAndSafeHeaders(t *testing.T) {
	t.Parallel()
	g := start(t, "CORS_ORIGINS", "https://app.example.com")
	own := g.call("", "GET", "/health?token=sesame", nil, "X-Request-ID", "trace-7")
	if own.header.Get("X-Request-ID") != "trace-7" || own.header.Get("X-Content-Type-Options") != "nosniff" {
		t.Errorf("headers %v", own.header)
	}
	if made := g.call("", "GET", "/health", nil, "X-Request-ID", "no good; id"); strings.Contains(made.header.Get("X-Request-ID"), " ") {
		t.Errorf("the id %q was taken", made.header.Get("X-Request-ID"))
	}
	logged := g.log.String()
	if !strings.Contains(logged, `"request_id":"trace-7"`) || strings.Contains(logged, "sesame") {
		t.Error("the access log lacks the request, or holds its query")
	}
	preflight := g.call("", "OPTIONS", "/v1/jobs", nil, "Origin", "https://app.example.com", "Access-Control-Request-Method", "POST").wants(204)
	if preflight.header.Get("Access-Control-Allow-Origin") != "https://app.example.com" {
		t.Errorf("preflight answered %v", preflight.header)
	}
	if other := g.call("", "GET", "/health", nil, "Origin", "https://evil.example"); other.header.Get("Access-Control-Allow-Origin") != "" {
		t.Error("another origin is allowed")
	}
}

// openAPI is what the tests read of the document.
type openAPI struct {
	OpenAPI string
	Paths   map[string]map[string]struct {
		OperationID string `json:"operationId"`
		Summary     string
		Tags        []string
		Security    []map[string][]string
		Permission  string `json:"x-permission"`
		Responses   map[string]struct {
			Content map[string]struct {
				Schema struct {
					Ref string `json:"$ref"`
				}
			}
		}
	}
	Components struct {
		Schemas         map[string]json.RawMessage
		SecuritySchemes map[string]json.RawMessage `json:"securitySchemes"`
	}
}

func TestEverySecuredOperationRefusesStrangersAndNamesAPermission(t *testing.T) {
	t.Parallel()
	g := start(t)
	var doc openAPI
	g.call("", "GET", "/openapi.json", nil).wants(200).lacks("patternDescription").into(&doc)
	if doc.OpenAPI != "3.1.0" || doc.Components.SecuritySchemes["bearer"] == nil || doc.Components.Schemas["ErrorModel"] != nil {
		t.Errorf("version %s, schemes %v", doc.OpenAPI, doc.Components.SecuritySchemes)
	}
	open := map[string]bool{"register": true, "login": true, "refresh": true}
	personal := map[string]bool{
		"change-password": true, "get-me": true, "logout": true, "list-sessions": true, "delete-session": true, "delete-sessions": true,
		"create-api-key": true, "submit-jobs": true, // each job of a batch needs what it would need alone
	}
	known := map[string]bool{string(rbac.Platform): true}
	for _, p := range access.Permissions() {
		known[string(p)] = true
	}
	seen := 0
	for path, item := range doc.Paths {
		for method, op := range item {
			seen++
			if op.OperationID == "" || op.Summary == "" || len(op.Tags) != 1 {
				t.Errorf("%s %s is not documented", method, path)
			}
			if ref := op.Responses["422"].Content["application/problem+json"].Schema.Ref; ref != "#/components/schemas/Problem" {
				t.Errorf("%s documents its errors as %q", op.OperationID, ref)
			}
			if open[op.OperationID] {
				if op.Security == nil || len(op.Security) > 0 {
					t.Errorf("%s does not say that anybody may call it: %v", op.OperationID, op.Security)
				}
				continue
			}
			if len(op.Security) == 0 || known[op.Permission] == personal[op.OperationID] {
				t.Errorf("%s is secured by %v with permission %q", op.OperationID, op.Security, op.Permission)
			}
			target := strings.NewReplacer("{id}", nothing, "{message_id}", nothing).Replace(path)
			a := g.call("", strings.ToUpper(method), target, nil).wants(401)
			if a.problem().Code != "token.missing" || a.header.Get("WWW-Authenticate") == "" {
				t.Errorf("%s answers strangers with %s", op.OperationID, a.body)
			}
		}
	}
	if seen < 25 {
		t.Errorf("%d operations are documented, want all", seen)
	}
}

func TestAPIServesWithoutRedis(t *testing.T) {
	t.Parallel()
	g := start(t, "REDIS_URL", "redis://127.0.0.1:1/0", "LOGINS_PER_ACCOUNT", "1")
	for range 4 {
		g.login(member, password)
	}
	g.call("", "GET", "/readyz", nil).wants(200).has(`"redis":"unavailable"`, `"status":"ready"`)
}
