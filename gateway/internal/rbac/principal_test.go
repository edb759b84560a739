package rbac_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
)

func principal(t *testing.T, role string, projects ...uuid.UUID) *rbac.Principal {
	t.Helper()
	for _, r := range access.Roles() {
		if r.Name == role {
			return &rbac.Principal{UserID: uuid.New(), Role: role, Permissions: r.Grants, Projects: projects}
		}
	}
	t.Fatalf("no role %q", role)
	return nil
}

func TestReachFollowsTheRole(t *testing.T) {
	t.Parallel()
	mine, foreign, stranger := uuid.New(), uuid.New(), uuid.New()
	cases := map[string]struct {
		role                       string
		ownJob, projectJob, other  bool
		projectChat, strangersChat bool
	}{
		"an Admin sees everything":                         {access.Admin, true, true, true, true, true},
		"a Project Manager sees the jobs of the projects":  {access.ProjectManager, true, true, false, false, false},
		"a Member sees what is its own":                    {access.Member, true, false, false, false, false},
		"a Viewer reads the conversations of its projects": {access.Viewer, true, false, false, true, false},
	}
	for name, c := range cases {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			p := principal(t, c.role, mine)
			for what, got := range map[string][2]bool{
				"own job":                  {p.Jobs().Sees(&p.UserID, nil), c.ownJob},
				"job of a project":         {p.Jobs().Sees(&stranger, &mine), c.projectJob},
				"job of another project":   {p.Jobs().Sees(&stranger, &foreign), c.other},
				"job of nobody":            {p.Jobs().Sees(nil, nil), c.other},
				"conversation of project":  {p.Conversations().Sees(&stranger, &mine), c.projectChat},
				"conversation of stranger": {p.Conversations().Sees(&stranger, nil), c.strangersChat},
			} {
				if got[0] != got[1] {
					t.Errorf("%s: seen %v, want %v", what, got[0], got[1])
				}
			}
		})
	}
}

func TestDocumentScopeNamesTheProjects(t *testing.T) {
	t.Parallel()
	project := uuid.New()
	if scope := principal(t, access.Admin).Documents(); !scope.All {
		t.Errorf("an Admin's scope is %+v, want all", scope)
	}
	scope := principal(t, access.Member, project).Documents()
	if scope.All || !slices.Equal(scope.Projects, []string{project.String()}) {
		t.Errorf("a Member's scope is %+v, want the one project", scope)
	}
}

func TestSuperuserHoldsEveryPermission(t *testing.T) {
	t.Parallel()
	p := &rbac.Principal{Superuser: true}
	for _, permission := range access.Permissions() {
		if !p.Can(permission) {
			t.Errorf("a superuser lacks %s", permission)
		}
	}
	if (&rbac.Principal{}).Can(access.UsersRead) {
		t.Error("somebody without a role holds a permission")
	}
}
