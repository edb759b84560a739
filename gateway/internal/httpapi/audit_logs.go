package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// AuditLog tells one change in the organization.
type AuditLog struct {
	ID           uuid.UUID       `json:"id" format:"uuid" doc:"The entry's id"`
	Seq          int64           `json:"seq" example:"1024" doc:"Its number in the organization's chain, without gaps"`
	ActorID      *uuid.UUID      `json:"actor_id" format:"uuid" doc:"The user who did it; null for the service itself"`
	APIKeyID     *uuid.UUID      `json:"api_key_id" format:"uuid" doc:"The API key that was used; null for a session"`
	Action       string          `json:"action" example:"project.update" doc:"What was done, as resource.verb"`
	ResourceType string          `json:"resource_type" example:"project" doc:"What it was done to"`
	ResourceID   *uuid.UUID      `json:"resource_id" format:"uuid" doc:"To which one"`
	Before       json.RawMessage `json:"before" doc:"How the fields that changed were, without secrets; null for something new"`
	After        json.RawMessage `json:"after" doc:"How they became; null for something removed"`
	IPAddress    string          `json:"ip_address" example:"192.0.2.7" doc:"Where the request came from"`
	UserAgent    string          `json:"user_agent" example:"curl/8.5.0" doc:"The client, as it calls itself"`
	RequestID    string          `json:"request_id" doc:"Finds the request in the logs"`
	Hash         []byte          `json:"hash" doc:"SHA-256 over the hash before and this entry, in base64; verify-audit follows the chain"`
	CreatedAt    time.Time       `json:"created_at" doc:"When it happened"`
}

func (a AuditLog) changedAt() time.Time { return a.CreatedAt }

func showAuditLog(e *store.AuditEntry) AuditLog {
	return AuditLog{
		ID: e.ID, Seq: e.Seq, ActorID: e.ActorID, APIKeyID: e.KeyID, Action: e.Action, ResourceType: e.ResourceType,
		ResourceID: e.ResourceID, Before: e.Before, After: e.After, IPAddress: e.IP, UserAgent: e.UserAgent, RequestID: e.RequestID,
		Hash: e.Hash, CreatedAt: e.CreatedAt.UTC(),
	}
}

type getAuditLogInput struct {
	Cached

	ID uuid.UUID `path:"id" format:"uuid" doc:"The entry's id"`
}

type listAuditLogsInput struct {
	Cursored

	ActorID      uuid.UUID `query:"actor_id" format:"uuid" doc:"Only what this user did"`
	Action       string    `query:"action" maxLength:"100" example:"project.update" doc:"Only this action"`
	ResourceType string    `query:"resource_type" maxLength:"100" example:"project" doc:"Only what was done to resources of this type"`
	ResourceID   uuid.UUID `query:"resource_id" format:"uuid" doc:"Only what was done to this resource"`
	Since        time.Time `query:"since" doc:"Only what happened from then on"`
	Until        time.Time `query:"until" doc:"Only what happened before then"`
	Sort         string    `query:"sort" enum:"created_at,-created_at" default:"-created_at" doc:"The order; without the dash the oldest first"`
}

func (s *Server) auditLogOperations() {
	secured(s, access.AuditRead, operation{
		id: "list-audit-logs", method: http.MethodGet, path: "/audit-logs", tag: tagAuditLogs, summary: "List what was changed",
		about: "Newest first: who changed what, from where, and how it was before and after. Submitted jobs and written messages are not " +
			"listed: they are their own record.",
	}, s.listAuditLogs)
	secured(s, access.AuditRead, operation{
		id: "get-audit-log", method: http.MethodGet, path: "/audit-logs/{id}", tag: tagAuditLogs, summary: "Read an entry of the audit log",
		errors: []int{http.StatusNotFound},
	}, s.getAuditLog)
}

func (s *Server) listAuditLogs(ctx context.Context, p *rbac.Principal, in *listAuditLogsInput) (*pageOutput[AuditLog], error) {
	c := collection{name: "audit-logs", listing: in.listing(), sort: in.Sort}
	return listed(ctx, s, p, c, showAuditLog, func(tx *store.Tx, page store.Page) (store.Listed[store.AuditEntry], error) {
		return tx.AuditLog().List(store.AuditFilter{
			ActorID: given(in.ActorID), Action: in.Action, ResourceType: in.ResourceType, ResourceID: given(in.ResourceID),
			Since: in.Since, Until: in.Until, Page: page,
		})
	})
}

func (s *Server) getAuditLog(ctx context.Context, p *rbac.Principal, in *getAuditLogInput) (*one[AuditLog], error) {
	return viewed(ctx, s, p, in.Cached, showAuditLog, func(tx *store.Tx) (*store.AuditEntry, error) {
		return tx.AuditLog().Get(in.ID)
	})
}
