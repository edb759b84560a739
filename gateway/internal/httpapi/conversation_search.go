package httpapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// ConversationHit is a conversation that a search found.
type ConversationHit struct {
	Conversation Conversation `json:"conversation" doc:"The conversation"`
	MessageID    *uuid.UUID   `json:"message_id" format:"uuid" doc:"The newest message with the words; null where only title or description have them"`
	Snippet      string       `json:"snippet" example:"… paid for after 22:00, a taxi may be taken …" doc:"The text around the first of the words, without markup"`
}

func showHit(f *store.FoundConversation) ConversationHit {
	return ConversationHit{Conversation: showConversation(&f.Conversation), MessageID: f.MessageID, Snippet: f.Snippet}
}

type searchConversationsInput struct {
	Cursored

	Query string `query:"q" required:"true" minLength:"1" maxLength:"200" example:"taxi" doc:"The words to look for: all of them in one message, or in title and description; the last one may be the beginning of a word"`
}

func (s *Server) conversationSearchOperations() {
	search := conversation("search-conversations", http.MethodGet, "/search", "Search conversations")
	search.about = "Looks through titles, descriptions and messages of all conversations that the caller may read. " +
		"Newest conversation first."
	secured(s, access.ConversationsRead, search, s.searchConversations)
}

func (s *Server) searchConversations(
	ctx context.Context, p *rbac.Principal, in *searchConversationsInput,
) (*pageOutput[ConversationHit], error) {
	c, reach := collection{name: "conversations with " + in.Query, listing: in.listing()}, p.Conversations()
	return listed(ctx, s, p, c, showHit, func(tx *store.Tx, page store.Page) (store.Listed[store.FoundConversation], error) {
		return tx.Conversations().Search(store.ConversationSearch{
			Text: in.Query, All: reach.All, UserID: reach.Owner, Projects: reach.Projects, Limit: in.Limit, After: page.After,
		})
	})
}
