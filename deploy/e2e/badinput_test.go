package e2e_test

import (
	"bytes"
	"crypto/hmac"
	"crypto/sha256"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

const noSuchID = "01900000-0000-7000-8000-00000000dead"

// refusal is a request that must be refused, by whom it is made, and with what.
type refusal struct {
	name string
	// token is sent instead of a login's; "none" sends none.
	token   string
	request request
	// upload is sent instead of request.
	upload *file
	status int
	// code is the problem's; says is in its words for people.
	code, says string
}

func TestBadRequestsAreRefusedWithWordsThatHelp(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{without: []string{agentProgram}})
	admin, member := s.login(adminAcme), s.login(memberAcme)
	post := func(path string, body any) request { return request{method: http.MethodPost, path: path, json: body} }
	raw := func(path, contentType, body string) request {
		return request{
			method: http.MethodPost, path: path, body: strings.NewReader(body), header: map[string]string{"Content-Type": contentType},
		}
	}
	me := request{method: http.MethodGet, path: "/api/v1/auth/me"}
	login, runs, upload := "/api/v1/auth/login", "/api/v1/agents/"+agentAcme+"/runs", "/api/v1/documents/upload"

	for _, c := range []refusal{
		{
			name: "a wrong password", token: "none", request: post(login, map[string]string{"username": adminAcme, "password": "not this one"}),
			status: 401, code: "credentials.wrong", says: "wrong",
		},
		{
			name: "an unknown user", token: "none", request: post(login, map[string]string{"username": "nobody@acme.com", "password": "not this one"}),
			status: 401, code: "credentials.wrong", says: "wrong",
		},
		{
			name: "a login without a name", token: "none", request: post(login, map[string]string{"password": "not this one"}),
			status: 422, code: "request.invalid", says: "errors",
		},
		{name: "no token", token: "none", request: me, status: 401, code: "token.missing", says: "Log in"},
		{name: "a token that is none", token: "lettuce", request: me, status: 401, code: "token.invalid", says: "Sign in"},
		{
			name: "a token whose time is over", request: me, status: 401, code: "token.expired", says: "Refresh",
			token: forge(t, admin.token, s.tokenKey, func(_, claims map[string]any) { claims["exp"] = time.Now().Add(-time.Minute).Unix() }),
		},
		{
			name: "a token of another service", request: me, status: 401, code: "token.invalid", says: "Sign in",
			token: forge(t, admin.token, "another service's secret, as long as ours", nil),
		},
		{
			name: "a token for another audience", request: me, status: 401, code: "token.invalid", says: "Sign in",
			token: forge(t, admin.token, s.tokenKey, func(_, claims map[string]any) { claims["aud"] = []string{"elsewhere"} }),
		},
		{
			name: "a token that nobody signed", request: me, status: 401, code: "token.invalid", says: "Sign in",
			token: unsigned(t, admin.token),
		},
		{
			name: "a body that is too large", request: post(runs, map[string]string{"user_input": strings.Repeat("a", 2<<20)}),
			status: 413, code: "request.too_large", says: "larger",
		},
		{
			name: "a body of the wrong type", request: raw(runs, "application/xml", "<input/>"),
			status: 415, code: "request.unsupported_media_type", says: "application/json",
		},
		{name: "a body that is no JSON", request: raw(runs, "application/json", `{"user_input": `), status: 400, code: "request.malformed", says: "JSON"},
		{name: "a body that is missing", request: raw(runs, "application/json", ""), status: 400, code: "request.malformed", says: "body"},
		{name: "a body without what is needed", request: post(runs, map[string]string{}), status: 422, code: "request.invalid", says: "errors"},
		{name: "an upload that is no form", request: post(upload, map[string]string{"title": "x"}), status: 415, code: "request.unsupported_media_type", says: "multipart/form-data"},
		{name: "an upload of 0 bytes", request: raw(upload, "multipart/form-data; boundary=x", ""), status: 400, code: "upload.malformed", says: "again"},
		{name: "an upload that breaks off", request: raw(upload, "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a.txt\"\r\n\r\nhalf"), status: 400, code: "upload.malformed", says: "again"},
		{name: "an upload without a file", request: raw(upload, "multipart/form-data; boundary=x", "--x\r\nContent-Disposition: form-data; name=\"title\"\r\n\r\nNo file\r\n--x--\r\n"), status: 400, code: "upload.no_file", says: "file"},
		{name: "a file that is empty", upload: &file{name: "empty.pdf", media: "application/pdf"}, status: 422, code: "document.empty", says: "empty"},
		{name: "a file that is not read", upload: &file{name: "photo.png", media: "image/png", data: []byte("\x89PNG")}, status: 415, code: "document.unsupported", says: "PDF"},
		{name: "an agent that does not exist", request: post("/api/v1/agents/"+noSuchID+"/runs", map[string]string{"user_input": "x"}), status: 404, says: "no such"},
		{name: "an id that is none", request: request{method: http.MethodGet, path: "/api/v1/jobs/42"}, status: 422, code: "request.invalid", says: "errors"},
		{name: "a path that does not exist", request: request{method: http.MethodGet, path: "/api/v1/unicorns"}, status: 404, code: "route.not_found", says: "/docs"},
		{name: "a method that does not exist", request: request{method: http.MethodDelete, path: "/api/v1/auth/login"}, status: 405, code: "route.method_not_allowed", says: "DELETE"},
		{name: "a user who may not upload", token: member.token, upload: &file{name: "a.txt", media: "text/plain", data: []byte("text")}, status: 403, code: "permission.missing", says: "documents:upload"},
	} {
		t.Run(c.name, func(t *testing.T) {
			client := s.client()
			client.t = t
			switch client.token = c.token; c.token {
			case "":
				client.token = admin.token
			case "none":
				client.token = ""
			}
			var got answer
			if c.upload != nil {
				got = client.tryUpload(*c.upload, nil)
			} else {
				got = client.send(c.request)
			}
			p := got.wants(c.status).problem()
			if c.code != "" && p.Code != c.code || !strings.Contains(p.Detail, c.says) {
				t.Errorf("code %q, detail %q; want %q and %q", p.Code, p.Detail, c.code, c.says)
			}
			if c.status == http.StatusUnauthorized && got.header.Get("WWW-Authenticate") == "" {
				t.Error("a 401 without WWW-Authenticate")
			}
			if c.code == "request.invalid" && len(p.Errors) == 0 {
				t.Errorf("the problem does not say which part is wrong: %s", got.body)
			}
		})
	}

	t.Run("and everything still works", func(t *testing.T) {
		if n := s.db.count("SELECT count(*) FROM jobs"); n != 0 {
			t.Errorf("%d jobs came of refused requests", n)
		}
		if n := s.db.count("SELECT count(*) FROM documents"); n != 0 {
			t.Errorf("%d documents came of refused requests", n)
		}
		if j := admin.await(admin.upload(runbook(t)).ID, time.Minute); j.Status != events.StatusSucceeded {
			t.Errorf("a good document ended as %+v", j)
		}
	})
}

