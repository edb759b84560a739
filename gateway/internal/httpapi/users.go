package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// User is a person's account.
type User struct {
	ID               uuid.UUID  `json:"id" format:"uuid" doc:"The user's id"`
	Email            string     `json:"email" format:"email" example:"ada@example.com" doc:"The address, which is good for logging in"`
	Username         string     `json:"username" example:"ada" doc:"The name, which is good for logging in, too"`
	FullName         string     `json:"full_name" example:"Ada Lovelace" doc:"What the person is called"`
	AvatarURL        string     `json:"avatar_url" example:"https://example.com/ada.png" doc:"Where the person's picture is; empty without one"`
	Bio              string     `json:"bio" doc:"What the person says of itself"`
	OrganizationID   uuid.UUID  `json:"organization_id" format:"uuid" doc:"The organization that the person belongs to"`
	RoleID           *uuid.UUID `json:"role_id" format:"uuid" doc:"The role; null without one"`
	Role             string     `json:"role" example:"Member" doc:"The role's name; empty without a role"`
	IsActive         bool       `json:"is_active" example:"true" doc:"Whether the person may log in"`
	IsVerified       bool       `json:"is_verified" example:"true" doc:"Whether an administrator vouches for the account"`
	IsSuperuser      bool       `json:"is_superuser" example:"false" doc:"Whether the person runs the platform"`
	EmailVerified    bool       `json:"email_verified" example:"false" doc:"Whether the address was proven to be the person's"`
	TwoFactorEnabled bool       `json:"two_factor_enabled" example:"false" doc:"Whether logging in takes a second factor"`
	LastLogin        *time.Time `json:"last_login" doc:"When the person last logged in"`
	LastActivity     *time.Time `json:"last_activity" doc:"When the person was last seen"`
	CreatedAt        time.Time  `json:"created_at" doc:"When the account was made"`
	UpdatedAt        time.Time  `json:"updated_at" doc:"When it was last changed"`
}

func (u User) changedAt() time.Time { return u.UpdatedAt }

func showUser(u *store.User, role string) User {
	return User{
		ID: u.ID, Email: u.Email, Username: u.Username, FullName: u.FullName, AvatarURL: u.AvatarURL, Bio: u.Bio,
		OrganizationID: u.OrganizationID, RoleID: u.RoleID, Role: role, IsActive: u.IsActive, IsVerified: u.IsVerified,
		IsSuperuser: u.IsSuperuser, EmailVerified: u.EmailVerified, TwoFactorEnabled: u.TwoFactorEnabled,
		LastLogin: utc(u.LastLogin), LastActivity: utc(u.LastActivity), CreatedAt: u.CreatedAt.UTC(), UpdatedAt: u.UpdatedAt.UTC(),
	}
}

// Account is a person's account with what it may do, as the person itself sees it.
type Account struct {
	User

	Permissions []string `json:"permissions" nullable:"false" example:"[\"agents:execute\"]" doc:"What the role allows"`
	Projects    []string `json:"project_ids" nullable:"false" doc:"The projects the user is a member of"`
}

func showAccount(p *store.Principal) Account {
	return Account{
		User: showUser(&p.User, p.RoleName), Permissions: append([]string{}, p.Permissions...), Projects: append([]string{}, p.Projects...),
	}
}

