package httpapi_test

import (
	"net/http"
	"strings"
	"testing"
)

// refusal is a request that must be refused, and how.
type refusal struct {
	name, as, method, path string
	// body is sent as application/json unless media says otherwise.
	body, media string
	status      int
	code        string
	// says stands in the problem, hides does not.
	says, hides string
}

func TestRefusalsSayWhatToDoAndRepeatNothing(t *testing.T) {
	t.Parallel()
	g := start(t)
	viewer := g.person("viola", "Viewer")
	big := `{"user_input":"` + strings.Repeat("x", 1<<20) + `"}`
	runs, configs := "/v1/agents/"+acmeAgent+"/runs", "/v1/agent-configs"
	cases := []refusal{
		{name: "a path that does not exist", method: "GET", path: "/v1/nothing", status: 404, code: "route.not_found", says: "/docs"},
		{name: "a method that does not exist", method: "DELETE", path: "/v1/auth/login", status: 405, code: "route.method_not_allowed"},
		{name: "no token", method: "GET", path: "/v1/jobs", status: 401, code: "token.missing", says: "Bearer"},
		{name: "no JSON", method: "POST", path: "/v1/auth/login", body: `{"username": "a", "password": "sesame"`, status: 400, code: "request.malformed", hides: "sesame"},
		{name: "no body", method: "POST", path: "/v1/auth/login", status: 400, code: "request.malformed", says: "body"},
		{name: "another media type", method: "POST", path: "/v1/auth/login", body: `<a>sesame</a>`, media: "text/xml", status: 415, code: "request.unsupported_media_type", hides: "sesame"},
		{name: "a wrong type", method: "POST", path: "/v1/auth/login", body: `{"username": 7, "password": ["sesame"]}`, status: 422, code: "request.invalid", says: "body.password", hides: "sesame"},
		{name: "an unknown field", method: "POST", path: "/v1/auth/login", body: `{"username": "a", "password": "b", "passwort": "sesame"}`, status: 422, code: "request.invalid", says: "passwort", hides: "sesame"},
		{name: "a short password", method: "POST", path: "/v1/auth/register", body: `{"email":"a@b.example","username":"abc","password":"sesame","organization_name":"x"}`, status: 422, code: "request.invalid", says: "body.password", hides: "sesame"},
		{name: "a password longer than bcrypt reads", method: "POST", path: "/v1/auth/register", body: `{"email":"a@b.example","username":"abc","password":"` + strings.Repeat("ü", 40) + `","organization_name":"x"}`, status: 422, code: "password.too-long", hides: "üü"},
		{name: "no email address", method: "POST", path: "/v1/auth/register", body: `{"email":"nobody","username":"abc","password":"longer than eight","organization_name":"x"}`, status: 422, code: "request.invalid", says: "body.email", hides: "nobody"},
		{name: "a username like an address", method: "POST", path: "/v1/auth/register", body: `{"email":"a@b.example","username":"a@b","password":"longer than eight","organization_name":"x"}`, status: 422, code: "request.invalid", says: "body.username"},
		{name: "neither organization", method: "POST", path: "/v1/auth/register", body: `{"email":"a@b.example","username":"abc","password":"longer than eight"}`, status: 422, says: "organization_name"},
		{name: "a login without a name", method: "POST", path: "/v1/auth/login", body: `{"password":"x"}`, status: 422, says: "body.username"},
		{name: "a NUL in a text", as: admin, method: "POST", path: configs, body: `{"name":"a\u0000b"}`, status: 422},
		{name: "a body too large", as: admin, method: "POST", path: runs, body: big, status: 413, code: "request.too_large"},
		{name: "an unknown agent", as: admin, method: "POST", path: "/v1/agents/" + nothing + "/runs", body: `{"user_input":"x"}`, status: 404, code: "agent_config.not_found"},
		{name: "another organization's agent", as: admin, method: "POST", path: "/v1/agents/" + otherAgent + "/runs", body: `{"user_input":"x"}`, status: 404, code: "agent_config.not_found"},
		{name: "an id that is none", as: admin, method: "GET", path: "/v1/jobs/seven", status: 422, says: "path.id", hides: "invalid UUID"},
		{name: "an id in a body that is none", as: admin, method: "POST", path: configs, body: `{"name":"x","project_id":"seven"}`, status: 422, says: "body.project_id", hides: "invalid UUID"},
		{name: "a path that has to be escaped", as: admin, method: "GET", path: "/v1/jobs/%00%25", status: 422, says: "/v1/jobs/%00%25"},
		{name: "a whole number with a fraction", as: admin, method: "POST", path: runs, body: `{"user_input":"x","max_iterations":1.0}`, status: 422, says: "body.max_iterations", hides: "NewRun"},
		{name: "a field in capitals", as: admin, method: "POST", path: runs, body: `{"USER_INPUT":"x"}`, status: 422, says: "body.USER_INPUT"},
		{name: "a score that is no number", as: admin, method: "GET", path: "/v1/documents/search/query?query=x&min_score=NaN", status: 422, says: "query.min_score"},
		{name: "an empty input", as: admin, method: "POST", path: runs, body: `{"user_input":""}`, status: 422, says: "body.user_input"},
		{name: "too many iterations", as: admin, method: "POST", path: runs, body: `{"user_input":"x","max_iterations":1000}`, status: 422, says: "body.max_iterations"},
		{name: "a temperature of 3", as: admin, method: "POST", path: configs, body: `{"name":"x","temperature":3}`, status: 422, says: "body.temperature"},
		{name: "a nested temperature of 3", as: admin, method: "POST", path: configs, body: `{"name":"x","llm_config":{"temperature":3}}`, status: 422, says: "body.llm_config.temperature"},
		{name: "a top_p of 2", as: admin, method: "POST", path: configs, body: `{"name":"x","llm_config":{"top_p":2}}`, status: 422, says: "body.llm_config.top_p"},
		{name: "an unknown tool", as: admin, method: "POST", path: configs, body: `{"name":"x","tools":["rm_rf"]}`, status: 422, says: "body.tools[0]"},
		{name: "an unknown nested tool", as: admin, method: "POST", path: configs, body: `{"name":"x","tools_config":[{"name":"rm_rf"}]}`, status: 422, says: "body.tools_config[0].name"},
		{name: "an unknown agent type", as: admin, method: "POST", path: configs, body: `{"name":"x","agent_type":"butler"}`, status: 422, says: "body.agent_type"},
		{name: "another organization's project", as: admin, method: "POST", path: configs, body: `{"name":"x","project_id":"01900000-0000-7000-8000-000000000b31"}`, status: 404, code: "project.not_found"},
		{name: "no texts", as: admin, method: "POST", path: "/v1/embeddings", body: `{"texts":[]}`, status: 422, says: "body.texts"},
		{name: "too many texts", as: admin, method: "POST", path: "/v1/embeddings", body: `{"texts":[` + strings.Repeat(`"x",`, 100) + `"x"]}`, status: 422, says: "body.texts"},
		{name: "an empty text", as: admin, method: "POST", path: "/v1/embeddings", body: `{"texts":["x",""]}`, status: 422, says: "body.texts[1]"},
		{name: "an unknown search mode", as: admin, method: "POST", path: "/v1/documents/search", body: `{"query":"x","mode":"psychic"}`, status: 422, says: "body.mode"},
		{name: "a search for nothing", as: admin, method: "GET", path: "/v1/documents/search/query", status: 422, says: "query.query"},
		{name: "a bad cursor", as: admin, method: "GET", path: "/v1/jobs?cursor=AAAA", status: 422, says: "query.cursor"},
		{name: "a limit of 1000", as: admin, method: "GET", path: "/v1/jobs?limit=1000", status: 422, says: "query.limit"},
		{name: "a negative skip", as: admin, method: "GET", path: "/v1/documents?skip=-1", status: 422, says: "query.skip"},
		{name: "an unknown document", as: admin, method: "GET", path: "/v1/documents/" + nothing, status: 404, code: "document.not_found"},
		{name: "an unknown conversation", as: admin, method: "POST", path: "/v1/conversations/" + nothing + "/messages", body: `{"content":"x"}`, status: 404, code: "conversation.not_found"},
		{name: "an unknown job", as: admin, method: "GET", path: "/v1/jobs/" + nothing, status: 404, code: "job.not_found"},
		{name: "the events of an unknown job", as: admin, method: "GET", path: "/v1/jobs/" + nothing + "/events", status: 404, code: "job.not_found"},
		{name: "an unknown job to cancel", as: admin, method: "POST", path: "/v1/jobs/" + nothing + "/cancel", status: 404, code: "job.not_found"},
		{name: "a member who configures agents", as: member, method: "POST", path: configs, body: `{"name":"x"}`, status: 403, code: "permission.missing", says: "agents:create"},
		{name: "a viewer who runs agents", as: viewer, method: "POST", path: runs, body: `{"user_input":"x"}`, status: 403, code: "permission.missing", says: "agents:execute"},
		{name: "a viewer who starts a conversation", as: viewer, method: "POST", path: "/v1/conversations", body: `{}`, status: 403, code: "permission.missing"},
		{name: "a form without a file", as: admin, method: "POST", path: "/v1/documents/upload", body: "--b\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nx\r\n--b--\r\n", media: "multipart/form-data; boundary=b", status: 400, code: "upload.no_file"},
		{name: "a form whose headers cannot be read", as: admin, method: "POST", path: "/v1/documents/upload", body: "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\x00.txt\"\r\n\r\nx\r\n--b--\r\n", media: "multipart/form-data; boundary=b", status: 400, code: "upload.malformed", hides: "MIME"},
		{name: "a form that breaks off", as: admin, method: "POST", path: "/v1/documents/upload", body: "--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhalf", media: "multipart/form-data; boundary=b", status: 400, code: "upload.malformed"},
		{name: "an upload that is no form", as: admin, method: "POST", path: "/v1/documents/upload", body: `{}`, status: 415, code: "request.unsupported_media_type"},
		{name: "an upload of 0 bytes", as: admin, method: "POST", path: "/v1/documents/upload", media: "multipart/form-data; boundary=b", status: 400, code: "upload.malformed"},
		{name: "a typing mistake in a form", as: admin, method: "POST", path: "/v1/documents/upload", body: "--b\r\nContent-Disposition: form-data; name=\"tilte\"\r\n\r\nx\r\n--b--\r\n", media: "multipart/form-data; boundary=b", status: 422, says: "body.tilte"},
	}
	for _, c := range cases {
		g.tokenFor(c.as)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var body any
			if c.body != "" || c.media != "" {
				body = strings.NewReader(c.body)
			}
			media := c.media
			if media == "" && body != nil {
				media = "application/json"
			}
			a := g.callFrom(t, c.as, c.method, c.path, body, "Content-Type", media).wants(c.status)
			p := a.problem()
			if c.code != "" && p.Code != c.code {
				t.Errorf("code %q, want %q: %s", p.Code, c.code, a.body)
			}
			if p.Detail == "" || !strings.Contains(a.body, c.says) {
				t.Errorf("the problem does not say %q: %s", c.says, a.body)
			}
			if c.hides != "" && strings.Contains(a.body, c.hides) {
				t.Errorf("the problem repeats what was submitted: %s", a.body)
			}
			a.lacks("goroutine", "SQLSTATE", "pq:", "INSERT")
			if c.status == http.StatusMethodNotAllowed && a.header.Get("Allow") != "POST" {
				t.Errorf("Allow is %q", a.header.Get("Allow"))
			}
		})
	}
}

