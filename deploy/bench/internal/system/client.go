package system

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime/multipart"
	"net/http"
	"net/url"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tarento/copilot/events"
)

// Client speaks to a gateway as one user. It is safe for concurrent use.
type Client struct {
	// Address is the gateway's host and port.
	Address string
	// Token is the user's access token.
	Token string

	http *http.Client
}

// The paths of the API that are measured.
const (
	PathEmbeddings = "/api/v1/embeddings"
	PathAgents     = "/api/v1/agent-configs"
	PathLogin      = "/api/v1/auth/login"

	pathAgents        = "/api/v1/agents/"
	pathUpload        = "/api/v1/documents/upload"
	pathConversations = "/api/v1/conversations"
	pathJobs          = "/api/v1/jobs/"
)

// PathRuns is where an agent is asked to run.
func PathRuns(agent string) string { return pathAgents + agent + "/runs" }

// PathEvents is where a job is followed.
func PathEvents(job string) string { return pathJobs + job + "/events" }

// Job is a job as the API shows it.
type Job struct {
	ID     string          `json:"id"`
	Status events.Status   `json:"status"`
	Result json.RawMessage `json:"result"`
	Error  *events.Failure `json:"error"`
}

// Succeeded returns an error that says how it stands with a job that did not succeed.
func (j Job) Succeeded() error {
	switch {
	case j.Status == events.StatusSucceeded:
		return nil
	case j.Error != nil:
		return fmt.Errorf("job %s is %s: %s (%s)", j.ID, j.Status, j.Error.Message, j.Error.Code)
	default:
		return fmt.Errorf("job %s is %s", j.ID, j.Status)
	}
}

func (c *Client) login(ctx context.Context, username, password string) error {
	var out struct {
		Tokens struct {
			AccessToken string `json:"access_token"`
		} `json:"tokens"`
	}
	if err := c.post(ctx, PathLogin, map[string]string{"username": username, "password": password}, &out); err != nil {
		return err
	}
	c.Token = out.Tokens.AccessToken
	return nil
}

// Upload hands a file in to be ingested and returns the job that does it.
func (c *Client) Upload(ctx context.Context, path string, data []byte) (Job, error) {
	var body bytes.Buffer
	form := multipart.NewWriter(&body)
	part, err := form.CreateFormFile("file", filepath.Base(path))
	if err != nil {
		return Job{}, fmt.Errorf("write form: %w", err)
	}
	_, err = part.Write(data)
	if err := errors.Join(err, form.WriteField("title", filepath.Base(path)), form.Close()); err != nil {
		return Job{}, fmt.Errorf("write form: %w", err)
	}
	var j Job
	err = c.do(ctx, http.MethodPost, pathUpload, &body, http.Header{"Content-Type": {form.FormDataContentType()}}, &j)
	return j, err
}

// Converse opens a conversation with the first agent there is and returns its id.
func (c *Client) Converse(ctx context.Context) (string, error) {
	var agents struct {
		Data []struct {
			ID        string  `json:"id"`
			ProjectID *string `json:"project_id,omitempty"`
		} `json:"data"`
	}
	if err := c.do(ctx, http.MethodGet, PathAgents, nil, nil, &agents); err != nil {
		return "", err
	}
	if len(agents.Data) == 0 {
		return "", errors.New("there is no agent")
	}
	in := map[string]any{"agent_config_id": agents.Data[0].ID, "title": "Measured"}
	if project := agents.Data[0].ProjectID; project != nil {
		in["project_id"] = *project
	}
	var out struct {
		ID string `json:"id"`
	}
	err := c.post(ctx, pathConversations, in, &out)
	return out.ID, err
}

// Ask writes a message and returns the job that answers it.
func (c *Client) Ask(ctx context.Context, conversation, text string) (Job, error) {
	var j Job
	err := c.post(ctx, pathConversations+"/"+url.PathEscape(conversation)+"/messages", map[string]string{"content": text}, &j)
	return j, err
}

// Await returns a job when it has ended. The error says so when it did not succeed.
func (c *Client) Await(ctx context.Context, j Job) (Job, error) {
	const hold = "?wait=30"
	for !j.Status.Terminal() {
		if err := c.do(ctx, http.MethodGet, pathJobs+url.PathEscape(j.ID)+hold, nil, nil, &j); err != nil {
			return j, err
		}
	}
	return j, j.Succeeded()
}

// Run posts to a path, of this gateway or of another server that takes the same token, and holds the request until the job that it
// makes has ended, for so long at most. A job that has not succeeded by then is an error.
func (c *Client) Run(ctx context.Context, address, path string, body []byte, within time.Duration) error {
	header := http.Header{"Content-Type": {"application/json"}, "Prefer": {"wait=" + strconv.Itoa(int(within.Seconds()))}}
	var j Job
	other := Client{Address: address, Token: c.Token, http: c.http}
	if err := other.do(ctx, http.MethodPost, path, bytes.NewReader(body), header, &j); err != nil {
		return err
	}
	return j.Succeeded()
}

// Get decodes what a path answers, of this gateway or of another server that takes the same token. Another status than a success
// is a *StatusError.
func (c *Client) Get(ctx context.Context, address, path string, out any) error {
	other := Client{Address: address, Token: c.Token, http: c.http}
	return other.do(ctx, http.MethodGet, path, nil, nil, out)
}

// StatusError is an answer that is no success.
type StatusError struct {
	// Status is the answer's.
	Status int
	// Request is what was asked, Text what was answered.
	Request, Text string
}

// Error implements error.
func (e *StatusError) Error() string {
	return fmt.Sprintf("%s: %d %s: %s", e.Request, e.Status, http.StatusText(e.Status), e.Text)
}

func (c *Client) post(ctx context.Context, path string, in, out any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("POST %s: encode: %w", path, err)
	}
	return c.do(ctx, http.MethodPost, path, bytes.NewReader(body), http.Header{"Content-Type": {"application/json"}}, out)
}

// do sends one request and decodes the answer, which must be a success.
func (c *Client) do(ctx context.Context, method, path string, body io.Reader, header http.Header, out any) error {
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, body)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	if header != nil {
		req.Header = header
	}
	if c.Token != "" {
		req.Header.Set("Authorization", "Bearer "+c.Token)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return fmt.Errorf("%s %s: %w", method, path, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(resp.Body)
	if err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	if resp.StatusCode/100 != 2 {
		return &StatusError{Status: resp.StatusCode, Request: method + " " + path, Text: string(text)}
	}
	if err := json.Unmarshal(text, out); err != nil {
		return fmt.Errorf("%s %s: read the answer: %w", method, path, err)
	}
	return nil
}
