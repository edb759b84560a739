package httpapi_test

import (
	"slices"
	"testing"
)

const startupOrg = "01900000-0000-7000-8000-000000000b00"

func TestSuperusersRunThePlatform(t *testing.T) {
	t.Parallel()
	g := start(t)
	root := g.superuser("root")
	const organizations = "/v1/organizations"
	body := map[string]any{
		"name": "Nova", "domain": "nova.example", "subscription_plan": "professional", "settings": map[string]any{"theme": "dark"},
		"admin": map[string]any{"email": "nina@nova.example", "username": "nina", "password": password, "full_name": "Nina"},
	}
	var nova struct{ ID string }
	g.call(root, "POST", organizations, body, "Idempotency-Key", "nova").wants(201).lacks(password).
		has(`"name":"Nova"`, `"subscription_plan":"professional"`, `"is_active":true`).into(&nova)
	again := g.call(root, "POST", organizations, body, "Idempotency-Key", "nova").wants(201).has(nova.ID)
	if again.header.Get("Idempotency-Replayed") != "true" {
		t.Error("the second request was not a replay")
	}
	// The conflict undoes all of it, the organization and the reserved key.
	body["domain"] = "other.example"
	g.call(root, "POST", organizations, body, "Idempotency-Key", "other").wants(409).has("user.email_taken")
	body["admin"] = nil
	g.call(root, "POST", organizations, body, "Idempotency-Key", "other").wants(201)
	body["domain"] = "NOVA.example"
	g.call(root, "POST", organizations, body).wants(409).has("organization.domain_taken")

	g.tokens["nina"] = g.login("nina", password).Tokens.Access
	g.call("nina", "GET", "/v1/auth/me", nil).wants(200).has(`"role":"Admin"`, nova.ID)
	g.call("nina", "GET", "/v1/audit-logs", nil).wants(200).has("organization.create", "user.create", g.idOf("root")).lacks("$2a$")
	g.call("nina", "GET", organizations, nil).wants(200).has(`"total":1`, nova.ID)

	for query, want := range map[string][]string{
		"sort=name":                         {"Acme Corporation", "Nova", "Nova", "StartUp Inc"},
		"search=startup.IO":                 {"StartUp Inc"},
		"subscription_plan=enterprise":      {"Acme Corporation"},
		"is_active=false":                   nil,
		"sort=-name&limit=1":                {"StartUp Inc"},
		"sort=name&skip=1&limit=1&search=o": {"Nova"},
	} {
		var page struct{ Data []struct{ Name string } }
		g.call(root, "GET", organizations+"?"+query, nil).wants(200).into(&page)
		var got []string
		for _, o := range page.Data {
			got = append(got, o.Name)
		}
		if !slices.Equal(got, want) {
			t.Errorf("%s: got %q, want %q", query, got, want)
		}
	}

	// What is done to another organization stands there.
	path := organizations + "/" + nova.ID
	tag := g.call(root, "GET", path, nil).wants(200).header.Get("ETag")
	g.call(root, "PATCH", path, `{"subscription_plan":"enterprise","domain":null}`, "If-Match", tag).wants(200).
		has(`"subscription_plan":"enterprise"`, `"domain":null`)
	g.call(root, "PATCH", path, `{"name":"Late"}`, "If-Match", tag).wants(412)
	g.call("nina", "GET", "/v1/audit-logs", nil).wants(200).has("organization.update")
	g.audited("organization", nova.ID)

	// Nobody of a closed organization gets in, not even with a session, until it is open again.
	session := g.login("nina", password)
	g.call(root, "DELETE", path, nil).wants(200).has(`"is_active":false`)
	g.call("nina", "GET", "/v1/auth/me", nil).wants(401)
	g.call("", "POST", "/v1/auth/login", map[string]string{"username": "nina", "password": password}).wants(401)
	g.call("", "POST", "/v1/auth/refresh", map[string]string{"refresh_token": session.Tokens.Refresh}).wants(401)
	g.call(root, "PUT", path, `{"is_active":true}`).wants(200)
	g.call("nina", "GET", "/v1/auth/me", nil).wants(200)
	g.call(root, "DELETE", organizations+"/"+acmeOrg, nil).wants(403).has("organization.own")
}

