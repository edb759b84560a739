package rbac

import (
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
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
	// Family is the login that the access token came from; zero for an API key.
	Family uuid.UUID
	// KeyID is the API key that makes the request; zero for a person.
	KeyID uuid.UUID
	// Scopes bound what an API key may do of what its user may. Nil bounds nothing.
	Scopes []access.Permission
	// Expires is when the access token or the key ends, and with it what was opened with it.
	Expires time.Time
}

// Can reports whether the caller holds the permission: the user does, and the key that the request is made with is meant for it. The
// empty permission is held by everybody who is known.
func (p *Principal) Can(permission access.Permission) bool {
	return permission == "" || p.MeantFor(permission) && (p.Superuser || slices.Contains(p.Permissions, permission))
}

// IsPerson reports whether the caller has logged in. Programs with an API key have not, and do not manage sessions, passwords and
// keys.
func (p *Principal) IsPerson() bool { return p.KeyID == uuid.Nil }

// MeantFor reports whether the request may be made with what it is made with, whether the user holds the permission or not: a person
// may try anything, an API key only what its scopes name.
func (p *Principal) MeantFor(permission access.Permission) bool {
	return p.Scopes == nil || slices.Contains(p.Scopes, permission)
}

// Lacks returns which of the permissions the caller cannot hand on: those it does not hold, and those that nobody knows.
func (p *Principal) Lacks(permissions []access.Permission) []access.Permission {
	shipped := access.Permissions()
	return slices.DeleteFunc(slices.Clone(permissions), func(wanted access.Permission) bool {
		return p.Can(wanted) && (slices.Contains(p.Permissions, wanted) || slices.Contains(shipped, wanted))
	})
}

// SeesKeysOf reports whether the caller may see and delete the API keys of a user.
func (p *Principal) SeesKeysOf(user uuid.UUID) bool {
	return p.UserID == user || p.Can(access.APIKeysManage)
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

// Equal reports whether the same rows are within both.
func (r Reach) Equal(other Reach) bool {
	if r.All || other.All {
		return r.All == other.All
	}
	for _, id := range r.Projects {
		if !slices.Contains(other.Projects, id) {
			return false
		}
	}
	for _, id := range other.Projects {
		if !slices.Contains(r.Projects, id) {
			return false
		}
	}
	return r.Owner == other.Owner
}

// Jobs returns which jobs the caller may read, and so cancel if it may cancel at all.
func (p *Principal) Jobs() Reach { return p.reach(access.JobsReadAll, access.JobsReadProject) }

// SeesPlatform returns nil if the caller may see how the platform stands, beyond its own organization.
func (p *Principal) SeesPlatform() error {
	if p.Can(Platform) {
		return nil
	}
	return fault.New(fault.Forbidden, "platform.superuser", "How the whole platform stands is for superusers to see.")
}

// Submits returns nil if the caller may submit jobs of a kind that can be submitted by themselves: runs of agents and embeddings.
func (p *Principal) Submits(kind events.Kind) error {
	needed := access.AgentsExecute
	if kind == events.KindEmbeddingCreate {
		needed = access.EmbeddingsCreate
	}
	if p.Can(needed) {
		return nil
	}
	return missing(needed)
}

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

// SeesAgent reports whether the caller may read an agent of this project: one without a project is everybody's.
func (p *Principal) SeesAgent(project *uuid.UUID) bool {
	return project == nil || p.UsesProject(*project)
}

// Agents returns the projects whose agents the caller sees beside those without a project.
func (p *Principal) Agents() Reach {
	return Reach{All: p.Can(access.ProjectsReadAll), Projects: p.Projects}
}

// RunsAgent reports whether the caller may run an agent of this project: one without a project serves all who may run agents,
// the others those among them who use the project.
func (p *Principal) RunsAgent(project *uuid.UUID) bool {
	return p.Can(access.AgentsExecute) && p.SeesAgent(project)
}

// Schedules returns whose schedules of agents the caller may read and change: one's own, and everybody's if it manages agents and may
// read everybody's jobs anyway.
func (p *Principal) Schedules() Reach {
	return Reach{All: p.Can(access.AgentsManage) && p.Can(access.JobsReadAll), Owner: p.UserID}
}
