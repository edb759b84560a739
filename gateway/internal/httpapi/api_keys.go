package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/account"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// APIKey lets a program work in a user's name.
type APIKey struct {
	ID             uuid.UUID  `json:"id" format:"uuid" doc:"The key's id"`
	OrganizationID uuid.UUID  `json:"organization_id" format:"uuid" doc:"The organization it works in"`
	UserID         uuid.UUID  `json:"user_id" format:"uuid" doc:"The user in whose name it works"`
	Name           string     `json:"name" example:"Nightly import" doc:"What it is for"`
	Prefix         string     `json:"prefix" example:"ck_9fX2bQ0a" doc:"The beginning of the key, to tell it from others"`
	Scopes         []string   `json:"scopes" nullable:"false" example:"[\"documents:upload\"]" doc:"The permissions that it may use, as far as its user holds them"`
	ExpiresAt      *time.Time `json:"expires_at" doc:"When it ends; null if never"`
	LastUsedAt     *time.Time `json:"last_used_at" doc:"When it was last used, to the minute; null if never"`
	LastUsedIP     string     `json:"last_used_ip" example:"192.0.2.7" doc:"Where it was last used from"`
	CreatedAt      time.Time  `json:"created_at" doc:"When it was made"`
	UpdatedAt      time.Time  `json:"updated_at" doc:"When it was last changed"`
}

func (k APIKey) changedAt() time.Time { return k.UpdatedAt }

func showAPIKey(k *store.APIKey) APIKey {
	return APIKey{
		ID: k.ID, OrganizationID: k.OrganizationID, UserID: k.UserID, Name: k.Name, Prefix: k.Prefix,
		Scopes: append([]string{}, k.Scopes...), ExpiresAt: utc(k.ExpiresAt), LastUsedAt: utc(k.LastUsedAt), LastUsedIP: k.LastUsedIP,
		CreatedAt: k.CreatedAt.UTC(), UpdatedAt: k.UpdatedAt.UTC(),
	}
}

// NewAPIKey is an API key to be.
type NewAPIKey struct {
	Name      string     `json:"name" minLength:"1" maxLength:"200" example:"Nightly import" doc:"What it is for"`
	Scopes    []string   `json:"scopes" nullable:"false" minItems:"1" maxItems:"100" example:"[\"documents:upload\"]" doc:"The permissions that it may use; only such as you hold"`
	ExpiresAt *time.Time `json:"expires_at,omitempty" nullable:"true" example:"2030-01-01T00:00:00Z" doc:"When it ends; never when left out or null"`
}

// MadeAPIKey is an API key with its text.
type MadeAPIKey struct {
	APIKey

	Key string `json:"key" example:"ck_9fX2bQ0a..." doc:"The key itself. It is shown this once, so keep it now"`
}

type createAPIKeyInput struct{ Body NewAPIKey }

type madeAPIKeyOutput struct {
	Location     string `header:"Location" doc:"Where it is"`
	ETag         string `header:"ETag" doc:"Tells this state of the resource from others"`
	CacheControl string `header:"Cache-Control" doc:"no-store: the answer holds a secret"`
	Body         MadeAPIKey
}

type listAPIKeysInput struct {
	Listing

	Sort   string    `query:"sort" enum:"name,-name,created_at,-created_at" doc:"The order; a dash puts the largest first. Without it newest first"`
	UserID uuid.UUID `query:"user_id" format:"uuid" doc:"Only keys of this user. Without it one's own; others' need api_keys:manage"`
}

// APIKeyInput names an API key.
type APIKeyInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The key's id"`
}

type getAPIKeyInput struct {
	APIKeyInput
	Cached
}

type deleteAPIKeyInput struct {
	APIKeyInput
	Conditional
}

