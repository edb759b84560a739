package httpapi_test

import (
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

type documentAnswer struct {
	ID, Title        string
	Tags             []string
	IsPublic         bool   `json:"is_public"`
	ProjectID        string `json:"project_id"`
	ProcessingStatus string `json:"processing_status"`
}

// ingested uploads a document and plays the worker: two passages.
func (g *gateway) ingested(as string, fields map[string]string) (id string) {
	g.t.Helper()
	j := g.upload(as, "policy.md", "text/markdown", "# Policy\n\nTaxis are fine.", fields).wants(202).job()
	claimed := g.claim(j.ID)
	document := uuid.MustParse(j.DocumentID)
	g.within(claimed.Tenant(), func(tx *store.Tx) error {
		if err := tx.Documents().SetProcessing(document); err != nil {
			return err
		}
		if err := tx.Documents().SetParsed(document, store.Parsed{IndexingID: claimed.ID, Content: "Policy"}); err != nil {
			return err
		}
		chunks := []store.Chunk{
			{DocumentID: document, IndexingID: claimed.ID, Text: "one", Page: 1, Headings: store.StringArray{"Travel", "Taxis"}},
			{DocumentID: document, IndexingID: claimed.ID, ChunkIndex: 1, Text: "two", Page: 2},
		}
		return tx.Chunks().InsertBatch(chunks)
	})
	g.end(claimed, store.Succeed(events.DocumentIngestResult{DocumentID: j.DocumentID}))
	return j.DocumentID
}

func TestADocumentIsChangedUnderItsETag(t *testing.T) {
	t.Parallel()
	g := start(t)
	manager := g.person("pam", "Project Manager")
	id := g.ingested(admin, map[string]string{"project_id": acmeProject, "tags": "travel"})
	path := "/v1/documents/" + id
	first := g.call(admin, "GET", path, nil).wants(200).header.Get("ETag")
	g.call(admin, "GET", path, nil, "If-None-Match", first).wants(304)

	var d documentAnswer
	g.call(manager, "PATCH", path, `{"title":"Rules","is_public":true,"project_id":null}`, "If-Match", first).wants(200).into(&d)
	if d.Title != "Rules" || !d.IsPublic || d.ProjectID != "" {
		t.Errorf("got %+v", d)
	}
	g.call(admin, "PUT", path, `{"title":"Too late"}`, "If-Match", first).wants(412).has("precondition.failed")
	g.call(admin, "PUT", path, `{"description":"again"}`).wants(200).has(`"title":"Rules"`)

	g.call(manager, "POST", path+"/tags", `{"tags":["travel","money"]}`).wants(200).into(&d)
	g.call(manager, "DELETE", path+"/tags?tag=travel&tag=nothing", nil).wants(200).into(&d)
	if len(d.Tags) != 1 || d.Tags[0] != "money" {
		t.Errorf("tags %v", d.Tags)
	}
	g.call(admin, "GET", "/v1/documents?tag=money&is_public=true", nil).wants(200).has(id)
	g.call(admin, "GET", "/v1/documents?tag=travel", nil).wants(200).lacks(id)
	// The vector store learns of what it filters by, once for each change of it.
	g.call(admin, "GET", "/v1/jobs?kind=document.sync", nil).wants(200).has(`"document_id":"` + id)
	var log auditPage
	g.call(admin, "GET", "/v1/audit-logs?resource_id="+id, nil).wants(200).into(&log)
	if len(log.Data) != 5 {
		t.Errorf("%d entries, want one for the upload and one for each change: %+v", len(log.Data), log.Data)
	}

	for name, c := range map[string]struct {
		as, body string
		status   int
	}{
		"a member":                 {member, `{"title":"x"}`, 403},
		"a stranger":               {stranger, `{"title":"x"}`, 404},
		"another tenant's project": {admin, `{"project_id":"01900000-0000-7000-8000-000000000b31"}`, 404},
		"an empty title":           {admin, `{"title":""}`, 422},
		"a tag twice":              {admin, `{"tags":["a","a"]}`, 422},
		"its text":                 {admin, `{"content":"new"}`, 422},
	} {
		if got := g.call(c.as, "PATCH", path, c.body); got.status != c.status {
			t.Errorf("%s: %d, want %d: %s", name, got.status, c.status, got.body)
		}
	}
}

func TestDocumentsAreListedSortedAndSearched(t *testing.T) {
	t.Parallel()
	g := start(t)
	for _, title := range []string{"Beta policy", "Alpha policy", "Gamma note"} {
		_, kind, _ := strings.Cut(title, " ")
		g.call(admin, "POST", "/v1/documents", map[string]any{
			"title": title, "content": title, "document_type": kind, "tags": []string{"t"},
		}).wants(202)
	}
	var first struct{ Data []documentAnswer }
	g.call(admin, "GET", "/v1/documents?search=beta", nil).wants(200).into(&first)
	g.call(admin, "PATCH", "/v1/documents/"+first.Data[0].ID, `{"description":"changed last"}`).wants(200)
	titles := func(as, query string) string {
		t.Helper()
		var page struct {
			Data       []documentAnswer
			NextCursor string `json:"next_cursor"`
		}
		var all []string
		for cursor := ""; ; cursor = "&cursor=" + page.NextCursor {
			page.NextCursor = ""
			g.call(as, "GET", "/v1/documents"+query+"&limit=1"+cursor, nil).wants(200).into(&page)
			for _, d := range page.Data {
				name, _, _ := strings.Cut(d.Title, " ")
				all = append(all, name)
			}
			if page.NextCursor == "" {
				return strings.Join(all, " ")
			}
		}
	}
	for _, c := range []struct{ as, query, want string }{
		{admin, "?", "Gamma Alpha Beta"},
		{admin, "?sort=-created_at", "Gamma Alpha Beta"},
		{admin, "?sort=created_at", "Beta Alpha Gamma"},
		{admin, "?sort=title", "Alpha Beta Gamma"},
		{admin, "?sort=-title", "Gamma Beta Alpha"},
		{admin, "?sort=-updated_at", "Beta Gamma Alpha"},
		{admin, "?sort=updated_at", "Alpha Gamma Beta"},
		{member, "?sort=title", "Alpha Beta Gamma"},
		{member, "?search=policy&sort=title", "Alpha Beta"},
		{admin, "?tag=t&sort=-title", "Gamma Beta Alpha"},
		{admin, "?document_type=policy&sort=title", "Alpha Beta"},
		{admin, "/by-type/policy?", "Alpha Beta"},
		{admin, "/by-type/policy?sort=-title", "Beta Alpha"},
		{admin, "/by-type/policy?sort=-updated_at", "Beta Alpha"},
		{stranger, "?sort=title", ""},
	} {
		if got := titles(c.as, c.query); got != c.want {
			t.Errorf("%s, %s: %q, want %q", c.as, c.query, got, c.want)
		}
	}
	g.call(admin, "GET", "/v1/documents?sort=content", nil).wants(422)
	// A title of letters that take four bytes each is a place to go on from, too.
	long := strings.Repeat("📜", 500)
	for range 2 {
		g.call(admin, "POST", "/v1/documents", map[string]any{"title": long, "content": "x", "document_type": long[:100]}).wants(202)
	}
	var page struct {
		NextCursor string `json:"next_cursor"`
	}
	g.call(admin, "GET", "/v1/documents?sort=-title&limit=1", nil).wants(200).into(&page)
	g.call(admin, "GET", "/v1/documents?sort=-title&limit=1&cursor="+page.NextCursor, nil).wants(200).has(long)
}

func TestWhoCannotSeeADocumentCannotDoAnythingWithIt(t *testing.T) {
	t.Parallel()
	g := start(t)
	manager := g.person("pam", "Project Manager")
	g.sql("INSERT INTO projects (id, organization_id, name) VALUES ($1, $2, 'Secret')", nothing, acmeOrg)
	id := g.ingested(admin, map[string]string{"project_id": nothing})
	for _, call := range [][2]string{
		{"GET", ""}, {"PATCH", ""}, {"DELETE", ""}, {"GET", "/chunks"}, {"GET", "/download"}, {"POST", "/index"}, {"POST", "/tags"},
	} {
		var body any
		if call[0] == "PATCH" {
			body = `{"title":"x"}`
		}
		if call[1] == "/tags" {
			body = `{"tags":["x"]}`
		}
		g.call(manager, call[0], "/v1/documents/"+id+call[1], body).wants(404)
	}
}

func TestAFileIsDownloadedInParts(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.ingested(admin, nil)
	path := "/v1/documents/" + id + "/download"
	whole := g.call(member, "GET", path, nil).wants(200)
	if whole.body != "# Policy\n\nTaxis are fine." || whole.header.Get("Content-Disposition") != "attachment; filename=policy.md" ||
		whole.header.Get("Content-Type") != "text/markdown" {
		t.Errorf("got %q, %v", whole.body, whole.header)
	}
	part := g.call(member, "GET", path, nil, "Range", "bytes=2-7").wants(206)
	if part.body != "Policy" || part.header.Get("Content-Range") != "bytes 2-7/25" {
		t.Errorf("got %q, %v", part.body, part.header)
	}
	g.call(member, "GET", path, nil, "Range", "bytes=2-7", "If-Range", `"another"`).wants(200)
	g.call(member, "GET", path, nil, "If-None-Match", whole.header.Get("ETag")).wants(304)
	g.call(member, "GET", path, nil, "Range", "bytes=100-").wants(416).problem()
	g.call(member, "GET", path, nil, "If-Match", `"another file"`).wants(412).problem()
}

func TestThePassagesOfADocumentAreReadInOrder(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.ingested(admin, nil)
	var page struct {
		Data []struct {
			Text     string
			Location struct {
				Page    int
				Heading string
			}
		}
		NextCursor string `json:"next_cursor"`
	}
	g.call(member, "GET", "/v1/documents/"+id+"/chunks?limit=1", nil).wants(200).into(&page)
	if len(page.Data) != 1 || page.Data[0].Text != "one" || page.Data[0].Location.Heading != "Travel > Taxis" {
		t.Fatalf("got %+v", page)
	}
	g.call(member, "GET", "/v1/documents/"+id+"/chunks?limit=1&cursor="+page.NextCursor, nil).wants(200).into(&page)
	if page.Data[0].Text != "two" || page.Data[0].Location.Page != 2 {
		t.Errorf("got %+v", page)
	}
}

func TestADocumentIsIndexedAgainAndDeleted(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.ingested(admin, nil)
	path := "/v1/documents/" + id
	again := g.call(admin, "POST", path+"/index", nil, "Idempotency-Key", "again").wants(202).job()
	if again.Kind != "document.ingest" || again.DocumentID != id {
		t.Errorf("got %+v", again)
	}
	if repeated := g.call(admin, "POST", path+"/index", nil, "Idempotency-Key", "again").wants(202).job(); repeated.ID != again.ID {
		t.Error("the key made another job")
	}
	g.call(admin, "GET", path, nil).wants(200).has(`"processing_status":"pending"`, `"is_indexed":true`)

	etag := g.call(admin, "GET", path, nil).header.Get("ETag")
	g.call(admin, "DELETE", path, nil, "If-Match", `"1"`).wants(412)
	deleted := g.call(admin, "DELETE", path, nil, "If-Match", etag).wants(202).job()
	if deleted.Kind != "document.delete" {
		t.Errorf("got %+v", deleted)
	}
	g.call(admin, "GET", path, nil).wants(404)
	g.call(admin, "GET", path+"/download", nil).wants(404)
	g.call(admin, "GET", "/v1/documents", nil).wants(200).lacks(id)
	g.call(admin, "GET", "/v1/jobs/"+again.ID, nil).wants(200).has(`"status":"cancelled"`)
	g.call(admin, "DELETE", path, nil).wants(404)
}

func TestADocumentIsMadeOfATextOrAnAddress(t *testing.T) {
	t.Parallel()
	site := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch r.URL.Path {
		case "/page.html":
			w.Header().Set("Content-Type", "text/html; charset=utf-8")
			_, _ = w.Write([]byte("<h1>Hello</h1>"))
		case "/big.txt":
			_, _ = w.Write([]byte(strings.Repeat("x", 70_000)))
		case "/picture":
			w.Header().Set("Content-Type", "image/png")
			_, _ = w.Write([]byte("png"))
		default:
			http.NotFound(w, r)
		}
	}))
	t.Cleanup(site.Close)
	g := start(t, "EGRESS_ALLOWED_NETWORKS", "127.0.0.1/32")
	fromText := g.call(admin, "POST", "/v1/documents", map[string]any{
		"title": "Notes", "content": "# Notes", "document_type": "note", "tags": []string{"a"}, "is_public": true,
	}, "Idempotency-Key", "notes").wants(202).job()
	g.call(admin, "GET", "/v1/documents/"+fromText.DocumentID, nil).wants(200).
		has(`"title":"Notes"`, `"file_name":"Notes.md"`, `"mime_type":"text/markdown"`, `"tags":["a"]`)
	g.call(admin, "GET", "/v1/documents/by-type/note", nil).wants(200).has(fromText.DocumentID)
	g.call(admin, "GET", "/v1/documents/by-type/other", nil).wants(200).lacks(fromText.DocumentID)
	files := g.files()
	again := g.call(admin, "POST", "/v1/documents", map[string]any{
		"title": "Notes", "content": "# Notes", "document_type": "note", "tags": []string{"a"}, "is_public": true,
	}, "Idempotency-Key", "notes").wants(202)
	if again.job().ID != fromText.ID || g.files() != files {
		t.Errorf("the repetition made another document, or left a file")
	}
	fromAddress := g.call(admin, "POST", "/v1/documents", map[string]string{"url": site.URL + "/page.html"}).wants(202).job()
	g.call(admin, "GET", "/v1/documents/"+fromAddress.DocumentID, nil).wants(200).has(`"title":"page.html"`, `"mime_type":"text/html; charset=utf-8"`)
	files = g.files()
	for body, want := range map[string]struct {
		status int
		code   string
	}{
		`{}`: {422, "request.invalid"}, `{"content":"x","url":"http://example.com"}`: {422, "request.invalid"},
		`{"url":"` + site.URL + `/nothing"}`:                {422, "url.failed"},
		`{"url":"` + site.URL + `/big.txt"}`:                {413, "document.too_large"},
		`{"url":"` + site.URL + `/picture"}`:                {415, "document.unsupported"},
		`{"url":"http://127.0.0.2:1/x.txt"}`:                {422, "url.not_allowed"},
		`{"url":"file:///etc/passwd"}`:                      {422, "url.not_allowed"},
		`{"content":"x","tags":[""]}`:                       {422, "request.invalid"},
		`{"content":"x","project_id":"` + nothing + `"}`:    {404, "project.not_found"},
		`{"content":"x","content_type":"application/pdf"}`:  {422, "request.invalid"},
		`{"content":"` + strings.Repeat("x", 70_000) + `"}`: {413, "document.too_large"},
	} {
		got := g.call(admin, "POST", "/v1/documents", json.RawMessage(body)).wants(want.status)
		if got.problem().Code != want.code {
			t.Errorf("%s: %s", clipped(body), got.body)
		}
	}
	if left := g.files(); left != files {
		t.Errorf("%d files were left behind", left-files)
	}
}

func clipped(s string) string { return s[:min(len(s), 300)] }
