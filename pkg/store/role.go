package store

import (
	"fmt"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/access"
)

// Role is a named set of permissions within an organization.
type Role struct {
	ID             uuid.UUID `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID `gorm:"column:organization_id"`
	Name           string    `gorm:"column:name"`
	Description    string    `gorm:"column:description"`
	IsSystem       bool      `gorm:"column:is_system"` // shipped with every organization, and immutable
	RoleMetadata   Object    `gorm:"column:role_metadata"`
	CreatedAt      time.Time `gorm:"column:created_at"`
	UpdatedAt      time.Time `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (Role) TableName() string { return "roles" }

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

// RolePermission is a grant: the role has the permission.
type RolePermission struct {
	OrganizationID uuid.UUID `gorm:"column:organization_id"`
	RoleID         uuid.UUID `gorm:"column:role_id;primaryKey"`
	PermissionID   uuid.UUID `gorm:"column:permission_id;primaryKey"`
	CreatedAt      time.Time `gorm:"column:created_at"`
}

// TableName implements GORM's Tabler.
func (RolePermission) TableName() string { return "role_permissions" }

// Roles is the repository of roles within a tenant.
type Roles struct{ tx *Tx }

// Roles returns the roles of the transaction's tenant.
func (tx *Tx) Roles() Roles { return Roles{tx} }

// CreateSystemRoles writes the roles of access.Roles with their grants, for an organization that was just founded, and
// returns them in that order.
func (r Roles) CreateSystemRoles() ([]Role, error) {
	shipped := access.Roles()
	roles := make([]Role, len(shipped))
	for i, s := range shipped {
		roles[i] = Role{Name: s.Name, Description: s.Description, IsSystem: true}
		if err := r.tx.own(&roles[i].ID, &roles[i].OrganizationID); err != nil {
			return nil, err
		}
	}
	if err := r.tx.db.Create(&roles).Error; err != nil {
		return nil, explain(err, "create system roles")
	}
	for i, s := range shipped {
		if err := r.grant(roles[i].ID, s.Grants); err != nil {
			return nil, err
		}
	}
	return roles, nil
}

// grant gives a role permissions that ship with the service.
func (r Roles) grant(role uuid.UUID, permissions []access.Permission) error {
	names := make([]string, len(permissions))
	for i, p := range permissions {
		names[i] = string(p)
	}
	granted, err := r.tx.exec(`INSERT INTO role_permissions (organization_id, role_id, permission_id)
		SELECT $1, $2, id FROM permissions WHERE organization_id IS NULL AND name = ANY($3)`, r.tx.tenant.UUID(), role, names)
	if err != nil {
		return explain(err, "grant permissions")
	}
	if granted != int64(len(names)) {
		return fmt.Errorf("store: grant permissions: the database knows %d of %d; run `migrate up`", granted, len(names))
	}
	return nil
}

// ByName returns the role of that name, or fault.NotFound.
func (r Roles) ByName(name string) (*Role, error) {
	return take[Role](within[Role](r.tx).Where("name = ?", name), "role")
}
