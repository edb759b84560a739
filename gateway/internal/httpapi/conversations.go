package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// Conversation is a user's dialog with an agent.
type Conversation struct {
	ID            uuid.UUID      `json:"id" format:"uuid"`
	UserID        uuid.UUID      `json:"user_id" format:"uuid" doc:"Whose it is"`
	ProjectID     *uuid.UUID     `json:"project_id" format:"uuid"`
	AgentConfigID *uuid.UUID     `json:"agent_config_id" format:"uuid" doc:"The agent that answers"`
	Title         string         `json:"title"`
	Description   string         `json:"description"`
	Context       map[string]any `json:"context"`
	ConvMetadata  map[string]any `json:"conv_metadata"`
	MessageCount  int            `json:"message_count"`
	IsActive      bool           `json:"is_active"`
	IsArchived    bool           `json:"is_archived"`
	CreatedAt     time.Time      `json:"created_at"`
	UpdatedAt     time.Time      `json:"updated_at"`
}

func showConversation(c *store.Conversation) Conversation {
	return Conversation{
		ID: c.ID, UserID: c.UserID, ProjectID: c.ProjectID, AgentConfigID: c.AgentConfigID, Title: c.Title,
		Description: c.Description, Context: object(c.Context), ConvMetadata: object(c.ConvMetadata), MessageCount: c.MessageCount,
		IsActive: c.IsActive, IsArchived: c.IsArchived, CreatedAt: c.CreatedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(),
	}
}

// NewConversation is a conversation to be.
type NewConversation struct {
	Title         string         `json:"title,omitempty" maxLength:"500" example:"Travel policy"`
	Description   string         `json:"description,omitempty" maxLength:"5000"`
	AgentConfigID *uuid.UUID     `json:"agent_config_id,omitempty" nullable:"true" format:"uuid" doc:"The agent that answers; without it, messages are only kept"`
	ProjectID     *uuid.UUID     `json:"project_id,omitempty" nullable:"true" format:"uuid" doc:"The agent's project when it is left out"`
	Context       map[string]any `json:"context,omitempty"`
	ConvMetadata  map[string]any `json:"conv_metadata,omitempty"`
}

type createConversationInput struct{ Body NewConversation }

// ConversationInput names a conversation.
type ConversationInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The conversation's id"`
}

type conversationOutput struct{ Body Conversation }

type createdConversationOutput struct {
	Location string `header:"Location"`
	Body     Conversation
}

type listConversationsInput struct {
	Listing

	Search        string    `query:"search" maxLength:"200" doc:"Only conversations with this in title or description"`
	ProjectID     uuid.UUID `query:"project_id" format:"uuid" doc:"Only conversations of this project; who may read those of the project sees everybody's"`
	AgentConfigID uuid.UUID `query:"agent_config_id" format:"uuid" doc:"Only conversations with this agent"`
	UserID        uuid.UUID `query:"user_id" format:"uuid" doc:"Only this user's conversations, for who may read others'"`
	IsArchived    string    `query:"is_archived" enum:"true,false" doc:"Only archived conversations, or only the others"`
}

func (s *Server) conversationOperations() {
	secured(s, access.ConversationsCreate, operation{
		id: "create-conversation", method: http.MethodPost, path: "/conversations", tag: tagConversations,
		status: http.StatusCreated, summary: "Start a conversation", errors: []int{http.StatusNotFound, http.StatusConflict},
	}, s.createConversation)
	secured(s, access.ConversationsRead, operation{
		id: "list-conversations", method: http.MethodGet, path: "/conversations", tag: tagConversations, summary: "List conversations",
		about: "One's own; with project_id those of the project or, for who may read all, everybody's.",
	}, s.listConversations)
	secured(s, access.ConversationsRead, operation{
		id: "get-conversation", method: http.MethodGet, path: "/conversations/{id}", tag: tagConversations,
		summary: "Read a conversation", errors: []int{http.StatusNotFound},
	}, s.getConversation)
}

func (s *Server) createConversation(
	ctx context.Context, p *rbac.Principal, in *createConversationInput,
) (*createdConversationOutput, error) {
	n := in.Body
	row := &store.Conversation{
		UserID: p.UserID, ProjectID: n.ProjectID, AgentConfigID: n.AgentConfigID, Title: n.Title, Description: n.Description,
		Context: n.Context, ConvMetadata: n.ConvMetadata,
	}
	err := s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		if n.AgentConfigID != nil {
			agent, err := s.runnable(tx, p, *n.AgentConfigID)
			if err != nil {
				return err
			}
			if row.ProjectID == nil {
				row.ProjectID = agent.ProjectID
			}
		}
		if err := usesProject(tx, p, row.ProjectID); err != nil {
			return err
		}
		return tx.Conversations().Create(row)
	})
	if err != nil {
		return nil, err
	}
	return &createdConversationOutput{Location: base + "/conversations/" + row.ID.String(), Body: showConversation(row)}, nil
}

func (s *Server) listConversations(
	ctx context.Context, p *rbac.Principal, in *listConversationsInput,
) (*pageOutput[Conversation], error) {
	w, err := s.window(p, "conversations", in.Listing, "")
	if err != nil {
		return nil, err
	}
	filter := store.ConversationFilter{
		UserID: given(in.UserID), ProjectID: given(in.ProjectID), AgentConfigID: given(in.AgentConfigID),
		Archived: givenBool(in.IsArchived), Search: in.Search, Page: w.Page,
	}
	if !p.Conversations().Sees(nil, filter.ProjectID) {
		filter.UserID = &p.UserID
	}
	var rows store.Listed[store.Conversation]
	err = s.Store.View(ctx, p.Tenant, func(tx *store.Tx) (err error) {
		rows, err = tx.Conversations().List(filter)
		return err
	})
	if err != nil {
		return nil, err
	}
	return page(w, rows, showConversation), nil
}

func (s *Server) getConversation(ctx context.Context, p *rbac.Principal, in *ConversationInput) (*conversationOutput, error) {
	var row *store.Conversation
	err := s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) (err error) {
		row, err = readable(tx, p, in.ID)
		return err
	})
	if err != nil {
		return nil, err
	}
	return &conversationOutput{showConversation(row)}, nil
}

// readable returns a conversation within the caller's reach; any other is fault.NotFound.
func readable(tx *store.Tx, p *rbac.Principal, id uuid.UUID) (*store.Conversation, error) {
	c, err := tx.Conversations().Get(id)
	if err != nil {
		return nil, err
	}
	if !c.IsActive || !p.Conversations().Sees(&c.UserID, c.ProjectID) {
		return nil, fault.New(fault.NotFound, "conversation.not_found", "There is no such conversation.")
	}
	return c, nil
}

// writable returns a conversation that the caller may write in.
func writable(tx *store.Tx, p *rbac.Principal, id uuid.UUID) (*store.Conversation, error) {
	c, err := readable(tx, p, id)
	if err != nil {
		return nil, err
	}
	if !p.WritesConversation(c.UserID) {
		return nil, fault.New(fault.Forbidden, "conversation.not_owner", "Only its owner writes in a conversation. Start your own.")
	}
	if c.IsArchived {
		return nil, fault.New(fault.Conflict, "conversation.archived", "This conversation is archived. Start a new one.")
	}
	return c, nil
}