func TestUploadsOverTheLimitAreRefused(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{without: []string{agentProgram, ingestProgram, embeddingProgram}})
	admin := s.login(adminAcme)
	t.Run("with a limit of our own", func(t *testing.T) {
		small := s.clientOf(s.startGateway(map[string]string{"MAX_UPLOAD_BYTES": "100000"}))
		small.t, small.token = t, admin.token
		small.tryUpload(file{name: "a.txt", media: "text/plain", data: bytes.Repeat([]byte("a"), 100_000)}, nil).wants(http.StatusAccepted)
		p := small.tryUpload(file{name: "a.txt", media: "text/plain", data: bytes.Repeat([]byte("a"), 100_001)}, nil).wants(413).problem()
		if p.Code != "document.too_large" || !strings.Contains(p.Detail, "100000 bytes") {
			t.Errorf("the problem is %+v", p)
		}
	})
	for name, length := range map[string]bool{"200 MB that are announced": true, "200 MB that are not announced": false} {
		t.Run(name, func(t *testing.T) {
			admin.t = t
			body, contentType, size := endlessForm(t, 200<<20)
			r := request{method: http.MethodPost, path: "/api/v1/documents/upload", body: body, header: map[string]string{"Content-Type": contentType}}
			if length {
				r.length = size
			}
			p := admin.send(r).wants(http.StatusRequestEntityTooLarge).problem()
			if p.Code != "document.too_large" || !strings.Contains(p.Detail, "MiB") {
				t.Errorf("the problem is %+v", p)
			}
		})
	}
	if n := s.db.count("SELECT count(*) FROM documents"); n != 1 {
		t.Errorf("there are %d documents, want the one within the limit", n)
	}
}

