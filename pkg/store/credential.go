package store

import (
	"time"

	"github.com/google/uuid"
)

// Credential is what a session or an API key allows at the moment: all that deciding about a request needs, and no secret.
type Credential struct {
	UserID    uuid.UUID
	Superuser bool
	// Active is false when the user or the whole organization was deactivated.
	Active bool
	// Revoked says that the session has ended or that the key was deleted.
	Revoked bool
	Role    string // the name of the user's role; empty without one
	// Permissions are the names of what the role allows, sorted.
	Permissions StringArray
	// Projects are the ids of the projects that the user belongs to.
	Projects StringArray

	// KeyID and the fields after it are an API key's; zero for a session.
	KeyID uuid.UUID
	// Scopes bound what the key may do of what its user may.
	Scopes StringArray
	// ExpiresAt is when the key ends; nil if never.
	ExpiresAt *time.Time
	// LastUsedAt is when the key was last seen to be used; nil if never.
	LastUsedAt *time.Time
}

// Credentials is the repository of what sessions and API keys allow within a tenant.
type Credentials struct{ tx *Tx }

// Credentials returns what the sessions and API keys of the transaction's tenant allow.
func (tx *Tx) Credentials() Credentials { return Credentials{tx} }

// allowed are the columns of a Credential about the user u in the organization o with the role r.
const allowed = `u.id AS user_id, u.is_superuser AS superuser, u.is_active AND o.is_active AS active, COALESCE(r.name, '') AS role,
	ARRAY(SELECT p.name FROM role_permissions rp JOIN permissions p ON p.id = rp.permission_id
		WHERE rp.organization_id = u.organization_id AND rp.role_id = u.role_id ORDER BY p.name) AS permissions,
	ARRAY(SELECT m.project_id::text FROM project_members m
		WHERE m.organization_id = u.organization_id AND m.user_id = u.id ORDER BY m.project_id) AS projects`

// allowing joins what allowed reads.
const allowing = ` JOIN organizations o ON o.id = u.organization_id
	LEFT JOIN roles r ON r.organization_id = u.organization_id AND r.id = u.role_id `

// OfSession returns what a session of a user allows. A user that does not exist is fault.NotFound; a session that does not, or is
// somebody else's, is a revoked one.
func (r Credentials) OfSession(user, session uuid.UUID) (*Credential, error) {
	return r.read(nounSession, `SELECT `+allowed+`,
			NOT EXISTS (SELECT FROM refresh_tokens t
				WHERE t.organization_id = u.organization_id AND t.family_id = @session AND t.user_id = u.id)
			OR EXISTS (SELECT FROM refresh_tokens t
				WHERE t.organization_id = u.organization_id AND t.family_id = @session AND t.revoked_at IS NOT NULL) AS revoked
		FROM users u`+allowing+`WHERE u.organization_id = @tenant AND u.id = @user`,
		map[string]any{"tenant": r.tx.tenant.UUID(), "user": user, "session": session})
}

// OfKey returns what the API key with this hash allows. An unknown one is fault.NotFound.
func (r Credentials) OfKey(hash []byte) (*Credential, error) {
	return r.read(nounAPIKey, `SELECT `+allowed+`,
			k.id AS key_id, k.scopes, k.expires_at, k.last_used_at, k.revoked_at IS NOT NULL AS revoked
		FROM api_keys k JOIN users u ON u.organization_id = k.organization_id AND u.id = k.user_id`+allowing+`
		WHERE k.organization_id = @tenant AND k.key_hash = @hash`,
		map[string]any{"tenant": r.tx.tenant.UUID(), "hash": hash})
}

func (r Credentials) read(noun, query string, args map[string]any) (*Credential, error) {
	var found []Credential
	if err := r.tx.db.Raw(query, args).Find(&found).Error; err != nil {
		return nil, explain(err, "read what a "+wordsOf(noun)+" allows")
	}
	if len(found) == 0 {
		return nil, notFound(noun)
	}
	return &found[0], nil
}
