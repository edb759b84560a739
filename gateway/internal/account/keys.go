package account

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/store"
)

// NewKey is an API key to be.
type NewKey struct {
	Name   string
	Scopes []access.Permission
	// ExpiresAt is when the key ends; nil if never.
	ExpiresAt *time.Time
}

// CreateKey makes an API key of the caller's and returns its text, which nobody gets to see again. A scope that the caller does not
// hold is fault.Invalid "scope.not_held".
func (s *Service) CreateKey(ctx context.Context, p *rbac.Principal, n NewKey) (*store.APIKey, secret.Text, error) {
	scopes := slices.Clone(n.Scopes)
	slices.Sort(scopes)
	scopes = slices.Compact(scopes)
	if lacking := p.Lacks(scopes); len(lacking) > 0 {
		return nil, secret.Text{}, fault.New(fault.Invalid, "scope.not_held",
			"A key cannot do more than you. These scopes are not yours to give: %s.", strings.Join(texts(lacking), ", "))
	}
	if n.ExpiresAt != nil && !n.ExpiresAt.After(time.Now()) {
		return nil, secret.Text{}, fault.New(fault.Invalid, "api_key.expired", "The key would have expired already.")
	}
	plain, prefix, hash, err := auth.NewKey(p.Tenant)
	if err != nil {
		return nil, secret.Text{}, fmt.Errorf("account: %w", err)
	}
	row := &store.APIKey{
		UserID: p.UserID, Name: n.Name, Prefix: prefix, KeyHash: hash, Scopes: texts(scopes), ExpiresAt: n.ExpiresAt,
	}
	err = s.in(ctx, p.Tenant, func(tx *store.Tx) error { return tx.APIKeys().Create(row) })
	return row, plain, err
}

func texts(permissions []access.Permission) []string {
	names := make([]string, len(permissions))
	for i, p := range permissions {
		names[i] = string(p)
	}
	return names
}
