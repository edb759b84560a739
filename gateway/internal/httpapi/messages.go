package httpapi

import (
	"context"
	"net/http"
	"reflect"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/jobs"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// Message is one turn of a conversation.
type Message struct {
	ID               uuid.UUID      `json:"id" format:"uuid"`
	ConversationID   uuid.UUID      `json:"conversation_id" format:"uuid"`
	Role             string         `json:"role" enum:"user,assistant,system,tool"`
	Content          string         `json:"content"`
	TokensUsed       int            `json:"tokens_used"`
	ProcessingTimeMS int            `json:"processing_time_ms"`
	MsgMetadata      map[string]any `json:"msg_metadata" doc:"Of an answer: model, finish_reason, citations and job_id"`
	CreatedAt        time.Time      `json:"created_at"`
	UpdatedAt        time.Time      `json:"updated_at"`
}

func (m Message) changedAt() time.Time { return m.UpdatedAt }

func showMessage(m *store.Message) Message {
	return Message{
		ID: m.ID, ConversationID: m.ConversationID, Role: m.Role, Content: m.Content, TokensUsed: m.TokensUsed,
		ProcessingTimeMS: m.ProcessingTimeMS, MsgMetadata: object(m.MsgMetadata),
		CreatedAt: m.CreatedAt.UTC(), UpdatedAt: m.UpdatedAt.UTC(),
	}
}

// NewMessage is a message to be.
type NewMessage struct {
	Content     string         `json:"content" minLength:"1" maxLength:"200000" example:"What does the travel policy say about taxis?"`
	Role        string         `json:"role,omitempty" enum:"user,system" default:"user" doc:"A system message is kept and not answered"`
	Run         *bool          `json:"run,omitempty" nullable:"true" default:"true" doc:"Whether the agent answers a user message"`
	MsgMetadata map[string]any `json:"msg_metadata,omitempty"`
}

// runs reports whether the message is to be answered.
func (n *NewMessage) runs() bool { return n.Role != store.RoleSystem && (n.Run == nil || *n.Run) }

type createMessageInput struct {
	Submitting
	ConversationInput

	Body NewMessage
}

// createMessageOutput holds the job that answers the message or, when nothing runs, the message.
type createMessageOutput struct {
	Status     int
	Location   string `header:"Location" doc:"Where the job or the message is"`
	ETag       string `header:"ETag" doc:"Of a message: tells this state of it from others"`
	RetryAfter string `header:"Retry-After" doc:"When to ask again, in seconds"`
	Replayed   string `header:"Idempotency-Replayed" doc:"true when an earlier request with the same key made the job or the message"`
	Applied    string `header:"Preference-Applied" doc:"The preference that was honored"`
	Body       any
}

type listMessagesInput struct {
	Cursored
	ConversationInput

	Role string `query:"role" enum:"user,assistant,system,tool" example:"assistant" doc:"Only messages of this role"`
	Sort string `query:"sort" enum:"created_at,-created_at" default:"created_at" doc:"The order; -created_at puts the newest first"`
}

func (s *Server) messageOperations() {
	list := conversation("list-messages", http.MethodGet, "/{id}/messages", "Read the messages of a conversation", http.StatusNotFound)
	list.about = "Oldest first, or the newest first with `sort=-created_at`."
	secured(s, access.ConversationsRead, list, s.listMessages)
	secured(s, access.ConversationsRead,
		conversation("get-message", http.MethodGet, "/{id}/messages/{message_id}", "Read a message", http.StatusNotFound), s.getMessage)
	create := conversation("create-message", http.MethodPost, "/{id}/messages", "Write a message", http.StatusNotFound)
	create.accepts = true
	create.about = "A user message starts a run of the conversation's agent: 202 with the job. With run=false, and for a system message, " +
		"the message is only kept: 201 with the message."
	secured(s, access.ConversationsCreate, create, s.createMessage)
	remove := conversation("delete-message", http.MethodDelete, "/{id}/messages/{message_id}", "Delete a message",
		http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed)
	remove.status = http.StatusNoContent
	remove.about = "It is gone for good. A message that is being answered is not deleted before its job has ended."
	secured(s, access.ConversationsDelete, remove, s.deleteMessage)
	registry, responses := s.api.OpenAPI().Components.Schemas, s.api.OpenAPI().Paths[base+"/conversations/{id}/messages"].Post.Responses
	responses["201"] = &huma.Response{
		Description: "Created: the message, when nothing runs",
		Content:     map[string]*huma.MediaType{mediaJSON: {Schema: registry.Schema(reflect.TypeFor[Message](), true, "")}},
	}
	responses["202"].Content = responses["200"].Content
}

func (s *Server) listMessages(ctx context.Context, p *rbac.Principal, in *listMessagesInput) (*pageOutput[Message], error) {
	c := collection{name: "messages " + in.ID.String(), listing: in.listing(), sort: in.Sort, byAge: true}
	return listed(ctx, s, p, c, showMessage, func(tx *store.Tx, page store.Page) (none store.Listed[store.Message], err error) {
		if _, err := readable(tx, p, in.ID); err != nil {
			return none, err
		}
		return tx.Messages().List(in.ID, store.MessageFilter{Role: in.Role, Page: page})
	})
}

// MessageInput names a message.
type MessageInput struct {
	ConversationInput

	MessageID uuid.UUID `path:"message_id" format:"uuid" doc:"The message's id"`
}

type getMessageInput struct {
	MessageInput
	Cached
}

type touchMessageInput struct {
	MessageInput
	Conditional
}

func (s *Server) getMessage(ctx context.Context, p *rbac.Principal, in *getMessageInput) (*one[Message], error) {
	return viewed(ctx, s, p, in.Cached, showMessage, func(tx *store.Tx) (*store.Message, error) {
		if _, err := readable(tx, p, in.ID); err != nil {
			return nil, err
		}
		return tx.Messages().Get(in.ID, in.MessageID)
	})
}

func (s *Server) deleteMessage(ctx context.Context, p *rbac.Principal, in *touchMessageInput) (*struct{}, error) {
	return changed(ctx, s, p, in.Conditional, func(tx *store.Tx, match store.Match) (*struct{}, error) {
		if _, err := owned(tx, p, in.ID); err != nil {
			return nil, err
		}
		return nil, tx.Messages().Delete(in.ID, in.MessageID, match)
	})
}

func (s *Server) createMessage(ctx context.Context, p *rbac.Principal, in *createMessageInput) (*createMessageOutput, error) {
	once, err := in.once("POST /conversations/"+in.ID.String()+"/messages", in.Body)
	if err != nil {
		return nil, err
	}
	if !in.Body.runs() {
		return s.keepMessage(ctx, p, once, in)
	}
	sub, err := s.Jobs.SubmitWith(ctx, p, once, func(tx *store.Tx) (store.NewJob, error) { return s.ask(tx, p, in) })
	if err != nil {
		return nil, err
	}
	out, err := s.accept(ctx, p, sub, in.Prefer)
	if err != nil {
		return nil, err
	}
	return &createMessageOutput{
		Status: out.Status, Location: out.Location, RetryAfter: out.RetryAfter, Replayed: out.Replayed, Applied: out.Applied,
		Body: out.Body,
	}, nil
}

// ask writes the message and builds the run that answers it.
func (s *Server) ask(tx *store.Tx, p *rbac.Principal, in *createMessageInput) (store.NewJob, error) {
	c, err := writable(tx, p, in.ID)
	if err != nil {
		return store.NewJob{}, err
	}
	if c.AgentConfigID == nil {
		return store.NewJob{}, fault.New(fault.Conflict, "conversation.no_agent",
			"This conversation has no agent to answer. Send run=false, or start one with an agent_config_id.")
	}
	agent, err := s.runnable(tx, p, *c.AgentConfigID)
	if err != nil {
		return store.NewJob{}, err
	}
	message := in.Body.row(c.ID)
	if err := tx.Messages().Create(message); err != nil {
		return store.NewJob{}, err
	}
	job := s.run(p, agent, NewRun{UserInput: in.Body.Content})
	job.ConversationID = &c.ID
	if c.ProjectID != nil {
		job.ProjectID = c.ProjectID
	}
	if input, ok := job.Input.(events.AgentRunInput); ok {
		input.ConversationID, input.MessageID = c.ID.String(), message.ID.String()
		job.Input = input
	}
	return job, nil
}

func (n *NewMessage) row(conversation uuid.UUID) *store.Message {
	role := n.Role
	if role == "" {
		role = store.RoleUser
	}
	return &store.Message{ConversationID: conversation, Role: role, Content: n.Content, MsgMetadata: n.MsgMetadata}
}

// keepMessage writes a message that nobody answers.
func (s *Server) keepMessage(
	ctx context.Context, p *rbac.Principal, once jobs.Once, in *createMessageInput,
) (*createMessageOutput, error) {
	kept, err := makes(ctx, s, p, once, func(tx *store.Tx) (*made[Message], error) {
		if _, err := writable(tx, p, in.ID); err != nil {
			return nil, err
		}
		message := in.Body.row(in.ID)
		if err := tx.Messages().Create(message); err != nil {
			return nil, err
		}
		location := base + "/conversations/" + in.ID.String() + "/messages/" + message.ID.String()
		return &made[Message]{Location: location, ETag: etag(message.UpdatedAt), Body: showMessage(message)}, nil
	})
	if err != nil {
		return nil, err
	}
	return &createMessageOutput{
		Status: http.StatusCreated, Location: kept.Location, ETag: kept.ETag, Replayed: kept.Replayed, Body: kept.Body,
	}, nil
}
