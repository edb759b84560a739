package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
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
	// kept is the whole as it stands in the record, for what is only shown.
	kept store.JSON
}

type plainLLMConfig LLMConfig

// UnmarshalJSON implements json.Unmarshaler.
func (c *LLMConfig) UnmarshalJSON(data []byte) (err error) {
	c.rest, err = decodeOpen(data, (*plainLLMConfig)(c), "model", "temperature", "top_p", "max_tokens")
	return err
}

// MarshalJSON implements json.Marshaler.
func (c LLMConfig) MarshalJSON() ([]byte, error) {
	if c.kept != nil {
		return c.kept, nil
	}
	return encodeOpen(plainLLMConfig(c), c.rest)
}

// ToolConfig says whether an agent may use a tool. Fields that are not named here are the tool's own settings.
type ToolConfig struct {
	_ struct{} `additionalProperties:"true"`

	Name    string `json:"name" enum:"search_documents" doc:"The tool"`
	Enabled *bool  `json:"enabled,omitempty" nullable:"true" default:"true" doc:"Whether the agent may use it"`

	rest map[string]any
	kept store.JSON
}

type plainToolConfig ToolConfig

// UnmarshalJSON implements json.Unmarshaler.
func (c *ToolConfig) UnmarshalJSON(data []byte) (err error) {
	c.rest, err = decodeOpen(data, (*plainToolConfig)(c), "name", "enabled")
	return err
}

// MarshalJSON implements json.Marshaler.
func (c ToolConfig) MarshalJSON() ([]byte, error) {
	if c.kept != nil {
		return c.kept, nil
	}
	return encodeOpen(plainToolConfig(c), c.rest)
}

func (c ToolConfig) on() bool { return c.Enabled == nil || *c.Enabled }

// AgentConfig is an agent as it is configured.
type AgentConfig struct {
	ID                uuid.UUID    `json:"id" format:"uuid"`
	Name              string       `json:"name" example:"Document Analyzer"`
	Description       string       `json:"description"`
	OrganizationID    uuid.UUID    `json:"organization_id" format:"uuid"`
	ProjectID         *uuid.UUID   `json:"project_id" format:"uuid" doc:"Null: the agent serves the whole organization"`
	AgentType         string       `json:"agent_type" enum:"rfp,jira,documentation,hr,finance,document_analyzer,chat_agent,custom"`
	LLMConfig         LLMConfig    `json:"llm_config"`
	ToolsConfig       []ToolConfig `json:"tools_config" nullable:"false"`
	LLMModel          string       `json:"llm_model" doc:"llm_config.model; empty means the platform's default"`
	Temperature       *float64     `json:"temperature" doc:"llm_config.temperature"`
	MaxTokens         *int         `json:"max_tokens" doc:"llm_config.max_tokens"`
	Tools             []string     `json:"tools" nullable:"false" doc:"The enabled tools of tools_config"`
	SystemPrompt      string       `json:"system_prompt"`
	KnowledgeBases    OpenList     `json:"knowledge_bases"`
	Parameters        OpenObject   `json:"parameters"`
	AgentMetadata     OpenObject   `json:"agent_metadata"`
	MaxConcurrentRuns int          `json:"max_concurrent_runs" example:"0" doc:"How many of its runs may be under way at once; 0 is no limit"`
	IsActive          bool         `json:"is_active"`
	IsDefault         bool         `json:"is_default"`
	Version           int          `json:"version"`
	CreatedAt         time.Time    `json:"created_at"`
	UpdatedAt         time.Time    `json:"updated_at"`
}

func (a AgentConfig) changedAt() time.Time { return a.UpdatedAt }

