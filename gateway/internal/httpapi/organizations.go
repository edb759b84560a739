package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Organization is a tenant: whatever its people make belongs to it.
type Organization struct {
	ID                     uuid.UUID      `json:"id" format:"uuid" doc:"The organization's id"`
	Name                   string         `json:"name" example:"Acme Corporation" doc:"What it is called"`
	Domain                 *string        `json:"domain" example:"acme.com" doc:"The domain of its people's addresses; null without one"`
	Description            string         `json:"description" doc:"What it does"`
	LogoURL                string         `json:"logo_url" example:"https://acme.com/logo.png" doc:"Where its logo is; empty without one"`
	SubscriptionPlan       string         `json:"subscription_plan" enum:"starter,professional,enterprise" example:"starter" doc:"The plan it is on"`
	Settings               map[string]any `json:"settings" doc:"Settings of the organization's own"`
	OrgMetadata            map[string]any `json:"org_metadata" doc:"Whatever clients keep with it"`
	AllowsSelfRegistration bool           `json:"allows_self_registration" example:"false" doc:"Whether who knows its id may register as a Member"`
	IsActive               bool           `json:"is_active" example:"true" doc:"Whether its people may log in"`
	CreatedAt              time.Time      `json:"created_at" doc:"When it was founded"`
	UpdatedAt              time.Time      `json:"updated_at" doc:"When it was last changed"`
}

func (o Organization) changedAt() time.Time { return o.UpdatedAt }

func showOrganization(o *store.Organization) Organization {
	return Organization{
		ID: o.ID, Name: o.Name, Domain: o.Domain, Description: o.Description, LogoURL: o.LogoURL, SubscriptionPlan: o.SubscriptionPlan,
		Settings: object(o.Settings), OrgMetadata: object(o.OrgMetadata), AllowsSelfRegistration: o.AllowsSelfRegistration,
		IsActive: o.IsActive, CreatedAt: o.CreatedAt.UTC(), UpdatedAt: o.UpdatedAt.UTC(),
	}
}

// NewOrganization is an organization to be.
type NewOrganization struct {
	Name                   string         `json:"name" minLength:"1" maxLength:"200" example:"Acme Corporation" doc:"What it is called"`
	Domain                 *string        `json:"domain,omitempty" nullable:"true" minLength:"1" maxLength:"253" pattern:"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$" patternDescription:"a domain name" example:"acme.com" doc:"The domain of its people's addresses; no other organization has it"`
	Description            string         `json:"description,omitempty" maxLength:"5000" doc:"What it does"`
	LogoURL                string         `json:"logo_url,omitempty" maxLength:"2000" example:"https://acme.com/logo.png" doc:"Where its logo is"`
	SubscriptionPlan       string         `json:"subscription_plan,omitempty" default:"starter" enum:"starter,professional,enterprise" example:"starter" doc:"The plan it is on"`
	Settings               map[string]any `json:"settings,omitempty" doc:"Settings of the organization's own"`
	OrgMetadata            map[string]any `json:"org_metadata,omitempty" doc:"Whatever clients keep with it"`
	AllowsSelfRegistration bool           `json:"allows_self_registration,omitempty" example:"false" doc:"Whether who knows its id may register as a Member"`
	Admin                  *FirstAdmin    `json:"admin,omitempty" doc:"Its first Admin, who adds the others"`
}

// FirstAdmin is the account of who will run a new organization.
type FirstAdmin struct {
	Email    string `json:"email" format:"email" maxLength:"254" example:"ada@acme.com" doc:"Unique on the whole platform, whatever its case"`
	Username string `json:"username" minLength:"3" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" patternDescription:"letters, digits, dots, dashes and underscores" example:"ada" doc:"Unique on the whole platform, whatever its case"`
	Password string `json:"password" minLength:"8" maxLength:"72" writeOnly:"true" doc:"At least 8 characters, at most 72 bytes"`
	FullName string `json:"full_name,omitempty" maxLength:"200" example:"Ada Lovelace" doc:"What the person is called"`
}

