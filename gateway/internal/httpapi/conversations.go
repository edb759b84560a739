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
	ProjectID     *uuid.UUID     `json:"project_id" format:"uuid" doc:"The project whose members may read it; null: only its owner and who reads all"`
	AgentConfigID *uuid.UUID     `json:"agent_config_id" format:"uuid" doc:"The agent that answers; null: messages are only kept"`
	Title         string         `json:"title" example:"Travel policy" doc:"What it is called"`
	Description   string         `json:"description" example:"Who pays for taxis" doc:"What it is about"`
	Context       map[string]any `json:"context"`
	ConvMetadata  map[string]any `json:"conv_metadata"`
	MessageCount  int            `json:"message_count"`
	IsActive      bool           `json:"is_active" doc:"False once it is deleted"`
	IsArchived    bool           `json:"is_archived" doc:"Whether it was put away: it takes no new messages"`
	CreatedAt     time.Time      `json:"created_at"`
	UpdatedAt     time.Time      `json:"updated_at" doc:"When it last changed, with a message, too"`
}

func (c Conversation) changedAt() time.Time { return c.UpdatedAt }

func showConversation(c *store.Conversation) Conversation {
	return Conversation{
		ID: c.ID, UserID: c.UserID, ProjectID: c.ProjectID, AgentConfigID: c.AgentConfigID, Title: c.Title,
		Description: c.Description, Context: object(c.Context), ConvMetadata: object(c.ConvMetadata), MessageCount: c.MessageCount,
		IsActive: c.IsActive, IsArchived: c.IsArchived, CreatedAt: c.CreatedAt.UTC(), UpdatedAt: c.UpdatedAt.UTC(),
	}
}

// NewConversation is a conversation to be.
type NewConversation struct {
	Title         string         `json:"title,omitempty" maxLength:"500" example:"Travel policy" doc:"What it is called"`
	Description   string         `json:"description,omitempty" maxLength:"5000" example:"Who pays for taxis" doc:"What it is about"`
	AgentConfigID *uuid.UUID     `json:"agent_config_id,omitempty" nullable:"true" format:"uuid" doc:"The agent that answers; without it, messages are only kept"`
	ProjectID     *uuid.UUID     `json:"project_id,omitempty" nullable:"true" format:"uuid" doc:"The agent's project when it is left out"`
	Context       map[string]any `json:"context,omitempty"`
	ConvMetadata  map[string]any `json:"conv_metadata,omitempty"`
}

// ConversationChange is what becomes different about a conversation. Fields that are left out or null stay as they are, only a null
// project_id or agent_config_id empties it.
type ConversationChange struct {
	Title         *string          `json:"title,omitempty" maxLength:"500" example:"Travel policy" doc:"What it is called"`
	Description   *string          `json:"description,omitempty" maxLength:"5000" example:"Who pays for taxis" doc:"What it is about"`
	AgentConfigID Maybe[uuid.UUID] `json:"agent_config_id,omitzero" required:"false" doc:"The agent that answers from now on; null: messages are only kept"`
	ProjectID     Maybe[uuid.UUID] `json:"project_id,omitzero" required:"false" doc:"The project whose members may read it; null: no project's"`
	Context       *map[string]any  `json:"context,omitempty" doc:"Replaces the whole"`
	ConvMetadata  *map[string]any  `json:"conv_metadata,omitempty" doc:"Replaces the whole"`
	IsArchived    *bool            `json:"is_archived,omitempty" doc:"Puts it away or brings it back"`
}

func (c *ConversationChange) apply(row *store.Conversation) error {
	set(&row.Title, c.Title)
	set(&row.Description, c.Description)
	c.AgentConfigID.apply(&row.AgentConfigID)
	c.ProjectID.apply(&row.ProjectID)
	set((*map[string]any)(&row.Context), c.Context)
	set((*map[string]any)(&row.ConvMetadata), c.ConvMetadata)
	set(&row.IsArchived, c.IsArchived)
	return nil
}

// Archiving says whether a conversation is put away.
type Archiving struct {
	Archived *bool `json:"archived,omitempty" default:"true" doc:"False brings it back"`
}

type createConversationInput struct {
	Repeatable

	Body NewConversation
}

