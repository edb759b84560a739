package httpapi

import (
	"context"
	"fmt"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// Permission is something that a role may allow.
type Permission struct {
	ID             uuid.UUID      `json:"id" format:"uuid" doc:"The permission's id"`
	Name           string         `json:"name" example:"projects:create" doc:"The resource and the action"`
	Resource       string         `json:"resource" example:"projects" doc:"What it is about"`
	Action         string         `json:"action" example:"create" doc:"What it allows to do"`
	Description    string         `json:"description" example:"Start projects" doc:"The same in words"`
	IsSystem       bool           `json:"is_system" example:"true" doc:"Whether it ships with the service"`
	OrganizationID *uuid.UUID     `json:"organization_id" format:"uuid" doc:"Whose it is; null for those that ship with the service"`
	PermMetadata   map[string]any `json:"perm_metadata" doc:"Whatever else there is to know of it"`
	CreatedAt      time.Time      `json:"created_at" doc:"When it was made"`
	UpdatedAt      time.Time      `json:"updated_at" doc:"When it was last changed"`
}

func (p Permission) changedAt() time.Time { return p.UpdatedAt }

func showPermission(p *store.Permission) Permission {
	return Permission{
		ID: p.ID, Name: p.Name, Resource: p.Resource, Action: p.Action, Description: p.Description, IsSystem: p.IsSystem,
		OrganizationID: p.OrganizationID, PermMetadata: object(p.PermMetadata), CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
}

// Role is a named set of permissions.
type Role struct {
	ID             uuid.UUID      `json:"id" format:"uuid" doc:"The role's id"`
	Name           string         `json:"name" example:"Auditor" doc:"What it is called"`
	Description    string         `json:"description" example:"Reads what was changed" doc:"What it is for"`
	OrganizationID uuid.UUID      `json:"organization_id" format:"uuid" doc:"The organization that it belongs to"`
	IsSystem       bool           `json:"is_system" example:"false" doc:"Whether every organization has it; then it cannot be changed"`
	RoleMetadata   map[string]any `json:"role_metadata" doc:"Whatever clients keep with it"`
	Permissions    []Permission   `json:"permissions" nullable:"false" doc:"What it allows, by name"`
	CreatedAt      time.Time      `json:"created_at" doc:"When it was made"`
	UpdatedAt      time.Time      `json:"updated_at" doc:"When it or what it allows was last changed"`
}

func (r Role) changedAt() time.Time { return r.UpdatedAt }

func showRole(r *store.Role, permissions []store.Permission) Role {
	return Role{
		ID: r.ID, Name: r.Name, Description: r.Description, OrganizationID: r.OrganizationID, IsSystem: r.IsSystem,
		RoleMetadata: object(r.RoleMetadata), Permissions: shown(permissions, showPermission),
		CreatedAt: r.CreatedAt.UTC(), UpdatedAt: r.UpdatedAt.UTC(),
	}
}

// NewRole is a role to be.
type NewRole struct {
	Name          string         `json:"name" minLength:"1" maxLength:"100" example:"Auditor" doc:"Unique in the organization"`
	Description   string         `json:"description,omitempty" maxLength:"5000" example:"Reads what was changed" doc:"What it is for"`
	RoleMetadata  map[string]any `json:"role_metadata,omitempty" doc:"Whatever clients keep with it"`
	PermissionIDs []uuid.UUID    `json:"permission_ids,omitempty" maxItems:"200" example:"[\"01900000-0000-7000-8000-000000000c01\"]" doc:"What it allows from the beginning"`
}

// RoleChange is what becomes different about a role. Fields that are left out or null stay as they are.
type RoleChange struct {
	Name         *string         `json:"name,omitempty" minLength:"1" maxLength:"100" example:"Auditor" doc:"Unique in the organization"`
	Description  *string         `json:"description,omitempty" maxLength:"5000" example:"Reads what was changed" doc:"What it is for"`
	RoleMetadata *map[string]any `json:"role_metadata,omitempty" doc:"Replaces the whole"`
}

// apply makes the change to a record.
func (c *RoleChange) apply(r *store.Role) error {
	set(&r.Name, c.Name)
	set(&r.Description, c.Description)
	set((*map[string]any)(&r.RoleMetadata), c.RoleMetadata)
	return nil
}

type createRoleInput struct {
	Repeatable

	Body NewRole
}

// RoleInput names a role.
type RoleInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The role's id"`
}

type getRoleInput struct {
	RoleInput
	Cached
}

type changeRoleInput struct {
	RoleInput
	Conditional

	Body RoleChange
}

type touchRoleInput struct {
	RoleInput
	Conditional
}

type rolePermissionInput struct {
	RoleInput
	Conditional

	PermissionID uuid.UUID `path:"permission_id" format:"uuid" doc:"The permission's id"`
}

type rolePermissionsInput struct {
	RoleInput
	Conditional

	Body struct {
		PermissionIDs []uuid.UUID `json:"permission_ids" minItems:"1" maxItems:"200" example:"[\"01900000-0000-7000-8000-000000000c01\"]" doc:"The permissions"`
	} `nameHint:"PermissionIDs"`
}

type listRolesInput struct {
	Listing

	Sort     string `query:"sort" enum:"name,-name,created_at,-created_at,updated_at,-updated_at" example:"name" doc:"The order; a dash puts the largest first. Without it newest first"`
	Search   string `query:"search" maxLength:"200" example:"audit" doc:"Only roles with this in name or description"`
	IsSystem string `query:"is_system" enum:"true,false" doc:"Only the roles that every organization has, or only the others"`
}

type getPermissionInput struct {
	Cached

	ID uuid.UUID `path:"id" format:"uuid" doc:"The permission's id"`
}

type listPermissionsInput struct {
	Listing

	Sort     string `query:"sort" enum:"name,-name,resource,-resource,action,-action,created_at,-created_at" default:"name" example:"name" doc:"The order; a dash puts the largest first"`
	Search   string `query:"search" maxLength:"200" example:"document" doc:"Only permissions with this in name or description"`
	Resource string `query:"resource" maxLength:"100" example:"projects" doc:"Only permissions on this resource"`
	Action   string `query:"action" maxLength:"100" example:"read" doc:"Only permissions for this action"`
}

func (s *Server) roleOperations() {
	op := func(id, method, path, summary string, errors ...int) operation {
		return operation{id: id, method: method, path: "/roles" + path, tag: tagRoles, summary: summary, errors: errors}
	}
	create := op("create-role", http.MethodPost, "", "Make a role", http.StatusConflict)
	create.status = http.StatusCreated
	create.about = "Nobody gives a role permissions that he does not have himself."
	secured(s, access.RolesManage, create, s.createRole)
	secured(s, access.RolesManage, op("list-roles", http.MethodGet, "", "List roles"), s.listRoles)
	secured(s, access.RolesManage, op("get-role", http.MethodGet, "/{id}", "Read a role", http.StatusNotFound), s.getRole)
	changes(s, access.RolesManage, op("update-role", "", "/{id}", "Change a role", http.StatusConflict), s.changeRole)
	remove := op("delete-role", http.MethodDelete, "/{id}", "Remove a role",
		http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed)
	remove.status = http.StatusNoContent
	remove.about = "For good, and only when no user has it."
	secured(s, access.RolesManage, remove, s.deleteRole)

	secured(s, access.RolesManage, op("assign-permission", http.MethodPost, "/{id}/permissions/{permission_id}", "Give a role a permission",
		http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed), s.grantPermission)
	secured(s, access.RolesManage, op("revoke-permission", http.MethodDelete, "/{id}/permissions/{permission_id}",
		"Take a permission from a role", http.StatusNotFound, http.StatusPreconditionFailed), s.revokePermission)
	grants := op("assign-permissions", http.MethodPost, "/{id}/permissions/bulk-assign", "Give a role permissions",
		http.StatusNotFound, http.StatusPreconditionFailed)
	grants.about = "All or none. Those that it has already stay."
	secured(s, access.RolesManage, grants, s.grantPermissions)
	revokes := op("revoke-permissions", http.MethodPost, "/{id}/permissions/bulk-revoke", "Take permissions from a role",
		http.StatusNotFound, http.StatusPreconditionFailed)
	revokes.about = "All or none. Those that it does not have are left alone."
	secured(s, access.RolesManage, revokes, s.revokePermissions)

	secured(s, access.RolesManage, op("list-permissions", http.MethodGet, "/permissions", "List permissions"), s.listPermissions)
	secured(s, access.RolesManage,
		op("get-permission", http.MethodGet, "/permissions/{id}", "Read a permission", http.StatusNotFound), s.getPermission)
}

func (s *Server) createRole(ctx context.Context, p *rbac.Principal, in *createRoleInput) (*made[Role], error) {
	once, err := in.once("POST /roles", in.Body)
	if err != nil {
		return nil, err
	}
	return makes(ctx, s, p, once, func(tx *store.Tx) (*made[Role], error) {
		permissions, err := permissionsByID(tx, in.Body.PermissionIDs)
		if err != nil {
			return nil, err
		}
		if err := p.Grants(namesOf(permissions)); err != nil {
			return nil, err
		}
		row := &store.Role{Name: in.Body.Name, Description: in.Body.Description, RoleMetadata: in.Body.RoleMetadata}
		if err := tx.Roles().Create(row); err != nil {
			return nil, err
		}
		if row, _, err = tx.Roles().Grant(row.ID, nil, permissions); err != nil {
			return nil, err
		}
		role, err := roleOf(tx, row)
		return &made[Role]{Location: base + "/roles/" + row.ID.String(), ETag: etag(row.UpdatedAt), Body: role}, err
	})
}

// permissionsByID returns permissions by their ids. Those that do not exist in the organization are named as they stand in the request.
func permissionsByID(tx *store.Tx, ids []uuid.UUID) ([]store.Permission, error) {
	found, err := tx.Permissions().Find(ids)
	if err != nil {
		return nil, err
	}
	var unknown []FieldError
	for i, id := range ids {
		if !slices.ContainsFunc(found, func(p store.Permission) bool { return p.ID == id }) {
			unknown = append(unknown, FieldError{
				Location: fmt.Sprintf("body.permission_ids[%d]", i), Message: "there is no permission " + id.String(),
			})
		}
	}
	if unknown != nil {
		return nil, newProblem(fault.Invalid, "permission.unknown", "Some of the permissions do not exist; errors says which.", unknown...)
	}
	return found, nil
}

func namesOf(permissions []store.Permission) []access.Permission {
	return shown(permissions, func(p *store.Permission) access.Permission { return access.Permission(p.Name) })
}

// roleOf shows a role with its permissions.
func roleOf(tx *store.Tx, row *store.Role) (Role, error) {
	granted, err := tx.Roles().PermissionsOf(row.ID)
	return showRole(row, granted[row.ID]), err
}

func (s *Server) listRoles(ctx context.Context, p *rbac.Principal, in *listRolesInput) (*pageOutput[Role], error) {
	c := collection{name: "roles", listing: in.Listing, sort: in.Sort, counted: true}
	var granted map[uuid.UUID][]store.Permission
	show := func(r *store.Role) Role { return showRole(r, granted[r.ID]) }
	return listed(ctx, s, p, c, show, func(tx *store.Tx, page store.Page) (rows store.Listed[store.Role], err error) {
		rows, err = tx.Roles().List(store.RoleFilter{Search: in.Search, System: givenBool(in.IsSystem), Page: page})
		if err != nil {
			return rows, err
		}
		granted, err = tx.Roles().PermissionsOf(shown(rows.Rows, func(r *store.Role) uuid.UUID { return r.ID })...)
		return rows, err
	})
}

func (s *Server) getRole(ctx context.Context, p *rbac.Principal, in *getRoleInput) (*one[Role], error) {
	role, err := view(ctx, s, p.Tenant, func(tx *store.Tx) (role Role, err error) {
		row, err := tx.Roles().Get(in.ID)
		if err != nil {
			return role, err
		}
		return roleOf(tx, row)
	})
	if err != nil {
		return nil, err
	}
	return fresh(in.Cached, role), nil
}

func (s *Server) changeRole(ctx context.Context, p *rbac.Principal, in *changeRoleInput) (*one[Role], error) {
	return s.withRole(ctx, p, in.Conditional, func(tx *store.Tx, match store.Match) (*store.Role, error) {
		return tx.Roles().Update(in.ID, match, in.Body.apply)
	})
}

func (s *Server) deleteRole(ctx context.Context, p *rbac.Principal, in *touchRoleInput) (*struct{}, error) {
	return changed(ctx, s, p, in.Conditional, func(tx *store.Tx, match store.Match) (*struct{}, error) {
		return nil, tx.Roles().Delete(in.ID, match)
	})
}

func (s *Server) grantPermission(ctx context.Context, p *rbac.Principal, in *rolePermissionInput) (*one[Role], error) {
	return s.withRole(ctx, p, in.Conditional, func(tx *store.Tx, match store.Match) (*store.Role, error) {
		permission, err := tx.Permissions().Get(in.PermissionID)
		if err != nil {
			return nil, err
		}
		if err := p.Grants([]access.Permission{access.Permission(permission.Name)}); err != nil {
			return nil, err
		}
		role, granted, err := tx.Roles().Grant(in.ID, match, []store.Permission{*permission})
		if err == nil && len(granted) == 0 {
			err = fault.New(fault.Conflict, "role.already_granted", "The role already has this permission.")
		}
		return role, err
	})
}

func (s *Server) revokePermission(ctx context.Context, p *rbac.Principal, in *rolePermissionInput) (*one[Role], error) {
	return s.withRole(ctx, p, in.Conditional, func(tx *store.Tx, match store.Match) (*store.Role, error) {
		permission, err := tx.Permissions().Get(in.PermissionID)
		if err != nil {
			return nil, err
		}
		role, revoked, err := tx.Roles().Revoke(in.ID, match, []store.Permission{*permission})
		if err == nil && len(revoked) == 0 {
			err = fault.New(fault.NotFound, "role.not_granted", "The role does not have this permission.")
		}
		return role, err
	})
}

func (s *Server) grantPermissions(ctx context.Context, p *rbac.Principal, in *rolePermissionsInput) (*one[Role], error) {
	return s.withRole(ctx, p, in.Conditional, func(tx *store.Tx, match store.Match) (*store.Role, error) {
		permissions, err := permissionsFor(tx, in)
		if err != nil {
			return nil, err
		}
		if err := p.Grants(namesOf(permissions)); err != nil {
			return nil, err
		}
		role, _, err := tx.Roles().Grant(in.ID, match, permissions)
		return role, err
	})
}

func (s *Server) revokePermissions(ctx context.Context, p *rbac.Principal, in *rolePermissionsInput) (*one[Role], error) {
	return s.withRole(ctx, p, in.Conditional, func(tx *store.Tx, match store.Match) (*store.Role, error) {
		permissions, err := permissionsFor(tx, in)
		if err != nil {
			return nil, err
		}
		role, _, err := tx.Roles().Revoke(in.ID, match, permissions)
		return role, err
	})
}

// permissionsFor is permissionsByID for a request on a role, which comes first: without it there is nothing to say about its permissions.
func permissionsFor(tx *store.Tx, in *rolePermissionsInput) ([]store.Permission, error) {
	if _, err := tx.Roles().Get(in.ID); err != nil {
		return nil, err
	}
	return permissionsByID(tx, in.Body.PermissionIDs)
}

// withRole changes a role in a transaction and answers with the role as it is then.
func (s *Server) withRole(
	ctx context.Context, p *rbac.Principal, c Conditional, change func(*store.Tx, store.Match) (*store.Role, error),
) (*one[Role], error) {
	role, err := changed(ctx, s, p, c, func(tx *store.Tx, match store.Match) (role Role, err error) {
		row, err := change(tx, match)
		if err != nil {
			return role, err
		}
		return roleOf(tx, row)
	})
	if err != nil {
		return nil, err
	}
	return show(role), nil
}

func (s *Server) listPermissions(
	ctx context.Context, p *rbac.Principal, in *listPermissionsInput,
) (*pageOutput[Permission], error) {
	c := collection{name: "permissions", listing: in.Listing, sort: in.Sort, counted: true}
	return listed(ctx, s, p, c, showPermission, func(tx *store.Tx, page store.Page) (store.Listed[store.Permission], error) {
		return tx.Permissions().List(store.PermissionFilter{
			Resource: in.Resource, Action: in.Action, Search: in.Search, Page: page,
		})
	})
}

func (s *Server) getPermission(ctx context.Context, p *rbac.Principal, in *getPermissionInput) (*one[Permission], error) {
	return viewed(ctx, s, p, in.Cached, showPermission, func(tx *store.Tx) (*store.Permission, error) {
		return tx.Permissions().Get(in.ID)
	})
}
