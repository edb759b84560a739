package store

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
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
	return take[Role](within[Role](r.tx).Where("name = ?", name), nounRole)
}

const nounRole = "role"

// Create writes a role without permissions into the tenant. A taken name is fault.Conflict "role.name_taken".
func (r Roles) Create(role *Role) error {
	return create(r.tx, nounRole, role, &role.ID, &role.OrganizationID)
}

// Get returns a role, or fault.NotFound "role.not_found".
func (r Roles) Get(id uuid.UUID) (*Role, error) {
	return take[Role](within[Role](r.tx).Where("id = ?", id), nounRole)
}

// RoleFilter narrows a list of roles. Zero fields do not.
type RoleFilter struct {
	// Search is looked for in name and description.
	Search string
	// System keeps the shipped roles, or the others.
	System *bool
	Page   Page
}

// RoleSorts are the columns that roles can be sorted by.
func RoleSorts() []string { return []string{columnName, columnCreatedAt, columnUpdatedAt} }

// List returns one page of the roles.
func (r Roles) List(f RoleFilter) (Listed[Role], error) {
	q := within[Role](r.tx)
	q = holding(q, f.Search, columnName, columnDescription)
	if f.System != nil {
		q = q.Where("is_system = ?", *f.System)
	}
	return list[Role](q, f.Page, nounRole, RoleSorts())
}

// Names returns the names of these roles by id.
func (r Roles) Names(ids []uuid.UUID) (map[uuid.UUID]string, error) {
	names := make(map[uuid.UUID]string, len(ids))
	if len(ids) == 0 {
		return names, nil
	}
	var roles []Role
	err := within[Role](r.tx).Select("id", "name").Where("id IN ?", ids).Find(&roles).Error
	for _, role := range roles {
		names[role.ID] = role.Name
	}
	return names, explain(err, "read role names")
}

// Update changes a role. One that ships with the service is fault.Forbidden "role.system", a taken name as in Create.
func (r Roles) Update(id uuid.UUID, match Match, change func(*Role) error) (*Role, error) {
	return edit(r.tx, nounRole, "update", id, match, func(role *Role) error {
		if err := changeable(role); err != nil {
			return err
		}
		return change(role)
	})
}

func changeable(role *Role) error {
	if role.IsSystem {
		return fault.New(fault.Forbidden, "role.system",
			"This role ships with every organization and stays as it is. Make a role of your own beside it.")
	}
	return nil
}

// Delete removes a role for good. One that ships with the service is fault.Forbidden "role.system", one that users have
// fault.Conflict "role.in_use".
func (r Roles) Delete(id uuid.UUID, match Match) error {
	role, err := r.locked(id, match)
	if err != nil {
		return err
	}
	var holders int64
	if err := within[User](r.tx).Where("role_id = ?", id).Count(&holders).Error; err != nil {
		return explain(err, "count who has a role")
	}
	if holders > 0 {
		return fault.New(fault.Conflict, "role.in_use", "%d users have this role. Give them another one first.", holders)
	}
	before, err := snapshot(r.tx.db, role)
	if err != nil {
		return err
	}
	if err := touched(within[Role](r.tx).Where("id = ?", id).Delete(&Role{}), "delete role", nounRole); err != nil {
		return err
	}
	r.tx.Audit(nounRole, "delete", id, before.told(nil), nil)
	return nil
}

// locked returns a role that may be changed, at a revision that is admitted. Until the end of the transaction nobody else changes it
// and nobody gets it.
func (r Roles) locked(id uuid.UUID, match Match) (*Role, error) {
	role, err := take[Role](within[Role](r.tx).Where("id = ?", id).Clauses(forUpdate()), nounRole)
	if err != nil {
		return nil, err
	}
	if !match.admits(RevisionAt(role.UpdatedAt)) {
		return nil, outdated(nounRole)
	}
	return role, changeable(role)
}

// Grant gives a role permissions, which must exist; those that it has already stay. It returns those that are new. The role counts as
// changed when there are any.
func (r Roles) Grant(id uuid.UUID, match Match, permissions []Permission) (*Role, []Permission, error) {
	return r.regrant(id, match, "grant", permissions, `INSERT INTO role_permissions (organization_id, role_id, permission_id)
		SELECT $1, $2, unnest($3::uuid[]) ON CONFLICT (role_id, permission_id) DO NOTHING`)
}

// Revoke takes permissions from a role; those that it does not have are left alone. It returns those that are gone. The role counts
// as changed when there are any.
func (r Roles) Revoke(id uuid.UUID, match Match, permissions []Permission) (*Role, []Permission, error) {
	return r.regrant(id, match, "revoke", permissions, `DELETE FROM role_permissions
		WHERE organization_id = $1 AND role_id = $2 AND permission_id = ANY($3::uuid[])`)
}

// regrant runs a statement that writes grants of a role, and audits which of the permissions it met.
func (r Roles) regrant(id uuid.UUID, match Match, verb string, permissions []Permission, write string) (*Role, []Permission, error) {
	role, err := r.locked(id, match)
	if err != nil {
		return nil, nil, err
	}
	had, err := r.granted(id)
	if err != nil {
		return nil, nil, err
	}
	var met []Permission
	var ids, names []string
	for _, p := range permissions {
		if _, has := had[p.ID]; has == (verb == "grant") || slices.Contains(names, p.Name) {
			continue
		}
		met, ids, names = append(met, p), append(ids, p.ID.String()), append(names, p.Name)
	}
	if len(met) == 0 {
		return role, nil, nil
	}
	if _, err := r.tx.exec(write, r.tx.tenant.UUID(), id, ids); err != nil {
		return nil, nil, explain(err, verb+" permissions")
	}
	role.UpdatedAt = r.tx.later(role.UpdatedAt)
	if err := touched(within[Role](r.tx).Where("id = ?", id).UpdateColumn(columnUpdatedAt, role.UpdatedAt),
		"stamp role", nounRole); err != nil {
		return nil, nil, err
	}
	r.tx.accessChanged = true
	r.tx.Audit(nounRole, verb, id, nil, map[string]any{"permissions": names})
	return role, met, nil
}

// granted returns the ids of a role's permissions.
func (r Roles) granted(id uuid.UUID) (map[uuid.UUID]struct{}, error) {
	var ids []uuid.UUID
	err := within[RolePermission](r.tx).Where("role_id = ?", id).Pluck("permission_id", &ids).Error
	had := make(map[uuid.UUID]struct{}, len(ids))
	for _, id := range ids {
		had[id] = struct{}{}
	}
	return had, explain(err, "read the permissions of a role")
}

// PermissionsOf returns the permissions of these roles by role, sorted by name.
func (r Roles) PermissionsOf(roles ...uuid.UUID) (map[uuid.UUID][]Permission, error) {
	granted := make(map[uuid.UUID][]Permission, len(roles))
	if len(roles) == 0 {
		return granted, nil
	}
	var found []struct {
		Permission Permission `gorm:"embedded"`
		RoleID     uuid.UUID
	}
	//nolint:unqueryvet // a Permission is the whole row
	err := r.tx.db.Raw(`SELECT p.*, g.role_id FROM role_permissions g JOIN permissions p ON p.id = g.permission_id
		WHERE g.organization_id = ? AND g.role_id IN ? ORDER BY p.name`, r.tx.tenant.UUID(), roles).Find(&found).Error
	for _, f := range found {
		granted[f.RoleID] = append(granted[f.RoleID], f.Permission)
	}
	return granted, explain(err, "read the permissions of roles")
}
