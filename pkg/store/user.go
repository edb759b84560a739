package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"gorm.io/gorm/clause"

	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// User is a person with an account in one organization.
type User struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID  `gorm:"column:organization_id"`
	RoleID         *uuid.UUID `gorm:"column:role_id"`
	Email          string     `gorm:"column:email"`    // unique among all organizations, whatever its case
	Username       string     `gorm:"column:username"` // likewise; holds no @
	// PasswordHash is a bcrypt hash and never leaves the service.
	PasswordHash     string     `gorm:"column:password_hash" json:"-" audit:"-"`
	FullName         string     `gorm:"column:full_name"`
	AvatarURL        string     `gorm:"column:avatar_url"`
	Bio              string     `gorm:"column:bio"`
	IsActive         bool       `gorm:"column:is_active"`
	IsVerified       bool       `gorm:"column:is_verified"`
	IsSuperuser      bool       `gorm:"column:is_superuser"` // of the platform, beyond every role
	EmailVerified    bool       `gorm:"column:email_verified"`
	TwoFactorEnabled bool       `gorm:"column:two_factor_enabled"`
	LastLogin        *time.Time `gorm:"column:last_login"`
	LastActivity     *time.Time `gorm:"column:last_activity"`
	CreatedAt        time.Time  `gorm:"column:created_at"`
	UpdatedAt        time.Time  `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (User) TableName() string { return "users" }

// Principal is a user with all that deciding about a request needs.
type Principal struct {
	User     User   `gorm:"embedded"`
	RoleName string // empty for a user without a role
	// Permissions are the names of what the role allows, sorted.
	Permissions StringArray
	// Projects are the ids of the projects that the user belongs to.
	Projects StringArray
	// OrganizationActive is false when the whole organization was deactivated.
	OrganizationActive bool
}

// FindLogin finds an account by its email address or username, whatever its case, before its tenant is known. It tells the
// tenant to enter and nothing else. An unknown identifier is fault.NotFound.
func (s *Store) FindLogin(ctx context.Context, identifier string) (user uuid.UUID, t tenant.ID, err error) {
	return s.findOwner(ctx, "SELECT user_id, organization_id FROM auth_find_user($1)", identifier, "user")
}

// OrganizationOf tells which organization a user belongs to, for the platform's superuser. An unknown user is fault.NotFound.
func (s *Store) OrganizationOf(ctx context.Context, user uuid.UUID) (tenant.ID, error) {
	_, t, err := s.findOwner(ctx, "SELECT user_id, organization_id FROM auth_find_account($1)", user, nounUser)
	return t, err
}

// findOwner runs one of the questions that are answered outside of a tenant.
func (s *Store) findOwner(ctx context.Context, query string, arg any, noun string) (user uuid.UUID, t tenant.ID, err error) {
	var organization uuid.UUID
	err = s.pool.QueryRow(ctx, query, arg).Scan(&user, &organization)
	if errors.Is(err, pgx.ErrNoRows) {
		return uuid.Nil, tenant.ID{}, notFound(noun)
	}
	if err != nil {
		return uuid.Nil, tenant.ID{}, explain(err, "find the owner of a "+wordsOf(noun))
	}
	return user, tenant.FromUUID(organization), nil
}

// Users is the repository of users within a tenant.
type Users struct{ tx *Tx }

// Users returns the users of the transaction's tenant.
func (tx *Tx) Users() Users { return Users{tx} }

const nounUser = "user"

// Create writes an active user into the tenant. A taken address or username is fault.Conflict "user.email_taken" or
// "user.username_taken".
func (r Users) Create(u *User) error {
	u.IsActive = true
	return create(r.tx, nounUser, u, &u.ID, &u.OrganizationID)
}

// Get returns a user, or fault.NotFound.
func (r Users) Get(id uuid.UUID) (*User, error) {
	return take[User](within[User](r.tx).Where("id = ?", id).Omit(wordsColumn), nounUser)
}

// Principal returns a user with role, permissions and projects, in one query, or fault.NotFound.
func (r Users) Principal(id uuid.UUID) (*Principal, error) {
	user, err := columnsOf[User](r.tx, "u")
	if err != nil {
		return nil, err
	}
	var found []Principal
	err = r.tx.db.Raw(`SELECT `+user+`, COALESCE(r.name, '') AS role_name, o.is_active AS organization_active,
			ARRAY(SELECT p.name FROM role_permissions rp JOIN permissions p ON p.id = rp.permission_id
				WHERE rp.organization_id = u.organization_id AND rp.role_id = u.role_id ORDER BY p.name) AS permissions,
			ARRAY(SELECT m.project_id::text FROM project_members m
				WHERE m.organization_id = u.organization_id AND m.user_id = u.id ORDER BY m.project_id) AS projects
		FROM users u
		JOIN organizations o ON o.id = u.organization_id
		LEFT JOIN roles r ON r.organization_id = u.organization_id AND r.id = u.role_id
		WHERE u.organization_id = ? AND u.id = ?`, r.tx.tenant.UUID(), id).Find(&found).Error
	if err != nil {
		return nil, explain(err, "read principal")
	}
	if len(found) == 0 {
		return nil, notFound(nounUser)
	}
	return &found[0], nil
}

// Update changes a user. The verb names the change in the audit log. Who is deactivated loses all sessions and API keys. A
// change that would leave the organization without an active Admin is fault.Conflict "user.last_admin", a taken address or username
// as in Create.
func (r Users) Update(id uuid.UUID, verb string, match Match, change func(*User) error) (*User, error) {
	return edit(r.tx, nounUser, verb, id, match, func(u *User) error {
		before := *u
		if err := change(u); err != nil {
			return err
		}
		moved := !same(before.RoleID, u.RoleID)
		if !moved && before.IsActive == u.IsActive && before.IsSuperuser == u.IsSuperuser {
			return nil
		}
		r.tx.accessChanged = true
		if before.IsActive && (moved || !u.IsActive) {
			if err := r.leavesAdmin(&before); err != nil {
				return err
			}
		}
		if before.IsActive && !u.IsActive {
			return r.lockOut(id)
		}
		return nil
	}, wordsColumn)
}

func same(a, b *uuid.UUID) bool { return a == b || a != nil && b != nil && *a == *b }

// leavesAdmin refuses that this user, an active one, goes when nobody else is an active Admin. Whoever asks waits for who asked
// before, so that two Admins who go at the same moment do not both rely on the other.
func (r Users) leavesAdmin(going *User) error {
	if going.RoleID == nil {
		return nil
	}
	_, err := take[Role](within[Role](r.tx).Where("id = ? AND is_system AND name = ?", *going.RoleID, access.Admin).
		Clauses(clause.Locking{Strength: "NO KEY UPDATE"}), nounRole)
	if fault.Is(err, fault.NotFound) {
		return nil
	}
	if err != nil {
		return err
	}
	var others int64
	err = within[User](r.tx).Where("role_id = ? AND is_active AND id <> ?", *going.RoleID, going.ID).Count(&others).Error
	if err != nil {
		return explain(err, "count admins")
	}
	if others == 0 {
		return fault.New(fault.Conflict, "user.last_admin",
			"This is the last active Admin of the organization. Make somebody else an Admin first.")
	}
	return nil
}

// lockOut ends the sessions and the API keys of a user who was deactivated, for good.
func (r Users) lockOut(id uuid.UUID) error {
	if _, err := r.tx.RefreshTokens().RevokeAllOfUser(id, EndedByDeactivation); err != nil {
		return err
	}
	ended := within[APIKey](r.tx).Where("user_id = ? AND revoked_at IS NULL", id).UpdateColumn("revoked_at", r.tx.db.NowFunc())
	return explain(ended.Error, "revoke API keys")
}

// UserFilter narrows a list of users. Zero fields do not.
type UserFilter struct {
	// ID keeps one user.
	ID *uuid.UUID
	// Search is for words in username, address and full name.
	Search string
	RoleID *uuid.UUID
	// ProjectID keeps the members of a project.
	ProjectID *uuid.UUID
	Active    *bool
	Verified  *bool
	Page      Page
}

// UserSorts are the columns that users can be sorted by.
func UserSorts() []string { return []string{"username", "email", "full_name", columnCreatedAt} }

// List returns one page of the users, without their password hashes.
func (r Users) List(f UserFilter) (Listed[User], error) {
	q := within[User](r.tx)
	if f.Search != "" {
		q = searching[User](r.tx, f.Search)
	}
	if f.ID != nil {
		q = q.Where("id = ?", *f.ID)
	}
	if f.RoleID != nil {
		q = q.Where("role_id = ?", *f.RoleID)
	}
	if f.ProjectID != nil {
		q = q.Where("id IN (?)", within[ProjectMember](r.tx).Select("user_id").Where("project_id = ?", *f.ProjectID))
	}
	if f.Active != nil {
		q = q.Where("is_active = ?", *f.Active)
	}
	if f.Verified != nil {
		q = q.Where("is_verified = ?", *f.Verified)
	}
	return list[User](q, f.Page, nounUser, UserSorts(), "password_hash")
}

// UpdatePassword replaces a user's password hash. Whoever calls it decides what becomes of the user's sessions.
func (r Users) UpdatePassword(id uuid.UUID, hash string) error {
	_, err := edit(r.tx, nounUser, "change_password", id, nil, func(u *User) error {
		u.PasswordHash = hash
		return nil
	}, wordsColumn)
	r.tx.accessChanged = true
	return err
}
