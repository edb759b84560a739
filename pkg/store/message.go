package store

import (
	"bytes"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
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

const nounMessage = "message"

// Create appends a message to its conversation, counts it there and gives it its id. An unknown conversation is fault.NotFound.
// It is not audited: the message itself says who wrote what and when.
func (r Messages) Create(m *Message) error {
	if err := r.count(m.ConversationID, 1); err != nil {
		return err
	}
	// The count holds the conversation's lock, so that the order of ids is the order of the conversation, whatever the clocks of
	// those who write in it say.
	var last []uuid.UUID
	found := within[Message](r.tx).Where("conversation_id = ?", m.ConversationID).Order("id DESC").Limit(1).Pluck("id", &last)
	if found.Error != nil {
		return explain(found.Error, "read the last message")
	}
	if err := r.tx.own(&m.ID, &m.OrganizationID); err != nil {
		return err
	}
	if len(last) > 0 {
		m.ID = idAfter(last[0], m.ID)
	}
	return explain(r.tx.db.Create(m).Error, "create message")
}

// count changes the number of messages of a conversation and with it its revision. The conversation stays locked.
func (r Messages) count(conversation uuid.UUID, by int) error {
	counted := within[Conversation](r.tx).Where("id = ?", conversation).UpdateColumns(map[string]any{
		// Not below zero, where the one that is to be counted off may turn out not to be there.
		"message_count": gorm.Expr("greatest(message_count + ?, 0)", by),
		"updated_at":    gorm.Expr("greatest(?, updated_at + interval '1 microsecond')", r.tx.db.NowFunc()),
	})
	return touched(counted, "count messages", nounConversation)
}

// NewIDAfter makes an id for now that sorts after another one, even if that was made by a clock ahead of this one.
func NewIDAfter(last uuid.UUID) (uuid.UUID, error) {
	made, err := uuid.NewV7()
	if err != nil {
		return uuid.Nil, fmt.Errorf("store: make an id: %w", err)
	}
	return idAfter(last, made), nil
}

// idAfter returns the id if it sorts after the last one, and otherwise the next id that does.
func idAfter(last, id uuid.UUID) uuid.UUID {
	if bytes.Compare(id[:], last[:]) > 0 {
		return id
	}
	for i := len(last) - 1; i >= 0; i-- {
		if i == 8 || i == 6 { // variant and version
			continue
		}
		if last[i]++; last[i] != 0 {
			break
		}
	}
	return last
}

// Delete removes a message and counts it off. One that is being answered is fault.Conflict "message.in_use", one at another revision
// fault.Precondition. The audit log does not repeat what it said.
func (r Messages) Delete(conversation, id uuid.UUID, match Match) error {
	if err := r.count(conversation, -1); err != nil {
		return err
	}
	m, err := r.Get(conversation, id)
	if err != nil {
		return err
	}
	if !match.admits(RevisionAt(m.UpdatedAt)) {
		return outdated(nounMessage)
	}
	var answering int64
	err = within[Job](r.tx).Where("conversation_id = ? AND status IN ? AND input ->> 'message_id' = ?", conversation,
		[]events.Status{events.StatusQueued, events.StatusRunning, events.StatusWaiting}, id.String()).Count(&answering).Error
	if err != nil {
		return explain(err, "look for the answer of a message")
	}
	if answering > 0 {
		return fault.New(fault.Conflict, "message.in_use", "This message is being answered. Cancel the job first, or wait for its end.")
	}
	gone := within[Message](r.tx).Where("conversation_id = ? AND id = ?", conversation, id).Delete(&Message{})
	if err := touched(gone, "delete message", nounMessage); err != nil {
		return err
	}
	r.tx.Audit(nounMessage, "delete", id, map[string]any{"conversation_id": conversation, "role": m.Role, "content": notKept}, nil)
	return nil
}

// Get returns a message of a conversation, or fault.NotFound.
func (r Messages) Get(conversation, id uuid.UUID) (*Message, error) {
	return take[Message](r.rows().Where("conversation_id = ? AND id = ?", conversation, id), nounMessage)
}

func (r Messages) rows() *gorm.DB { return within[Message](r.tx).Omit(wordsColumn) }

// MessageFilter narrows a list of messages. Zero fields do not.
type MessageFilter struct {
	Role string
	// Page is sorted by id, in which messages are in the order of their conversation.
	Page Page
}

// List returns one page of the messages of a conversation.
func (r Messages) List(conversation uuid.UUID, f MessageFilter) (Listed[Message], error) {
	q := within[Message](r.tx).Where("conversation_id = ?", conversation)
	if f.Role != "" {
		q = q.Where("role = ?", f.Role)
	}
	return list[Message](q, f.Page, nounMessage, nil)
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