// OrganizationChange is what becomes different about an organization. Fields that are left out or null stay as they are, only a null
// domain empties it.
type OrganizationChange struct {
	Name                   *string         `json:"name,omitempty" minLength:"1" maxLength:"200" example:"Acme Corporation" doc:"What it is called"`
	Domain                 Maybe[string]   `json:"domain,omitzero" required:"false" minLength:"1" maxLength:"253" pattern:"^[A-Za-z0-9]([A-Za-z0-9.-]*[A-Za-z0-9])?$" patternDescription:"a domain name" example:"acme.com" doc:"For superusers only. Null removes it"`
	Description            *string         `json:"description,omitempty" maxLength:"5000" doc:"What it does"`
	LogoURL                *string         `json:"logo_url,omitempty" maxLength:"2000" example:"https://acme.com/logo.png" doc:"Where its logo is; empty removes it"`
	SubscriptionPlan       *string         `json:"subscription_plan,omitempty" enum:"starter,professional,enterprise" example:"professional" doc:"For superusers only"`
	Settings               *map[string]any `json:"settings,omitempty" doc:"Replaces the whole"`
	OrgMetadata            *map[string]any `json:"org_metadata,omitempty" doc:"Replaces the whole"`
	AllowsSelfRegistration *bool           `json:"allows_self_registration,omitempty" example:"false" doc:"Whether who knows its id may register as a Member"`
	IsActive               *bool           `json:"is_active,omitempty" example:"true" doc:"For superusers only. Nobody of a deactivated organization may log in"`
}

// apply makes the change to a record.
func (c *OrganizationChange) apply(o *store.Organization) {
	set(&o.Name, c.Name)
	c.Domain.apply(&o.Domain)
	set(&o.Description, c.Description)
	set(&o.LogoURL, c.LogoURL)
	set(&o.SubscriptionPlan, c.SubscriptionPlan)
	set((*map[string]any)(&o.Settings), c.Settings)
	set((*map[string]any)(&o.OrgMetadata), c.OrgMetadata)
	set(&o.AllowsSelfRegistration, c.AllowsSelfRegistration)
	set(&o.IsActive, c.IsActive)
}

type createOrganizationInput struct {
	Repeatable

	Body NewOrganization
}

// OrganizationInput names an organization.
type OrganizationInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The organization's id"`
}

type getOrganizationInput struct {
	OrganizationInput
	Cached
}

type changeOrganizationInput struct {
	OrganizationInput
	Conditional

	Body OrganizationChange
}

type touchOrganizationInput struct {
	OrganizationInput
	Conditional
}

type listOrganizationsInput struct {
	Listing

	Sort             string `query:"sort" enum:"name,-name,created_at,-created_at,updated_at,-updated_at,subscription_plan,-subscription_plan" example:"name" doc:"The order; a dash puts the largest first. Without it newest first"`
	Search           string `query:"search" maxLength:"200" example:"acme" doc:"Only organizations with this in name, domain or description"`
	SubscriptionPlan string `query:"subscription_plan" enum:"starter,professional,enterprise" doc:"Only organizations on this plan"`
	IsActive         string `query:"is_active" enum:"true,false" doc:"Only active organizations, or only the others"`
}

type listOrganizationMembersInput struct {
	OrganizationInput
	ListingUsers
}

type organizationMemberInput struct {
	OrganizationInput
	Conditional

	UserID uuid.UUID `path:"user_id" format:"uuid" doc:"The user's id"`
}