func TestUploadsThatCannotBeAreRefusedAndLeaveNothing(t *testing.T) {
	t.Parallel()
	g := start(t)
	for name, c := range map[string]struct {
		as, file, media, content string
		fields                   map[string]string
		status                   int
		code                     string
	}{
		"an empty file":                  {admin, "a.pdf", "application/pdf", "", nil, 422, "document.empty"},
		"a file type that is not read":   {admin, "a.png", "image/png", "\x89PNG", nil, 415, "document.unsupported"},
		"a file too large":               {admin, "a.txt", "text/plain", strings.Repeat("x", 65537), nil, 413, "document.too_large"},
		"a form too large":               {admin, "a.txt", "text/plain", strings.Repeat("x", 3<<20), nil, 413, "document.too_large"},
		"a project that does not exist":  {admin, "a.txt", "text/plain", "x", map[string]string{"project_id": nothing}, 404, "project.not_found"},
		"a project id that is none":      {admin, "a.txt", "text/plain", "x", map[string]string{"project_id": "x"}, 422, "request.invalid"},
		"a flag that is neither":         {admin, "a.txt", "text/plain", "x", map[string]string{"is_public": "perhaps"}, 422, "request.invalid"},
		"a title too long":               {admin, "a.txt", "text/plain", "x", map[string]string{"title": strings.Repeat("x", 501)}, 422, "request.invalid"},
		"a member, who does not upload":  {member, "a.txt", "text/plain", "x", nil, 403, "permission.missing"},
		"a title that cannot be stored":  {admin, "a.txt", "text/plain", "x", map[string]string{"title": "a\x00b"}, 422, "text.not_storable"},
		"an idempotency key that is bad": {admin, "a.txt", "text/plain", "x", nil, 422, "request.invalid"},
	} {
		var headers []string
		if strings.Contains(name, "key") {
			headers = []string{"Idempotency-Key", strings.Repeat("k", 256)}
		}
		a := g.upload(c.as, c.file, c.media, c.content, c.fields, headers...)
		if p := a.problem(); a.status != c.status || p.Code != c.code {
			t.Errorf("%s: %d %s, want %d %s: %s", name, a.status, p.Code, c.status, c.code, p.Detail)
		}
	}
	if n := g.files(); n != 0 {
		t.Errorf("%d files were left behind", n)
	}
	g.call(admin, "GET", "/v1/documents", nil).wants(200).has(`"total":0`)
}