func TestAdminsRunTheirOwnOrganization(t *testing.T) { //nolint:tparallel // what follows the refusals changes what they are about
	t.Parallel()
	g := start(t)
	manager, root := g.person("pam", "Project Manager"), g.superuser("root")
	const acme, startup = "/v1/organizations/" + acmeOrg, "/v1/organizations/" + startupOrg
	g.call(admin, "PUT", acme, `{"description":"We make everything","settings":{"locale":"de"},"subscription_plan":"enterprise"}`).wants(200).
		has(`"description":"We make everything"`, `"locale":"de"`, `"domain":"acme.com"`)
	g.audited("organization", acmeOrg, "organization.update")
	tag := g.call(manager, "GET", acme, nil).wants(200).header.Get("ETag")
	g.call(manager, "GET", acme, nil, "If-None-Match", tag).wants(304)
	g.call(admin, "GET", "/v1/organizations", nil).wants(200).has(`"total":1`, acmeOrg).lacks("StartUp")
	g.call(admin, "GET", "/v1/organizations?search=StartUp", nil).wants(200).has(`"total":0`)
	g.call(manager, "GET", acme+"/members?sort=username&search=acme.com&limit=2", nil).wants(200).
		has(`"total":4`, `"has_more":true`, "admin_acme", "member_acme").lacks("pam")
	g.call(root, "GET", startup+"/members", nil).wants(200).has(`"total":1`, "admin_startup")

	for _, c := range []refusal{
		{name: "a Member reads it", as: member, method: "GET", path: acme, status: 403, code: "permission.missing"},
		{name: "a Manager changes it", as: manager, method: "PATCH", path: acme, body: `{"name":"x"}`, status: 403, code: "permission.missing"},
		{name: "an Admin changes the plan", as: admin, method: "PATCH", path: acme, body: `{"subscription_plan":"starter"}`, status: 403, code: "organization.terms"},
		{name: "an Admin changes the domain", as: admin, method: "PATCH", path: acme, body: `{"domain":"startup.io"}`, status: 403, code: "organization.terms"},
		{name: "an Admin closes it", as: admin, method: "PATCH", path: acme, body: `{"is_active":false}`, status: 403, code: "organization.own"},
		{name: "an Admin deletes it", as: admin, method: "DELETE", path: acme, status: 403, code: "permission.missing", says: "platform:manage"},
		{name: "an Admin founds another one", as: admin, method: "POST", path: "/v1/organizations", body: `{"name":"x"}`, status: 403, code: "permission.missing"},
		{name: "an Admin reads another one", as: admin, method: "GET", path: startup, status: 404, code: "organization.not_found"},
		{name: "an Admin changes another one", as: admin, method: "PATCH", path: startup, body: `{"name":"x"}`, status: 404, code: "organization.not_found"},
		{name: "an Admin lists the members of another one", as: admin, method: "GET", path: startup + "/members", status: 404, code: "organization.not_found"},
		{name: "a superuser reads none", as: root, method: "GET", path: "/v1/organizations/" + nothing, status: 404, code: "organization.not_found"},
		{name: "a superuser reads the id of nothing", as: root, method: "GET", path: "/v1/organizations/00000000-0000-0000-0000-000000000000", status: 404, code: "organization.not_found"},
		{name: "a superuser lists the members of none", as: root, method: "GET", path: "/v1/organizations/" + nothing + "/members", status: 404, code: "organization.not_found"},
		{name: "an unknown user becomes a member", as: admin, method: "POST", path: acme + "/members/" + nothing, status: 404, code: "user.not_found"},
		{name: "somebody else's user becomes a member", as: admin, method: "POST", path: acme + "/members/" + foreignID, status: 404, code: "user.not_found"},
		{name: "a superuser moves a user", as: root, method: "POST", path: acme + "/members/" + foreignID, status: 409, code: "user.belongs_elsewhere", hides: "StartUp"},
		{name: "a superuser adds an unknown user", as: root, method: "POST", path: acme + "/members/" + nothing, status: 404, code: "user.not_found"},
	} {
		g.tokenFor(c.as)
		t.Run(c.name, func(t *testing.T) { c.meets(t, g) })
	}
	g.call(admin, "DELETE", "/v1/users/"+memberID, nil).wants(200)
	g.call(admin, "POST", acme+"/members/"+memberID, nil).wants(200).has(`"is_active":true`)
	g.audited("user", memberID, "user.activate", "user.delete")
	g.call(root, "POST", startup+"/members/"+foreignID, nil).wants(200).has(`"username":"admin_startup"`)
}
