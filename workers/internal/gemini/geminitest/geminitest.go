// Package geminitest lets a test of this module use, script and observe the local stand-in for Gemini that `make test` starts.
// Every test has a session of its own there, made by a key of its own, so tests run in parallel.
//
//	model := geminitest.Open(t)
//	model.Script(t, geminitest.Say("Hello"), geminitest.Fail(503))
//	client := model.Client(t)
package geminitest

import (
	"bytes"
	"crypto/rand"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/workers/internal/gemini"
)

// Standin is one test's session at the stand-in. Unscripted it embeds by words and answers by quoting what the tool
// search_documents returns.
type Standin struct {
	// URL and Key configure whatever is to use the session.
	URL, Key string
}

// Open begins a session. The test fails when there is no stand-in.
func Open(tb testing.TB) *Standin {
	tb.Helper()
	url := strings.TrimRight(os.Getenv("TEST_GEMINI_URL"), "/")
	if url == "" {
		tb.Fatal("TEST_GEMINI_URL is not set: run through make test, which starts the stand-in for Gemini")
	}
	return &Standin{URL: url, Key: "test-" + rand.Text()}
}

// Config returns what a client of the session is made with.
func (s *Standin) Config() gemini.Config { return gemini.Config{APIKey: s.Key, BaseURL: s.URL} }

// Client returns a client of the session, which is closed with the test.
func (s *Standin) Client(tb testing.TB) *gemini.Client {
	tb.Helper()
	client, err := gemini.New(tb.Context(), s.Config())
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(client.Close)
	return client
}

// Step is one scripted reaction; the zero value of a field leaves it out. The fields mean what they mean in
// deploy/devstack/geminilocal.Step.
type Step struct {
	Endpoint   string   `json:"endpoint,omitempty"`   // "generate", "embed" or a method; empty is any
	Model      string   `json:"model,omitempty"`      // the only model it applies to
	Contains   string   `json:"contains,omitempty"`   // a text that the prompt must have
	Repeat     int      `json:"repeat,omitempty"`     // how many calls it answers; negative is all
	Delay      Duration `json:"delay,omitzero"`       // before the first byte
	ChunkDelay Duration `json:"chunk_delay,omitzero"` // before each further chunk
	Parts      []Part   `json:"parts,omitempty"`      // the answer, one chunk each
	Finish     string   `json:"finish,omitempty"`     // the finishReason, as in "MAX_TOKENS"
	Blocked    string   `json:"blocked,omitempty"`    // the blockReason of a refused prompt
	Usage      *Usage   `json:"usage,omitempty"`
	Cut        *Cut     `json:"cut,omitempty"`
	Error      *Error   `json:"error,omitempty"`
}

// Part is a piece of an answer; exactly one field is set.
type Part struct {
	Text    string `json:"text,omitempty"`
	Thought string `json:"thought,omitempty"`
	Call    *Call  `json:"call,omitempty"`
}

// Call is a function call; it gets an id unless it has one or must have none.
type Call struct {
	ID   string         `json:"id,omitempty"`
	Name string         `json:"name"`
	Args map[string]any `json:"args,omitempty"`
	NoID bool           `json:"no_id,omitempty"`
}

// Usage is the cost to report, in tokens.
type Usage struct {
	Prompt   int `json:"prompt,omitempty"`
	Cached   int `json:"cached,omitempty"`
	Output   int `json:"output,omitempty"`
	Thoughts int `json:"thoughts,omitempty"`
}

// Cut breaks the connection after a number of chunks, or ends the stream there as if it were complete.
type Cut struct {
	After int  `json:"after"`
	Clean bool `json:"clean,omitempty"`
}

// Error is a refusal with an HTTP status, after a number of chunks.
type Error struct {
	Code       int      `json:"code"`
	Message    string   `json:"message,omitempty"`
	Reason     string   `json:"reason,omitempty"`
	RetryAfter Duration `json:"retry_after,omitzero"`
	After      int      `json:"after,omitempty"`
}

// Duration is a time.Duration that is sent as "1.5s".
type Duration time.Duration

// MarshalJSON writes the duration as a string.
func (d Duration) MarshalJSON() ([]byte, error) { return json.Marshal(time.Duration(d).String()) }

// Say answers with the pieces, one chunk each.
func Say(pieces ...string) Step {
	var step Step
	for _, piece := range pieces {
		step.Parts = append(step.Parts, Part{Text: piece})
	}
	return step
}

// CallTool answers with a call of one tool.
func CallTool(name string, args map[string]any) Step {
	return Step{Parts: []Part{{Call: &Call{Name: name, Args: args}}}}
}

// Fail answers with an HTTP status of 400 or more.
func Fail(status int) Step { return Step{Error: &Error{Code: status}} }

// Limit answers 429 and asks to be left alone for a while.
func Limit(retryAfter time.Duration) Step {
	return Step{Error: &Error{Code: http.StatusTooManyRequests, RetryAfter: Duration(retryAfter)}}
}

// Script appends steps to what the session is to do.
func (s *Standin) Script(tb testing.TB, steps ...Step) {
	tb.Helper()
	s.admin(tb, http.MethodPost, "/admin/script", map[string]any{"steps": steps}, nil)
}

// Forget empties the script: from now on the session does what it does unscripted.
func (s *Standin) Forget(tb testing.TB) {
	tb.Helper()
	s.admin(tb, http.MethodDelete, "/admin/script", nil, nil)
}

// Latency slows every call and every chunk of the session down.
func (s *Standin) Latency(tb testing.TB, call, chunk time.Duration) {
	tb.Helper()
	s.admin(tb, http.MethodPut, "/admin/latency", map[string]Duration{"call": Duration(call), "chunk": Duration(chunk)}, nil)
}

// Calls is what the session got.
type Calls struct {
	Total    int            `json:"total"`   // all calls
	Counts   map[string]int `json:"counts"`  // by method, such as "streamGenerateContent" and "batchEmbedContents"
	Pending  int            `json:"pending"` // steps not used yet
	Requests []Recorded     `json:"requests"`
}

// Recorded is one call as it arrived.
type Recorded struct {
	Endpoint string          `json:"endpoint"`
	Model    string          `json:"model"`
	Scripted bool            `json:"scripted"`
	Request  json.RawMessage `json:"request"`
}

// Calls returns what the session got so far.
func (s *Standin) Calls(tb testing.TB) Calls {
	tb.Helper()
	var calls Calls
	s.admin(tb, http.MethodGet, "/admin/calls", nil, &calls)
	return calls
}

// admin sends one request to the stand-in's admin endpoints, over a connection of its own so that nothing outlives the test.
func (s *Standin) admin(tb testing.TB, method, path string, in, out any) {
	tb.Helper()
	if err := s.send(tb, method, path, in, out); err != nil {
		tb.Fatalf("%s %s at the stand-in for Gemini: %v", method, path, err)
	}
}

func (s *Standin) send(tb testing.TB, method, path string, in, out any) error {
	tb.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		return err
	}
	request, err := http.NewRequestWithContext(tb.Context(), method, s.URL+path, bytes.NewReader(body))
	if err != nil {
		return err
	}
	request.Header.Set("X-Goog-Api-Key", s.Key)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return err
	}
	defer func() { _ = response.Body.Close() }()
	answer, err := io.ReadAll(response.Body)
	if err != nil {
		return err
	}
	if response.StatusCode >= http.StatusBadRequest {
		return fmt.Errorf("%s: %s", response.Status, answer)
	}
	if out == nil {
		return nil
	}
	return json.Unmarshal(answer, out)
}
