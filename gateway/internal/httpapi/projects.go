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
)

// Project groups people and what they work on.
type Project struct {
	ID             uuid.UUID      `json:"id" format:"uuid" doc:"The project's id"`
	Name           string         `json:"name" example:"AI Assistant Platform" doc:"What it is called"`
	Description    string         `json:"description" doc:"What it is about"`
	OrganizationID uuid.UUID      `json:"organization_id" format:"uuid" doc:"The organization that it belongs to"`
	CreatedBy      *uuid.UUID     `json:"created_by" format:"uuid" doc:"Who started it; null when that user is gone"`
	Settings       map[string]any `json:"settings" doc:"Settings of the project's own"`
	ProjMetadata   map[string]any `json:"proj_metadata" doc:"Whatever clients keep with it"`
	IsActive       bool           `json:"is_active" example:"true" doc:"Whether it goes on"`
	CreatedAt      time.Time      `json:"created_at" doc:"When it was started"`
	UpdatedAt      time.Time      `json:"updated_at" doc:"When it was last changed"`
}

func (p Project) changedAt() time.Time { return p.UpdatedAt }

func showProject(p *store.Project) Project {
	return Project{
		ID: p.ID, Name: p.Name, Description: p.Description, OrganizationID: p.OrganizationID, CreatedBy: p.CreatedBy,
		Settings: object(p.Settings), ProjMetadata: object(p.ProjMetadata), IsActive: p.IsActive,
		CreatedAt: p.CreatedAt.UTC(), UpdatedAt: p.UpdatedAt.UTC(),
	}
}

// NewProject is a project to be.
type NewProject struct {
	Name         string         `json:"name" minLength:"1" maxLength:"200" example:"AI Assistant Platform" doc:"What it is called"`
	Description  string         `json:"description,omitempty" maxLength:"5000" doc:"What it is about"`
	Settings     map[string]any `json:"settings,omitempty" doc:"Settings of the project's own"`
	ProjMetadata map[string]any `json:"proj_metadata,omitempty" doc:"Whatever clients keep with it"`
}

// ProjectChange is what becomes different about a project. Fields that are left out or null stay as they are.
type ProjectChange struct {
	Name         *string         `json:"name,omitempty" minLength:"1" maxLength:"200" example:"AI Assistant Platform" doc:"What it is called"`
	Description  *string         `json:"description,omitempty" maxLength:"5000" doc:"What it is about"`
	Settings     *map[string]any `json:"settings,omitempty" doc:"Replaces the whole"`
	ProjMetadata *map[string]any `json:"proj_metadata,omitempty" doc:"Replaces the whole"`
	IsActive     *bool           `json:"is_active,omitempty" example:"true" doc:"Whether it goes on; true brings a closed one back"`
}

// apply makes the change to a record.
func (c *ProjectChange) apply(p *store.Project) error {
	set(&p.Name, c.Name)
	set(&p.Description, c.Description)
	set((*map[string]any)(&p.Settings), c.Settings)
	set((*map[string]any)(&p.ProjMetadata), c.ProjMetadata)
	set(&p.IsActive, c.IsActive)
	return nil
}

// ProjectMember is a user as the members of a project see each other.
type ProjectMember struct {
	UserID    uuid.UUID `json:"user_id" format:"uuid" doc:"The user's id"`
	Username  string    `json:"username" example:"ada" doc:"The user's name"`
	FullName  string    `json:"full_name" example:"Ada Lovelace" doc:"What the person is called"`
	AvatarURL string    `json:"avatar_url" example:"https://example.com/ada.png" doc:"Where the person's picture is; empty without one"`
	IsActive  bool      `json:"is_active" example:"true" doc:"Whether the person may log in"`
}

func showProjectMember(u *store.User) ProjectMember {
	return ProjectMember{UserID: u.ID, Username: u.Username, FullName: u.FullName, AvatarURL: u.AvatarURL, IsActive: u.IsActive}
}

type createProjectInput struct {
	Repeatable

	Body NewProject
}

// ProjectInput names a project.
type ProjectInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The project's id"`
}

type getProjectInput struct {
	ProjectInput
	Cached
}