// endlessForm is an upload of n bytes that is made while it is sent.
func endlessForm(t *testing.T, n int64) (body io.Reader, contentType string, size int64) {
	t.Helper()
	var frame bytes.Buffer
	form := multipart.NewWriter(&frame)
	if _, err := form.CreateFormFile("file", "huge.txt"); err != nil {
		t.Fatal(err)
	}
	head := slices.Clone(frame.Bytes())
	frame.Reset()
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	size = int64(len(head)) + n + int64(frame.Len())
	return io.MultiReader(bytes.NewReader(head), io.LimitReader(monotone('a'), n), &frame), form.FormDataContentType(), size
}

func TestBadDocumentsFailWithAReasonAndHarmNobody(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{without: []string{agentProgram}})
	c := s.login(adminAcme)
	whole := manual(t)
	bad := []struct {
		name string
		file file
		code string
		says string
	}{
		{"a PDF that is a letter", file{name: "letter.pdf", media: "application/pdf", data: []byte("Dear Sir or Madam, this is no PDF.")}, "document.not_pdf", "PDF"},
		{"a PDF that is broken", file{name: "broken.pdf", media: "application/pdf", data: append([]byte("%PDF-1.7\n"), bytes.Repeat([]byte{0x9f, 0x13, '\n'}, 5000)...)}, "document.unreadable", "damaged"},
		{"a PDF under a password", lockedPDF(), "document.encrypted", "password"},
		{"a PDF without a word", bigPDFWithoutText(), "document.no_text", "OCR"},
		{"a DOCX that is a zip bomb", zipBomb(t, 1<<10, 0), "document.bomb", "far more data"},
		{"a DOCX that is a zip bomb and denies it", zipBomb(t, 1<<10, 10_000), "", ""},
		{"a DOCX that is a PDF", file{name: "report.docx", media: docxMedia, data: whole.data[:4096]}, "", ""},
		{"a DOCX that breaks off", file{name: "half.docx", media: docxMedia, data: policy(t).data[:20_000]}, "", ""},
		{"a text that is a program", file{name: "notes.txt", media: "text/plain", data: bytes.Repeat([]byte{0x7f, 'E', 'L', 'F', 0, 1, 2, 0xff}, 500)}, "document.binary", "text"},
	}
	jobs := make([]job, len(bad))
	for i, b := range bad {
		jobs[i] = c.upload(b.file)
	}
	good := c.upload(runbook(t))
	for i, b := range bad {
		t.Run(b.name, func(t *testing.T) {
			c := *c
			c.t = t
			j := c.await(jobs[i].ID, time.Minute)
			if j.Status != events.StatusFailed || j.Attempt != 1 || j.Dead || j.Error == nil {
				t.Fatalf("the job ended as %+v, want it failed for good in its first attempt", j)
			}
			d := c.document(j.DocumentID)
			if d.Status != "failed" || d.Error != j.Error.Message {
				t.Errorf("the document is %+v, want it failed for the reason %q", d, j.Error.Message)
			}
			if b.code != "" && j.Error.Code != b.code || !strings.Contains(d.Error, b.says) || len(strings.Fields(d.Error)) < 5 {
				t.Errorf("failed with %q: %q; want %q and %q", j.Error.Code, d.Error, b.code, b.says)
			}
			if strings.Contains(d.Error, ".go") || strings.Contains(d.Error, "pdfium") || strings.Contains(d.Error, "panic") {
				t.Errorf("the reason shows our insides: %q", d.Error)
			}
			mustTell(t, c.follow(j.ID).all(time.Minute))
		})
	}
	if j := c.await(good.ID, time.Minute); j.Status != events.StatusSucceeded || j.Attempt != 1 {
		t.Errorf("the good document between them ended as %+v", j)
	}
	if !s.workers[ingestProgram].running() {
		t.Error("the ingest worker has ended")
	}
	s.db.verify()
}

