package store

import (
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// APIKey lets a program work in a user's name, within its scopes and never beyond what the user may do. Only the key's hash is
// stored.
type APIKey struct {
	ID             uuid.UUID `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID `gorm:"column:organization_id"`
	UserID         uuid.UUID `gorm:"column:user_id"`
	Name           string    `gorm:"column:name"`
	// Prefix is the beginning of the key, by which people tell it from others.
	Prefix  string      `gorm:"column:prefix"`
	KeyHash []byte      `gorm:"column:key_hash" json:"-" audit:"-"`
	Scopes  StringArray `gorm:"column:scopes"`
	// ExpiresAt is when the key ends; nil if never.
	ExpiresAt *time.Time `gorm:"column:expires_at"`
	// LastUsedAt and LastUsedIP are kept at most once in UseKept.
	LastUsedAt *time.Time `gorm:"column:last_used_at"`
	LastUsedIP string     `gorm:"column:last_used_ip"`
	// RevokedAt is when the key was deleted; nil while it is good.
	RevokedAt *time.Time `gorm:"column:revoked_at"`
	CreatedAt time.Time  `gorm:"column:created_at"`
	UpdatedAt time.Time  `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (APIKey) TableName() string { return "api_keys" }

// UseKept is how often the use of a key is kept at most.
const UseKept = time.Minute

// APIKeys is the repository of API keys within a tenant. Deleted ones do not exist for it.
type APIKeys struct{ tx *Tx }

// APIKeys returns the API keys of the transaction's tenant.
func (tx *Tx) APIKeys() APIKeys { return APIKeys{tx} }

const nounAPIKey = "api_key"

func (r APIKeys) scoped() *gorm.DB { return within[APIKey](r.tx).Where("revoked_at IS NULL") }

// Create writes a key.
func (r APIKeys) Create(k *APIKey) error {
	return create(r.tx, nounAPIKey, k, &k.ID, &k.OrganizationID)
}

// Get returns a key, or fault.NotFound "api_key.not_found".
func (r APIKeys) Get(id uuid.UUID) (*APIKey, error) {
	return take[APIKey](r.scoped().Where("id = ?", id), nounAPIKey)
}

// APIKeyFilter narrows a list of keys. Zero fields do not.
type APIKeyFilter struct {
	UserID *uuid.UUID
	Page   Page
}

// APIKeySorts are the columns that keys can be sorted by.
func APIKeySorts() []string { return []string{"name", "created_at"} }

// List returns one page of the keys.
func (r APIKeys) List(f APIKeyFilter) (Listed[APIKey], error) {
	q := r.scoped()
	if f.UserID != nil {
		q = q.Where("user_id = ?", *f.UserID)
	}
	return list[APIKey](q, f.Page, nounAPIKey, APIKeySorts())
}

// Delete ends a key for good. One that is not there is fault.NotFound.
func (r APIKeys) Delete(id uuid.UUID, match Match) error {
	// Locked before it is looked at, so that of two deletions one finds it gone.
	if _, err := take[APIKey](r.scoped().Where("id = ?", id).Clauses(forUpdate()), nounAPIKey); err != nil {
		return err
	}
	_, err := edit(r.tx, nounAPIKey, "delete", id, match, func(k *APIKey) error {
		now := r.tx.db.NowFunc()
		k.RevokedAt = &now
		return nil
	})
	r.tx.accessChanged = true
	return err
}

// Used records that a key was used, unless that was done less than UseKept ago.
func (r APIKeys) Used(id uuid.UUID, at time.Time, ip string) error {
	kept := r.scoped().Where("id = ? AND (last_used_at IS NULL OR last_used_at < ?)", id, at.Add(-UseKept)).
		UpdateColumns(map[string]any{"last_used_at": at, "last_used_ip": storable(ip)})
	return explain(kept.Error, "record the use of an API key")
}
