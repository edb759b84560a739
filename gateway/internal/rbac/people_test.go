package rbac_test

import (
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// The table of roles: who may do what to people, organizations, projects and roles, by the first letters of Admin, Project manager,
// Member and Viewer.
func TestTheTableOfRoles(t *testing.T) {
	t.Parallel()
	for permission, holders := range map[access.Permission]string{
		access.UsersCreate: "A", access.UsersUpdate: "A", access.UsersDelete: "A", access.UsersRead: "AP",
		access.OrganizationRead: "AP", access.OrganizationUpdate: "A",
		access.ProjectsCreate: "AP", access.ProjectsUpdate: "AP", access.ProjectsDelete: "AP", access.ProjectsMembers: "AP",
		access.ProjectsRead: "APMV", access.ProjectsReadAll: "AP",
		access.RolesManage: "A", rbac.Platform: "",
	} {
		t.Run(string(permission), func(t *testing.T) {
			t.Parallel()
			for _, role := range access.Roles() {
				if got, want := principal(t, role.Name).Can(permission), strings.Contains(holders, role.Name[:1]); got != want {
					t.Errorf("%s: %t, want %t", role.Name, got, want)
				}
			}
			if !(&rbac.Principal{Superuser: true}).Can(permission) {
				t.Error("a superuser may not")
			}
		})
	}
}

func TestReachOverPeopleAndProjects(t *testing.T) {
	t.Parallel()
	mine, foreign, somebody := uuid.New(), uuid.New(), uuid.New()
	for role, all := range map[string]bool{access.Admin: true, access.ProjectManager: true, access.Member: false, access.Viewer: false} {
		t.Run(role, func(t *testing.T) {
			t.Parallel()
			p := principal(t, role, mine)
			if !p.Users().Sees(&p.UserID, nil) || p.Users().Sees(&somebody, nil) != all {
				t.Errorf("sees others: %t, want oneself and others: %t", p.Users().Sees(&somebody, nil), all)
			}
			if !p.VisibleProjects().Sees(nil, &mine) || p.VisibleProjects().Sees(nil, &foreign) != all {
				t.Errorf("sees other projects: %t, want its own and others: %t", p.VisibleProjects().Sees(nil, &foreign), all)
			}
		})
	}
}

func TestWhoMayChangeWhom(t *testing.T) {
	t.Parallel()
	root := principal(t, access.Admin)
	root.Superuser = true
	people := &rbac.Principal{UserID: uuid.New(), Permissions: []access.Permission{access.UsersRead, access.UsersUpdate, access.UsersDelete}}
	account := func(p *rbac.Principal) rbac.Account {
		return rbac.Account{ID: p.UserID, Superuser: p.Superuser, Permissions: p.Permissions}
	}
	admin, member, viewer := principal(t, access.Admin), principal(t, access.Member), principal(t, access.Viewer)
	anotherAdmin, plain := principal(t, access.Admin), &rbac.Principal{UserID: uuid.New()}
	update, remove := access.UsersUpdate, access.UsersDelete
	for name, c := range map[string]struct {
		got  error
		code string // empty when it is allowed
	}{
		"a Member edits his own profile":                  {member.EditsProfile(account(member)), ""},
		"a Member edits another's profile":                {member.EditsProfile(account(viewer)), "permission.missing"},
		"a Member manages himself":                        {member.Manages(update, account(member)), "permission.missing"},
		"an Admin manages a Viewer, who reaches projects": {admin.Manages(update, account(viewer)), ""},
		"an Admin manages another Admin":                  {admin.Manages(update, account(anotherAdmin)), ""},
		"an Admin manages a superuser":                    {admin.Manages(update, account(root)), "user.beyond_own"},
		"an Admin edits a superuser's profile":            {admin.EditsProfile(account(root)), "user.beyond_own"},
		"a superuser manages an Admin":                    {root.Manages(update, account(admin)), ""},
		"who runs people manages an Admin":                {people.Manages(update, account(admin)), "user.beyond_own"},
		"who runs people manages somebody without a role": {people.Manages(update, account(plain)), ""},
		"an Admin deactivates a Member":                   {admin.Deactivates(remove, account(member)), ""},
		"an Admin deactivates himself":                    {admin.Deactivates(remove, account(admin)), "user.own_account"},
		"a superuser deactivates himself":                 {root.Deactivates(remove, account(root)), "user.own_account"},
		"an Admin says who is a superuser":                {admin.MarksSuperusers(), "user.superuser"},
		"a superuser says who is a superuser":             {root.MarksSuperusers(), ""},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			expect(t, c.got, c.code)
		})
	}
}

func TestNobodyGrantsWhatHeDoesNotHave(t *testing.T) {
	t.Parallel()
	admin := principal(t, access.Admin)
	for _, role := range access.Roles() {
		expect(t, admin.Grants(role.Grants), "")
		if role.Name != access.ProjectManager {
			continue
		}
		manager := principal(t, role.Name)
		expect(t, manager.Grants([]access.Permission{access.JobsReadProject}), "")
		expect(t, manager.Grants([]access.Permission{access.JobsRead, access.JobsReadAll}), "permission.beyond_own")
		expect(t, manager.Grants([]access.Permission{access.ConversationsReadProject}), "permission.beyond_own")
		expect(t, manager.Grants(admin.Permissions), "permission.beyond_own")
	}
	expect(t, admin.Grants([]access.Permission{rbac.Platform}), "permission.beyond_own")
	expect(t, (&rbac.Principal{Superuser: true}).Grants(access.Permissions()), "")
	// A key gives no more than it is meant for, whoever it belongs to.
	key := *admin
	key.KeyID, key.Scopes = uuid.New(), []access.Permission{access.RolesManage}
	expect(t, key.Grants([]access.Permission{access.JobsRead}), "permission.beyond_own")
}

func TestReachOverOrganizations(t *testing.T) {
	t.Parallel()
	own, other := uuid.New(), uuid.New()
	admin := principal(t, access.Admin)
	admin.Tenant = tenant.FromUUID(own)
	root := *admin
	root.Superuser = true
	for name, c := range map[string]struct {
		p    *rbac.Principal
		id   uuid.UUID
		code string
	}{
		"an Admin reaches his own":        {admin, own, ""},
		"an Admin reaches another":        {admin, other, "organization.not_found"},
		"a superuser reaches another":     {&root, other, ""},
		"a superuser reaches nobody's id": {&root, uuid.Nil, "organization.not_found"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			reached, err := c.p.Organization(c.id)
			expect(t, err, c.code)
			if err == nil && reached.UUID() != c.id {
				t.Errorf("reached %s, want %s", reached, c.id)
			}
		})
	}
	expect(t, admin.ChangesTerms(), "organization.terms")
	expect(t, root.ChangesTerms(), "")
	expect(t, admin.ClosesOrganization(other), "organization.terms")
	expect(t, root.ClosesOrganization(other), "")
	expect(t, root.ClosesOrganization(own), "organization.own")
}

// expect checks that a decision is a refusal with this code, or none.
func expect(t *testing.T, err error, code string) {
	t.Helper()
	got := ""
	if err != nil {
		got = fault.Of(err).Code
	}
	if got != code {
		t.Errorf("got %q, want %q (%v)", got, code, err)
	}
}
