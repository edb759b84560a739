package tour

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/textproto"
	"net/url"
	"strings"
	"time"

	"github.com/tarento/copilot/events"
)

// maxBodyBytes bounds what is read of one JSON answer.
const maxBodyBytes = 16 << 20

// client calls the public REST API. Set token after the login; everything else is fixed at the start.
type client struct {
	base    string // without a slash at the end
	http    *http.Client
	token   string
	timeout time.Duration // for one call; streams are not bounded by it
	silence time.Duration // after which a stream without a byte counts as cut
}

// apiError is an answer that is not a success, as RFC 9457 puts it.
type apiError struct {
	Method string `json:"-"`
	Path   string `json:"-"`
	Status int    `json:"-"`
	Title  string `json:"title"`
	Detail string `json:"detail"`
	Fields []struct {
		Location string `json:"location"`
		Path     string `json:"path"`
		Message  string `json:"message"`
	} `json:"errors"`
	RequestID string `json:"request_id"`
}

// Error names the call, the status and what the server says about it.
func (e *apiError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %d %s", e.Method, e.Path, e.Status, http.StatusText(e.Status))
	if e.Detail != "" {
		b.WriteString(": " + e.Detail)
	} else if e.Title != "" && e.Title != http.StatusText(e.Status) {
		b.WriteString(": " + e.Title)
	}
	for _, f := range e.Fields {
		fmt.Fprintf(&b, "; %s%s: %s", f.Path, f.Location, f.Message)
	}
	if e.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", e.RequestID)
	}
	return b.String()
}

// account is who is logged in.
type account struct {
	Email    string `json:"email"`
	FullName string `json:"full_name"`
}

// storedDocument is a document as the API shows it.
type storedDocument struct {
	ID     string `json:"id"`
	Title  string `json:"title"`
	Size   int64  `json:"file_size"`
	Status string `json:"processing_status"`
}

// agent is an agent configuration.
type agent struct {
	ID        string  `json:"id"`
	Name      string  `json:"name"`
	ProjectID *string `json:"project_id"`
}

// job is a job as the API shows it. Result holds what its kind promises once the status is succeeded.
type job struct {
	ID     string          `json:"id"`
	Kind   events.Kind     `json:"kind"`
	Status events.Status   `json:"status"`
	Result json.RawMessage `json:"result"`
	Error  *events.Failure `json:"error"`
}

// failure is nil for a job that succeeded, and otherwise says why it did not.
func (j job) failure() error {
	if j.Status == events.StatusSucceeded {
		return nil
	}
	if j.Error == nil {
		return fmt.Errorf("job %s (%s) is %s, without a reason", j.ID, j.Kind, j.Status)
	}
	return fmt.Errorf("job %s (%s) is %s: %s (%s)", j.ID, j.Kind, j.Status, j.Error.Message, j.Error.Code)
}

// page is a collection's answer.
type page[T any] struct {
	Data []T `json:"data"`
}

// login exchanges the credentials for an access token, which all later calls carry.
func (c *client) login(ctx context.Context, identifier, password string) (account, error) {
	in := map[string]string{"username": identifier, "password": password}
	var out struct {
		User   account `json:"user"`
		Tokens struct {
			AccessToken string `json:"access_token"`
		} `json:"tokens"`
	}
	if err := c.post(ctx, "/api/v1/auth/login", in, &out); err != nil {
		return account{}, err
	}
	if out.Tokens.AccessToken == "" {
		return account{}, errors.New("the answer to the login holds no access token")
	}
	c.token = out.Tokens.AccessToken
	return out.User, nil
}

// documentsTitled lists the documents of exactly this title, newest first or in the server's order.
func (c *client) documentsTitled(ctx context.Context, title string) ([]storedDocument, error) {
	var all page[storedDocument]
	if err := c.get(ctx, "/api/v1/documents?"+url.Values{"search": {title}}.Encode(), &all); err != nil {
		return nil, err
	}
	var same []storedDocument
	for _, d := range all.Data {
		if d.Title == title {
			same = append(same, d)
		}
	}
	return same, nil
}

// document reads one document.
func (c *client) document(ctx context.Context, id string) (storedDocument, error) {
	var d storedDocument
	err := c.get(ctx, "/api/v1/documents/"+url.PathEscape(id), &d)
	return d, err
}

