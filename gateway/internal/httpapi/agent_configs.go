package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// LLMConfig says which model an agent uses and how. Fields that are not named here are kept as they are.
type LLMConfig struct {
	_ struct{} `additionalProperties:"true"`

	Model       string   `json:"model,omitempty" maxLength:"100" example:"gemini-2.5-flash" doc:"The model; the platform's default when empty"`
	Temperature *float64 `json:"temperature,omitempty" nullable:"true" minimum:"0" maximum:"2" example:"0.7" doc:"How freely it writes"`
	TopP        *float64 `json:"top_p,omitempty" nullable:"true" minimum:"0" maximum:"1" example:"0.9" doc:"Which share of the likely words it considers"`
	MaxTokens   int      `json:"max_tokens,omitempty" minimum:"1" maximum:"1000000" example:"2048" doc:"How long an answer may be"`

	rest map[string]any
}

type plainLLMConfig LLMConfig

// UnmarshalJSON implements json.Unmarshaler.
func (c *LLMConfig) UnmarshalJSON(data []byte) (err error) {
	c.rest, err = decodeOpen(data, (*plainLLMConfig)(c), "model", "temperature", "top_p", "max_tokens")
	return err
}

// MarshalJSON implements json.Marshaler.
func (c LLMConfig) MarshalJSON() ([]byte, error) { return encodeOpen(plainLLMConfig(c), c.rest) }

// ToolConfig says whether an agent may use a tool. Fields that are not named here are the tool's own settings.
type ToolConfig struct {
	_ struct{} `additionalProperties:"true"`

	Name    string `json:"name" enum:"search_documents" doc:"The tool"`
	Enabled *bool  `json:"enabled,omitempty" nullable:"true" default:"true" doc:"Whether the agent may use it"`

	rest map[string]any
}

type plainToolConfig ToolConfig

// UnmarshalJSON implements json.Unmarshaler.
func (c *ToolConfig) UnmarshalJSON(data []byte) (err error) {
	c.rest, err = decodeOpen(data, (*plainToolConfig)(c), "name", "enabled")
	return err
}

// MarshalJSON implements json.Marshaler.
func (c ToolConfig) MarshalJSON() ([]byte, error) { return encodeOpen(plainToolConfig(c), c.rest) }

func (c ToolConfig) on() bool { return c.Enabled == nil || *c.Enabled }

// AgentConfig is an agent as it is configured.
type AgentConfig struct {
	ID             uuid.UUID      `json:"id" format:"uuid"`
	Name           string         `json:"name" example:"Document Analyzer"`
	Description    string         `json:"description"`
	OrganizationID uuid.UUID      `json:"organization_id" format:"uuid"`
	ProjectID      *uuid.UUID     `json:"project_id" format:"uuid" doc:"Null: the agent serves the whole organization"`
	AgentType      string         `json:"agent_type" enum:"rfp,jira,documentation,hr,finance,document_analyzer,chat_agent,custom"`
	LLMConfig      LLMConfig      `json:"llm_config"`
	ToolsConfig    []ToolConfig   `json:"tools_config" nullable:"false"`
	LLMModel       string         `json:"llm_model" doc:"llm_config.model; empty means the platform's default"`
	Temperature    *float64       `json:"temperature" doc:"llm_config.temperature"`
	MaxTokens      *int           `json:"max_tokens" doc:"llm_config.max_tokens"`
	Tools          []string       `json:"tools" nullable:"false" doc:"The enabled tools of tools_config"`
	SystemPrompt   string         `json:"system_prompt"`
	KnowledgeBases []any          `json:"knowledge_bases" nullable:"false"`
	Parameters     map[string]any `json:"parameters"`
	AgentMetadata  map[string]any `json:"agent_metadata"`
	IsActive       bool           `json:"is_active"`
	IsDefault      bool           `json:"is_default"`
	Version        int            `json:"version"`
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at"`
}