func (s *Server) organizationOperations() {
	op := func(id, method, path, summary string, errors ...int) operation {
		return operation{id: id, method: method, path: "/organizations" + path, tag: tagOrganizations, summary: summary, errors: errors}
	}
	create := op("create-organization", http.MethodPost, "", "Found an organization", http.StatusConflict)
	create.status = http.StatusCreated
	create.about = "For superusers. It starts with the roles that every organization has and, if it is named, with its first Admin."
	secured(s, rbac.Platform, create, s.createOrganization)
	list := op("list-organizations", http.MethodGet, "", "List organizations")
	list.about = "One's own; a superuser sees all."
	secured(s, access.OrganizationRead, list, s.listOrganizations)
	secured(s, access.OrganizationRead,
		op("get-organization", http.MethodGet, "/{id}", "Read an organization", http.StatusNotFound), s.getOrganization)
	changes(s, access.OrganizationUpdate,
		op("update-organization", "", "/{id}", "Change an organization", http.StatusConflict), s.changeOrganization)
	remove := op("delete-organization", http.MethodDelete, "/{id}", "Deactivate an organization",
		http.StatusNotFound, http.StatusPreconditionFailed)
	remove.about = "For superusers. Nobody of it may do anything any more; nothing is removed, and is_active brings it back."
	secured(s, rbac.Platform, remove, s.deleteOrganization)
	members := op("list-organization-members", http.MethodGet, "/{id}/members", "List the users of an organization", http.StatusNotFound)
	secured(s, access.UsersRead, members, s.listOrganizationMembers)
	add := op("add-organization-member", http.MethodPost, "/{id}/members/{user_id}", "Bring a user back",
		http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed)
	add.about = "Activates somebody who belongs to the organization. A person belongs to one organization and cannot join a second one."
	secured(s, access.UsersUpdate, add, s.addOrganizationMember)
}

func (s *Server) createOrganization(
	ctx context.Context, p *rbac.Principal, in *createOrganizationInput,
) (*made[Organization], error) {
	// The hash of the request is kept, and must not help to guess the password.
	public, hash := in.Body, ""
	if in.Body.Admin != nil {
		admin := *in.Body.Admin
		admin.Password, public.Admin = "", &admin
	}
	once, err := in.once("POST /organizations", public)
	if err != nil {
		return nil, err
	}
	if in.Body.Admin != nil {
		if hash, err = s.Accounts.Passwords.Hash(ctx, in.Body.Admin.Password); err != nil {
			return nil, err
		}
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, err
	}
	return makes(ctx, s, p, once, func(tx *store.Tx) (out *made[Organization], err error) {
		err = tx.Enter(tenant.FromUUID(id), func(tx *store.Tx) error {
			out, err = found(tx, &in.Body, hash)
			return err
		})
		return out, err
	})
}

// found writes a new organization with its roles and its first Admin, whose password has this hash, and answers with it.
func found(tx *store.Tx, n *NewOrganization, hash string) (*made[Organization], error) {
	row := &store.Organization{
		Name: n.Name, Domain: n.Domain, Description: n.Description, LogoURL: n.LogoURL, SubscriptionPlan: n.SubscriptionPlan,
		Settings: n.Settings, OrgMetadata: n.OrgMetadata, AllowsSelfRegistration: n.AllowsSelfRegistration,
	}
	if err := tx.Organizations().Create(row); err != nil {
		return nil, err
	}
	if _, err := tx.Roles().CreateSystemRoles(); err != nil {
		return nil, err
	}
	if n.Admin != nil {
		role, err := tx.Roles().ByName(access.Admin)
		if err != nil {
			return nil, err
		}
		if err := tx.Users().Create(&store.User{
			Email: n.Admin.Email, Username: n.Admin.Username, FullName: n.Admin.FullName, PasswordHash: hash, RoleID: &role.ID,
			IsVerified: true,
		}); err != nil {
			return nil, err
		}
	}
	return &made[Organization]{
		Location: base + "/organizations/" + row.ID.String(), ETag: etag(row.UpdatedAt), Body: showOrganization(row),
	}, nil
}

func (s *Server) listOrganizations(
	ctx context.Context, p *rbac.Principal, in *listOrganizationsInput,
) (*pageOutput[Organization], error) {
	filter := store.OrganizationFilter{Search: in.Search, Plan: in.SubscriptionPlan, Active: givenBool(in.IsActive)}
	c := collection{name: "organizations", listing: in.Listing, sort: in.Sort, counted: true}
	if !p.Can(rbac.Platform) {
		return listed(ctx, s, p, c, showOrganization, func(tx *store.Tx, page store.Page) (store.Listed[store.Organization], error) {
			filter.Page = page
			return tx.Organizations().List(filter)
		})
	}
	w, err := s.window(p, c)
	if err != nil {
		return nil, err
	}
	filter.Page = w.Page
	rows, err := s.Store.Organizations(ctx, filter)
	if err != nil {
		return nil, err
	}
	return page(w, rows, showOrganization), nil
}