// NewUser is an account to be.
type NewUser struct {
	Email      string     `json:"email" format:"email" maxLength:"254" example:"ada@example.com" doc:"Unique on the whole platform, whatever its case"`
	Username   string     `json:"username" minLength:"3" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" patternDescription:"letters, digits, dots, dashes and underscores" example:"ada" doc:"Unique on the whole platform, whatever its case"`
	Password   string     `json:"password" minLength:"8" maxLength:"72" writeOnly:"true" doc:"At least 8 characters, at most 72 bytes"`
	FullName   string     `json:"full_name,omitempty" maxLength:"200" example:"Ada Lovelace" doc:"What the person is called"`
	AvatarURL  string     `json:"avatar_url,omitempty" maxLength:"2000" example:"https://example.com/ada.png" doc:"Where the person's picture is"`
	Bio        string     `json:"bio,omitempty" maxLength:"5000" doc:"What there is to say of the person"`
	RoleID     *uuid.UUID `json:"role_id,omitempty" nullable:"true" format:"uuid" doc:"The role; Member when it is left out"`
	IsActive   *bool      `json:"is_active,omitempty" nullable:"true" example:"true" doc:"Whether the person may log in at once; true when it is left out"`
	IsVerified bool       `json:"is_verified,omitempty" example:"true" doc:"Whether you vouch for the account"`
}

// UserChange is what becomes different about a user. Fields that are left out or null stay as they are, only a null role_id takes the
// role away.
type UserChange struct {
	FullName    *string          `json:"full_name,omitempty" maxLength:"200" example:"Ada Lovelace" doc:"What the person is called"`
	AvatarURL   *string          `json:"avatar_url,omitempty" maxLength:"2000" example:"https://example.com/ada.png" doc:"Where the person's picture is; empty removes it"`
	Bio         *string          `json:"bio,omitempty" maxLength:"5000" doc:"What there is to say of the person"`
	Username    *string          `json:"username,omitempty" minLength:"3" maxLength:"64" pattern:"^[A-Za-z0-9][A-Za-z0-9._-]*$" patternDescription:"letters, digits, dots, dashes and underscores" example:"ada" doc:"Unique on the whole platform, whatever its case"`
	Email       *string          `json:"email,omitempty" format:"email" maxLength:"254" example:"ada@example.com" doc:"Needs users:update. A new address is not verified"`
	RoleID      Maybe[uuid.UUID] `json:"role_id,omitzero" required:"false" doc:"Needs users:update. Null takes the role away"`
	IsActive    *bool            `json:"is_active,omitempty" example:"true" doc:"Needs users:update. Who is deactivated is logged out everywhere"`
	IsVerified  *bool            `json:"is_verified,omitempty" example:"true" doc:"Needs users:update"`
	IsSuperuser *bool            `json:"is_superuser,omitempty" example:"false" doc:"For superusers only"`
}

// apply makes the change to a record.
func (c *UserChange) apply(u *store.User) {
	email := u.Email
	set(&u.FullName, c.FullName)
	set(&u.AvatarURL, c.AvatarURL)
	set(&u.Bio, c.Bio)
	set(&u.Username, c.Username)
	set(&u.Email, c.Email)
	c.RoleID.apply(&u.RoleID)
	set(&u.IsActive, c.IsActive)
	set(&u.IsVerified, c.IsVerified)
	set(&u.IsSuperuser, c.IsSuperuser)
	if u.Email != email {
		u.EmailVerified = false
	}
}

type createUserInput struct {
	Repeatable

	Body NewUser
}

// UserInput names a user.
type UserInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The user's id"`
}

type getUserInput struct {
	UserInput
	Cached
}

type changeUserInput struct {
	UserInput
	Conditional

	Body UserChange
}

type touchUserInput struct {
	UserInput
	Conditional
}

type assignRoleInput struct {
	UserInput
	Conditional

	Body struct {
		RoleID uuid.UUID `json:"role_id" format:"uuid" doc:"The role that the user gets"`
	} `nameHint:"RoleAssignment"`
}

// ListingUsers are the parameters of every list of people.
type ListingUsers struct {
	Listing

	Sort       string    `query:"sort" enum:"username,-username,email,-email,full_name,-full_name,created_at,-created_at" example:"username" doc:"The order; a dash puts the largest first. Without it newest first"`
	Search     string    `query:"search" maxLength:"200" example:"ada" doc:"Only users with this in username, email or full_name"`
	RoleID     uuid.UUID `query:"role_id" format:"uuid" doc:"Only users with this role"`
	ProjectID  uuid.UUID `query:"project_id" format:"uuid" doc:"Only members of this project"`
	IsActive   string    `query:"is_active" enum:"true,false" doc:"Only active users, or only the others"`
	IsVerified string    `query:"is_verified" enum:"true,false" doc:"Only verified users, or only the others"`
}

