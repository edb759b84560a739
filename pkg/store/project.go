package store

import (
	"time"

	"github.com/google/uuid"
)

// Project groups people and what they work on.
type Project struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID  `gorm:"column:organization_id"`
	CreatedBy      *uuid.UUID `gorm:"column:created_by"`
	Name           string     `gorm:"column:name"`
	Description    string     `gorm:"column:description"`
	Settings       Object     `gorm:"column:settings"`
	ProjMetadata   Object     `gorm:"column:proj_metadata"`
	IsActive       bool       `gorm:"column:is_active"`
	CreatedAt      time.Time  `gorm:"column:created_at"`
	UpdatedAt      time.Time  `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (Project) TableName() string { return "projects" }

// ProjectMember says that a user belongs to a project.
type ProjectMember struct {
	OrganizationID uuid.UUID `gorm:"column:organization_id"`
	ProjectID      uuid.UUID `gorm:"column:project_id;primaryKey"`
	UserID         uuid.UUID `gorm:"column:user_id;primaryKey"`
	CreatedAt      time.Time `gorm:"column:created_at"`
}

// TableName implements GORM's Tabler.
func (ProjectMember) TableName() string { return "project_members" }

// Projects is the repository of projects within a tenant.
type Projects struct{ tx *Tx }

// Projects returns the projects of the transaction's tenant.
func (tx *Tx) Projects() Projects { return Projects{tx} }

// Create writes an active project into the tenant.
func (r Projects) Create(p *Project) error {
	if err := r.tx.own(&p.ID, &p.OrganizationID); err != nil {
		return err
	}
	p.IsActive = true
	return explain(r.tx.db.Create(p).Error, "create project")
}

// AddMember makes a user a member. One who is already is fault.Conflict "project.already_member".
func (r Projects) AddMember(project, user uuid.UUID) error {
	member := ProjectMember{OrganizationID: r.tx.tenant.UUID(), ProjectID: project, UserID: user}
	return explain(r.tx.db.Create(&member).Error, "add project member")
}

// Get returns a project, or fault.NotFound.
func (r Projects) Get(id uuid.UUID) (*Project, error) {
	return take[Project](within[Project](r.tx).Where("id = ?", id), "project")
}

// IsMember reports whether the user belongs to the project. An unknown project has no members.
func (r Projects) IsMember(project, user uuid.UUID) (bool, error) {
	var n int64
	err := within[ProjectMember](r.tx).Where("project_id = ? AND user_id = ?", project, user).Count(&n).Error
	return n > 0, explain(err, "read project membership")
}

// ListForUser returns the active projects that the user belongs to, newest first.
func (r Projects) ListForUser(user uuid.UUID) ([]Project, error) {
	var projects []Project
	err := within[Project](r.tx).
		Where("is_active AND id IN (?)", within[ProjectMember](r.tx).Select("project_id").Where("user_id = ?", user)).
		Order("id DESC").Find(&projects).Error
	return projects, explain(err, "list a user's projects")
}

// IDsForUser returns the ids of all projects that the user belongs to.
func (r Projects) IDsForUser(user uuid.UUID) ([]uuid.UUID, error) {
	var ids []uuid.UUID
	err := within[ProjectMember](r.tx).Where("user_id = ?", user).Order("project_id").Pluck("project_id", &ids).Error
	return ids, explain(err, "list a user's projects")
}