// ConversationInput names a conversation.
type ConversationInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The conversation's id"`
}

type getConversationInput struct {
	ConversationInput
	Cached
}

type changeConversationInput struct {
	ConversationInput
	Conditional

	Body ConversationChange
}

type touchConversationInput struct {
	ConversationInput
	Conditional
}

type archiveConversationInput struct {
	ConversationInput
	Conditional

	Body *Archiving `required:"false"`
}

type listConversationsInput struct {
	Listing

	Sort          string    `query:"sort" enum:"created_at,-created_at,updated_at,-updated_at" doc:"The order; a dash puts the latest first. Without it newest first"`
	Search        string    `query:"search" maxLength:"200" doc:"Only conversations with all these words in title and description; the last one may be the beginning of a word"`
	ProjectID     uuid.UUID `query:"project_id" format:"uuid" doc:"Only conversations of this project; who may read those of the project sees everybody's"`
	AgentConfigID uuid.UUID `query:"agent_config_id" format:"uuid" doc:"Only conversations with this agent"`
	UserID        uuid.UUID `query:"user_id" format:"uuid" doc:"Only this user's conversations, for who may read others'"`
	IsArchived    string    `query:"is_archived" enum:"true,false" doc:"Only archived conversations, or only the others"`
}

// conversation begins the declaration of an operation on conversations.
func conversation(id, method, path, summary string, errors ...int) operation {
	return operation{id: id, method: method, path: "/conversations" + path, tag: tagConversations, summary: summary, errors: errors}
}

func (s *Server) conversationOperations() {
	create := conversation("create-conversation", http.MethodPost, "", "Start a conversation", http.StatusNotFound, http.StatusConflict)
	create.status = http.StatusCreated
	secured(s, access.ConversationsCreate, create, s.createConversation)
	list := conversation("list-conversations", http.MethodGet, "", "List conversations")
	list.about = "One's own; with project_id those of the project or, for who may read all, everybody's."
	secured(s, access.ConversationsRead, list, s.listConversations)
	secured(s, access.ConversationsRead,
		conversation("get-conversation", http.MethodGet, "/{id}", "Read a conversation", http.StatusNotFound), s.getConversation)
	changes(s, access.ConversationsUpdate,
		conversation("update-conversation", "", "/{id}", "Change a conversation", http.StatusConflict), s.changeConversation)
	archive := conversation("archive-conversation", http.MethodPost, "/{id}/archive", "Archive a conversation",
		http.StatusNotFound, http.StatusPreconditionFailed)
	archive.about = "It can be read on, but takes no new messages. With `archived` false it is brought back."
	secured(s, access.ConversationsUpdate, archive, s.archiveConversation)
	remove := conversation("delete-conversation", http.MethodDelete, "/{id}", "Delete a conversation",
		http.StatusNotFound, http.StatusPreconditionFailed)
	remove.about = "Nobody reads it or its messages from then on."
	secured(s, access.ConversationsDelete, remove, s.deleteConversation)
}

func (s *Server) createConversation(
	ctx context.Context, p *rbac.Principal, in *createConversationInput,
) (*made[Conversation], error) {
	once, err := in.once("POST /conversations", in.Body)
	if err != nil {
		return nil, err
	}
	n := in.Body
	return makes(ctx, s, p, once, func(tx *store.Tx) (*made[Conversation], error) {
		row := &store.Conversation{
			UserID: p.UserID, ProjectID: n.ProjectID, AgentConfigID: n.AgentConfigID, Title: n.Title, Description: n.Description,
			Context: n.Context, ConvMetadata: n.ConvMetadata,
		}
		if n.AgentConfigID != nil {
			agent, err := s.runnable(tx, p, *n.AgentConfigID)
			if err != nil {
				return nil, err
			}
			if row.ProjectID == nil {
				row.ProjectID = agent.ProjectID
			}
		}
		if err := usesProject(tx, p, row.ProjectID); err != nil {
			return nil, err
		}
		if err := tx.Conversations().Create(row); err != nil {
			return nil, err
		}
		return &made[Conversation]{
			Location: base + "/conversations/" + row.ID.String(), ETag: etag(row.UpdatedAt), Body: showConversation(row),
		}, nil
	})
}

