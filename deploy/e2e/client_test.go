package e2e_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	copilot "github.com/tarento/copilot/gateway/client"
)

// client calls the API as an outside program would. What everybody does goes through the Go client; send is for what no decent
// client does, and for a look at the bare answer. Its calls fail the test when there is no answer; what the answer is, the test says.
type client struct {
	t     *testing.T
	base  string
	http  *http.Client
	token string
}

// request is one call. Of JSON and Body at most one is set.
type request struct {
	method, path string
	json         any
	body         io.Reader
	// length is announced for a body whose reader does not tell; zero announces none.
	length int64
	header map[string]string
}

// answer is what came back, read whole.
type answer struct {
	t      *testing.T
	what   string
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

// problem is an error as RFC 9457 puts it.
type problem struct {
	Type      string `json:"type"`
	Title     string `json:"title"`
	Status    int    `json:"status"`
	Detail    string `json:"detail"`
	Code      string `json:"code"`
	RequestID string `json:"request_id"`
	Errors    []struct {
		Location string `json:"location"`
		Message  string `json:"message"`
	} `json:"errors"`
}

// job is a job as the API shows it.
type job struct {
	ID         string           `json:"id"`
	Kind       events.Kind      `json:"kind"`
	Status     events.Status    `json:"status"`
	WaitingOn  events.WaitingOn `json:"waiting_on"`
	Attempt    int              `json:"attempt"`
	Dead       bool             `json:"dead"`
	Result     json.RawMessage  `json:"result"`
	Error      *events.Failure  `json:"error"`
	DocumentID string           `json:"document_id"`
	FinishedAt *time.Time       `json:"finished_at"`
}

// document is a document as the API shows it.
type document struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Status string `json:"processing_status"`
	Error  string `json:"processing_error"`
}

// message is a message of a conversation.
type message struct {
	ID       string `json:"id"`
	Role     string `json:"role"`
	Content  string `json:"content"`
	Metadata struct {
		JobID     string            `json:"job_id"`
		Citations []events.Citation `json:"citations"`
	} `json:"msg_metadata"`
}

// page is a collection's answer.
type page[T any] struct {
	Data []T `json:"data"`
}

// send makes the call.
func (c *client) send(r request) answer {
	c.t.Helper()
	got, err := c.try(r)
	if err != nil {
		c.t.Fatal(err)
	}
	return got
}

// try is send for calls that may find nobody.
func (c *client) try(r request) (answer, error) {
	body := r.body
	if r.json != nil {
		encoded, err := json.Marshal(r.json)
		if err != nil {
			return answer{}, err
		}
		body = bytes.NewReader(encoded)
	}
	req, err := http.NewRequestWithContext(c.t.Context(), r.method, c.base+r.path, body)
	if err != nil {
		return answer{}, err
	}
	if r.length > 0 {
		req.ContentLength = r.length
	}
	if r.json != nil {
		req.Header.Set("Content-Type", "application/json")
	}
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	for name, value := range r.header {
		req.Header.Set(name, value)
	}
	start := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, err
	}
	defer func() { _ = resp.Body.Close() }()
	read, err := io.ReadAll(resp.Body)
	if err != nil {
		return answer{}, fmt.Errorf("read the answer to %s %s: %w", r.method, r.path, err)
	}
	return answer{
		t: c.t, what: r.method + " " + r.path, status: resp.StatusCode, header: resp.Header, body: read, took: time.Since(start),
	}, nil
}

// wants fails the test unless the answer has the status.
func (a answer) wants(status int) answer {
	a.t.Helper()
	if a.status != status {
		a.t.Fatalf("%s: status %d, want %d: %s", a.what, a.status, status, a.body)
	}
	return a
}

