package httpapi_test

import (
	"slices"
	"strings"
	"testing"
)

type roleView struct {
	ID, Name    string
	Permissions []struct{ ID, Name string }
}

func (r roleView) grants() (names []string) {
	for _, p := range r.Permissions {
		names = append(names, p.Name)
	}
	return names
}

// permissionID is the id of a permission that ships.
func (g *gateway) permissionID(name string) (id string) {
	g.t.Helper()
	err := g.db.Conn(g.t, g.db.OwnerURL).QueryRow(g.t.Context(), "SELECT id::text FROM permissions WHERE name = $1", name).Scan(&id)
	if err != nil {
		g.t.Fatalf("%s: %v", name, err)
	}
	return id
}

func TestRolesSayWhatTheirHoldersMayDo(t *testing.T) {
	t.Parallel()
	g := start(t)
	const roles = "/v1/roles"
	audit, jobs, search := g.permissionID("audit:read"), g.permissionID("jobs:read_project"), g.permissionID("documents:search")
	var auditor roleView
	g.call(admin, "POST", roles, map[string]any{"name": "Auditor", "permission_ids": []string{audit}}).wants(201).
		has(`"is_system":false`, `"organization_id":"`+acmeOrg+`"`, `"role_metadata":{}`).into(&auditor)
	if !slices.Equal(auditor.grants(), []string{"audit:read"}) {
		t.Errorf("the new role grants %q", auditor.grants())
	}
	path := roles + "/" + auditor.ID
	holder := g.person("otto", "Auditor")
	check := func(a answer, want ...string) string {
		t.Helper()
		var role roleView
		a.wants(200).into(&role)
		if !slices.Equal(role.grants(), want) {
			t.Errorf("%s: the role grants %q, want %q", a.what, role.grants(), want)
		}
		return a.header.Get("ETag")
	}
	// Each change counts with its answer.
	tag := check(g.call(admin, "GET", path, nil), "audit:read")
	g.call(holder, "GET", "/v1/audit-logs", nil).wants(200)
	g.call(holder, "GET", "/v1/jobs", nil).wants(403)
	check(g.call(admin, "DELETE", path+"/permissions/"+audit, nil, "If-Match", tag))
	g.call(holder, "GET", "/v1/audit-logs", nil).wants(403)
	g.call(admin, "DELETE", path+"/permissions/"+audit, nil).wants(404).has("role.not_granted")
	g.call(admin, "POST", path+"/permissions/"+search, nil, "If-Match", tag).wants(412)
	check(g.call(admin, "POST", path+"/permissions/"+search, nil), "documents:search")
	g.call(admin, "POST", path+"/permissions/"+search, nil).wants(409).has("role.already_granted")

	// Many at once are one change, and the same again is none.
	many := map[string]any{"permission_ids": []string{audit, jobs, search, audit}}
	tag = check(g.call(admin, "POST", path+"/permissions/bulk-assign", many), "audit:read", "documents:search", "jobs:read_project")
	if again := check(g.call(admin, "POST", path+"/permissions/bulk-assign", many), "audit:read", "documents:search", "jobs:read_project"); again != tag {
		t.Error("the role changed though nothing did")
	}
	check(g.call(admin, "POST", path+"/permissions/bulk-revoke", map[string]any{"permission_ids": []string{audit, jobs}}), "documents:search")
	check(g.call(admin, "POST", path+"/permissions/bulk-revoke", map[string]any{"permission_ids": []string{audit, jobs}}), "documents:search")
	g.call(admin, "POST", path+"/permissions/bulk-assign", map[string]any{"permission_ids": []string{audit, nothing}}).wants(422).
		has("permission.unknown", "body.permission_ids[1]", nothing).lacks("permission_ids[0]")
	check(g.call(admin, "GET", path, nil), "documents:search")

	g.call(admin, "PATCH", path, `{"name":"Reader"}`).wants(200).has(`"name":"Reader"`, "documents:search")
	g.call(admin, "PUT", path, `{"name":"Viewer"}`).wants(409).has("role.name_taken")
	g.call(admin, "DELETE", path, nil).wants(409).has("role.in_use")
	g.call(admin, "POST", "/v1/users/"+g.idOf("otto")+"/role", map[string]any{"role_id": g.roleOf("Viewer")}).wants(200)
	g.call(admin, "DELETE", path, nil).wants(204)
	g.call(admin, "GET", path, nil).wants(404)
	g.audited("role", auditor.ID, "role.delete", "role.update", "role.revoke", "role.grant", "role.grant", "role.revoke", "role.grant", "role.create")
}

func TestRolesAndPermissionsAreListed(t *testing.T) {
	t.Parallel()
	g := start(t)
	g.call(admin, "POST", "/v1/roles", `{"name":"Auditor","description":"Reads the log"}`).wants(201)
	for query, want := range map[string]string{
		"roles?sort=name":                             "Admin Auditor Member Project Manager Viewer",
		"roles?search=LOG":                            "Auditor",
		"roles?is_system=true&sort=-name&limit=2":     "Viewer Project Manager",
		"roles?is_system=false":                       "Auditor",
		"roles/permissions?resource=agents":           "agents:create agents:execute agents:manage agents:read",
		"roles/permissions?action=search":             "documents:search",
		"roles/permissions?search=deactivate":         "users:delete",
		"roles/permissions?resource=users&sort=-name": "users:update users:read users:delete users:create",
		"roles/permissions?limit=1&skip=1":            "agents:execute",
	} {
		var page struct{ Data []struct{ Name string } }
		g.call(admin, "GET", "/v1/"+query, nil).wants(200).into(&page)
		var got []string
		for _, r := range page.Data {
			got = append(got, r.Name)
		}
		if strings.Join(got, " ") != want {
			t.Errorf("%s: got %q, want %s", query, got, want)
		}
	}
	one := g.call(admin, "GET", "/v1/roles/permissions/"+g.permissionID("audit:read"), nil).wants(200).
		has(`"resource":"audit"`, `"action":"read"`, `"is_system":true`, `"organization_id":null`)
	g.call(admin, "GET", "/v1/roles/permissions/"+g.permissionID("audit:read"), nil, "If-None-Match", one.header.Get("ETag")).wants(304)
	g.call(admin, "GET", "/v1/roles/permissions/"+nothing, nil).wants(404).has("permission.not_found")
}

