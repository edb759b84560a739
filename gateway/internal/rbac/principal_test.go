package rbac_test

import (
	"slices"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
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

func TestAKeyDoesWhatItsUserMayAndItsScopesName(t *testing.T) {
	t.Parallel()
	person := principal(t, access.Member)
	key := *person
	key.KeyID, key.Scopes = uuid.New(), []access.Permission{access.JobsRead, access.DocumentsUpload}
	for permission, want := range map[access.Permission]bool{
		access.JobsRead:        true,
		access.DocumentsUpload: false, // not the user's
		access.AgentsExecute:   false, // not in the scopes
		"":                     true,
	} {
		if key.Can(permission) != want {
			t.Errorf("%q: %v, want %v", permission, !want, want)
		}
	}
	if !key.MeantFor(access.DocumentsUpload) || key.MeantFor(access.AgentsExecute) || !person.MeantFor(access.AgentsManage) {
		t.Error("the scopes alone decide what a key is meant for")
	}
	if key.IsPerson() || !person.IsPerson() {
		t.Error("a key is a person")
	}
	key.Scopes = []access.Permission{}
	if key.Can(access.JobsRead) {
		t.Error("a key without scopes can do something")
	}
}

func TestOnlyWhatOneHoldsCanBeHandedOn(t *testing.T) {
	t.Parallel()
	wanted := []access.Permission{access.JobsRead, access.RolesManage, "made:up"}
	for name, c := range map[string]struct {
		p    *rbac.Principal
		want []access.Permission
	}{
		"a Member":    {principal(t, access.Member), wanted[1:]},
		"an Admin":    {principal(t, access.Admin), wanted[2:]},
		"a superuser": {&rbac.Principal{Superuser: true}, wanted[2:]},
	} {
		if got := c.p.Lacks(wanted); !slices.Equal(got, c.want) {
			t.Errorf("%s lacks %q, want %q", name, got, c.want)
		}
	}
	if len(wanted) != 3 {
		t.Error("the question was changed")
	}
}

func TestKeysOfOthersNeedAPermission(t *testing.T) {
	t.Parallel()
	m, a := principal(t, access.Member), principal(t, access.Admin)
	if !m.SeesKeysOf(m.UserID) || m.SeesKeysOf(a.UserID) || !a.SeesKeysOf(m.UserID) {
		t.Error("keys are seen by others than their user and who manages keys")
	}
}

func TestReachesAreEqualWhenTheyShowTheSame(t *testing.T) {
	t.Parallel()
	ada, bob, x, y := uuid.New(), uuid.New(), uuid.New(), uuid.New()
	for name, c := range map[string]struct {
		a, b rbac.Reach
		want bool
	}{
		"everything, whoever asks":      {rbac.Reach{All: true, Owner: ada}, rbac.Reach{All: true, Owner: bob}, true},
		"everything, and one's own":     {rbac.Reach{All: true, Owner: ada}, rbac.Reach{Owner: ada}, false},
		"projects in another order":     {rbac.Reach{Owner: ada, Projects: []uuid.UUID{x, y}}, rbac.Reach{Owner: ada, Projects: []uuid.UUID{y, x}}, true},
		"a project more":                {rbac.Reach{Owner: ada}, rbac.Reach{Owner: ada, Projects: []uuid.UUID{x}}, false},
		"a project less":                {rbac.Reach{Owner: ada, Projects: []uuid.UUID{x, y}}, rbac.Reach{Owner: ada, Projects: []uuid.UUID{x}}, false},
		"no projects, in two spellings": {rbac.Reach{Owner: ada, Projects: []uuid.UUID{}}, rbac.Reach{Owner: ada}, true},
		"two owners":                    {rbac.Reach{Owner: ada}, rbac.Reach{Owner: bob}, false},
	} {
		if got := c.a.Equal(c.b); got != c.want {
			t.Errorf("%s: equal is %t, want %t", name, got, c.want)
		}
	}
}

func TestWhoSubmitsMayDoWhatTheJobDoes(t *testing.T) {
	t.Parallel()
	key := *principal(t, access.Member)
	key.KeyID, key.Scopes = uuid.New(), []access.Permission{access.EmbeddingsCreate}
	for name, c := range map[string]struct {
		p                *rbac.Principal
		runs, embeddings bool
	}{
		"a Member": {principal(t, access.Member), true, true},
		"a Viewer": {principal(t, access.Viewer), false, false},
		"a key":    {&key, false, true},
	} {
		if (c.p.Submits(events.KindAgentRun) == nil) != c.runs || (c.p.Submits(events.KindEmbeddingCreate) == nil) != c.embeddings {
			t.Errorf("%s: runs %v, embeddings %v", name, c.p.Submits(events.KindAgentRun), c.p.Submits(events.KindEmbeddingCreate))
		}
	}
}

func TestWhoseSchedulesOneSees(t *testing.T) {
	t.Parallel()
	for role, all := range map[string]bool{access.Admin: true, access.ProjectManager: false, access.Member: false} {
		p, somebody := principal(t, role), uuid.New()
		if !p.Schedules().Sees(&p.UserID, nil) || p.Schedules().Sees(&somebody, nil) != all {
			t.Errorf("%s: %+v", role, p.Schedules())
		}
	}
	// Who changes agents but may not read the jobs of others does not see what those ask.
	p := rbac.Principal{UserID: uuid.New(), Permissions: []access.Permission{access.AgentsManage, access.AgentsExecute}}
	if p.Schedules().All {
		t.Error("sees everybody's")
	}
}
