// Package access names what people may do, and the roles that every organization starts with.
//
// It is the canonical table: a new organization gets its roles from here, and the gateway decides by these names. The
// permissions themselves are rows that the migrations create, the same in every organization; tests hold the rows, the
// seeded roles and this table together.
//
// A permission is "resource:action". Where a resource has owners or members, the bare action reaches what the caller owns or
// is a member of, "_project" widens it to everything of the caller's projects, and "_all" to the whole organization. What a
// caller may cancel, change or delete among others' things follows from what the same caller may read: there is no permission
// to act on what one cannot see. One's own account needs no permission.
package access

import "slices"

// Permission is the name of something that a role may allow.
type Permission string

// The permissions that ship with the service.
const (
	UsersCreate Permission = "users:create"
	UsersRead   Permission = "users:read"
	UsersUpdate Permission = "users:update"
	UsersDelete Permission = "users:delete"

	OrganizationRead   Permission = "organization:read"
	OrganizationUpdate Permission = "organization:update"

	ProjectsCreate  Permission = "projects:create"
	ProjectsRead    Permission = "projects:read"     // those one is a member of
	ProjectsReadAll Permission = "projects:read_all" // every one
	ProjectsUpdate  Permission = "projects:update"
	ProjectsDelete  Permission = "projects:delete"
	ProjectsMembers Permission = "projects:members" // add and remove members

	AgentsCreate  Permission = "agents:create"
	AgentsRead    Permission = "agents:read"
	AgentsExecute Permission = "agents:execute"
	AgentsManage  Permission = "agents:manage" // change, activate, remove

	ConversationsCreate      Permission = "conversations:create"       // and write in one's own
	ConversationsRead        Permission = "conversations:read"         // one's own
	ConversationsReadProject Permission = "conversations:read_project" // those of one's projects
	ConversationsReadAll     Permission = "conversations:read_all"     // every one
	ConversationsUpdate      Permission = "conversations:update"       // one's own
	ConversationsDelete      Permission = "conversations:delete"       // one's own

	DocumentsUpload  Permission = "documents:upload"
	DocumentsRead    Permission = "documents:read"     // public ones, those without a project and those of one's projects
	DocumentsReadAll Permission = "documents:read_all" // every one
	DocumentsSearch  Permission = "documents:search"   // among those one may read
	DocumentsUpdate  Permission = "documents:update"   // and index again
	DocumentsDelete  Permission = "documents:delete"

	EmbeddingsCreate Permission = "embeddings:create"

	JobsRead        Permission = "jobs:read"         // one's own
	JobsReadProject Permission = "jobs:read_project" // those of one's projects
	JobsReadAll     Permission = "jobs:read_all"     // every one
	JobsCancel      Permission = "jobs:cancel"       // among those one may read
	JobsRedrive     Permission = "jobs:redrive"      // retry what failed

	RolesManage    Permission = "roles:manage"
	APIKeysManage  Permission = "api_keys:manage" // those of others
	WebhooksManage Permission = "webhooks:manage"
	BudgetsManage  Permission = "budgets:manage"
	SecretsManage  Permission = "secrets:manage"

	AuditRead Permission = "audit:read"
	UsageRead Permission = "usage:read"
)

// Permissions returns every permission that ships with the service. The slice is the caller's.
func Permissions() []Permission {
	return []Permission{
		UsersCreate, UsersRead, UsersUpdate, UsersDelete,
		OrganizationRead, OrganizationUpdate,
		ProjectsCreate, ProjectsRead, ProjectsReadAll, ProjectsUpdate, ProjectsDelete, ProjectsMembers,
		AgentsCreate, AgentsRead, AgentsExecute, AgentsManage,
		ConversationsCreate, ConversationsRead, ConversationsReadProject, ConversationsReadAll,
		ConversationsUpdate, ConversationsDelete,
		DocumentsUpload, DocumentsRead, DocumentsReadAll, DocumentsSearch, DocumentsUpdate, DocumentsDelete,
		EmbeddingsCreate,
		JobsRead, JobsReadProject, JobsReadAll, JobsCancel, JobsRedrive,
		RolesManage, APIKeysManage, WebhooksManage, BudgetsManage, SecretsManage,
		AuditRead, UsageRead,
	}
}

// Role is one of the roles that every organization starts with. They cannot be changed; an organization adds its own beside
// them. The platform's superuser is no role: it is a mark on a user.
type Role struct {
	Name        string
	Description string
	// Grants are the permissions of the role.
	Grants []Permission
}

// The names of the shipped roles.
const (
	Admin          = "Admin"
	ProjectManager = "Project Manager"
	Member         = "Member"
	Viewer         = "Viewer"
)

// Roles returns the shipped roles, the most powerful first. The slice is the caller's.
func Roles() []Role {
	return []Role{
		{
			Name:        Admin,
			Description: "Runs the organization: people, roles, agents and everything they make",
			// Who reads everything needs no narrower reach beside it.
			Grants: slices.DeleteFunc(Permissions(), func(p Permission) bool {
				return p == ConversationsReadProject || p == JobsReadProject
			}),
		},
		{
			Name:        ProjectManager,
			Description: "Runs projects: their members, documents and agents at work",
			Grants: []Permission{
				UsersRead, OrganizationRead,
				ProjectsCreate, ProjectsRead, ProjectsReadAll, ProjectsUpdate, ProjectsDelete, ProjectsMembers,
				AgentsRead, AgentsExecute,
				ConversationsCreate, ConversationsRead, ConversationsUpdate, ConversationsDelete,
				DocumentsUpload, DocumentsRead, DocumentsSearch, DocumentsUpdate, DocumentsDelete,
				EmbeddingsCreate, JobsRead, JobsReadProject, JobsCancel, AuditRead, UsageRead,
			},
		},
		{
			Name:        Member,
			Description: "Works with agents and documents in the projects they belong to",
			Grants: []Permission{
				ProjectsRead, AgentsRead, AgentsExecute,
				ConversationsCreate, ConversationsRead, ConversationsUpdate, ConversationsDelete,
				DocumentsRead, DocumentsSearch, EmbeddingsCreate, JobsRead, JobsCancel,
			},
		},
		{
			Name:        Viewer,
			Description: "Reads and searches",
			Grants: []Permission{
				ProjectsRead, AgentsRead, ConversationsRead, ConversationsReadProject,
				DocumentsRead, DocumentsSearch, JobsRead,
			},
		},
	}
}