func showAgentConfig(a *store.AgentConfig) AgentConfig {
	shown := AgentConfig{
		ID: a.ID, Name: a.Name, Description: a.Description, OrganizationID: a.OrganizationID, ProjectID: a.ProjectID,
		AgentType: a.AgentType, LLMConfig: shownLLM(a), ToolsConfig: shownTools(a), Tools: []string{}, SystemPrompt: a.SystemPrompt,
		KnowledgeBases: OpenList{a.KnowledgeBases}, Parameters: OpenObject{a.Parameters}, AgentMetadata: OpenObject{a.AgentMetadata},
		MaxConcurrentRuns: a.MaxConcurrentRuns, IsActive: a.IsActive, IsDefault: a.IsDefault, Version: a.Version,
		CreatedAt: a.CreatedAt.UTC(), UpdatedAt: a.UpdatedAt.UTC(),
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

// shownLLM reads the fields that are also shown by themselves, and leaves the whole as it is.
func shownLLM(a *store.AgentConfig) (c LLMConfig) {
	fromJSON(a.LLMConfig, (*plainLLMConfig)(&c))
	c.kept = a.LLMConfig
	return c
}

// shownTools is the same for tools.
func shownTools(a *store.AgentConfig) []ToolConfig {
	var each []json.RawMessage
	fromJSON(a.ToolsConfig, &each)
	tools := make([]ToolConfig, len(each))
	for i, text := range each {
		tools[i].kept = store.JSON(text)
		fromJSON(tools[i].kept, (*plainToolConfig)(&tools[i]))
	}
	return tools
}

// llmOf reads all fields, to change them.
func llmOf(a *store.AgentConfig) (c LLMConfig) {
	fromJSON(a.LLMConfig, &c)
	return c
}

func toolsOf(a *store.AgentConfig) (tools []ToolConfig) {
	fromJSON(a.ToolsConfig, &tools)
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
	Name              string         `json:"name" minLength:"1" maxLength:"200"`
	Description       string         `json:"description,omitempty" maxLength:"5000"`
	ProjectID         *uuid.UUID     `json:"project_id,omitempty" nullable:"true" format:"uuid" doc:"Without it the agent serves the whole organization"`
	AgentType         string         `json:"agent_type,omitempty" default:"custom" enum:"rfp,jira,documentation,hr,finance,document_analyzer,chat_agent,custom"`
	LLMConfig         LLMConfig      `json:"llm_config,omitzero" required:"false"`
	ToolsConfig       []ToolConfig   `json:"tools_config,omitempty" maxItems:"50"`
	LLMModel          string         `json:"llm_model,omitempty" maxLength:"100"`
	Temperature       *float64       `json:"temperature,omitempty" nullable:"true" minimum:"0" maximum:"2"`
	MaxTokens         int            `json:"max_tokens,omitempty" minimum:"1" maximum:"1000000"`
	Tools             []string       `json:"tools,omitempty" enum:"search_documents" maxItems:"50"`
	SystemPrompt      string         `json:"system_prompt,omitempty" maxLength:"100000"`
	KnowledgeBases    []any          `json:"knowledge_bases,omitempty" maxItems:"100"`
	Parameters        map[string]any `json:"parameters,omitempty"`
	AgentMetadata     map[string]any `json:"agent_metadata,omitempty"`
	MaxConcurrentRuns int            `json:"max_concurrent_runs,omitempty" minimum:"0" maximum:"100000" example:"4" doc:"How many of its runs may be under way at once; 0 is no limit"`
	IsDefault         bool           `json:"is_default,omitempty"`
}

// row is the record of the agent to be. A known preset completes it.
func (n *NewAgentConfig) row(known presetSchemas) (*store.AgentConfig, error) {
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
		MaxConcurrentRuns: n.MaxConcurrentRuns, IsDefault: n.IsDefault,
	}
	tools := n.ToolsConfig
	if n.Tools != nil {
		tools = tools[:0:0]
		for _, name := range n.Tools {
			tools = append(tools, ToolConfig{Name: name})
		}
	}
	if preset := known.of(n.AgentType); preset != nil {
		tools = preset.complete(row, &llm, tools)
	}
	if err := columnsOf(map[*store.JSON]any{
		&row.LLMConfig: llm, &row.ToolsConfig: resolved(tools), &row.KnowledgeBases: append([]any{}, n.KnowledgeBases...),
		&row.Parameters: object(n.Parameters), &row.AgentMetadata: object(n.AgentMetadata),
	}); err != nil {
		return nil, err
	}
	return row, nil
}

// columnsOf encodes values into their columns.
func columnsOf(values map[*store.JSON]any) (err error) {
	for column, value := range values {
		if *column, err = store.EncodeJSON(value); err != nil {
			return err
		}
	}
	return nil
}

// AgentConfigChange is what becomes different about an agent. Fields that are left out or null stay as they are, only a null
// project_id empties it. The flat names say the same as llm_config and tools_config; where both are given, the flat ones win.
type AgentConfigChange struct {
	Name              *string          `json:"name,omitempty" minLength:"1" maxLength:"200" example:"Document Analyzer"`
	Description       *string          `json:"description,omitempty" maxLength:"5000"`
	ProjectID         Maybe[uuid.UUID] `json:"project_id,omitzero" required:"false" doc:"Null: the agent serves the whole organization"`
	AgentType         *string          `json:"agent_type,omitempty" enum:"rfp,jira,documentation,hr,finance,document_analyzer,chat_agent,custom"`
	LLMConfig         *LLMConfig       `json:"llm_config,omitempty" doc:"Replaces the whole"`
	ToolsConfig       *[]ToolConfig    `json:"tools_config,omitempty" maxItems:"50" doc:"Replaces the whole"`
	LLMModel          *string          `json:"llm_model,omitempty" maxLength:"100"`
	Temperature       *float64         `json:"temperature,omitempty" minimum:"0" maximum:"2"`
	MaxTokens         *int             `json:"max_tokens,omitempty" minimum:"1" maximum:"1000000"`
	Tools             *[]string        `json:"tools,omitempty" enum:"search_documents" maxItems:"50" doc:"The enabled tools; their settings stay"`
	SystemPrompt      *string          `json:"system_prompt,omitempty" maxLength:"100000"`
	KnowledgeBases    *[]any           `json:"knowledge_bases,omitempty" maxItems:"100"`
	Parameters        *map[string]any  `json:"parameters,omitempty"`
	AgentMetadata     *map[string]any  `json:"agent_metadata,omitempty"`
	MaxConcurrentRuns *int             `json:"max_concurrent_runs,omitempty" minimum:"0" maximum:"100000" example:"4" doc:"How many of its runs may be under way at once, of those submitted from then on; 0 is no limit"`
	IsActive          *bool            `json:"is_active,omitempty"`
	IsDefault         *bool            `json:"is_default,omitempty"`
}

// apply makes the change to a record.
func (c *AgentConfigChange) apply(a *store.AgentConfig) error {
	set(&a.Name, c.Name)
	set(&a.Description, c.Description)
	c.ProjectID.apply(&a.ProjectID)
	set(&a.AgentType, c.AgentType)
	set(&a.SystemPrompt, c.SystemPrompt)
	set(&a.MaxConcurrentRuns, c.MaxConcurrentRuns)
	set(&a.IsActive, c.IsActive)
	set(&a.IsDefault, c.IsDefault)
	llm, tools := llmOf(a), toolsOf(a)
	set(&llm, c.LLMConfig)
	set(&llm.Model, c.LLMModel)
	if c.Temperature != nil {
		llm.Temperature = c.Temperature
	}
	set(&llm.MaxTokens, c.MaxTokens)
	set(&tools, c.ToolsConfig)
	if c.Tools != nil {
		tools = choose(tools, *c.Tools)
	}
	columns := map[*store.JSON]any{&a.LLMConfig: llm, &a.ToolsConfig: resolved(tools)}
	if c.KnowledgeBases != nil {
		columns[&a.KnowledgeBases] = append([]any{}, *c.KnowledgeBases...)
	}
	if c.Parameters != nil {
		columns[&a.Parameters] = object(*c.Parameters)
	}
	if c.AgentMetadata != nil {
		columns[&a.AgentMetadata] = object(*c.AgentMetadata)
	}
	return columnsOf(columns)
}

// choose enables the named tools and disables the others, which keep their settings.
func choose(tools []ToolConfig, names []string) []ToolConfig {
	var chosen []ToolConfig
	for _, t := range tools {
		on := slices.Contains(names, t.Name)
		t.Enabled = &on
		chosen = append(chosen, t)
	}
	for _, name := range names {
		if !slices.ContainsFunc(chosen, func(t ToolConfig) bool { return t.Name == name }) {
			chosen = append(chosen, ToolConfig{Name: name})
		}
	}
	return chosen
}

// resolved says of each tool whether it is enabled.
func resolved(tools []ToolConfig) []ToolConfig {
	told := make([]ToolConfig, len(tools))
	for i, t := range tools {
		on := t.on()
		t.Enabled = &on
		told[i] = t
	}
	return told
}

type createAgentConfigInput struct {
	Repeatable

	Body NewAgentConfig
}

// AgentConfigInput names an agent.
type AgentConfigInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The agent's id"`
}

