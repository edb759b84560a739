package store

import (
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// Permission is something that a role may allow.
type Permission struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"`
	OrganizationID *uuid.UUID `gorm:"column:organization_id"` // nil for those that ship with the service
	Name           string     `gorm:"column:name"`            // "resource:action"
	Resource       string     `gorm:"column:resource"`
	Action         string     `gorm:"column:action"`
	Description    string     `gorm:"column:description"`
	IsSystem       bool       `gorm:"column:is_system"`
	PermMetadata   Object     `gorm:"column:perm_metadata"`
	CreatedAt      time.Time  `gorm:"column:created_at"`
	UpdatedAt      time.Time  `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (Permission) TableName() string { return "permissions" }

// Permissions is the repository of the permissions that a tenant knows: those that ship with the service and its own.
type Permissions struct{ tx *Tx }

// Permissions returns the permissions that the transaction's tenant knows.
func (tx *Tx) Permissions() Permissions { return Permissions{tx} }

func (r Permissions) scoped() *gorm.DB {
	return r.tx.db.Model(&Permission{}).
		Where("(permissions.organization_id IS NULL OR permissions.organization_id = ?)", r.tx.tenant.UUID())
}

const nounPermission = "permission"

// Get returns a permission, or fault.NotFound "permission.not_found".
func (r Permissions) Get(id uuid.UUID) (*Permission, error) {
	return take[Permission](r.scoped().Where("id = ?", id), nounPermission)
}

// Find returns those of these permissions that exist, in no particular order.
func (r Permissions) Find(ids []uuid.UUID) ([]Permission, error) {
	if len(ids) == 0 {
		return nil, nil
	}
	var found []Permission
	err := r.scoped().Where("id IN ?", ids).Find(&found).Error
	return found, explain(err, "read permissions")
}

// PermissionFilter narrows a list of permissions. Zero fields do not.
type PermissionFilter struct {
	Resource, Action string
	// Search is looked for in name and description.
	Search string
	Page   Page
}

// PermissionSorts are the columns that permissions can be sorted by.
func PermissionSorts() []string { return []string{columnName, "resource", "action", columnCreatedAt} }

// List returns one page of the permissions.
func (r Permissions) List(f PermissionFilter) (Listed[Permission], error) {
	q := r.scoped()
	if f.Resource != "" {
		q = q.Where("resource = ?", f.Resource)
	}
	if f.Action != "" {
		q = q.Where("action = ?", f.Action)
	}
	q = holding(q, f.Search, columnName, columnDescription)
	return list[Permission](q, f.Page, nounPermission, PermissionSorts())
}