// collection is counted: an organization's people can be.
func (l *ListingUsers) collection(name string) collection {
	return collection{name: name, listing: l.Listing, sort: l.Sort, counted: true}
}

func (l *ListingUsers) filter(page store.Page) store.UserFilter {
	return store.UserFilter{
		Search: l.Search, RoleID: given(l.RoleID), ProjectID: given(l.ProjectID), Active: givenBool(l.IsActive),
		Verified: givenBool(l.IsVerified), Page: page,
	}
}

type listUsersInput struct{ ListingUsers }

func (s *Server) userOperations() {
	op := func(id, method, path, summary string, errors ...int) operation {
		return operation{id: id, method: method, path: "/users" + path, tag: tagUsers, summary: summary, errors: errors}
	}
	list := op("list-users", http.MethodGet, "", "List users")
	list.own = true
	secured(s, access.UsersRead, list, s.listUsers)
	create := op("create-user", http.MethodPost, "", "Add a user", http.StatusConflict)
	create.status = http.StatusCreated
	create.about = "The person can log in at once. Nobody gives a role that may do more than his own."
	secured(s, access.UsersCreate, create, s.createUser)
	get := op("get-user", http.MethodGet, "/{id}", "Read a user", http.StatusNotFound)
	get.own = true
	secured(s, access.UsersRead, get, s.getUser)
	change := op("update-user", "", "/{id}", "Change a user", http.StatusConflict)
	change.about = "Everybody changes one's own profile: full_name, avatar_url, bio and username."
	change.own = true
	changes(s, access.UsersUpdate, change, s.changeUser)
	remove := op("delete-user", http.MethodDelete, "/{id}", "Deactivate a user",
		http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed)
	remove.about = "The user is logged out everywhere and can be read on. POST .../activate brings the user back."
	secured(s, access.UsersDelete, remove, s.deleteUser)
	secured(s, access.UsersUpdate,
		op("activate-user", http.MethodPost, "/{id}/activate", "Activate a user", http.StatusNotFound, http.StatusPreconditionFailed),
		s.activateUser)
	secured(s, access.UsersUpdate,
		op("assign-user-role", http.MethodPost, "/{id}/role", "Give a user another role",
			http.StatusNotFound, http.StatusConflict, http.StatusPreconditionFailed),
		s.assignRole)
}

func (s *Server) listUsers(ctx context.Context, p *rbac.Principal, in *listUsersInput) (*pageOutput[User], error) {
	return listedUsers(ctx, s, p, p.Tenant, in.collection("users"),
		func(tx *store.Tx, page store.Page) (store.Listed[store.User], error) {
			filter := in.filter(page)
			if !p.Users().All {
				filter.ID = &p.UserID
			}
			return tx.Users().List(filter)
		})
}

// listedUsers is listedIn for users, whom it shows with the names of their roles.
func listedUsers(
	ctx context.Context, s *Server, p *rbac.Principal, t tenant.ID, c collection,
	read func(*store.Tx, store.Page) (store.Listed[store.User], error),
) (*pageOutput[User], error) {
	var roles map[uuid.UUID]string
	show := func(u *store.User) User { return showUser(u, roleNameOf(roles, u)) }
	return listedIn(ctx, s, p, t, c, show, func(tx *store.Tx, page store.Page) (store.Listed[store.User], error) {
		rows, err := read(tx, page)
		if err != nil {
			return rows, err
		}
		var ids []uuid.UUID
		for i := range rows.Rows {
			if role := rows.Rows[i].RoleID; role != nil && !slices.Contains(ids, *role) {
				ids = append(ids, *role)
			}
		}
		roles, err = tx.Roles().Names(ids)
		return rows, err
	})
}

