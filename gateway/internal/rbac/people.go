package rbac

import (
	"strings"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// Platform is the permission to run the platform: to found and close organizations, and to reach each of them. No role grants it;
// superusers hold it.
const Platform access.Permission = "platform:manage"

// Organization returns the tenant of an organization that the caller may reach: one's own, and a superuser every one.
func (p *Principal) Organization(id uuid.UUID) (tenant.ID, error) {
	if id != uuid.Nil && (p.Tenant.UUID() == id || p.Can(Platform)) {
		return tenant.FromUUID(id), nil
	}
	return tenant.ID{}, fault.New(fault.NotFound, "organization.not_found", "There is no such organization.")
}

// ChangesTerms returns nil if the caller may change on what terms an organization uses the platform: its plan, its domain and whether
// it is active.
func (p *Principal) ChangesTerms() error {
	if p.Can(Platform) {
		return nil
	}
	return fault.New(fault.Forbidden, "organization.terms",
		"The plan, the domain and whether an organization is active are for the operators of the platform to change.")
}

// ClosesOrganization returns nil if the caller may deactivate this organization: not the one that would lock out the caller.
func (p *Principal) ClosesOrganization(id uuid.UUID) error {
	if p.Tenant.UUID() == id {
		return fault.New(fault.Forbidden, "organization.own", "You cannot deactivate the organization that you belong to.")
	}
	return p.ChangesTerms()
}

// Users returns whose accounts the caller may read: everybody's, or only its own.
func (p *Principal) Users() Reach { return Reach{All: p.Can(access.UsersRead), Owner: p.UserID} }

// VisibleProjects returns which projects the caller may read: all, or those it is a member of.
func (p *Principal) VisibleProjects() Reach {
	r := Reach{All: p.Can(access.ProjectsReadAll), Owner: p.UserID}
	if p.Can(access.ProjectsRead) {
		r.Projects = p.Projects
	}
	return r
}

// Grants returns nil if the caller may give these permissions to a role, or a role with these to somebody: nobody gives more than he
// has.
func (p *Principal) Grants(permissions []access.Permission) error {
	for _, permission := range permissions {
		if !p.reaches(permission) {
			return fault.New(fault.Forbidden, "permission.beyond_own",
				"This gives the permission %s, which you do not have yourself.", permission)
		}
	}
	return nil
}

// reaches reports whether the caller may do what the permission allows, if only because a wider one allows more.
func (p *Principal) reaches(permission access.Permission) bool {
	if p.Can(permission) {
		return true
	}
	bare, projects := strings.CutSuffix(string(permission), "_project")
	return projects && p.Can(access.Permission(bare+"_all"))
}

// Account is somebody's account, as far as it matters to who may change it.
type Account struct {
	ID        uuid.UUID
	Superuser bool
	// Permissions are what the account's role grants.
	Permissions []access.Permission
}

// EditsProfile returns nil if the caller may change how a person is called and shown: everybody may about itself.
func (p *Principal) EditsProfile(a Account) error {
	if a.ID == p.UserID {
		return nil
	}
	return p.Manages(access.UsersUpdate, a)
}

// Manages returns nil if the caller may use a permission over people on this account. Nobody does on those who may do more than he
// may: they could be locked out by who they should check.
func (p *Principal) Manages(permission access.Permission, a Account) error {
	if !p.Can(permission) {
		return missing(permission)
	}
	if p.Can(Platform) || a.ID == p.UserID {
		return nil
	}
	if a.Superuser || p.Grants(a.Permissions) != nil {
		return fault.New(fault.Forbidden, "user.beyond_own", "This account may do more than yours, so you cannot change it.")
	}
	return nil
}

// Deactivates returns nil if the caller may lock out this account with a permission over people. Nobody locks out himself.
func (p *Principal) Deactivates(permission access.Permission, a Account) error {
	if a.ID == p.UserID {
		return fault.New(fault.Forbidden, "user.own_account", "You cannot deactivate your own account. Ask another administrator to do it.")
	}
	return p.Manages(permission, a)
}

// MarksSuperusers returns nil if the caller may say who is a superuser.
func (p *Principal) MarksSuperusers() error {
	if p.Can(Platform) {
		return nil
	}
	return fault.New(fault.Forbidden, "user.superuser", "Only a superuser says who is a superuser.")
}

func missing(permission access.Permission) error {
	return fault.New(fault.Forbidden, "permission.missing", "This needs the permission %s, which your role does not have.", permission)
}