type changeProjectInput struct {
	ProjectInput
	Conditional

	Body ProjectChange
}

type touchProjectInput struct {
	ProjectInput
	Conditional
}

type listProjectsInput struct {
	Listing

	Sort     string `query:"sort" enum:"name,-name,created_at,-created_at,updated_at,-updated_at" example:"name" doc:"The order; a dash puts the largest first. Without it newest first"`
	Search   string `query:"search" maxLength:"200" example:"assistant" doc:"Only projects with this in name or description"`
	IsActive string `query:"is_active" enum:"true,false" doc:"Only projects that go on, or only the others"`
}

type listProjectMembersInput struct {
	ProjectInput
	Listing

	Sort     string `query:"sort" enum:"username,-username,full_name,-full_name" example:"username" doc:"The order; a dash puts the largest first. Without it the newest accounts first"`
	Search   string `query:"search" maxLength:"200" example:"ada" doc:"Only members whose username, email or full_name holds these words"`
	IsActive string `query:"is_active" enum:"true,false" doc:"Only active members, or only the others"`
}

type projectMemberInput struct {
	ProjectInput

	UserID uuid.UUID `path:"user_id" format:"uuid" doc:"The user's id"`
}

type projectMemberOutput struct{ Body ProjectMember }

func (s *Server) projectOperations() {
	op := func(id, method, path, summary string, errors ...int) operation {
		return operation{id: id, method: method, path: "/projects" + path, tag: tagProjects, summary: summary, errors: errors}
	}
	create := op("create-project", http.MethodPost, "", "Start a project", http.StatusConflict)
	create.status = http.StatusCreated
	create.about = "Whoever starts it becomes its first member."
	secured(s, access.ProjectsCreate, create, s.createProject)
	list := op("list-projects", http.MethodGet, "", "List projects")
	list.about = "Those that one is a member of; all for who may see every project."
	secured(s, access.ProjectsRead, list, s.listProjects)
	secured(s, access.ProjectsRead, op("get-project", http.MethodGet, "/{id}", "Read a project", http.StatusNotFound), s.getProject)
	changes(s, access.ProjectsUpdate, op("update-project", "", "/{id}", "Change a project"), s.changeProject)
	remove := op("delete-project", http.MethodDelete, "/{id}", "Close a project", http.StatusNotFound, http.StatusPreconditionFailed)
	remove.about = "Nothing is removed, and is_active brings it back."
	secured(s, access.ProjectsDelete, remove, s.deleteProject)
	secured(s, access.ProjectsRead,
		op("list-project-members", http.MethodGet, "/{id}/members", "List the members of a project", http.StatusNotFound),
		s.listProjectMembers)
	add := op("add-project-member", http.MethodPost, "/{id}/members/{user_id}", "Add a member to a project",
		http.StatusNotFound, http.StatusConflict)
	add.status = http.StatusCreated
	secured(s, access.ProjectsMembers, add, s.addProjectMember)
	leave := op("remove-project-member", http.MethodDelete, "/{id}/members/{user_id}", "Remove a member from a project",
		http.StatusNotFound)
	leave.status = http.StatusNoContent
	leave.about = "Counts at once: what the project has is out of the user's reach."
	secured(s, access.ProjectsMembers, leave, s.removeProjectMember)
}

func (s *Server) createProject(ctx context.Context, p *rbac.Principal, in *createProjectInput) (*made[Project], error) {
	once, err := in.once("POST /projects", in.Body)
	if err != nil {
		return nil, err
	}
	return makes(ctx, s, p, once, func(tx *store.Tx) (*made[Project], error) {
		n := in.Body
		row := &store.Project{
			CreatedBy: &p.UserID, Name: n.Name, Description: n.Description, Settings: n.Settings, ProjMetadata: n.ProjMetadata,
		}
		if err := tx.Projects().Create(row); err != nil {
			return nil, err
		}
		if err := tx.Projects().AddMember(row.ID, p.UserID); err != nil {
			return nil, err
		}
		return &made[Project]{Location: base + "/projects/" + row.ID.String(), ETag: etag(row.UpdatedAt), Body: showProject(row)}, nil
	})
}