// bigPDFWithoutText is a PDF of empty pages, as a scanner makes them.
func bigPDFWithoutText() file {
	return file{name: "scan.pdf", media: "application/pdf", data: writePDF([]string{
		"<< /Type /Catalog /Pages 2 0 R >>",
		"<< /Type /Pages /Count 1 /Kids [3 0 R] >>",
		"<< /Type /Page /Parent 2 0 R /MediaBox [0 0 595 842] >>",
	}, "")}
}

func TestForeignOrganizationsThingsDoNotExist(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{})
	owner, stranger := s.login(adminAcme), s.login(adminOther)
	doc := owner.upload(runbook(t))
	owner.await(doc.ID, time.Minute)
	conversation := owner.converse(agentAcme)
	message := owner.ask(conversation, "When is the secondary on-call engineer paged?")
	owner.await(message.ID, time.Minute)

	get := func(path string) request { return request{method: http.MethodGet, path: "/api/v1" + path} }
	post := func(path string, body any) request {
		return request{method: http.MethodPost, path: "/api/v1" + path, json: body}
	}
	for name, r := range map[string]request{
		"the document":                    get("/documents/" + doc.DocumentID),
		"the job":                         get("/jobs/" + doc.ID),
		"the job's events":                get("/jobs/" + doc.ID + "/events"),
		"the run's steps":                 get("/jobs/" + message.ID + "/steps"),
		"cancelling the job":              post("/jobs/"+doc.ID+"/cancel", map[string]any{}),
		"the agent":                       get("/agent-configs/" + agentAcme),
		"running the agent":               post("/agents/"+agentAcme+"/runs", map[string]string{"user_input": "x"}),
		"the conversation":                get("/conversations/" + conversation),
		"the conversation's messages":     get("/conversations/" + conversation + "/messages"),
		"writing in the conversation":     post("/conversations/"+conversation+"/messages", map[string]string{"content": "x"}),
		"a conversation with the agent":   post("/conversations", map[string]string{"agent_config_id": agentAcme}),
		"a conversation in their project": post("/conversations", map[string]string{"project_id": projectAcme}),
	} {
		t.Run(name, func(t *testing.T) {
			c := *stranger
			c.t = t
			foreign := c.send(r).wants(http.StatusNotFound).problem()
			missing := r
			for _, id := range []string{doc.DocumentID, doc.ID, message.ID, conversation, agentAcme, projectAcme} {
				missing.path = strings.ReplaceAll(missing.path, id, noSuchID)
			}
			if body, ok := missing.json.(map[string]string); ok {
				changed := map[string]string{}
				for key, value := range body {
					if strings.HasSuffix(key, "_id") {
						value = noSuchID
					}
					changed[key] = value
				}
				missing.json = changed
			}
			none := c.send(missing).wants(http.StatusNotFound).problem()
			if foreign.Code != none.Code || foreign.Detail != none.Detail {
				t.Errorf("what is foreign (%q) can be told from what does not exist (%q)", foreign.Detail, none.Detail)
			}
		})
	}
	t.Run("an upload into their project", func(t *testing.T) {
		c := *stranger
		c.t = t
		c.tryUpload(runbook(t), map[string]string{"project_id": projectAcme}).wants(http.StatusNotFound).problem()
	})
	t.Run("and are in no list", func(t *testing.T) {
		c := *stranger
		c.t = t
		for _, path := range []string{"/documents", "/jobs", "/conversations"} {
			var all page[json.RawMessage]
			if c.get("/api/v1" + path).wants(http.StatusOK).into(&all); len(all.Data) != 0 {
				t.Errorf("%s lists %s", path, all.Data)
			}
		}
	})
	s.db.verify()
}

