package store

import (
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
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
	// MessageCount is kept by Messages.
	MessageCount int       `gorm:"column:message_count"`
	IsActive     bool      `gorm:"column:is_active"`
	IsArchived   bool      `gorm:"column:is_archived"`
	CreatedAt    time.Time `gorm:"column:created_at"`
	// UpdatedAt also moves with every message.
	UpdatedAt time.Time `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (Conversation) TableName() string { return "conversations" }

// Conversations is the repository of conversations within a tenant.
type Conversations struct{ tx *Tx }

// Conversations returns the conversations of the transaction's tenant.
func (tx *Tx) Conversations() Conversations { return Conversations{tx} }

const nounConversation = "conversation"

// Create writes an active conversation into the tenant.
func (r Conversations) Create(c *Conversation) error {
	c.IsActive = true
	return create(r.tx, nounConversation, c, &c.ID, &c.OrganizationID)
}

// Get returns a conversation, or fault.NotFound. Whose it is, the caller checks.
func (r Conversations) Get(id uuid.UUID) (*Conversation, error) {
	return take[Conversation](within[Conversation](r.tx).Where("id = ?", id).Omit(wordsColumn), nounConversation)
}

// Update changes a conversation; the verb names the change in the audit log. A row at another revision is fault.Precondition.
func (r Conversations) Update(id uuid.UUID, verb string, match Match, change func(*Conversation) error) (*Conversation, error) {
	return edit(r.tx, nounConversation, verb, id, match, change, wordsColumn)
}

// ConversationFilter narrows a list of conversations. Zero fields do not.
type ConversationFilter struct {
	UserID        *uuid.UUID
	ProjectID     *uuid.UUID
	AgentConfigID *uuid.UUID
	Archived      *bool
	// Search are words to be found in title and description.
	Search string
	Page   Page
}

// ConversationSorts are the columns that conversations can be sorted by.
func ConversationSorts() []string { return []string{"updated_at"} }

// List returns one page of the active conversations.
func (r Conversations) List(f ConversationFilter) (Listed[Conversation], error) {
	return find[Conversation](r.tx, wanted{f.Search, f.UserID}, f.narrow, f.Page, nounConversation, ConversationSorts())
}

func (f ConversationFilter) narrow(q *gorm.DB) *gorm.DB {
	q = q.Where("is_active")
	if f.UserID != nil {
		q = q.Where("user_id = ?", *f.UserID)
	}
	if f.ProjectID != nil {
		q = q.Where("project_id = ?", *f.ProjectID)
	}
	if f.AgentConfigID != nil {
		q = q.Where("agent_config_id = ?", *f.AgentConfigID)
	}
	// Without parameters, which a plan for all of them could not match with the index of what is archived.
	if f.Archived != nil && *f.Archived {
		q = q.Where("is_archived")
	} else if f.Archived != nil {
		q = q.Where("NOT is_archived")
	}
	return q
}
