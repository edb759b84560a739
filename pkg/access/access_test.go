package access_test

import (
	"slices"
	"testing"

	"github.com/tarento/copilot/pkg/access"
)

// The permissions of the earlier service keep their names.
func TestEarlierPermissionsKeepTheirNames(t *testing.T) {
	t.Parallel()
	for _, name := range []access.Permission{
		"users:create", "users:read", "users:update", "users:delete",
		"projects:create", "projects:read", "projects:update", "projects:delete",
		"agents:create", "agents:execute", "agents:manage", "documents:upload", "documents:delete",
	} {
		if !slices.Contains(access.Permissions(), name) {
			t.Errorf("%s is missing", name)
		}
	}
}

func TestRolesGrantWhatTheTableSays(t *testing.T) {
	t.Parallel()
	var (
		admin   = []string{access.Admin}
		manager = []string{access.Admin, access.ProjectManager}
		member  = []string{access.Admin, access.ProjectManager, access.Member}
		all     = []string{access.Admin, access.ProjectManager, access.Member, access.Viewer}
	)
	for _, tc := range []struct {
		permission access.Permission
		holders    []string
	}{
		{access.UsersCreate, admin},
		{access.UsersRead, manager},
		{access.OrganizationRead, manager},
		{access.OrganizationUpdate, admin},
		{access.ProjectsCreate, manager},
		{access.ProjectsMembers, manager},
		{access.ProjectsRead, all},
		{access.ProjectsReadAll, manager},
		{access.AgentsCreate, admin},
		{access.AgentsManage, admin},
		{access.AgentsExecute, member},
		{access.ConversationsCreate, member},
		{access.ConversationsReadAll, admin},
		{access.ConversationsReadProject, []string{access.Viewer}},
		{access.DocumentsUpload, manager},
		{access.DocumentsDelete, manager},
		{access.DocumentsSearch, all},
		{access.JobsReadAll, admin},
		{access.JobsReadProject, []string{access.ProjectManager}},
		{access.JobsCancel, member},
		{access.JobsRedrive, admin},
		{access.RolesManage, admin},
		{access.AuditRead, manager},
		{access.UsageRead, manager},
	} {
		t.Run(string(tc.permission), func(t *testing.T) {
			t.Parallel()
			var holders []string
			for _, role := range access.Roles() {
				if slices.Contains(role.Grants, tc.permission) {
					holders = append(holders, role.Name)
				}
			}
			if !slices.Equal(holders, tc.holders) {
				t.Errorf("granted to %q, want %q", holders, tc.holders)
			}
		})
	}
}

func TestEveryGrantIsAShippedPermissionAndGivenOnce(t *testing.T) {
	t.Parallel()
	for _, role := range access.Roles() {
		seen := map[access.Permission]bool{}
		for _, p := range role.Grants {
			if !slices.Contains(access.Permissions(), p) || seen[p] {
				t.Errorf("%s: grant %s is unknown or repeated", role.Name, p)
			}
			seen[p] = true
		}
	}
}
