package store

import (
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// The roles of messages.
const (
	RoleUser      = "user"
	RoleAssistant = "assistant"
	RoleSystem    = "system"
	RoleTool      = "tool"
)

// Message is one turn of a conversation.
type Message struct {
	ID               uuid.UUID `gorm:"column:id;primaryKey"`
	OrganizationID   uuid.UUID `gorm:"column:organization_id"`
	ConversationID   uuid.UUID `gorm:"column:conversation_id"`
	Role             string    `gorm:"column:role"`
	Content          string    `gorm:"column:content"`
	TokensUsed       int       `gorm:"column:tokens_used"`
	ProcessingTimeMS int       `gorm:"column:processing_time_ms"`
	// MsgMetadata holds model, finish_reason, citations and job_id where an agent wrote the message.
	MsgMetadata Object    `gorm:"column:msg_metadata"`
	CreatedAt   time.Time `gorm:"column:created_at"`
	UpdatedAt   time.Time `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (Message) TableName() string { return "messages" }

// Messages is the repository of messages within a tenant.
type Messages struct{ tx *Tx }

// Messages returns the messages of the transaction's tenant.
func (tx *Tx) Messages() Messages { return Messages{tx} }

// Create appends a message to its conversation and counts it there. An unknown conversation is fault.NotFound.
func (r Messages) Create(m *Message) error {
	counted := within[Conversation](r.tx).Where("id = ?", m.ConversationID).
		Update("message_count", gorm.Expr("message_count + 1"))
	if err := touched(counted, "count message", "conversation"); err != nil {
		return err
	}
	// The id is made under the conversation's lock, so that the order of ids is the order of the conversation.
	if err := r.tx.own(&m.ID, &m.OrganizationID); err != nil {
		return err
	}
	return explain(r.tx.db.Create(m).Error, "create message")
}

// Get returns a message of a conversation, or fault.NotFound.
func (r Messages) Get(conversation, id uuid.UUID) (*Message, error) {
	return take[Message](r.rows().Where("conversation_id = ? AND id = ?", conversation, id), "message")
}

func (r Messages) rows() *gorm.DB { return within[Message](r.tx).Omit(wordsColumn) }

// ListAfter returns the messages of a conversation that follow the given one, oldest first, at most limit, and whether there
// are more. Nil starts at the first.
func (r Messages) ListAfter(conversation uuid.UUID, after *uuid.UUID, limit int) (messages []Message, more bool, err error) {
	limit = Page{Limit: limit}.limit()
	q := r.rows().Where("conversation_id = ?", conversation)
	if after != nil {
		q = q.Where("id > ?", *after)
	}
	if err := q.Order("id").Limit(limit + 1).Find(&messages).Error; err != nil {
		return nil, false, explain(err, "list messages")
	}
	if len(messages) > limit {
		return messages[:limit], true, nil
	}
	return messages, false, nil
}

// History returns the last messages of a conversation, at most limit, oldest first.
func (r Messages) History(conversation uuid.UUID, limit int) ([]Message, error) {
	return r.history(r.rows().Where("conversation_id = ?", conversation), limit)
}

// HistoryUntil is History as it was when the given message, which is included, had just been written.
func (r Messages) HistoryUntil(conversation, until uuid.UUID, limit int) ([]Message, error) {
	return r.history(r.rows().Where("conversation_id = ? AND id <= ?", conversation, until), limit)
}

func (r Messages) history(q *gorm.DB, limit int) ([]Message, error) {
	var messages []Message
	if err := q.Order("id DESC").Limit(Page{Limit: limit}.limit()).Find(&messages).Error; err != nil {
		return nil, explain(err, "read history")
	}
	slices.Reverse(messages)
	return messages, nil
}
