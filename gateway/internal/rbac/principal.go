package rbac

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/tenant"
)

// Principal is who makes a request, as the record says at this moment. It must not be changed once it serves a request.
type Principal struct {
	UserID uuid.UUID
	Tenant tenant.ID
	// Role is the name of the caller's role; empty when the caller has none.
	Role string
	// Permissions are what the role grants.
	Permissions []access.Permission
	// Projects are those that the caller is a member of.
	Projects []uuid.UUID
	// Superuser runs the platform and may do everything.
	Superuser bool
	// Family is the login that the access token came from.
	Family uuid.UUID
	// Expires is when the access token ends.
	Expires time.Time
}

// Can reports whether the caller holds the permission. The empty permission is held by everybody who is known.
func (p *Principal) Can(permission access.Permission) bool {
	return p.Superuser || permission == "" || slices.Contains(p.Permissions, permission)
}

// Reach is which rows of a tenant a caller may see of a resource that has owners and projects.
type Reach struct {
	// All is every row of the tenant. The other fields say nothing then.
	All bool
	// Owner sees what is its own.
	Owner uuid.UUID
	// Projects are those whose rows are seen beside one's own.
	Projects []uuid.UUID
}

// Sees reports whether a row of this owner and project is within reach.
func (r Reach) Sees(owner, project *uuid.UUID) bool {
	return r.All || owner != nil && *owner == r.Owner || project != nil && slices.Contains(r.Projects, *project)
}

// Jobs returns which jobs the caller may read, and so cancel if it may cancel at all.
func (p *Principal) Jobs() Reach { return p.reach(access.JobsReadAll, access.JobsReadProject) }

// Conversations returns which conversations the caller may read.
func (p *Principal) Conversations() Reach {
	return p.reach(access.ConversationsReadAll, access.ConversationsReadProject)
}

func (p *Principal) reach(all, project access.Permission) Reach {
	r := Reach{All: p.Can(all), Owner: p.UserID}
	if p.Can(project) {
		r.Projects = p.Projects
	}
	return r
}

// WritesConversation reports whether the caller may write in a conversation of this owner: only the owner may, whoever else
// may read it.
func (p *Principal) WritesConversation(owner uuid.UUID) bool { return p.UserID == owner }

// Documents returns which documents the caller may read and search: all, or the public ones, those without a project and
// those of the caller's projects.
func (p *Principal) Documents() events.Scope {
	if p.Can(access.DocumentsReadAll) {
		return events.Scope{All: true}
	}
	scope := events.Scope{Projects: make([]string, len(p.Projects))}
	for i, id := range p.Projects {
		scope.Projects[i] = id.String()
	}
	return scope
}

// ChangesDocument reports whether the caller may change a document of this project among those it sees: one without a project is
// everybody's who may change documents.
func (p *Principal) ChangesDocument(project *uuid.UUID) bool {
	return project == nil || p.UsesProject(*project)
}

// UsesProject reports whether the caller may put things into a project: its members may, and who sees every project.
func (p *Principal) UsesProject(project uuid.UUID) bool {
	return p.Can(access.ProjectsReadAll) || slices.Contains(p.Projects, project)
}

// RunsAgent reports whether the caller may run an agent of this project: one without a project serves all who may run agents,
// the others those among them who use the project.
func (p *Principal) RunsAgent(project *uuid.UUID) bool {
	return p.Can(access.AgentsExecute) && (project == nil || p.UsesProject(*project))
}
