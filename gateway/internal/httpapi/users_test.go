package httpapi_test

import (
	"net/url"
	"slices"
	"testing"
)

type userPage struct {
	Data []struct {
		ID, Email, Username, Role string
		IsActive                  bool `json:"is_active"`
	}
	HasMore    bool   `json:"has_more"`
	NextCursor string `json:"next_cursor"`
	Total      int
}

func (p userPage) names() (names []string) {
	for _, u := range p.Data {
		names = append(names, u.Username)
	}
	return names
}

// idOf is the id of a user.
func (g *gateway) idOf(username string) (id string) {
	g.t.Helper()
	err := g.db.Conn(g.t, g.db.OwnerURL).QueryRow(g.t.Context(), "SELECT id::text FROM users WHERE username = $1", username).Scan(&id)
	if err != nil {
		g.t.Fatalf("%s: %v", username, err)
	}
	return id
}

// roleOf is the id of one of Acme's roles.
func (g *gateway) roleOf(name string) (id string) {
	g.t.Helper()
	err := g.db.Conn(g.t, g.db.OwnerURL).QueryRow(g.t.Context(),
		"SELECT id::text FROM roles WHERE organization_id = $1 AND name = $2", acmeOrg, name).Scan(&id)
	if err != nil {
		g.t.Fatalf("%s: %v", name, err)
	}
	return id
}

// superuser adds somebody who runs the platform, to Acme.
func (g *gateway) superuser(name string) string {
	g.t.Helper()
	address := g.person(name, "Admin")
	g.sql("UPDATE users SET is_superuser = true WHERE username = $1", name)
	return address
}

// audited checks which of a resource's changes stand in Acme's audit log, the newest first.
func (g *gateway) audited(resource, id string, actions ...string) {
	g.t.Helper()
	var log auditPage
	g.call(admin, "GET", "/v1/audit-logs?resource_type="+resource+"&resource_id="+id, nil).wants(200).lacks(password, "$2a$").into(&log)
	var got []string
	for _, e := range log.Data {
		got = append(got, e.Action)
	}
	if !slices.Equal(got, actions) {
		g.t.Errorf("the audit log has %q, want %q", got, actions)
	}
}

// meets sends the request, which must be refused as it says.
func (c refusal) meets(t *testing.T, g *gateway) {
	t.Helper()
	var body any
	if c.body != "" {
		body = c.body
	}
	a := g.callFrom(t, c.as, c.method, c.path, body).wants(c.status).has(c.says)
	if p := a.problem(); c.code != "" && p.Code != c.code {
		t.Errorf("code %q, want %q: %s", p.Code, c.code, a.body)
	}
	if c.hides != "" {
		a.lacks(c.hides)
	}
}

const (
	memberID  = "01900000-0000-7000-8000-000000000a22"
	foreignID = "01900000-0000-7000-8000-000000000b21"
)

func TestAdminsRunThePeopleOfTheirOrganization(t *testing.T) {
	t.Parallel()
	g := start(t)
	const users = "/v1/users"
	body := map[string]any{
		"email": "eve@acme.com", "username": "eve", "password": password, "full_name": "Eve", "role_id": g.roleOf("Project Manager"),
	}
	var eve struct{ ID, Role string }
	created := g.call(admin, "POST", users, body, "Idempotency-Key", "eve").wants(201).
		has(`"organization_id":"`+acmeOrg+`"`, `"is_active":true`, `"role":"Project Manager"`).lacks("password", password)
	created.into(&eve)
	if created.header.Get("Location") != "/api/v1/users/"+eve.ID {
		t.Errorf("location %q", created.header.Get("Location"))
	}
	again := g.call(admin, "POST", users, body, "Idempotency-Key", "eve").wants(201).has(eve.ID)
	if again.header.Get("Idempotency-Replayed") != "true" {
		t.Error("the second request was not a replay")
	}
	session := g.login("eve", password)
	g.tokens["eve"] = session.Tokens.Access

	tag := g.call(admin, "GET", users+"/"+eve.ID, nil).wants(200).header.Get("ETag")
	g.call(admin, "GET", users+"/"+eve.ID, nil, "If-None-Match", tag).wants(304)
	g.call(admin, "PATCH", users+"/"+eve.ID, `{"bio":"Reads","email":"eve2@acme.com","is_verified":true}`, "If-Match", tag).wants(200).
		has(`"bio":"Reads"`, `"email":"eve2@acme.com"`, `"is_verified":true`, `"full_name":"Eve"`)
	g.call(admin, "PUT", users+"/"+eve.ID, `{"bio":"Late"}`, "If-Match", tag).wants(412)
	g.call(admin, "POST", users+"/"+eve.ID+"/role", map[string]any{"role_id": g.roleOf("Viewer")}).wants(200).has(`"role":"Viewer"`)
	g.call("eve", "GET", "/v1/auth/me", nil).wants(200).has(`"role":"Viewer"`)

	g.call(admin, "DELETE", users+"/"+eve.ID, nil).wants(200).has(`"is_active":false`)
	g.call("eve", "GET", "/v1/auth/me", nil).wants(401)
	g.call("", "POST", "/v1/auth/login", map[string]string{"username": "eve", "password": password}).wants(401)
	g.call(admin, "POST", users+"/"+eve.ID+"/activate", nil).wants(200).has(`"is_active":true`)
	g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": session.Tokens.Refresh}).wants(401)
	g.login("eve", password)
	g.audited("user", eve.ID, "user.activate", "user.delete", "user.assign_role", "user.update", "user.create")
}