func roleNameOf(roles map[uuid.UUID]string, u *store.User) string {
	if u.RoleID == nil {
		return ""
	}
	return roles[*u.RoleID]
}

// userOf shows a user with the name of the role.
func userOf(tx *store.Tx, u *store.User) (User, error) {
	if u.RoleID == nil {
		return showUser(u, ""), nil
	}
	roles, err := tx.Roles().Names([]uuid.UUID{*u.RoleID})
	return showUser(u, roleNameOf(roles, u)), err
}

func (s *Server) getUser(ctx context.Context, p *rbac.Principal, in *getUserInput) (*one[User], error) {
	if !p.Users().Sees(&in.ID, nil) {
		return nil, noUser()
	}
	user, err := view(ctx, s, p.Tenant, func(tx *store.Tx) (user User, err error) {
		row, err := tx.Users().Get(in.ID)
		if err != nil {
			return user, err
		}
		return userOf(tx, row)
	})
	if err != nil {
		return nil, err
	}
	return fresh(in.Cached, user), nil
}

func noUser() error { return fault.New(fault.NotFound, "user.not_found", "There is no such user.") }

func (s *Server) createUser(ctx context.Context, p *rbac.Principal, in *createUserInput) (*made[User], error) {
	// The hash of the request is kept, and must not help to guess the password.
	public := in.Body
	public.Password = ""
	once, err := in.once("POST /users", public)
	if err != nil {
		return nil, err
	}
	hash, err := s.Accounts.Passwords.Hash(ctx, in.Body.Password)
	if err != nil {
		return nil, err
	}
	return makes(ctx, s, p, once, func(tx *store.Tx) (*made[User], error) {
		n := in.Body
		row := &store.User{
			Email: n.Email, Username: n.Username, PasswordHash: hash, FullName: n.FullName, AvatarURL: n.AvatarURL, Bio: n.Bio,
			RoleID: n.RoleID, IsVerified: n.IsVerified,
		}
		if row.RoleID == nil {
			role, err := tx.Roles().ByName(access.Member)
			if err != nil {
				return nil, err
			}
			row.RoleID = &role.ID
		}
		if err := gives(tx, p, *row.RoleID); err != nil {
			return nil, err
		}
		return makeUser(tx, row, n.IsActive == nil || *n.IsActive)
	})
}

// makeUser writes a user and answers with it.
func makeUser(tx *store.Tx, row *store.User, active bool) (*made[User], error) {
	if err := tx.Users().Create(row); err != nil {
		return nil, err
	}
	if !active {
		var err error
		row, err = tx.Users().Update(row.ID, "deactivate", nil, func(u *store.User) error {
			u.IsActive = false
			return nil
		})
		if err != nil {
			return nil, err
		}
	}
	user, err := userOf(tx, row)
	return &made[User]{Location: base + "/users/" + row.ID.String(), ETag: etag(row.UpdatedAt), Body: user}, err
}

// gives refuses a role that does not exist in the organization, and one that may do more than the caller.
func gives(tx *store.Tx, p *rbac.Principal, role uuid.UUID) error {
	if _, err := tx.Roles().Get(role); err != nil {
		if fault.Is(err, fault.NotFound) {
			return invalid("body.role_id", "expected the id of a role of the organization")
		}
		return err
	}
	granted, err := permissionsOf(tx, &role)
	if err != nil {
		return err
	}
	return p.Grants(granted)
}

// permissionsOf returns the names of what a role grants; no role grants nothing.
func permissionsOf(tx *store.Tx, role *uuid.UUID) ([]access.Permission, error) {
	if role == nil {
		return nil, nil
	}
	granted, err := tx.Roles().PermissionsOf(*role)
	if err != nil {
		return nil, err
	}
	return shown(granted[*role], func(p *store.Permission) access.Permission { return access.Permission(p.Name) }), nil
}