func TestLoginTellsNobodyWhoHasAnAccount(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{without: []string{agentProgram, ingestProgram, embeddingProgram}})
	c := s.client()
	// Times are compared as medians of interleaved tries, because the machine does other things too.
	const tries = 5
	var known, unknown []time.Duration
	for range tries {
		a := c.post("/api/v1/auth/login", map[string]string{"username": memberAcme, "password": "not this one"}).wants(401)
		b := c.post("/api/v1/auth/login", map[string]string{"username": "nobody@acme.com", "password": "not this one"}).wants(401)
		known, unknown = append(known, a.took), append(unknown, b.took)
		if one, other := withoutID(t, a), withoutID(t, b); one != other {
			t.Fatalf("a known account answers %s, an unknown one %s", one, other)
		}
	}
	t.Run("and lets nobody guess for long", func(t *testing.T) {
		strict := s.clientOf(s.startGateway(map[string]string{"LOGINS_PER_ACCOUNT": "1"}))
		strict.t = t
		var got answer
		for range 4 {
			got = strict.post("/api/v1/auth/login", map[string]string{"username": s.name, "password": "not this one"})
		}
		p := got.wants(http.StatusTooManyRequests).problem()
		if seconds, err := strconv.Atoi(got.header.Get("Retry-After")); err != nil || seconds < 1 || seconds > 120 {
			t.Errorf("Retry-After is %q: %+v", got.header.Get("Retry-After"), p)
		}
	})
	slices.Sort(known)
	slices.Sort(unknown)
	if a, b := known[tries/2], unknown[tries/2]; a > 3*b || b > 3*a {
		t.Errorf("a wrong password takes %s, an unknown account %s", a, b)
	}
}

// withoutID is a problem's body without the id of its request.
func withoutID(t *testing.T, a answer) string {
	t.Helper()
	p := a.problem()
	return strings.ReplaceAll(string(a.body), p.RequestID, "")
}

// forge changes a token and signs it with the secret.
func forge(t *testing.T, token, secret string, change func(header, claims map[string]any)) string {
	t.Helper()
	header, claims := decodeToken(t, token)
	if change != nil {
		change(header, claims)
	}
	signed := encodeToken(t, header, claims)
	mac := hmac.New(sha256.New, []byte(secret))
	mac.Write([]byte(signed))
	return signed + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil))
}

// unsigned is a token that says it needs no signature.
func unsigned(t *testing.T, token string) string {
	t.Helper()
	header, claims := decodeToken(t, token)
	header["alg"] = "none"
	return encodeToken(t, header, claims) + "."
}

func decodeToken(t *testing.T, token string) (header, claims map[string]any) {
	t.Helper()
	parts := strings.Split(token, ".")
	if len(parts) != 3 {
		t.Fatalf("the access token has %d parts, want three", len(parts))
	}
	for i, into := range []*map[string]any{&header, &claims} {
		data, err := base64.RawURLEncoding.DecodeString(parts[i])
		if err == nil {
			err = json.Unmarshal(data, into)
		}
		if err != nil {
			t.Fatalf("read the access token: %v", err)
		}
	}
	return header, claims
}

func encodeToken(t *testing.T, header, claims map[string]any) string {
	t.Helper()
	var parts []string
	for _, part := range []map[string]any{header, claims} {
		data, err := json.Marshal(part)
		if err != nil {
			t.Fatal(err)
		}
		parts = append(parts, base64.RawURLEncoding.EncodeToString(data))
	}
	return fmt.Sprintf("%s.%s", parts[0], parts[1])
}
