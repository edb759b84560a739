package store

import (
	"time"

	"github.com/google/uuid"
)

// Conversation is a user's dialog with an agent.
type Conversation struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID  `gorm:"column:organization_id"`
	UserID         uuid.UUID  `gorm:"column:user_id"`
	ProjectID      *uuid.UUID `gorm:"column:project_id"`
	AgentConfigID  *uuid.UUID `gorm:"column:agent_config_id"`
	Title          string     `gorm:"column:title"`
	Description    string     `gorm:"column:description"`
	Context        Object     `gorm:"column:context"`
	ConvMetadata   Object     `gorm:"column:conv_metadata"`
	// MessageCount is kept by Messages.Create.
	MessageCount int       `gorm:"column:message_count"`
	IsActive     bool      `gorm:"column:is_active"`
	IsArchived   bool      `gorm:"column:is_archived"`
	CreatedAt    time.Time `gorm:"column:created_at"`
	UpdatedAt    time.Time `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (Conversation) TableName() string { return "conversations" }

// Conversations is the repository of conversations within a tenant.
type Conversations struct{ tx *Tx }

// Conversations returns the conversations of the transaction's tenant.
func (tx *Tx) Conversations() Conversations { return Conversations{tx} }

// Create writes an active conversation into the tenant.
func (r Conversations) Create(c *Conversation) error {
	if err := r.tx.own(&c.ID, &c.OrganizationID); err != nil {
		return err
	}
	c.IsActive = true
	return explain(r.tx.db.Create(c).Error, "create conversation")
}

// Get returns a conversation, or fault.NotFound. Whose it is, the caller checks.
func (r Conversations) Get(id uuid.UUID) (*Conversation, error) {
	return take[Conversation](within[Conversation](r.tx).Where("id = ?", id), "conversation")
}

// ConversationFilter narrows a list of conversations. Zero fields do not.
type ConversationFilter struct {
	UserID        *uuid.UUID
	ProjectID     *uuid.UUID
	AgentConfigID *uuid.UUID
	Archived      *bool
	// Search is looked for in title and description.
	Search string
	Page   Page
}

// List returns one page of the active conversations.
func (r Conversations) List(f ConversationFilter) (Listed[Conversation], error) {
	q := within[Conversation](r.tx).Where("is_active")
	if f.UserID != nil {
		q = q.Where("user_id = ?", *f.UserID)
	}
	if f.ProjectID != nil {
		q = q.Where("project_id = ?", *f.ProjectID)
	}
	if f.AgentConfigID != nil {
		q = q.Where("agent_config_id = ?", *f.AgentConfigID)
	}
	if f.Archived != nil {
		q = q.Where("is_archived = ?", *f.Archived)
	}
	if f.Search != "" {
		q = q.Where("(title ILIKE @like OR description ILIKE @like)", map[string]any{"like": containing(f.Search)})
	}
	return list[Conversation](q, f.Page, "conversation", nil)
}
