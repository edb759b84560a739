package store

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/tenant"
)

// The types of agents.
const (
	AgentRFP              = "rfp"
	AgentJira             = "jira"
	AgentDocumentation    = "documentation"
	AgentHR               = "hr"
	AgentFinance          = "finance"
	AgentDocumentAnalyzer = "document_analyzer"
	AgentChat             = "chat_agent"
	AgentCustom           = "custom"
)

// AgentConfig is an agent as its organization set it up.
type AgentConfig struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID  `gorm:"column:organization_id"`
	ProjectID      *uuid.UUID `gorm:"column:project_id"` // nil: the agent serves the whole organization
	Name           string     `gorm:"column:name"`
	Description    string     `gorm:"column:description"`
	AgentType      string     `gorm:"column:agent_type"`
	// LLMConfig holds model, temperature, max_tokens, top_p and whatever else the client set.
	LLMConfig JSON `gorm:"column:llm_config"`
	// ToolsConfig holds one object per tool, with name, enabled and the tool's own settings.
	ToolsConfig    JSON   `gorm:"column:tools_config"`
	SystemPrompt   string `gorm:"column:system_prompt"`
	KnowledgeBases JSON   `gorm:"column:knowledge_bases"`
	Parameters     JSON   `gorm:"column:parameters"`
	AgentMetadata  JSON   `gorm:"column:agent_metadata"`
	// MaxConcurrentRuns is how many of its runs may be under way at once; 0 is no limit.
	MaxConcurrentRuns int       `gorm:"column:max_concurrent_runs"`
	IsActive          bool      `gorm:"column:is_active"`
	IsDefault         bool      `gorm:"column:is_default"`
	Version           int       `gorm:"column:version"` // counts from 1
	CreatedAt         time.Time `gorm:"column:created_at"`
	UpdatedAt         time.Time `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (AgentConfig) TableName() string { return "agent_configs" }

// AgentConfigs is the repository of agents within a tenant.
type AgentConfigs struct{ tx *Tx }

// AgentConfigs returns the agents of the transaction's tenant.
func (tx *Tx) AgentConfigs() AgentConfigs { return AgentConfigs{tx} }

// Create writes an active agent into the tenant. An empty type becomes custom, a zero version 1.
func (r AgentConfigs) Create(a *AgentConfig) error {
	if a.AgentType == "" {
		a.AgentType = AgentCustom
	}
	a.Version = max(a.Version, 1)
	for _, list := range []*JSON{&a.ToolsConfig, &a.KnowledgeBases} {
		if len(*list) == 0 {
			*list = JSON("[]")
		}
	}
	a.IsActive = true
	return create(r.tx, nounAgentConfig, a, &a.ID, &a.OrganizationID)
}

const nounAgentConfig = "agent_config"

// Get returns an agent, or fault.NotFound "agent_config.not_found". In a View, callers that ask for the same agent at the same moment
// share a read.
func (r AgentConfigs) Get(id uuid.UUID) (*AgentConfig, error) {
	if r.tx.agents == nil {
		return r.read(id)
	}
	shared, err := r.tx.agents.get(r.tx.db.Statement.Context, agentKey{r.tx.tenant, id})
	if err != nil {
		return nil, err
	}
	own := *shared
	return &own, nil
}

func (r AgentConfigs) read(id uuid.UUID) (*AgentConfig, error) {
	return take[AgentConfig](within[AgentConfig](r.tx).Where("id = ?", id), nounAgentConfig)
}

// agentKey is what callers must have in common to share a read.
type agentKey struct {
	tenant tenant.ID
	id     uuid.UUID
}

// readAgent reads for all who share a read.
func (s *Store) readAgent(ctx context.Context, key agentKey) (*AgentConfig, error) {
	return AgentConfigs{s.view(ctx, key.tenant)}.read(key.id)
}

// Update changes an agent and counts its version up. A row at another revision is fault.Precondition.
func (r AgentConfigs) Update(id uuid.UUID, match Match, change func(*AgentConfig) error) (*AgentConfig, error) {
	return editThen(r.tx, nounAgentConfig, "update", id, match, change, func(a *AgentConfig) { a.Version++ })
}

// SetActive activates or deactivates an agent; a deactivated one is not run. The verb names it in the audit log.
func (r AgentConfigs) SetActive(id uuid.UUID, verb string, match Match, active bool) (*AgentConfig, error) {
	return edit(r.tx, nounAgentConfig, verb, id, match, func(a *AgentConfig) error {
		a.IsActive = active
		return nil
	})
}

// AgentConfigFilter narrows a list of agents. Zero fields do not.
type AgentConfigFilter struct {
	// Search is looked for in name and description.
	Search    string
	Type      string
	ProjectID *uuid.UUID
	Active    *bool
	Default   *bool
	// Narrowed leaves only agents without a project and those of Projects.
	Narrowed bool
	Projects []uuid.UUID
	Page     Page
}

// AgentConfigSorts are the columns that agents can be sorted by.
func AgentConfigSorts() []string { return []string{"name", "created_at", "updated_at", "agent_type"} }

// List returns one page of the agents.
func (r AgentConfigs) List(f AgentConfigFilter) (Listed[AgentConfig], error) {
	q := within[AgentConfig](r.tx)
	if f.Search != "" {
		q = q.Where("(name ILIKE @like OR description ILIKE @like)", map[string]any{"like": containing(f.Search)})
	}
	if f.Type != "" {
		q = q.Where("agent_type = ?", f.Type)
	}
	if f.ProjectID != nil {
		q = q.Where("project_id = ?", *f.ProjectID)
	}
	if f.Narrowed {
		q = q.Where("(project_id IS NULL OR project_id IN ?)", append([]uuid.UUID{uuid.Nil}, f.Projects...))
	}
	if f.Active != nil {
		q = q.Where("is_active = ?", *f.Active)
	}
	if f.Default != nil {
		q = q.Where("is_default = ?", *f.Default)
	}
	return list[AgentConfig](q, f.Page, nounAgentConfig, AgentConfigSorts())
}