func (s *Server) listConversations(
	ctx context.Context, p *rbac.Principal, in *listConversationsInput,
) (*pageOutput[Conversation], error) {
	filter := store.ConversationFilter{
		UserID: given(in.UserID), ProjectID: given(in.ProjectID), AgentConfigID: given(in.AgentConfigID),
		Archived: givenBool(in.IsArchived), Search: in.Search,
	}
	if !p.Conversations().Sees(nil, filter.ProjectID) {
		filter.UserID = &p.UserID
	}
	c := collection{name: "conversations", listing: in.Listing, sort: in.Sort, byAge: true}
	return listed(ctx, s, p, c, showConversation, func(tx *store.Tx, page store.Page) (store.Listed[store.Conversation], error) {
		filter.Page = page
		return tx.Conversations().List(filter)
	})
}

func (s *Server) getConversation(ctx context.Context, p *rbac.Principal, in *getConversationInput) (*one[Conversation], error) {
	return viewed(ctx, s, p, in.Cached, showConversation, func(tx *store.Tx) (*store.Conversation, error) {
		return readable(tx, p, in.ID)
	})
}

func (s *Server) changeConversation(
	ctx context.Context, p *rbac.Principal, in *changeConversationInput,
) (*one[Conversation], error) {
	return s.editConversation(ctx, p, in.ID, in.Conditional, "update", func(tx *store.Tx) error {
		if agent := in.Body.AgentConfigID.Value; agent != nil {
			if _, err := s.runnable(tx, p, *agent); err != nil {
				return err
			}
		}
		return usesProject(tx, p, in.Body.ProjectID.Value)
	}, in.Body.apply)
}

func (s *Server) archiveConversation(
	ctx context.Context, p *rbac.Principal, in *archiveConversationInput,
) (*one[Conversation], error) {
	archived, verb := in.Body == nil || in.Body.Archived == nil || *in.Body.Archived, "archive"
	if !archived {
		verb = "unarchive"
	}
	return s.editConversation(ctx, p, in.ID, in.Conditional, verb, nil, func(row *store.Conversation) error {
		row.IsArchived = archived
		return nil
	})
}

func (s *Server) deleteConversation(
	ctx context.Context, p *rbac.Principal, in *touchConversationInput,
) (*one[Conversation], error) {
	return s.editConversation(ctx, p, in.ID, in.Conditional, "delete", nil, func(row *store.Conversation) error {
		row.IsActive = false
		return nil
	})
}

// editConversation changes one of the caller's own conversations. The check comes first, where there is one.
func (s *Server) editConversation(
	ctx context.Context, p *rbac.Principal, id uuid.UUID, c Conditional, verb string,
	check func(*store.Tx) error, change func(*store.Conversation) error,
) (*one[Conversation], error) {
	row, err := changed(ctx, s, p, c, func(tx *store.Tx, match store.Match) (*store.Conversation, error) {
		if _, err := owned(tx, p, id); err != nil {
			return nil, err
		}
		if check != nil {
			if err := check(tx); err != nil {
				return nil, err
			}
		}
		return tx.Conversations().Update(id, verb, match, change)
	})
	if err != nil {
		return nil, err
	}
	return show(showConversation(row)), nil
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

// owned returns a conversation that the caller may change.
func owned(tx *store.Tx, p *rbac.Principal, id uuid.UUID) (*store.Conversation, error) {
	c, err := readable(tx, p, id)
	if err != nil {
		return nil, err
	}
	if !p.WritesConversation(c.UserID) {
		return nil, fault.New(fault.Forbidden, "conversation.not_owner",
			"Only its owner writes in a conversation or changes it. Start your own.")
	}
	return c, nil
}

// writable returns a conversation that takes the caller's messages.
func writable(tx *store.Tx, p *rbac.Principal, id uuid.UUID) (*store.Conversation, error) {
	c, err := owned(tx, p, id)
	if err != nil {
		return nil, err
	}
	if c.IsArchived {
		return nil, fault.New(fault.Conflict, "conversation.archived", "This conversation is archived. Bring it back, or start a new one.")
	}
	return c, nil
}