func TestPeopleAreListed(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, name := range []string{"abe", "bea", "cat"} {
		g.person(name, "Viewer")
	}
	g.sql("UPDATE users SET is_active = false, full_name = 'Beatrice 100%' WHERE username = 'bea'")
	g.sql("UPDATE users SET is_verified = true WHERE username = 'cat'")
	for query, want := range map[string][]string{
		"sort=username":                                {"abe", "admin_acme", "bea", "cat", "member_acme"},
		"sort=-email":                                  {"member_acme", "cat", "bea", "admin_acme", "abe"},
		"sort=username&skip=3":                         {"cat", "member_acme"},
		"search=BEA":                                   {"bea"},
		"search=" + url.QueryEscape("100%"):            {"bea"},
		"search=admin_acm":                             {"admin_acme"},
		"search=" + url.QueryEscape("min_acme"):        nil,
		"sort=username&is_active=true&search=acme.com": {"abe", "admin_acme", "cat", "member_acme"},
		"is_active=false":                              {"bea"},
		"is_verified=true&sort=username":               {"admin_acme", "cat", "member_acme"},
		"sort=username&role_id=" + g.roleOf("Viewer"):  {"abe", "bea", "cat"},
		"role_id=" + nothing:                           nil,
		"sort=username&project_id=" + acmeProject:      {"abe", "admin_acme", "bea", "cat", "member_acme"},
		"project_id=" + nothing:                        nil,
	} {
		var page userPage
		g.call(admin, "GET", "/v1/users?"+query, nil).wants(200).lacks("password", "$2a$").into(&page)
		if got := page.names(); !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
	var first, second userPage
	g.call(admin, "GET", "/v1/users?sort=full_name&limit=3", nil).wants(200).into(&first)
	g.call(admin, "GET", "/v1/users?sort=full_name&limit=3&cursor="+first.NextCursor, nil).wants(200).into(&second)
	all := slices.Concat(first.names(), second.names())
	slices.Sort(all)
	if first.Total != 5 || !first.HasMore || second.HasMore || !slices.Equal(all, []string{"abe", "admin_acme", "bea", "cat", "member_acme"}) {
		t.Errorf("got %+v and %+v", first, second)
	}
	g.call(admin, "GET", "/v1/users?sort=email&cursor="+first.NextCursor, nil).wants(422)
	if first.Data[0].Role == "" {
		t.Errorf("no role in %+v", first.Data[0])
	}
}

func TestWhoMayDoWhatToWhom(t *testing.T) { //nolint:tparallel // what follows the refusals changes what they are about
	t.Parallel()
	g := start(t)
	manager, viewer, root := g.person("pam", "Project Manager"), g.person("viola", "Viewer"), g.superuser("root")
	// A role that runs people, without being an Admin's.
	g.sql(`INSERT INTO roles (id, organization_id, name) VALUES ('01900000-0000-7000-8000-00000000c0de', $1, 'People')`, acmeOrg)
	g.sql(`INSERT INTO role_permissions (organization_id, role_id, permission_id)
		SELECT $1, '01900000-0000-7000-8000-00000000c0de', id FROM permissions WHERE resource = 'users'`, acmeOrg)
	people := g.person("hr", "People")
	const users = "/v1/users/"
	role := func(name string) string { return `{"role_id":"` + g.roleOf(name) + `"}` }
	for _, c := range []refusal{
		{name: "a Member sees nobody else", as: member, method: "GET", path: users + adminID, status: 404, code: "user.not_found"},
		{name: "a Viewer changes nobody else", as: viewer, method: "PATCH", path: users + adminID, body: `{"bio":"x"}`, status: 404, code: "user.not_found"},
		{name: "a Manager sees others and changes none", as: manager, method: "PATCH", path: users + memberID, body: `{"bio":"x"}`, status: 403, code: "permission.missing"},
		{name: "a Member verifies himself", as: member, method: "PATCH", path: users + memberID, body: `{"is_verified":false}`, status: 403, code: "permission.missing"},
		{name: "a Member changes his address", as: member, method: "PATCH", path: users + memberID, body: `{"email":"max@acme.com"}`, status: 403, code: "permission.missing"},
		{name: "a Member raises himself", as: member, method: "PATCH", path: users + memberID, body: role("Admin"), status: 403, code: "permission.missing"},
		{name: "an Admin makes himself superuser", as: admin, method: "PATCH", path: users + adminID, body: `{"is_superuser":true}`, status: 403, code: "user.superuser"},
		{name: "an Admin deactivates himself", as: admin, method: "PATCH", path: users + adminID, body: `{"is_active":false}`, status: 403, code: "user.own_account"},
		{name: "an Admin deletes himself", as: admin, method: "DELETE", path: users + adminID, status: 403, code: "user.own_account"},
		{name: "an Admin deactivates a superuser", as: admin, method: "DELETE", path: users + g.idOf("root"), status: 403, code: "user.beyond_own"},
		{name: "who runs people deactivates an Admin", as: people, method: "DELETE", path: users + adminID, status: 403, code: "user.beyond_own"},
		{name: "who runs people makes an Admin", as: people, method: "POST", path: users + g.idOf("hr") + "/role", body: role("Admin"), status: 403, code: "permission.beyond_own", says: "agents:create"},
		{name: "who runs people adds a Member, who may do more", as: people, method: "POST", path: "/v1/users", body: `{"email":"x@acme.com","username":"xxx","password":"` + password + `"}`, status: 403, code: "permission.beyond_own"},
		{name: "a role of nobody", as: admin, method: "POST", path: users + memberID + "/role", body: `{"role_id":"` + nothing + `"}`, status: 422, code: "request.invalid", says: "body.role_id"},
		{name: "a role of another organization", as: admin, method: "POST", path: users + memberID + "/role", body: `{"role_id":"01900000-0000-7000-8000-000000000b11"}`, status: 422, code: "request.invalid", says: "body.role_id"},
		{name: "a user of another organization", as: admin, method: "GET", path: users + foreignID, status: 404, code: "user.not_found"},
		{name: "a superuser, beyond his organization", as: root, method: "PATCH", path: users + foreignID, body: `{"bio":"x"}`, status: 404, code: "user.not_found"},
		{name: "an address of another organization", as: admin, method: "PATCH", path: users + memberID, body: `{"email":"ADMIN@startup.io"}`, status: 409, code: "user.email_taken", says: "cannot be used", hides: "StartUp"},
		{name: "a username of another organization", as: member, method: "PATCH", path: users + memberID, body: `{"username":"Admin_Startup"}`, status: 409, code: "user.username_taken", says: "cannot be used"},
		{name: "a password that is too short", as: admin, method: "POST", path: "/v1/users", body: `{"email":"x@acme.com","username":"xxx","password":"sesame"}`, status: 422, says: "body.password", hides: "sesame"},
	} {
		g.tokenFor(c.as)
		t.Run(c.name, func(t *testing.T) { c.meets(t, g) })
	}
	g.call(member, "PATCH", users+memberID, `{"full_name":"Max","username":"max","email":"member@acme.com","is_active":true}`).wants(200).has(`"username":"max"`)
	g.call(member, "GET", users+memberID, nil).wants(200)
	g.call(viewer, "GET", "/v1/users", nil).wants(200).has(`"total":1`, "viola")
	g.call(manager, "GET", "/v1/users", nil).wants(200).has(`"total":6`)
	g.call(people, "POST", users+memberID+"/role", `{"role_id":"01900000-0000-7000-8000-00000000c0de"}`).wants(403)
	g.call(root, "PATCH", users+memberID, `{"is_superuser":true}`).wants(200).has(`"is_superuser":true`)
	g.call(root, "PATCH", users+memberID, `{"is_superuser":false,"role_id":null}`).wants(200).has(`"role_id":null`, `"role":""`)
	// The other Admin goes, and then the last one may not.
	g.call(admin, "POST", users+g.idOf("root")+"/role", role("Viewer")).wants(403)
	g.call(root, "PATCH", users+g.idOf("root"), role("Viewer")).wants(200)
	g.call(root, "POST", users+adminID+"/role", role("Viewer")).wants(409).has("user.last_admin")
	g.call(root, "DELETE", users+adminID, nil).wants(409).has("user.last_admin")
	g.call(admin, "POST", users+adminID+"/role", role("Viewer")).wants(409).has("user.last_admin")
	g.call(admin, "POST", "/v1/users", map[string]any{
		"email": "late@acme.com", "username": "late", "password": password, "is_active": false,
	}).wants(201).has(`"role":"Member"`, `"is_active":false`)
}