// upload submits a document and returns the job that ingests it.
func (c *client) upload(ctx context.Context, d document) (job, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	err := errors.Join(form.WriteField("title", d.Title), form.WriteField("tags", "tour"))
	part, partErr := form.CreatePart(textproto.MIMEHeader{
		"Content-Disposition": {mime.FormatMediaType("form-data", map[string]string{"name": "file", "filename": d.File})},
		"Content-Type":        {d.Type},
	})
	if err = errors.Join(err, partErr); err != nil {
		return job{}, fmt.Errorf("write form: %w", err)
	}
	_, err = part.Write(d.Data)
	if err = errors.Join(err, form.Close()); err != nil {
		return job{}, fmt.Errorf("write form: %w", err)
	}
	var j job
	err = c.do(ctx, http.MethodPost, "/api/v1/documents/upload", &body, form.FormDataContentType(), &j)
	return j, err
}

// agentNamed finds an agent by its name.
func (c *client) agentNamed(ctx context.Context, name string) (agent, error) {
	var all page[agent]
	if err := c.get(ctx, "/api/v1/agent-configs?"+url.Values{"search": {name}}.Encode(), &all); err != nil {
		return agent{}, err
	}
	for _, a := range all.Data {
		if a.Name == name {
			return a, nil
		}
	}
	return agent{}, fmt.Errorf("there is no agent %q; has the database been seeded?", name)
}

// startConversation opens a conversation with the agent and returns its id.
func (c *client) startConversation(ctx context.Context, a agent, title string) (string, error) {
	in := struct {
		AgentConfigID string  `json:"agent_config_id"`
		ProjectID     *string `json:"project_id,omitempty"`
		Title         string  `json:"title"`
	}{a.ID, a.ProjectID, title}
	var out struct {
		ID string `json:"id"`
	}
	if err := c.post(ctx, "/api/v1/conversations", in, &out); err != nil {
		return "", err
	}
	return out.ID, nil
}

// ask posts a user message and returns the job that answers it.
func (c *client) ask(ctx context.Context, conversationID, text string) (job, error) {
	var j job
	path := "/api/v1/conversations/" + url.PathEscape(conversationID) + "/messages"
	err := c.post(ctx, path, map[string]string{"content": text}, &j)
	return j, err
}

// job reads one job.
func (c *client) job(ctx context.Context, id string) (job, error) {
	var j job
	err := c.get(ctx, "/api/v1/jobs/"+url.PathEscape(id), &j)
	return j, err
}

func (c *client) get(ctx context.Context, path string, out any) error {
	return c.do(ctx, http.MethodGet, path, nil, "", out)
}

func (c *client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("POST %s: encode request: %w", path, err)
	}
	return c.do(ctx, http.MethodPost, path, bytes.NewReader(body), "application/json", out)
}

// do sends one request and decodes the answer into out. An answer that is not a success is an *apiError.
func (c *client) do(ctx context.Context, method, path string, body io.Reader, contentType string, out any) error {
	ctx, cancel := context.WithTimeoutCause(ctx, c.timeout,
		fmt.Errorf("no answer within %s: %w", c.timeout, context.DeadlineExceeded))
	defer cancel()
	header := http.Header{"Accept": {"application/json"}}
	if contentType != "" {
		header.Set("Content-Type", contentType)
	}
	resp, err := c.send(ctx, method, path, body, header)
	if err != nil {
		return err
	}
	defer resp.Body.Close()
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxBodyBytes)).Decode(out); err != nil {
		if cause := context.Cause(ctx); cause != nil {
			err = cause
		}
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}

// send returns the answer when it is a success; the caller closes its body.
func (c *client) send(ctx context.Context, method, path string, body io.Reader, header http.Header) (*http.Response, error) {
	req, err := http.NewRequestWithContext(ctx, method, c.base+path, body)
	if err != nil {
		return nil, fmt.Errorf("%s %s: %w", method, path, err)
	}
	req.Header = header
	if c.token != "" {
		req.Header.Set("Authorization", "Bearer "+c.token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, c.unreachable(ctx, method, path, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, nil
	}
	defer resp.Body.Close()
	problem := &apiError{}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media == "application/problem+json" {
		// A problem that cannot be read leaves the status, which says enough.
		_ = json.NewDecoder(io.LimitReader(resp.Body, maxBodyBytes)).Decode(problem)
	}
	problem.Method, problem.Path, problem.Status = method, path, resp.StatusCode
	return nil, problem
}

// errUnreachable marks a call that got no answer.
var errUnreachable = errors.New("no answer from the gateway")

// unreachable explains why a call got no answer: the caller gave up, the time ran out, or nobody listens.
func (c *client) unreachable(ctx context.Context, method, path string, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s %s: %w", method, path, cause)
	}
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		err = urlErr.Err // without the method and the address, which are said already
	}
	return fmt.Errorf("%s %s: %w at %s: %w", method, path, errUnreachable, c.base, err)
}