func TestNobodyGrantsMoreThanHeHas(t *testing.T) { //nolint:tparallel // what follows the refusals changes what they are about
	t.Parallel()
	g := start(t)
	manager, root := g.person("pam", "Project Manager"), g.superuser("root")
	g.sql(`INSERT INTO roles (id, organization_id, name) VALUES ('01900000-0000-7000-8000-00000000c0de', $1, 'Keeper')`, acmeOrg)
	g.sql(`INSERT INTO role_permissions (organization_id, role_id, permission_id)
		SELECT $1, '01900000-0000-7000-8000-00000000c0de', id FROM permissions WHERE resource = 'roles'`, acmeOrg)
	g.sql(`INSERT INTO permissions (id, organization_id, name, resource, action)
		VALUES ('01900000-0000-7000-8000-00000000feed', $1, 'moon:fly', 'moon', 'fly'),
			('01900000-0000-7000-8000-00000000beef', $2, 'sun:fly', 'sun', 'fly')`, acmeOrg, startupOrg)
	keeper := g.person("keith", "Keeper")
	const own, theirs = "01900000-0000-7000-8000-00000000feed", "01900000-0000-7000-8000-00000000beef"
	role, system := "/v1/roles/01900000-0000-7000-8000-00000000c0de", "/v1/roles/"+g.roleOf("Viewer")
	agents := g.permissionID("agents:create")
	for _, c := range []refusal{
		{name: "a Manager reads roles", as: manager, method: "GET", path: "/v1/roles", status: 403, code: "permission.missing"},
		{name: "who keeps roles raises his own", as: keeper, method: "POST", path: role + "/permissions/" + agents, status: 403, code: "permission.beyond_own", says: "agents:create"},
		{name: "who keeps roles raises his own with many", as: keeper, method: "POST", path: role + "/permissions/bulk-assign", body: `{"permission_ids":["` + agents + `"]}`, status: 403, code: "permission.beyond_own"},
		{name: "who keeps roles makes a mighty one", as: keeper, method: "POST", path: "/v1/roles", body: `{"name":"x","permission_ids":["` + agents + `"]}`, status: 403, code: "permission.beyond_own"},
		{name: "an Admin grants what nobody has", as: admin, method: "POST", path: role + "/permissions/" + own, status: 403, code: "permission.beyond_own"},
		{name: "an Admin grants another organization's permission", as: admin, method: "POST", path: role + "/permissions/" + theirs, status: 404, code: "permission.not_found"},
		{name: "an Admin grants many of another organization's permissions", as: admin, method: "POST", path: role + "/permissions/bulk-assign", body: `{"permission_ids":["` + theirs + `"]}`, status: 422, code: "permission.unknown", hides: "sun"},
		{name: "an Admin changes a role that ships", as: admin, method: "PATCH", path: system, body: `{"name":"x"}`, status: 403, code: "role.system"},
		{name: "an Admin removes a role that ships", as: admin, method: "DELETE", path: system, status: 403, code: "role.system"},
		{name: "an Admin grants to a role that ships", as: admin, method: "POST", path: system + "/permissions/" + agents, status: 403, code: "role.system"},
		{name: "a superuser grants to a role that ships", as: root, method: "POST", path: system + "/permissions/bulk-assign", body: `{"permission_ids":["` + agents + `"]}`, status: 403, code: "role.system"},
		{name: "another organization's Admin reads it", as: stranger, method: "GET", path: role, status: 404, code: "role.not_found"},
		{name: "another organization's Admin grants to it", as: stranger, method: "POST", path: role + "/permissions/" + agents, status: 404, code: "role.not_found"},
		{name: "a role of a name that is taken", as: admin, method: "POST", path: "/v1/roles", body: `{"name":"Keeper"}`, status: 409, code: "role.name_taken"},
		{name: "no permissions at all", as: admin, method: "POST", path: role + "/permissions/bulk-assign", body: `{"permission_ids":[]}`, status: 422, says: "body.permission_ids"},
	} {
		g.tokenFor(c.as)
		t.Run(c.name, func(t *testing.T) { c.meets(t, g) })
	}
	g.call(root, "POST", role+"/permissions/"+own, nil).wants(200).has("moon:fly")
	g.call(admin, "GET", "/v1/roles/permissions?resource=moon", nil).wants(200).has(own, `"is_system":false`)
	g.call(stranger, "GET", "/v1/roles/permissions?resource=moon", nil).wants(200).has(`"total":0`)
	// An Admin gives every role that ships, also those that reach less far in other words.
	for _, name := range []string{"Project Manager", "Member", "Viewer", "Admin"} {
		g.call(admin, "POST", "/v1/users/"+memberID+"/role", map[string]any{"role_id": g.roleOf(name)}).wants(200)
	}
}
