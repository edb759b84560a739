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

const nounProject = "project"

// Create writes an active project into the tenant.
func (r Projects) Create(p *Project) error {
	p.IsActive = true
	return create(r.tx, nounProject, p, &p.ID, &p.OrganizationID)
}

// Get returns a project, or fault.NotFound.
func (r Projects) Get(id uuid.UUID) (*Project, error) {
	return take[Project](within[Project](r.tx).Where("id = ?", id), nounProject)
}

// Update changes a project. The verb names the change in the audit log.
func (r Projects) Update(id uuid.UUID, verb string, match Match, change func(*Project) error) (*Project, error) {
	return edit(r.tx, nounProject, verb, id, match, change)
}

// ProjectFilter narrows a list of projects. Zero fields do not.
type ProjectFilter struct {
	// MemberID keeps the projects that this user belongs to.
	MemberID *uuid.UUID
	// Search is looked for in name and description.
	Search string
	Active *bool
	Page   Page
}

// ProjectSorts are the columns that projects can be sorted by.
func ProjectSorts() []string { return []string{columnName, columnCreatedAt, columnUpdatedAt} }

// List returns one page of the projects.
func (r Projects) List(f ProjectFilter) (Listed[Project], error) {
	q := within[Project](r.tx)
	if f.MemberID != nil {
		q = q.Where("id IN (?)", within[ProjectMember](r.tx).Select("project_id").Where("user_id = ?", *f.MemberID))
	}
	q = holding(q, f.Search, columnName, columnDescription)
	if f.Active != nil {
		q = q.Where("is_active = ?", *f.Active)
	}
	return list[Project](q, f.Page, nounProject, ProjectSorts())
}

// AddMember makes a user a member. One who is already is fault.Conflict "project.already_member", a project or user that does not
// exist in the tenant is fault.Invalid.
func (r Projects) AddMember(project, user uuid.UUID) error {
	member := ProjectMember{OrganizationID: r.tx.tenant.UUID(), ProjectID: project, UserID: user}
	if err := r.tx.db.Create(&member).Error; err != nil {
		return explain(err, "add project member")
	}
	r.tx.accessChanged = true
	r.tx.Audit(nounProject, "add_member", project, nil, map[string]any{"user_id": user})
	return nil
}

// RemoveMember ends a membership. One that does not exist is fault.NotFound "project_member.not_found".
func (r Projects) RemoveMember(project, user uuid.UUID) error {
	gone := within[ProjectMember](r.tx).Where("project_id = ? AND user_id = ?", project, user).Delete(&ProjectMember{})
	if err := touched(gone, "remove project member", "project_member"); err != nil {
		return err
	}
	r.tx.accessChanged = true
	r.tx.Audit(nounProject, "remove_member", project, map[string]any{"user_id": user}, nil)
	return nil
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
