package httpapi_test

import (
	"encoding/json"
	"fmt"
	"mime"
	"strings"
	"testing"
)

type talk struct {
	ID            string
	Title         string
	Description   string
	ProjectID     *string        `json:"project_id"`
	AgentConfigID *string        `json:"agent_config_id"`
	Context       map[string]any `json:"context"`
	MessageCount  int            `json:"message_count"`
	IsActive      bool           `json:"is_active"`
	IsArchived    bool           `json:"is_archived"`
}

func (a answer) talk() (c talk) {
	a.t.Helper()
	a.into(&c)
	return c
}

// talk starts a conversation and keeps messages in it.
func (g *gateway) talk(as, body string, messages ...string) talk {
	g.t.Helper()
	c := g.call(as, "POST", "/v1/conversations", body).wants(201).talk()
	for _, m := range messages {
		g.call(as, "POST", "/v1/conversations/"+c.ID+"/messages", map[string]any{"content": m, "run": false}).wants(201)
	}
	return c
}

func TestConversationsAreChangedArchivedAndDeletedByTheirOwner(t *testing.T) {
	t.Parallel()
	g := start(t)
	viewer := g.person("viola", "Viewer")
	made := g.call(member, "POST", "/v1/conversations", `{"title":"Taxis","agent_config_id":"`+acmeAgent+`","context":{"a":1}}`,
		"Idempotency-Key", "c1").wants(201)
	c := made.talk()
	again := g.call(member, "POST", "/v1/conversations", `{"title":"Taxis","agent_config_id":"`+acmeAgent+`","context":{"a":1}}`,
		"Idempotency-Key", "c1").wants(201)
	if again.talk().ID != c.ID || again.header.Get("Idempotency-Replayed") != "true" || again.header.Get("ETag") != made.header.Get("ETag") {
		t.Errorf("the replay answers %s %v", again.body, again.header)
	}
	g.call(member, "POST", "/v1/conversations", `{"title":"Other"}`, "Idempotency-Key", "c1").wants(422)
	path := "/v1/conversations/" + c.ID
	tag := g.call(viewer, "GET", path, nil).wants(200).header.Get("ETag")
	g.call(member, "GET", path, nil, "If-None-Match", tag).wants(304)

	g.call(admin, "PATCH", path, `{"title":"Mine"}`).wants(403).has("conversation.not_owner")
	g.call(admin, "PUT", path, `{"is_archived":true}`).wants(403).has("conversation.not_owner")
	g.call(viewer, "PATCH", path, `{"title":"Mine"}`).wants(403).has("permission.missing")
	g.call(admin, "DELETE", path, nil).wants(403).has("conversation.not_owner")
	g.call(admin, "POST", path+"/archive", nil).wants(403).has("conversation.not_owner")
	g.call(stranger, "PATCH", path, `{"title":"Mine"}`).wants(404)

	changed := g.call(member, "PATCH", path, `{"title":"Cabs","project_id":null,"context":{"b":2}}`, "If-Match", tag).wants(200)
	if now := changed.talk(); now.Title != "Cabs" || now.ProjectID != nil || now.AgentConfigID == nil || len(now.Context) != 1 {
		t.Errorf("changed to %s", changed.body)
	}
	g.call(member, "PUT", path, `{"title":"Late"}`, "If-Match", tag).wants(412)
	g.call(viewer, "GET", path, nil).wants(404) // it left the project
	g.call(member, "PATCH", path, `{"agent_config_id":"`+otherAgent+`"}`).wants(404)
	g.call(member, "PATCH", path, `{"project_id":"`+nothing+`"}`).wants(404)
	g.call(member, "PUT", path, `{"description":"By night","agent_config_id":null}`).wants(200).has(`"title":"Cabs"`, `"agent_config_id":null`)

	messages := path + "/messages"
	for body, archived := range map[string]bool{`{}`: true, `{"archived":true}`: true} {
		if got := g.call(member, "POST", path+"/archive", body).wants(200).talk(); got.IsArchived != archived {
			t.Errorf("%s: archived %t", body, got.IsArchived)
		}
	}
	g.call(member, "POST", messages, `{"content":"x","run":false}`).wants(409).has("conversation.archived")
	g.call(member, "GET", "/v1/conversations?is_archived=true", nil).wants(200).has("Cabs")
	g.call(member, "GET", "/v1/conversations?is_archived=false", nil).wants(200).lacks("Cabs")
	g.call(member, "POST", path+"/archive", `{"archived":false}`).wants(200).has(`"is_archived":false`)
	g.call(member, "POST", path+"/archive", nil).wants(200).has(`"is_archived":true`)
	g.call(member, "PATCH", path, `{"is_archived":false}`).wants(200)
	g.call(member, "POST", messages, `{"content":"x","run":false}`).wants(201)

	g.call(member, "DELETE", path, nil).wants(200).has(`"is_active":false`, `"message_count":1`)
	for _, gone := range []string{path, messages, path + "/export"} {
		g.call(member, "GET", gone, nil).wants(404)
	}
	g.call(member, "DELETE", path, nil).wants(404)
	g.call(member, "GET", "/v1/conversations", nil).wants(200).lacks(c.ID)
	g.call(admin, "GET", "/v1/audit-logs?resource_type=conversation&limit=100", nil).wants(200).
		has("conversation.create", "conversation.update", "conversation.archive", "conversation.unarchive", "conversation.delete", "By night")
}