func showAgentConfig(a *store.AgentConfig) AgentConfig {
	shown := AgentConfig{
		ID: a.ID, Name: a.Name, Description: a.Description, OrganizationID: a.OrganizationID, ProjectID: a.ProjectID,
		AgentType: a.AgentType, LLMConfig: llmOf(a), ToolsConfig: toolsOf(a), Tools: []string{}, SystemPrompt: a.SystemPrompt,
		KnowledgeBases: append([]any{}, a.KnowledgeBases...), Parameters: object(a.Parameters), AgentMetadata: object(a.AgentMetadata),
		IsActive: a.IsActive, IsDefault: a.IsDefault, Version: a.Version, CreatedAt: a.CreatedAt.UTC(), UpdatedAt: a.UpdatedAt.UTC(),
	}
	shown.LLMModel, shown.Temperature = shown.LLMConfig.Model, shown.LLMConfig.Temperature
	if shown.LLMConfig.MaxTokens > 0 {
		shown.MaxTokens = &shown.LLMConfig.MaxTokens
	}
	shown.Tools = append(shown.Tools, enabled(shown.ToolsConfig)...)
	return shown
}

// object is never nil, so that it is {} and not null on the wire.
func object(o store.Object) map[string]any {
	if o == nil {
		return map[string]any{}
	}
	return o
}

func llmOf(a *store.AgentConfig) (c LLMConfig) {
	fromObject(a.LLMConfig, &c)
	return c
}

func toolsOf(a *store.AgentConfig) []ToolConfig {
	tools := make([]ToolConfig, len(a.ToolsConfig))
	for i, o := range a.ToolsConfig {
		fromObject(o, &tools[i])
	}
	return tools
}

func enabled(tools []ToolConfig) []string {
	var names []string
	for _, t := range tools {
		if t.on() && !slices.Contains(names, t.Name) {
			names = append(names, t.Name)
		}
	}
	return names
}

// NewAgentConfig is an agent to be. The flat names say the same as llm_config and tools_config; where both are given, the flat
// ones win.
type NewAgentConfig struct {
	Name           string         `json:"name" minLength:"1" maxLength:"200"`
	Description    string         `json:"description,omitempty" maxLength:"5000"`
	ProjectID      *uuid.UUID     `json:"project_id,omitempty" nullable:"true" format:"uuid" doc:"Without it the agent serves the whole organization"`
	AgentType      string         `json:"agent_type,omitempty" default:"custom" enum:"rfp,jira,documentation,hr,finance,document_analyzer,chat_agent,custom"`
	LLMConfig      LLMConfig      `json:"llm_config,omitzero" required:"false"`
	ToolsConfig    []ToolConfig   `json:"tools_config,omitempty" maxItems:"50"`
	LLMModel       string         `json:"llm_model,omitempty" maxLength:"100"`
	Temperature    *float64       `json:"temperature,omitempty" nullable:"true" minimum:"0" maximum:"2"`
	MaxTokens      int            `json:"max_tokens,omitempty" minimum:"1" maximum:"1000000"`
	Tools          []string       `json:"tools,omitempty" enum:"search_documents" maxItems:"50"`
	SystemPrompt   string         `json:"system_prompt,omitempty" maxLength:"100000"`
	KnowledgeBases []any          `json:"knowledge_bases,omitempty" maxItems:"100"`
	Parameters     map[string]any `json:"parameters,omitempty"`
	AgentMetadata  map[string]any `json:"agent_metadata,omitempty"`
	IsDefault      bool           `json:"is_default,omitempty"`
}

// row is the record of the agent to be.
func (n *NewAgentConfig) row() (*store.AgentConfig, error) {
	llm := n.LLMConfig
	if n.LLMModel != "" {
		llm.Model = n.LLMModel
	}
	if n.Temperature != nil {
		llm.Temperature = n.Temperature
	}
	if n.MaxTokens > 0 {
		llm.MaxTokens = n.MaxTokens
	}
	row := &store.AgentConfig{
		Name: n.Name, Description: n.Description, ProjectID: n.ProjectID, AgentType: n.AgentType, SystemPrompt: n.SystemPrompt,
		KnowledgeBases: n.KnowledgeBases, Parameters: n.Parameters, AgentMetadata: n.AgentMetadata, IsDefault: n.IsDefault,
	}
	var err error
	if row.LLMConfig, err = objectOf(llm); err != nil {
		return nil, err
	}
	tools := n.ToolsConfig
	if n.Tools != nil {
		tools = tools[:0:0]
		for _, name := range n.Tools {
			tools = append(tools, ToolConfig{Name: name})
		}
	}
	for _, t := range tools {
		on := t.on()
		t.Enabled = &on
		o, err := objectOf(t)
		if err != nil {
			return nil, err
		}
		row.ToolsConfig = append(row.ToolsConfig, o)
	}
	return row, nil
}