type getAgentConfigInput struct {
	AgentConfigInput
	Cached
}

type changeAgentConfigInput struct {
	AgentConfigInput
	Conditional

	Body AgentConfigChange
}

type touchAgentConfigInput struct {
	AgentConfigInput
	Conditional
}

type listAgentConfigsInput struct {
	Listing

	Sort      string    `query:"sort" enum:"name,-name,created_at,-created_at,updated_at,-updated_at,agent_type,-agent_type" doc:"The order; a dash puts the largest first. Without it newest first"`
	Search    string    `query:"search" maxLength:"200" doc:"Only agents with this in name or description"`
	AgentType string    `query:"agent_type" enum:"rfp,jira,documentation,hr,finance,document_analyzer,chat_agent,custom" doc:"Only agents of this type"`
	ProjectID uuid.UUID `query:"project_id" format:"uuid" doc:"Only agents of this project"`
	IsActive  string    `query:"is_active" enum:"true,false" doc:"Only active agents, or only the others"`
	IsDefault string    `query:"is_default" enum:"true,false" doc:"Only default agents, or only the others"`
}

func (s *Server) agentConfigOperations() {
	op := func(id, method, path, summary string, errors ...int) operation {
		return operation{id: id, method: method, path: "/agent-configs" + path, tag: tagAgentConfigs, summary: summary, errors: errors}
	}
	create := op("create-agent-config", http.MethodPost, "", "Configure an agent", http.StatusNotFound, http.StatusConflict)
	create.status = http.StatusCreated
	secured(s, access.AgentsCreate, create, s.createAgentConfig)
	secured(s, access.AgentsRead, op("list-agent-configs", http.MethodGet, "", "List agents"), s.listAgentConfigs)
	secured(s, access.AgentsRead, op("get-agent-config", http.MethodGet, "/{id}", "Read an agent", http.StatusNotFound), s.getAgentConfig)
	changes(s, access.AgentsManage, op("update-agent-config", "", "/{id}", "Change an agent"), s.changeAgentConfig)
	remove := op("delete-agent-config", http.MethodDelete, "/{id}", "Deactivate an agent",
		http.StatusNotFound, http.StatusPreconditionFailed)
	remove.about = "The agent can be read on, but not run. POST .../activate brings it back."
	secured(s, access.AgentsManage, remove, s.deleteAgentConfig)
	secured(s, access.AgentsManage,
		op("activate-agent-config", http.MethodPost, "/{id}/activate", "Activate an agent",
			http.StatusNotFound, http.StatusPreconditionFailed),
		s.activateAgentConfig)
}