func TestMessagesAreKeptOnceAndDeletedUnlessTheyAreBeingAnswered(t *testing.T) {
	t.Parallel()
	g := start(t)
	c := g.talk(member, `{"agent_config_id":"`+acmeAgent+`"}`)
	messages := "/v1/conversations/" + c.ID + "/messages"
	const note = `{"content":"Secret note","run":false}`
	kept := g.call(member, "POST", messages, note, "Idempotency-Key", "m1").wants(201)
	again := g.call(member, "POST", messages, note, "Idempotency-Key", "m1").wants(201)
	if kept.header.Get("Location") != again.header.Get("Location") || again.header.Get("Idempotency-Replayed") != "true" {
		t.Errorf("the replay is at %q (replayed %q)", again.header.Get("Location"), again.header.Get("Idempotency-Replayed"))
	}
	g.call(member, "POST", messages, `{"content":"Secret note"}`, "Idempotency-Key", "m1").wants(422)
	j := g.call(member, "POST", messages, `{"content":"A question"}`).wants(202).job()
	g.call(member, "GET", "/v1/conversations/"+c.ID, nil).wants(200).has(`"message_count":2`)

	one := strings.TrimPrefix(kept.header.Get("Location"), "/api")
	tag := g.call(member, "GET", one, nil).wants(200).header.Get("ETag")
	g.call(member, "GET", one, nil, "If-None-Match", tag).wants(304)
	question := messages + "/" + j.MessageID
	g.call(member, "DELETE", question, nil).wants(409).has("message.in_use")
	g.call(admin, "DELETE", one, nil).wants(403).has("conversation.not_owner")
	g.call(stranger, "DELETE", one, nil).wants(404)
	g.call(member, "DELETE", one, nil, "If-Match", `"1"`).wants(412)
	g.call(member, "DELETE", one, nil, "If-Match", tag).wants(204)
	g.call(member, "GET", one, nil).wants(404)
	g.call(member, "DELETE", one, nil).wants(404)
	g.call(member, "POST", "/v1/jobs/"+j.ID+"/cancel", nil).wants(200)
	g.call(member, "GET", "/v1/conversations/"+c.ID, nil).wants(200).has(`"message_count":1`)
	g.call(member, "DELETE", question, nil).wants(204)
	g.call(member, "DELETE", question, nil).wants(404) // also of a conversation that holds none
	g.call(member, "GET", messages, nil).wants(200).has(`"data":[]`)
	g.call(admin, "GET", "/v1/audit-logs?action=message.delete", nil).wants(200).has(c.ID, "[not kept]").lacks("Secret note")
}

