package account

import (
	"context"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// keyLasts bounds what is opened with an API key, such as a stream: at the latest then its client comes back.
const keyLasts = 24 * time.Hour

// Authenticate returns who an access token or an API key speaks for, as the record says; Access says how old that may be. What is
// not good, and what belongs to an account that is gone or deactivated, is fault.Unauthenticated.
func (s *Service) Authenticate(ctx context.Context, credential string, c Client) (*rbac.Principal, error) {
	if auth.IsKey(credential) {
		return s.byKey(ctx, credential, c)
	}
	claimed, err := s.Tokens.Verify(credential)
	if err != nil {
		return nil, err
	}
	var id credentialID
	copy(id[:16], claimed.SessionID[:])
	copy(id[16:], claimed.UserID[:])
	found, err := s.look(ctx, claimed.Tenant, id, func(r store.Credentials) (*store.Credential, error) {
		return r.OfSession(claimed.UserID, claimed.SessionID)
	})
	if err != nil {
		return nil, err
	}
	p := found.principal(claimed.Tenant)
	p.Family, p.Expires = claimed.SessionID, claimed.ExpiresAt
	return p, nil
}

func (s *Service) byKey(ctx context.Context, key string, c Client) (*rbac.Principal, error) {
	t, hash, err := auth.ParseKey(key)
	if err != nil {
		return nil, err
	}
	found, err := s.look(ctx, t, credentialID(hash), func(r store.Credentials) (*store.Credential, error) { return r.OfKey(hash) })
	if err != nil {
		return nil, err
	}
	now := time.Now()
	p := found.principal(t)
	p.KeyID, p.Scopes, p.Expires = found.KeyID, found.scopes, now.Add(keyLasts)
	if ends := found.ExpiresAt; ends != nil {
		if !now.Before(*ends) {
			return nil, fault.New(fault.Unauthenticated, "api_key.expired", "This API key has expired. Make a new one.")
		}
		p.Expires = earlier(p.Expires, *ends)
	}
	s.uses.note(use{t, found.KeyID, now, c.IP}, found.LastUsedAt)
	return p, nil
}

// look finds what a credential allows and refuses one that is not good.
func (s *Service) look(
	ctx context.Context, t tenant.ID, id credentialID, read func(store.Credentials) (*store.Credential, error),
) (*standing, error) {
	found, err := s.Access.lookUp(ctx, t, id, func(ctx context.Context) (c *store.Credential, err error) {
		err = s.Store.View(ctx, t, func(tx *store.Tx) error {
			c, err = read(tx.Credentials())
			return err
		})
		return c, err
	})
	switch {
	case fault.Is(err, fault.NotFound):
		return nil, errRefused()
	case err != nil:
		return nil, err
	case !found.Active:
		return nil, errInactive()
	case found.Revoked && found.KeyID != uuid.Nil:
		return nil, fault.New(fault.Unauthenticated, "token.refused", "This API key was deleted. Use another one.")
	case found.Revoked:
		return nil, errRefused()
	default:
		return found, nil
	}
}

// principal is the caller without what differs between credentials.
func (s *standing) principal(t tenant.ID) *rbac.Principal {
	return &rbac.Principal{
		UserID: s.UserID, Tenant: t, Role: s.Role, Permissions: s.permissions, Projects: s.projects, Superuser: s.Superuser,
	}
}

func earlier(a, b time.Time) time.Time {
	if b.Before(a) {
		return b
	}
	return a
}
