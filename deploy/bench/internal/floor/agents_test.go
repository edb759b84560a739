package floor_test

import (
	"encoding/json"
	"net/http"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tarento/copilot/deploy/bench/internal/floor"
)

// agentConfigs is the system's table as far as the floor reads it, with 21 agents of one organization and one of another.
const agentConfigs = `
CREATE TABLE agent_configs (
    id uuid PRIMARY KEY, organization_id uuid NOT NULL, project_id uuid, name text NOT NULL, description text NOT NULL DEFAULT '',
    agent_type text NOT NULL DEFAULT 'custom', llm_config jsonb NOT NULL DEFAULT '{"model": "m", "temperature": 0.5, "top_k": 3}',
    tools_config jsonb NOT NULL DEFAULT '[{"name": "a", "enabled": true}, {"name": "b", "enabled": false}, {"name": "c"}]',
    system_prompt text NOT NULL DEFAULT '', knowledge_bases jsonb NOT NULL DEFAULT '[]', parameters jsonb NOT NULL DEFAULT '{}',
    agent_metadata jsonb NOT NULL DEFAULT '{}', max_concurrent_runs integer NOT NULL DEFAULT 0,
    is_active boolean NOT NULL DEFAULT true, is_default boolean NOT NULL DEFAULT false,
    version integer NOT NULL DEFAULT 1, created_at timestamptz NOT NULL DEFAULT now(), updated_at timestamptz NOT NULL DEFAULT now()
);
INSERT INTO agent_configs (id, organization_id, name)
SELECT ('01900000-0000-7000-8000-0000000000' || lpad(n::text, 2, '0'))::uuid, '01900000-0000-7000-8000-00000000a001', 'agent ' || n
FROM generate_series(1, 21) n;
INSERT INTO agent_configs (id, organization_id, name)
VALUES ('01900000-0000-7000-8000-000000000099', '01900000-0000-7000-8000-00000000a002', 'another''s');`

func TestTheFloorReadsWhatTheSystemReads(t *testing.T) {
	t.Parallel()
	c, database := run(t)
	execute(t, database, agentConfigs)
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "01900000-0000-7000-8000-000000000a11", "org": "01900000-0000-7000-8000-00000000a001", "exp": time.Now().Add(time.Hour).Unix(),
	}).SignedString([]byte(c.Secret))
	if err != nil {
		t.Fatal(err)
	}

	type agent struct {
		Name        string
		LLMConfig   map[string]any `json:"llm_config"`
		LLMModel    string         `json:"llm_model"`
		Temperature *float64
		MaxTokens   *int `json:"max_tokens"`
		Tools       []string
	}
	var one agent
	read(t, c, floor.PathAgents+"/01900000-0000-7000-8000-000000000007", signed, http.StatusOK, &one)
	if one.Name != "agent 7" || one.LLMModel != "m" || one.Temperature == nil || *one.Temperature != 0.5 || one.MaxTokens != nil {
		t.Errorf("the agent is %+v", one)
	}
	if len(one.LLMConfig) != 3 || len(one.Tools) != 2 || one.Tools[0] != "a" || one.Tools[1] != "c" {
		t.Errorf("the agent's model is %v, its tools are %v", one.LLMConfig, one.Tools)
	}
	var list struct {
		Data       []agent
		Limit      int
		HasMore    bool   `json:"has_more"`
		NextCursor string `json:"next_cursor"`
		Total      *int
	}
	read(t, c, floor.PathAgents, signed, http.StatusOK, &list)
	if len(list.Data) != 20 || list.Data[0].Name != "agent 21" || list.Data[0].LLMModel != "m" || list.Data[19].Name != "agent 2" {
		t.Errorf("the list is %+v", list.Data)
	}
	if list.Limit != 20 || !list.HasMore || list.NextCursor == "" || list.Total != nil {
		t.Errorf("the list says %+v about itself", list)
	}

	read(t, c, floor.PathAgents+"?skip=0", signed, http.StatusOK, &list)
	if len(list.Data) != 20 || list.Total == nil || *list.Total != 21 {
		t.Errorf("of %d agents it says that there are %v, want 21", len(list.Data), list.Total)
	}

	read(t, c, floor.PathAgents+"/01900000-0000-7000-8000-000000000099", signed, http.StatusNotFound, &struct{}{})
	read(t, c, floor.PathAgents+"/seven", signed, http.StatusUnprocessableEntity, &struct{}{})
	read(t, c, floor.PathAgents, "", http.StatusUnauthorized, &struct{}{})
}

// read decodes the answer to a GET.
func read(t *testing.T, c floor.Config, path, token string, want int, out any) {
	t.Helper()
	status, text := send(t, c, http.MethodGet, path, token, "")
	if status != want {
		t.Fatalf("GET %s: status %d, want %d: %s", path, status, want, text)
	}
	if err := json.Unmarshal([]byte(text), out); err != nil {
		t.Fatalf("GET %s: %v in %s", path, err, text)
	}
}