func TestMessagesAreListedByRoleAndFromEitherEnd(t *testing.T) {
	t.Parallel()
	g := start(t)
	c := g.talk(member, "{}", "one", "two", "three")
	messages := "/v1/conversations/" + c.ID + "/messages"
	g.call(member, "POST", messages, `{"content":"Be brief","role":"system"}`).wants(201)
	read := func(query string) string {
		t.Helper()
		var page struct {
			Data       []struct{ Content string }
			NextCursor string `json:"next_cursor"`
		}
		var all []string
		for cursor := ""; ; cursor = "&cursor=" + page.NextCursor {
			page.NextCursor = ""
			g.call(member, "GET", messages+"?limit=2&"+query+cursor, nil).wants(200).into(&page)
			for _, m := range page.Data {
				all = append(all, m.Content)
			}
			if page.NextCursor == "" {
				return strings.Join(all, ", ")
			}
		}
	}
	for query, want := range map[string]string{
		"":                           "one, two, three, Be brief",
		"sort=created_at":            "one, two, three, Be brief",
		"sort=-created_at":           "Be brief, three, two, one",
		"role=user":                  "one, two, three",
		"role=user&sort=-created_at": "three, two, one",
		"role=system":                "Be brief",
		"role=tool":                  "",
	} {
		if got := read(query); got != want {
			t.Errorf("%s: %q, want %q", query, got, want)
		}
	}
	g.call(member, "GET", messages+"?role=nobody", nil).wants(422)
	g.call(member, "GET", messages+"?sort=content", nil).wants(422)
	g.call(stranger, "GET", messages+"?role=user", nil).wants(404)
}

func TestConversationsAreListedSortedAndSearched(t *testing.T) {
	t.Parallel()
	g := start(t)
	viewer := g.person("viola", "Viewer")
	first := g.talk(member, `{"title":"Travel policy","project_id":"`+acmeProject+`"}`, "May I take a taxi?", "Only by night")
	g.talk(member, `{"title":"Budget","description":"Travel and more"}`)
	g.talk(admin, `{"title":"Hidden travel"}`, "a taxi, too")
	g.call(member, "PATCH", "/v1/conversations/"+first.ID, `{"description":"changed last"}`).wants(200)

	titles := func(as, query string) string {
		t.Helper()
		var page struct {
			Data       []talk
			NextCursor string `json:"next_cursor"`
		}
		var all []string
		for cursor := ""; ; cursor = "&cursor=" + page.NextCursor {
			page.NextCursor = ""
			g.call(as, "GET", "/v1/conversations?limit=1&"+query+cursor, nil).wants(200).into(&page)
			for _, c := range page.Data {
				all = append(all, c.Title)
			}
			if page.NextCursor == "" {
				return strings.Join(all, ", ")
			}
		}
	}
	for _, tc := range []struct{ as, query, want string }{
		{member, "", "Budget, Travel policy"},
		{member, "sort=created_at", "Travel policy, Budget"},
		{member, "sort=-updated_at", "Travel policy, Budget"},
		{member, "sort=updated_at", "Budget, Travel policy"},
		{member, "search=travel", "Budget, Travel policy"},
		{member, "search=travel&sort=-updated_at", "Travel policy, Budget"},
		{member, "search=pol", "Travel policy"},
		{member, "search=taxi", ""},
		{admin, "search=travel", "Hidden travel, Budget, Travel policy"},
		{admin, "project_id=" + acmeProject, "Travel policy"},
		{viewer, "project_id=" + acmeProject, "Travel policy"},
		{viewer, "search=travel", ""},
		{stranger, "search=travel", ""},
	} {
		if got := titles(tc.as, tc.query); got != tc.want {
			t.Errorf("%s, %s: %q, want %q", tc.as, tc.query, got, tc.want)
		}
	}
	g.call(member, "GET", "/v1/conversations?sort=title", nil).wants(422)

	type hits struct {
		Data []struct {
			Conversation talk
			MessageID    *string `json:"message_id"`
			Snippet      string
		}
		NextCursor string `json:"next_cursor"`
	}
	search := func(as, query string) (found hits) {
		t.Helper()
		g.call(as, "GET", "/v1/conversations/search?q="+query, nil).wants(200).into(&found)
		return found
	}
	if got := search(member, "taxi"); len(got.Data) != 1 || got.Data[0].Conversation.ID != first.ID ||
		got.Data[0].Snippet != "May I take a taxi?" || got.Data[0].MessageID == nil {
		t.Errorf("found %+v", got)
	}
	for as, want := range map[string]int{member: 2, admin: 3, viewer: 1, stranger: 0} {
		if got := search(as, "travel"); len(got.Data) != want {
			t.Errorf("%s finds %d, want %d", as, len(got.Data), want)
		}
	}
	page := search(admin, "travel&limit=2")
	if len(page.Data) != 2 || page.NextCursor == "" {
		t.Fatalf("the first page is %+v", page)
	}
	if rest := search(admin, "travel&limit=2&cursor="+page.NextCursor); len(rest.Data) != 1 || rest.Data[0].Conversation.ID != first.ID {
		t.Errorf("the second page is %+v", rest)
	}
	g.call(admin, "GET", "/v1/conversations/search?q=other&cursor="+page.NextCursor, nil).wants(422)
	g.call(admin, "GET", "/v1/conversations/search", nil).wants(422)
}