func (s *Server) createAgentConfig(
	ctx context.Context, p *rbac.Principal, in *createAgentConfigInput,
) (*made[AgentConfig], error) {
	once, err := in.once("POST /agent-configs", in.Body)
	if err != nil {
		return nil, err
	}
	return makes(ctx, s, p, once, func(tx *store.Tx) (*made[AgentConfig], error) {
		row, err := in.Body.row(s.presets)
		if err != nil {
			return nil, err
		}
		if err := usesProject(tx, p, row.ProjectID); err != nil {
			return nil, err
		}
		if err := tx.AgentConfigs().Create(row); err != nil {
			return nil, err
		}
		return &made[AgentConfig]{
			Location: base + "/agent-configs/" + row.ID.String(), ETag: etag(row.UpdatedAt), Body: showAgentConfig(row),
		}, nil
	})
}

func (s *Server) listAgentConfigs(
	ctx context.Context, p *rbac.Principal, in *listAgentConfigsInput,
) (*pageOutput[AgentConfig], error) {
	c, reach := collection{name: "agent-configs", listing: in.Listing, sort: in.Sort, counted: true}, p.Agents()
	return listed(ctx, s, p, c, showAgentConfig, func(tx *store.Tx, page store.Page) (store.Listed[store.AgentConfig], error) {
		return tx.AgentConfigs().List(store.AgentConfigFilter{
			Search: in.Search, Type: in.AgentType, ProjectID: given(in.ProjectID), Active: givenBool(in.IsActive),
			Default: givenBool(in.IsDefault), Narrowed: !reach.All, Projects: reach.Projects, Page: page,
		})
	})
}