type createAgentConfigInput struct{ Body NewAgentConfig }

// AgentConfigInput names an agent.
type AgentConfigInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The agent's id"`
}

type agentConfigOutput struct{ Body AgentConfig }

type createdAgentConfigOutput struct {
	Location string `header:"Location"`
	Body     AgentConfig
}

type listAgentConfigsInput struct {
	Skipped

	Search    string    `query:"search" maxLength:"200" doc:"Only agents with this in name or description"`
	AgentType string    `query:"agent_type" enum:"rfp,jira,documentation,hr,finance,document_analyzer,chat_agent,custom" doc:"Only agents of this type"`
	ProjectID uuid.UUID `query:"project_id" format:"uuid" doc:"Only agents of this project"`
	IsActive  string    `query:"is_active" enum:"true,false" doc:"Only active agents, or only the others"`
}

func (s *Server) agentConfigOperations() {
	secured(s, access.AgentsCreate, operation{
		id: "create-agent-config", method: http.MethodPost, path: "/agent-configs", tag: tagAgentConfigs,
		status: http.StatusCreated, summary: "Configure an agent", errors: []int{http.StatusNotFound},
	}, s.createAgentConfig)
	secured(s, access.AgentsRead, operation{
		id: "list-agent-configs", method: http.MethodGet, path: "/agent-configs", tag: tagAgentConfigs, summary: "List agents",
	}, s.listAgentConfigs)
	secured(s, access.AgentsRead, operation{
		id: "get-agent-config", method: http.MethodGet, path: "/agent-configs/{id}", tag: tagAgentConfigs, summary: "Read an agent",
		errors: []int{http.StatusNotFound},
	}, s.getAgentConfig)
}

func (s *Server) createAgentConfig(
	ctx context.Context, p *rbac.Principal, in *createAgentConfigInput,
) (*createdAgentConfigOutput, error) {
	row, err := in.Body.row()
	if err != nil {
		return nil, err
	}
	err = s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		if err := usesProject(tx, p, row.ProjectID); err != nil {
			return err
		}
		return tx.AgentConfigs().Create(row)
	})
	if err != nil {
		return nil, err
	}
	return &createdAgentConfigOutput{Location: base + "/agent-configs/" + row.ID.String(), Body: showAgentConfig(row)}, nil
}

func (s *Server) listAgentConfigs(
	ctx context.Context, p *rbac.Principal, in *listAgentConfigsInput,
) (*pageOutput[AgentConfig], error) {
	filter := store.AgentConfigFilter{
		Search: in.Search, Type: in.AgentType, ProjectID: given(in.ProjectID), Active: givenBool(in.IsActive), Page: in.page(),
	}
	var rows []store.AgentConfig
	var total int64
	err := s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) (err error) {
		rows, total, err = tx.AgentConfigs().List(filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	return skippedPage(in.Skipped, rows, total, showAgentConfig), nil
}

func (s *Server) getAgentConfig(ctx context.Context, p *rbac.Principal, in *AgentConfigInput) (*agentConfigOutput, error) {
	var row *store.AgentConfig
	err := s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) (err error) {
		row, err = tx.AgentConfigs().Get(in.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &agentConfigOutput{showAgentConfig(row)}, nil
}

// llm is the model of a run: what the agent says, and the platform's default model where it names none.
func (s *Server) llm(a *store.AgentConfig) events.LLM {
	c := llmOf(a)
	llm := events.LLM{Model: c.Model, Temperature: c.Temperature, TopP: c.TopP, MaxTokens: c.MaxTokens}
	if llm.Model == "" {
		llm.Model = s.cfg.DefaultModel
	}
	return llm
}