// problem reads the answer as a problem document and checks what every one must have: the right media type and status, words for
// people, a code for programs, the id that finds it in the logs, and nothing of our insides.
func (a answer) problem() problem {
	a.t.Helper()
	var p problem
	if media, _, _ := mime.ParseMediaType(a.header.Get("Content-Type")); media != "application/problem+json" {
		a.t.Fatalf("%s: a %d of type %q, want a problem document: %s", a.what, a.status, a.header.Get("Content-Type"), a.body)
	}
	if err := json.Unmarshal(a.body, &p); err != nil {
		a.t.Fatalf("%s: read the problem: %v: %s", a.what, err, a.body)
	}
	if p.Status != a.status || p.Type == "" || p.Title == "" || p.Code == "" || p.RequestID == "" {
		a.t.Errorf("%s: an incomplete problem for status %d: %s", a.what, a.status, a.body)
	}
	if len(strings.Fields(p.Detail)) < 3 {
		a.t.Errorf("%s: the detail %q tells nobody what to do", a.what, p.Detail)
	}
	for _, inside := range []string{"goroutine", ".go:", "SQLSTATE", "SELECT ", "INSERT ", "pgx", "panic", password} {
		if strings.Contains(string(a.body), inside) {
			a.t.Errorf("%s: the problem shows %q: %s", a.what, inside, a.body)
		}
	}
	return p
}

// into decodes the answer.
func (a answer) into(v any) answer {
	a.t.Helper()
	if err := json.Unmarshal(a.body, v); err != nil {
		a.t.Fatalf("%s: read the answer: %v: %s", a.what, err, a.body)
	}
	return a
}

func (c *client) get(path string) answer {
	c.t.Helper()
	return c.send(request{method: http.MethodGet, path: path})
}

func (c *client) post(path string, in any) answer {
	c.t.Helper()
	return c.send(request{method: http.MethodPost, path: path, json: in})
}

// api is the Go client with the same token. It repeats nothing: a test wants to see what happens the first time.
func (c *client) api() *copilot.Client {
	c.t.Helper()
	api, err := copilot.New(c.base, copilot.WithHTTPClient(c.http), copilot.WithRetries(0),
		copilot.WithTokens(copilot.Tokens{AccessToken: c.token}))
	if err != nil {
		c.t.Fatal(err)
	}
	return api
}

// got is what a call of the Go client has answered, in the words of the contract. An error fails the test.
func got[T, A any](t *testing.T, answer A, err error) (v T) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	text, err := json.Marshal(answer)
	if err == nil {
		err = json.Unmarshal(text, &v)
	}
	if err != nil {
		t.Fatalf("read the answer %+v: %v", answer, err)
	}
	return v
}

// login makes all later calls those of the account.
func (c *client) login(email string) {
	c.t.Helper()
	in, err := c.api().Login(c.t.Context(), copilot.Credentials{Username: email, Password: password})
	if err != nil {
		c.t.Fatal(err)
	}
	if in.Tokens.AccessToken == "" {
		c.t.Fatal("the answer to the login holds no access token")
	}
	c.token = in.Tokens.AccessToken
}

// file is something to upload.
type file struct {
	name, media string
	data        []byte
}

// form builds an upload's multipart body.
func (f file) form(t *testing.T, fields map[string]string) (body *bytes.Buffer, contentType string) {
	t.Helper()
	body = new(bytes.Buffer)
	form := multipart.NewWriter(body)
	for name, value := range fields {
		if err := form.WriteField(name, value); err != nil {
			t.Fatal(err)
		}
	}
	part, err := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {mime.FormatMediaType("form-data", map[string]string{"name": "file", "filename": f.name})},
		"Content-Type":        {f.media},
	})
	if err != nil {
		t.Fatal(err)
	}
	if _, err := part.Write(f.data); err != nil {
		t.Fatal(err)
	}
	if err := form.Close(); err != nil {
		t.Fatal(err)
	}
	return body, form.FormDataContentType()
}

// tryUpload sends a file and returns the answer.
func (c *client) tryUpload(f file, fields map[string]string) answer {
	c.t.Helper()
	body, contentType := f.form(c.t, fields)
	return c.send(request{
		method: http.MethodPost, path: "/api/v1/documents/upload", body: body, header: map[string]string{"Content-Type": contentType},
	})
}

