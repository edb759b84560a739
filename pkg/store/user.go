package store

import (
	"context"
	"errors"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

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

// findOwner runs one of the two questions that are answered outside of a tenant.
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
	return take[User](within[User](r.tx).Where("id = ?", id), nounUser)
}

// Principal returns a user with role, permissions and projects, in one query, or fault.NotFound.
func (r Users) Principal(id uuid.UUID) (*Principal, error) {
	var found []Principal
	//nolint:unqueryvet // a User is the whole row
	err := r.tx.db.Raw(`SELECT u.*, COALESCE(r.name, '') AS role_name, o.is_active AS organization_active,
			ARRAY(SELECT p.name FROM role_permissions rp JOIN permissions p ON p.id = rp.permission_id
				WHERE rp.organization_id = u.organization_id AND rp.role_id = u.role_id ORDER BY p.name) AS permissions,
			ARRAY(SELECT m.project_id::text FROM project_members m
				WHERE m.organization_id = u.organization_id AND m.user_id = u.id ORDER BY m.project_id) AS projects
		FROM users u
		JOIN organizations o ON o.id = u.organization_id
		LEFT JOIN roles r ON r.organization_id = u.organization_id AND r.id = u.role_id
		WHERE u.organization_id = ? AND u.id = ?`, r.tx.tenant.UUID(), id).Scan(&found).Error
	if err != nil {
		return nil, explain(err, "read principal")
	}
	if len(found) == 0 {
		return nil, notFound(nounUser)
	}
	return &found[0], nil
}

// UpdatePassword replaces a user's password hash. Whoever calls it decides what becomes of the user's sessions.
func (r Users) UpdatePassword(id uuid.UUID, hash string) error {
	_, err := edit(r.tx, nounUser, "change_password", id, nil, func(u *User) error {
		u.PasswordHash = hash
		return nil
	})
	r.tx.accessChanged = true
	return err
}