func (s *Server) listProjects(ctx context.Context, p *rbac.Principal, in *listProjectsInput) (*pageOutput[Project], error) {
	filter := store.ProjectFilter{Search: in.Search, Active: givenBool(in.IsActive)}
	if !p.VisibleProjects().All {
		filter.MemberID = &p.UserID
	}
	c := collection{name: "projects", listing: in.Listing, sort: in.Sort, counted: true}
	return listed(ctx, s, p, c, showProject, func(tx *store.Tx, page store.Page) (store.Listed[store.Project], error) {
		filter.Page = page
		return tx.Projects().List(filter)
	})
}

func (s *Server) getProject(ctx context.Context, p *rbac.Principal, in *getProjectInput) (*one[Project], error) {
	if err := seesProject(p, in.ID); err != nil {
		return nil, err
	}
	return viewed(ctx, s, p, in.Cached, showProject, func(tx *store.Tx) (*store.Project, error) {
		return tx.Projects().Get(in.ID)
	})
}

// seesProject refuses a project that the caller may not see as one that does not exist.
func seesProject(p *rbac.Principal, id uuid.UUID) error {
	if !p.VisibleProjects().Sees(nil, &id) {
		return fault.New(fault.NotFound, "project.not_found", "There is no such project.")
	}
	return nil
}

func (s *Server) changeProject(ctx context.Context, p *rbac.Principal, in *changeProjectInput) (*one[Project], error) {
	return s.withProject(ctx, p, in.ID, "update", in.Conditional, in.Body.apply)
}

func (s *Server) deleteProject(ctx context.Context, p *rbac.Principal, in *touchProjectInput) (*one[Project], error) {
	return s.withProject(ctx, p, in.ID, "delete", in.Conditional, func(row *store.Project) error {
		row.IsActive = false
		return nil
	})
}

// withProject changes a project that the caller sees in a transaction, and answers with the project as it is then.
func (s *Server) withProject(
	ctx context.Context, p *rbac.Principal, id uuid.UUID, verb string, c Conditional, change func(*store.Project) error,
) (*one[Project], error) {
	if err := seesProject(p, id); err != nil {
		return nil, err
	}
	row, err := changed(ctx, s, p, c, func(tx *store.Tx, match store.Match) (*store.Project, error) {
		return tx.Projects().Update(id, verb, match, change)
	})
	if err != nil {
		return nil, err
	}
	return show(showProject(row)), nil
}

func (s *Server) listProjectMembers(
	ctx context.Context, p *rbac.Principal, in *listProjectMembersInput,
) (*pageOutput[ProjectMember], error) {
	if err := seesProject(p, in.ID); err != nil {
		return nil, err
	}
	c := collection{name: "projects/" + in.ID.String() + "/members", listing: in.Listing, sort: in.Sort, counted: true}
	return listed(ctx, s, p, c, showProjectMember, func(tx *store.Tx, page store.Page) (none store.Listed[store.User], err error) {
		if _, err := tx.Projects().Get(in.ID); err != nil {
			return none, err
		}
		return tx.Users().List(store.UserFilter{
			Search: in.Search, ProjectID: &in.ID, Active: givenBool(in.IsActive), Page: page,
		})
	})
}

func (s *Server) addProjectMember(ctx context.Context, p *rbac.Principal, in *projectMemberInput) (*projectMemberOutput, error) {
	if err := seesProject(p, in.ID); err != nil {
		return nil, err
	}
	var user *store.User
	err := s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) (err error) {
		if _, err := tx.Projects().Get(in.ID); err != nil {
			return err
		}
		if user, err = tx.Users().Get(in.UserID); err != nil {
			return err
		}
		return tx.Projects().AddMember(in.ID, in.UserID)
	})
	if err != nil {
		return nil, err
	}
	return &projectMemberOutput{showProjectMember(user)}, nil
}

func (s *Server) removeProjectMember(ctx context.Context, p *rbac.Principal, in *projectMemberInput) (*struct{}, error) {
	if err := seesProject(p, in.ID); err != nil {
		return nil, err
	}
	return nil, s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		return tx.Projects().RemoveMember(in.ID, in.UserID)
	})
}
