package httpapi_test

import (
	"slices"
	"testing"
)

func TestProjectsBelongToTheirMembers(t *testing.T) { //nolint:tparallel // what follows the refusals changes what they are about
	t.Parallel()
	g := start(t)
	manager, viewer := g.person("pam", "Project Manager"), g.person("viola", "Viewer")
	const projects = "/v1/projects"
	var apollo struct {
		ID        string
		CreatedBy string `json:"created_by"`
	}
	body := `{"name":"Apollo","description":"To the moon","settings":{"color":"red"}}`
	g.call(manager, "POST", projects, body, "Idempotency-Key", "apollo").wants(201).
		has(`"organization_id":"`+acmeOrg+`"`, `"is_active":true`, `"color":"red"`, `"proj_metadata":{}`).into(&apollo)
	g.call(manager, "POST", projects, body, "Idempotency-Key", "apollo").wants(201).has(apollo.ID)
	if apollo.CreatedBy != g.idOf("pam") {
		t.Errorf("created by %s", apollo.CreatedBy)
	}
	path := projects + "/" + apollo.ID
	g.call(manager, "GET", path+"/members", nil).wants(200).has(`"total":1`, `"username":"pam"`)

	// Who is no member does not see it, and it comes and goes with the membership.
	for _, who := range []string{member, viewer} {
		g.call(who, "GET", path, nil).wants(404)
		g.call(who, "GET", path+"/members", nil).wants(404)
		g.call(who, "GET", projects, nil).wants(200).has(`"total":1`, acmeProject).lacks(apollo.ID)
	}
	g.call(manager, "POST", path+"/members/"+memberID, nil).wants(201).has(`"username":"member_acme"`).lacks("email")
	g.call(member, "GET", path, nil).wants(200).has(`"name":"Apollo"`)
	g.call(member, "GET", projects+"?sort=name", nil).wants(200).has(`"total":2`, apollo.ID)
	g.call(member, "GET", path+"/members?sort=username", nil).wants(200).has(`"total":2`, "pam").lacks("@acme.com")
	g.call(manager, "POST", path+"/members/"+memberID, nil).wants(409).has("project.already_member")
	g.call(manager, "DELETE", path+"/members/"+memberID, nil).wants(204)
	g.call(member, "GET", path, nil).wants(404)
	g.call(manager, "DELETE", path+"/members/"+memberID, nil).wants(404).has("project_member.not_found")

	tag := g.call(admin, "GET", path, nil).wants(200).header.Get("ETag")
	g.call(admin, "GET", path, nil, "If-None-Match", tag).wants(304)
	g.call(manager, "PATCH", path, `{"description":"And back"}`, "If-Match", tag).wants(200).has("And back", "Apollo")
	g.call(manager, "PUT", path, `{"name":"Late"}`, "If-Match", tag).wants(412)
	g.call(manager, "DELETE", path, nil).wants(200).has(`"is_active":false`)
	g.call(manager, "PUT", path, `{"is_active":true}`).wants(200).has(`"is_active":true`)
	g.audited("project", apollo.ID, "project.update", "project.delete", "project.update", "project.remove_member",
		"project.add_member", "project.add_member", "project.create")

	for _, c := range []refusal{
		{name: "a Member starts one", as: member, method: "POST", path: projects, body: `{"name":"x"}`, status: 403, code: "permission.missing"},
		{name: "a Member changes his own", as: member, method: "PATCH", path: projects + "/" + acmeProject, body: `{"name":"x"}`, status: 403, code: "permission.missing"},
		{name: "a Viewer adds a member", as: viewer, method: "POST", path: path + "/members/" + g.idOf("viola"), status: 403, code: "permission.missing"},
		{name: "another organization's user joins", as: manager, method: "POST", path: path + "/members/" + foreignID, status: 404, code: "user.not_found"},
		{name: "an unknown user joins", as: manager, method: "POST", path: path + "/members/" + nothing, status: 404, code: "user.not_found"},
		{name: "somebody joins an unknown project", as: manager, method: "POST", path: projects + "/" + nothing + "/members/" + memberID, status: 404, code: "project.not_found"},
		{name: "another organization's Admin reads it", as: stranger, method: "GET", path: path, status: 404, code: "project.not_found"},
		{name: "another organization's Admin leaves it", as: stranger, method: "DELETE", path: path + "/members/" + memberID, status: 404},
		{name: "a project without a name", as: manager, method: "POST", path: projects, body: `{"name":""}`, status: 422, says: "body.name"},
	} {
		g.tokenFor(c.as)
		t.Run(c.name, func(t *testing.T) { c.meets(t, g) })
	}
	g.call(manager, "POST", projects, `{"name":"Apollo","description":"the second"}`).wants(201)
	g.call(manager, "DELETE", path, nil).wants(200)
	for query, want := range map[string][]string{
		"sort=name":                     {"AI Assistant Platform", "Apollo", "Apollo"},
		"search=SECOND":                 {"Apollo"},
		"is_active=true&sort=-name":     {"Apollo", "AI Assistant Platform"},
		"is_active=false":               {"Apollo"},
		"sort=-name&limit=1&skip=2":     {"AI Assistant Platform"},
		"search=moon%25":                nil,
		"sort=created_at&search=apollo": {"Apollo", "Apollo"},
	} {
		var page struct{ Data []struct{ Name string } }
		g.call(admin, "GET", projects+"?"+query, nil).wants(200).into(&page)
		var got []string
		for _, p := range page.Data {
			got = append(got, p.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}
}