func (s *Server) getOrganization(ctx context.Context, p *rbac.Principal, in *getOrganizationInput) (*one[Organization], error) {
	t, err := p.Organization(in.ID)
	if err != nil {
		return nil, err
	}
	row, err := view(ctx, s, t, func(tx *store.Tx) (*store.Organization, error) { return tx.Organizations().Get(in.ID) })
	if err != nil {
		return nil, err
	}
	return fresh(in.Cached, showOrganization(row)), nil
}

func (s *Server) changeOrganization(
	ctx context.Context, p *rbac.Principal, in *changeOrganizationInput,
) (*one[Organization], error) {
	return s.withOrganization(ctx, p, in.ID, "update", in.Conditional, func(o *store.Organization) error {
		before := *o
		in.Body.apply(o)
		if before.IsActive && !o.IsActive {
			return p.ClosesOrganization(o.ID)
		}
		domain := before.Domain == o.Domain || before.Domain != nil && o.Domain != nil && *before.Domain == *o.Domain
		if !domain || before.SubscriptionPlan != o.SubscriptionPlan || before.IsActive != o.IsActive {
			return p.ChangesTerms()
		}
		return nil
	})
}

func (s *Server) deleteOrganization(
	ctx context.Context, p *rbac.Principal, in *touchOrganizationInput,
) (*one[Organization], error) {
	return s.withOrganization(ctx, p, in.ID, "delete", in.Conditional, func(o *store.Organization) error {
		o.IsActive = false
		return p.ClosesOrganization(o.ID)
	})
}

// withOrganization changes an organization within the caller's reach in a transaction of its own, where the change is audited, and
// answers with the organization as it is then.
func (s *Server) withOrganization(
	ctx context.Context, p *rbac.Principal, id uuid.UUID, verb string, c Conditional, change func(*store.Organization) error,
) (*one[Organization], error) {
	t, err := p.Organization(id)
	if err != nil {
		return nil, err
	}
	row, err := changedIn(ctx, s, t, c, func(tx *store.Tx, match store.Match) (*store.Organization, error) {
		return tx.Organizations().Update(id, verb, match, change)
	})
	if err != nil {
		return nil, err
	}
	return show(showOrganization(row)), nil
}

func (s *Server) listOrganizationMembers(
	ctx context.Context, p *rbac.Principal, in *listOrganizationMembersInput,
) (*pageOutput[User], error) {
	t, err := p.Organization(in.ID)
	if err != nil {
		return nil, err
	}
	return listedUsers(ctx, s, p, t, in.collection("organizations/"+in.ID.String()+"/members"),
		func(tx *store.Tx, page store.Page) (none store.Listed[store.User], err error) {
			if _, err := tx.Organizations().Get(in.ID); err != nil {
				return none, err
			}
			return tx.Users().List(in.filter(page))
		})
}

func (s *Server) addOrganizationMember(ctx context.Context, p *rbac.Principal, in *organizationMemberInput) (*one[User], error) {
	t, err := p.Organization(in.ID)
	if err != nil {
		return nil, err
	}
	user, err := s.withUserIn(ctx, t, in.UserID, "activate", in.Conditional, activates(p))
	if fault.Is(err, fault.NotFound) && p.Can(rbac.Platform) {
		return nil, s.elsewhere(ctx, in.UserID, err)
	}
	return user, err
}

// elsewhere tells a superuser why somebody is not found in an organization: the person belongs to another one.
func (s *Server) elsewhere(ctx context.Context, user uuid.UUID, notFound error) error {
	_, err := s.Store.OrganizationOf(ctx, user)
	switch {
	case fault.Is(err, fault.NotFound):
		return notFound
	case err != nil:
		return err
	default:
		return fault.New(fault.Conflict, "user.belongs_elsewhere",
			"This user belongs to another organization, and a person belongs to one. Add an account of its own.")
	}
}
