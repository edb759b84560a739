package httpapi_test

import (
	"bytes"
	"strings"
	"testing"

	"github.com/tarento/copilot/gateway/internal/app"
)

type auditPage struct {
	Data []struct {
		ID, Action, Hash string
		Seq              int
		ActorID          string `json:"actor_id"`
		ResourceID       string `json:"resource_id"`
		RequestID        string `json:"request_id"`
		IPAddress        string `json:"ip_address"`
		Before, After    map[string]any
	}
	HasMore    bool   `json:"has_more"`
	NextCursor string `json:"next_cursor"`
}

func TestChangesStandInTheAuditLog(t *testing.T) {
	t.Parallel()
	g := start(t)
	manager := g.person("pam", "Project Manager")
	g.call(admin, "PATCH", "/v1/agent-configs/"+acmeAgent, `{"name":"Renamed","parameters":{"password":"hush"}}`, "X-Request-ID", "find-me").wants(200)
	g.call(admin, "POST", "/v1/agent-configs", `{"name":"Second"}`).wants(201)

	var log auditPage
	g.call(manager, "GET", "/v1/audit-logs?resource_type=agent_config&limit=1", nil).wants(200).into(&log)
	if len(log.Data) != 1 || log.Data[0].Action != "agent_config.create" || !log.HasMore {
		t.Fatalf("got %+v", log)
	}
	g.call(manager, "GET", "/v1/audit-logs?resource_type=agent_config&limit=1&cursor="+log.NextCursor, nil).wants(200).lacks("hush").into(&log)
	e := log.Data[0]
	if e.Action != "agent_config.update" || e.ActorID != adminID || e.ResourceID != acmeAgent || e.RequestID != "find-me" ||
		e.IPAddress != "127.0.0.1" || e.Before["name"] != "Document Analyzer" || e.After["name"] != "Renamed" || len(e.Hash) != 44 {
		t.Errorf("got %+v", e)
	}
	one := g.call(admin, "GET", "/v1/audit-logs/"+e.ID, nil).wants(200).has(`"action":"agent_config.update"`)
	g.call(admin, "GET", "/v1/audit-logs/"+e.ID, nil, "If-None-Match", one.header.Get("ETag")).wants(304)

	g.call(stranger, "GET", "/v1/audit-logs/"+e.ID, nil).wants(404)
	g.call(stranger, "GET", "/v1/audit-logs", nil).wants(200).lacks("agent_config")
	g.call(member, "GET", "/v1/audit-logs", nil).wants(403)
	for query, found := range map[string]bool{
		"actor_id=" + adminID: true, "actor_id=" + nothing: false, "action=agent_config.update": true, "action=agent_config.delete": false,
		"resource_id=" + acmeAgent: true, "since=2020-01-01T00:00:00Z": true, "until=2020-01-01T00:00:00Z": false,
	} {
		g.call(admin, "GET", "/v1/audit-logs?"+query, nil).wants(200).into(&log)
		if (len(log.Data) > 0) != found {
			t.Errorf("%s: %d entries", query, len(log.Data))
		}
	}
	for sort, want := range map[string]string{
		"created_at": "agent_config.update agent_config.create", "-created_at": "agent_config.create agent_config.update",
	} {
		var read []string
		log = auditPage{}
		for cursor := ""; cursor == "" || log.HasMore; cursor = "&cursor=" + log.NextCursor {
			g.call(admin, "GET", "/v1/audit-logs?resource_type=agent_config&limit=1&sort="+sort+cursor, nil).wants(200).into(&log)
			read = append(read, log.Data[0].Action)
		}
		if got := strings.Join(read, " "); got != want {
			t.Errorf("sorted by %s: %s, want %s", sort, got, want)
		}
	}
	g.call(admin, "GET", "/v1/audit-logs?sort=action", nil).wants(422)
}

func TestTheCommandThatVerifiesTheAuditLogTellsWhereItBreaks(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.call(admin, "PATCH", "/v1/agent-configs/"+acmeAgent, `{"name":"Renamed"}`).wants(200)
	verify := func() (string, error) {
		var out bytes.Buffer
		err := app.Run(t.Context(), []string{"verify-audit"}, map[string]string{"DATABASE_URL": g.db.AppURL}, app.Streams{Out: &out, Err: &out})
		return out.String(), err
	}
	if out, err := verify(); err != nil || !strings.Contains(out, acmeOrg+"  ") || strings.Contains(out, "BROKEN") {
		t.Errorf("%s: %v", out, err)
	}
	g.sql("ALTER TABLE audit_logs DISABLE TRIGGER append_only")
	g.sql("UPDATE audit_logs SET ip = '192.0.2.66' WHERE action = 'agent_config.update'")
	if out, err := verify(); err == nil || !strings.Contains(out, "BROKEN at entry ") {
		t.Errorf("%s: %v", out, err)
	}
}