// upload sends a file under its name as the title and returns the job that ingests it.
func (c *client) upload(f file) job {
	c.t.Helper()
	accepted, err := c.api().UploadDocument(c.t.Context(), copilot.UploadDocumentForm{
		File: copilot.File{Name: f.name, ContentType: f.media, Content: bytes.NewReader(f.data)}, Title: f.name,
	})
	j := got[job](c.t, accepted, err)
	if j.ID == "" || j.DocumentID == "" {
		c.t.Fatalf("the upload of %s answers with the job %+v, want one with an id and its document's", f.name, j)
	}
	return j
}

// embed submits texts and returns the job.
func (c *client) embed(texts ...string) job {
	c.t.Helper()
	accepted, err := c.api().CreateEmbeddings(c.t.Context(), copilot.NewEmbeddings{Texts: texts})
	return got[job](c.t, accepted, err)
}

// run starts a run of the agent outside a conversation.
func (c *client) run(agent, input string) job {
	c.t.Helper()
	accepted, err := c.api().RunAgent(c.t.Context(), agent, copilot.NewRun{UserInput: input})
	return got[job](c.t, accepted, err)
}

// converse opens a conversation with the agent and returns its id.
func (c *client) converse(agent string) string {
	c.t.Helper()
	made, err := c.api().CreateConversation(c.t.Context(), copilot.NewConversation{AgentConfigID: &agent, Title: "A test"})
	if err != nil {
		c.t.Fatal(err)
	}
	return made.ID
}

// ask posts a user message and returns the job that answers it.
func (c *client) ask(conversation, text string) job {
	c.t.Helper()
	accepted, err := c.api().CreateMessage(c.t.Context(), conversation, copilot.NewMessage{Content: text})
	if err == nil && accepted.Job == nil {
		c.t.Fatalf("the message is kept and nobody answers it: %+v", accepted.Message)
	}
	if err != nil {
		c.t.Fatal(err)
	}
	return got[job](c.t, accepted.Job, nil)
}

// messages lists a conversation's messages, oldest first.
func (c *client) messages(conversation string) (all []message) {
	c.t.Helper()
	for m, err := range c.api().AllMessages(c.t.Context(), conversation, copilot.ListMessagesParams{}) {
		all = append(all, got[message](c.t, m, err))
	}
	return all
}

// job reads a job.
func (c *client) job(id string) job {
	c.t.Helper()
	read, err := c.api().GetJob(c.t.Context(), id)
	return got[job](c.t, read, err)
}

// await reads a job until it has ended.
func (c *client) await(id string, within time.Duration) job {
	c.t.Helper()
	var j job
	eventually(c.t, within, "job "+id+" has ended", func() (bool, string) {
		j = c.job(id)
		return j.Status.Terminal(), fmt.Sprintf("%s %s, attempt %d", j.Status, j.WaitingOn, j.Attempt)
	})
	return j
}

// document reads a document.
func (c *client) document(id string) document {
	c.t.Helper()
	read, err := c.api().GetDocument(c.t.Context(), id)
	return got[document](c.t, read, err)
}

// search finds passages.
func (c *client) search(query string) []events.SearchHit {
	c.t.Helper()
	found, err := c.api().SearchDocuments(c.t.Context(), copilot.Query{Query: query, Limit: 5})
	return got[page[events.SearchHit]](c.t, found, err).Data
}

// runResult reads the result of a run that succeeded.
func runResult(t *testing.T, j job) events.AgentRunResult {
	t.Helper()
	var r events.AgentRunResult
	if j.Status != events.StatusSucceeded {
		t.Fatalf("job %s is %s: %+v", j.ID, j.Status, j.Error)
	}
	if err := json.Unmarshal(j.Result, &r); err != nil {
		t.Fatalf("read the result of job %s: %v", j.ID, err)
	}
	return r
}

func readAll(t *testing.T, r io.Reader) string {
	t.Helper()
	text, err := io.ReadAll(r)
	if err != nil {
		t.Fatal(err)
	}
	return string(text)
}