func (s *Server) changeUser(ctx context.Context, p *rbac.Principal, in *changeUserInput) (*one[User], error) {
	return s.withUser(ctx, p, in.ID, "update", in.Conditional, func(tx *store.Tx, a rbac.Account, u *store.User) error {
		before := *u
		in.Body.apply(u)
		return changesUser(tx, p, a, &before, u)
	})
}

// changesUser refuses what the caller may not change about an account. What stays as it is, is allowed to be sent.
func changesUser(tx *store.Tx, p *rbac.Principal, a rbac.Account, before, after *store.User) error {
	if err := p.EditsProfile(a); err != nil {
		return err
	}
	role := before.RoleID == after.RoleID || before.RoleID != nil && after.RoleID != nil && *before.RoleID == *after.RoleID
	if before.Email != after.Email || before.IsActive != after.IsActive || before.IsVerified != after.IsVerified || !role {
		if err := p.Manages(access.UsersUpdate, a); err != nil {
			return err
		}
	}
	if !role && after.RoleID != nil {
		if err := gives(tx, p, *after.RoleID); err != nil {
			return err
		}
	}
	if before.IsActive && !after.IsActive {
		if err := p.Deactivates(access.UsersUpdate, a); err != nil {
			return err
		}
	}
	if before.IsSuperuser != after.IsSuperuser {
		return p.MarksSuperusers()
	}
	return nil
}

func (s *Server) deleteUser(ctx context.Context, p *rbac.Principal, in *touchUserInput) (*one[User], error) {
	return s.withUser(ctx, p, in.ID, "delete", in.Conditional, func(_ *store.Tx, a rbac.Account, u *store.User) error {
		u.IsActive = false
		return p.Deactivates(access.UsersDelete, a)
	})
}

func (s *Server) activateUser(ctx context.Context, p *rbac.Principal, in *touchUserInput) (*one[User], error) {
	return s.withUser(ctx, p, in.ID, "activate", in.Conditional, activates(p))
}

// userChange changes a user and sees what the account may do, to decide whether the change may be made.
type userChange func(*store.Tx, rbac.Account, *store.User) error

func activates(p *rbac.Principal) userChange {
	return func(_ *store.Tx, a rbac.Account, u *store.User) error {
		u.IsActive = true
		return p.Manages(access.UsersUpdate, a)
	}
}

func (s *Server) assignRole(ctx context.Context, p *rbac.Principal, in *assignRoleInput) (*one[User], error) {
	return s.withUser(ctx, p, in.ID, "assign_role", in.Conditional, func(tx *store.Tx, a rbac.Account, u *store.User) error {
		before := *u
		u.RoleID = &in.Body.RoleID
		return changesUser(tx, p, a, &before, u)
	})
}

// withUser changes a user within the caller's reach in a transaction, and answers with the user as it is then.
func (s *Server) withUser(
	ctx context.Context, p *rbac.Principal, id uuid.UUID, verb string, c Conditional, change userChange,
) (*one[User], error) {
	if !p.Users().Sees(&id, nil) {
		return nil, noUser()
	}
	return s.withUserIn(ctx, p.Tenant, id, verb, c, change)
}

// withUserIn is withUser in an organization that the caller may reach.
func (s *Server) withUserIn(
	ctx context.Context, t tenant.ID, id uuid.UUID, verb string, c Conditional, change userChange,
) (*one[User], error) {
	user, err := changedIn(ctx, s, t, c, func(tx *store.Tx, match store.Match) (user User, err error) {
		row, err := tx.Users().Update(id, verb, match, func(u *store.User) error {
			granted, err := permissionsOf(tx, u.RoleID)
			if err != nil {
				return err
			}
			return change(tx, rbac.Account{ID: u.ID, Superuser: u.IsSuperuser, Permissions: granted}, u)
		})
		if err != nil {
			return user, err
		}
		return userOf(tx, row)
	})
	if err != nil {
		return nil, err
	}
	return show(user), nil
}
