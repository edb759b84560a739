package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/store"
)

// Session is a login that can still be used.
type Session struct {
	ID        uuid.UUID `json:"id" format:"uuid" doc:"The session's id"`
	CreatedAt time.Time `json:"created_at" doc:"When its user logged in"`
	LastUsed  time.Time `json:"last_used" doc:"When its tokens were last refreshed"`
	ExpiresAt time.Time `json:"expires_at" doc:"When it ends unless it is refreshed"`
	IP        string    `json:"ip" example:"192.0.2.7" doc:"Where it was last refreshed from"`
	UserAgent string    `json:"user_agent" example:"Mozilla/5.0" doc:"The client, as it calls itself"`
	Current   bool      `json:"current" doc:"Whether the request was made in this session"`
}

func showSession(p *rbac.Principal) func(*store.Session) Session {
	return func(s *store.Session) Session {
		return Session{
			ID: s.ID, CreatedAt: s.CreatedAt.UTC(), LastUsed: s.LastUsed.UTC(), ExpiresAt: s.ExpiresAt.UTC(), IP: s.IP,
			UserAgent: s.UserAgent, Current: s.ID == p.Family,
		}
	}
}

type listSessionsInput struct{ Listing }

type sessionInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The session's id"`
}

func (s *Server) sessionOperations() {
	op := func(id, method, path, summary, about string, errors ...int) operation {
		return operation{
			id: id, method: method, path: "/auth/sessions" + path, tag: tagAuth, summary: summary, about: about, errors: errors,
			person: true,
		}
	}
	list := op("list-sessions", http.MethodGet, "", "List one's sessions", "Newest first: the logins that can still be used.")
	secured(s, "", list, s.listSessions)
	end := op("delete-session", http.MethodDelete, "/{id}", "End one of one's sessions",
		"Its access and refresh tokens are no longer good.", http.StatusNotFound)
	end.status = http.StatusNoContent
	secured(s, "", end, s.deleteSession)
	others := op("delete-sessions", http.MethodDelete, "", "End all of one's other sessions",
		"All but the session of the request. API keys stay as they are.")
	others.status = http.StatusNoContent
	secured(s, "", others, s.deleteSessions)
}

func (s *Server) listSessions(ctx context.Context, p *rbac.Principal, in *listSessionsInput) (*pageOutput[Session], error) {
	c := collection{name: "sessions", listing: in.Listing, counted: true}
	return listed(ctx, s, p, c, showSession(p), func(tx *store.Tx, page store.Page) (store.Listed[store.Session], error) {
		return tx.RefreshTokens().Sessions(p.UserID, page)
	})
}

func (s *Server) deleteSession(ctx context.Context, p *rbac.Principal, in *sessionInput) (*struct{}, error) {
	return nil, s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		return tx.RefreshTokens().End(p.UserID, in.ID, store.EndedByUser)
	})
}

func (s *Server) deleteSessions(ctx context.Context, p *rbac.Principal, _ *struct{}) (*struct{}, error) {
	return nil, s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		if err := tx.RefreshTokens().EndOthers(p.UserID, p.Family, store.EndedByUser); err != nil {
			return err
		}
		tx.Audit("session", "delete_others", p.Family, nil, map[string]any{"user_id": p.UserID})
		return nil
	})
}