func TestConversationsAreExported(t *testing.T) {
	t.Parallel()
	g := start(t)
	c := g.talk(member, `{"title":"Reise / \"Köln\" <x>\r\n:*?","description":"What\nfor"}`)
	var want []string
	g.sql(`INSERT INTO messages (id, organization_id, conversation_id, role, content)
		SELECT (lpad(to_hex(n), 12, '0') || '-7000-8000-000000000000')::uuid, organization_id, id, 'user', 'message ' || n
		FROM conversations, generate_series(1, 120) n WHERE id = $1`, c.ID)
	for n := range 120 {
		want = append(want, fmt.Sprintf("message %d", n+1))
	}
	const tricky = "# Heading\n```go\nnot closed <!-- nor this"
	g.call(member, "POST", "/v1/conversations/"+c.ID+"/messages", map[string]any{"content": tricky, "run": false}).wants(201)
	want = append(want, tricky)

	got := g.call(admin, "GET", "/v1/conversations/"+c.ID+"/export", nil).wants(200)
	var export struct {
		talk

		Messages []struct{ Content string }
	}
	if err := json.Unmarshal([]byte(got.body), &export); err != nil || export.ID != c.ID || len(export.Messages) != len(want) {
		t.Fatalf("%d messages (%v), want %d: %s", len(export.Messages), err, len(want), got.body)
	}
	for i, m := range export.Messages {
		if m.Content != want[i] {
			t.Errorf("message %d is %q, want %q", i, m.Content, want[i])
		}
	}
	text := g.call(member, "GET", "/v1/conversations/"+c.ID+"/export?format=markdown", nil).wants(200)
	text.has("# Reise / \"Köln\" <x> :*?\n\n> What\n> for\n", "\n## user, ", "> message 120\n", "> # Heading\n> ```go\n> not closed <!-- nor this\n")
	for a, extension := range map[*answer]string{&got: ".json", &text: ".md"} {
		disposition, parameters, err := mime.ParseMediaType(a.header.Get("Content-Disposition"))
		if err != nil || disposition != "attachment" || parameters["filename"] != "Reise Köln x"+extension {
			t.Errorf("the file is called %q (%v)", a.header.Get("Content-Disposition"), err)
		}
	}
	if media := text.header.Get("Content-Type"); media != "text/markdown; charset=utf-8" {
		t.Errorf("media type %q", media)
	}
	g.call(stranger, "GET", "/v1/conversations/"+c.ID+"/export", nil).wants(404)
	g.call(member, "GET", "/v1/conversations/"+c.ID+"/export?format=pdf", nil).wants(422)
	empty := g.talk(member, `{}`)
	g.call(member, "GET", "/v1/conversations/"+empty.ID+"/export", nil).wants(200).has(`"messages":[]`)
	g.call(member, "GET", "/v1/conversations/"+empty.ID+"/export?format=markdown", nil).wants(200).has("# Conversation\n")
}