func (s *Server) apiKeyOperations() {
	op := func(id, method, path, summary string, errors ...int) operation {
		return operation{id: id, method: method, path: "/auth/api-keys" + path, tag: tagAuth, summary: summary, errors: errors, own: true}
	}
	create := operation{
		id: "create-api-key", method: http.MethodPost, path: "/auth/api-keys", tag: tagAuth, summary: "Make an API key",
		about: "The key is in this answer and nowhere else: only its hash is kept. Send it as `Authorization: Bearer ck_...` or as " +
			"`X-API-Key`. It may do what its scopes name, as far as its user may at that moment. There is no `Idempotency-Key`, " +
			"because the answer, a secret, is not kept: if it is lost, delete the key and make another.",
		status: http.StatusCreated, person: true,
	}
	secured(s, "", create, s.createAPIKey)
	secured(s, access.APIKeysManage, op("list-api-keys", http.MethodGet, "", "List API keys"), s.listAPIKeys)
	secured(s, access.APIKeysManage, op("get-api-key", http.MethodGet, "/{id}", "Read an API key", http.StatusNotFound), s.getAPIKey)
	remove := op("delete-api-key", http.MethodDelete, "/{id}", "Delete an API key", http.StatusNotFound, http.StatusPreconditionFailed)
	remove.about, remove.status, remove.person = "It is no longer good from then on.", http.StatusNoContent, true
	secured(s, access.APIKeysManage, remove, s.deleteAPIKey)
}

func (s *Server) createAPIKey(ctx context.Context, p *rbac.Principal, in *createAPIKeyInput) (*madeAPIKeyOutput, error) {
	scopes := make([]access.Permission, len(in.Body.Scopes))
	for i, name := range in.Body.Scopes {
		scopes[i] = access.Permission(name)
	}
	row, key, err := s.Accounts.CreateKey(ctx, p, account.NewKey{Name: in.Body.Name, Scopes: scopes, ExpiresAt: in.Body.ExpiresAt})
	if err != nil {
		return nil, err
	}
	return &madeAPIKeyOutput{
		Location: base + "/auth/api-keys/" + row.ID.String(), ETag: etag(row.UpdatedAt), CacheControl: "no-store",
		Body: MadeAPIKey{showAPIKey(row), key.Reveal()},
	}, nil
}

func (s *Server) listAPIKeys(ctx context.Context, p *rbac.Principal, in *listAPIKeysInput) (*pageOutput[APIKey], error) {
	user := p.UserID
	if in.UserID != uuid.Nil {
		user = in.UserID
	}
	if !p.SeesKeysOf(user) {
		return nil, fault.New(fault.Forbidden, "permission.missing",
			"The keys of others need the permission %s, which your role does not have.", access.APIKeysManage)
	}
	c := collection{name: "api-keys", listing: in.Listing, sort: in.Sort, counted: true}
	return listed(ctx, s, p, c, showAPIKey, func(tx *store.Tx, page store.Page) (store.Listed[store.APIKey], error) {
		return tx.APIKeys().List(store.APIKeyFilter{UserID: &user, Page: page})
	})
}

func (s *Server) getAPIKey(ctx context.Context, p *rbac.Principal, in *getAPIKeyInput) (*one[APIKey], error) {
	return viewed(ctx, s, p, in.Cached, showAPIKey, func(tx *store.Tx) (*store.APIKey, error) {
		return seenAPIKey(tx, p, in.ID)
	})
}

func (s *Server) deleteAPIKey(ctx context.Context, p *rbac.Principal, in *deleteAPIKeyInput) (*struct{}, error) {
	return changed(ctx, s, p, in.Conditional, func(tx *store.Tx, match store.Match) (*struct{}, error) {
		if _, err := seenAPIKey(tx, p, in.ID); err != nil {
			return nil, err
		}
		return nil, tx.APIKeys().Delete(in.ID, match)
	})
}

// seenAPIKey reads a key that the caller may see; others do not exist for it.
func seenAPIKey(tx *store.Tx, p *rbac.Principal, id uuid.UUID) (*store.APIKey, error) {
	row, err := tx.APIKeys().Get(id)
	if err == nil && !p.SeesKeysOf(row.UserID) {
		return nil, fault.New(fault.NotFound, "api_key.not_found", "There is no such api key.")
	}
	return row, err
}