func (s *Server) getAgentConfig(ctx context.Context, p *rbac.Principal, in *getAgentConfigInput) (*one[AgentConfig], error) {
	return viewed(ctx, s, p, in.Cached, showAgentConfig, func(tx *store.Tx) (*store.AgentConfig, error) {
		return visibleAgent(tx, p, in.ID)
	})
}

func (s *Server) changeAgentConfig(ctx context.Context, p *rbac.Principal, in *changeAgentConfigInput) (*one[AgentConfig], error) {
	return s.withAgentConfig(ctx, p, in.ID, in.Conditional, func(tx *store.Tx, match store.Match) (*store.AgentConfig, error) {
		if err := usesProject(tx, p, in.Body.ProjectID.Value); err != nil {
			return nil, err
		}
		return tx.AgentConfigs().Update(in.ID, match, in.Body.apply)
	})
}

func (s *Server) deleteAgentConfig(ctx context.Context, p *rbac.Principal, in *touchAgentConfigInput) (*one[AgentConfig], error) {
	return s.withAgentConfig(ctx, p, in.ID, in.Conditional, func(tx *store.Tx, match store.Match) (*store.AgentConfig, error) {
		return tx.AgentConfigs().SetActive(in.ID, "delete", match, false)
	})
}

func (s *Server) activateAgentConfig(ctx context.Context, p *rbac.Principal, in *touchAgentConfigInput) (*one[AgentConfig], error) {
	return s.withAgentConfig(ctx, p, in.ID, in.Conditional, func(tx *store.Tx, match store.Match) (*store.AgentConfig, error) {
		return tx.AgentConfigs().SetActive(in.ID, "activate", match, true)
	})
}

// visibleAgent returns an agent that the caller may read. One that he may not is not found, as an unknown one is.
func visibleAgent(tx *store.Tx, p *rbac.Principal, id uuid.UUID) (*store.AgentConfig, error) {
	agent, err := tx.AgentConfigs().Get(id)
	if err == nil && !p.SeesAgent(agent.ProjectID) {
		return nil, fault.New(fault.NotFound, "agent_config.not_found", "There is no such agent config.")
	}
	return agent, err
}

// withAgentConfig runs a change of an agent that the caller sees in a transaction, and answers with the agent as it is then.
func (s *Server) withAgentConfig(
	ctx context.Context, p *rbac.Principal, id uuid.UUID, c Conditional,
	change func(*store.Tx, store.Match) (*store.AgentConfig, error),
) (*one[AgentConfig], error) {
	row, err := changed(ctx, s, p, c, func(tx *store.Tx, match store.Match) (*store.AgentConfig, error) {
		if _, err := visibleAgent(tx, p, id); err != nil {
			return nil, err
		}
		return change(tx, match)
	})
	if err != nil {
		return nil, err
	}
	return show(showAgentConfig(row)), nil
}

// llm is the model of a run: what the agent says, and the platform's default model where it names none.
func (s *Server) llm(a *store.AgentConfig) events.LLM {
	c := shownLLM(a)
	llm := events.LLM{Model: c.Model, Temperature: c.Temperature, TopP: c.TopP, MaxTokens: c.MaxTokens}
	if llm.Model == "" {
		llm.Model = s.cfg.DefaultModel
	}
	return llm
}
