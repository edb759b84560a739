package e2e_test

import (
	"bytes"
	"encoding/json"
	"net/http"
	"strings"
	"testing"

	"github.com/tarento/copilot/events"
)

// standIn steers the local stand-in for Gemini. Each stack has an API key of its own, which is a session there: a queue of
// scripted answers and counters that no other test sees.
type standIn struct {
	t         *testing.T
	base, key string
	http      *http.Client
}

// step is one scripted reaction; the stand-in's documentation says what the fields mean.
type step struct {
	Endpoint   string `json:"endpoint,omitempty"`
	Contains   string `json:"contains,omitempty"`
	Repeat     int    `json:"repeat,omitempty"`
	Delay      string `json:"delay,omitempty"`
	ChunkDelay string `json:"chunk_delay,omitempty"`
	Parts      []part `json:"parts,omitempty"`
	Error      *fails `json:"error,omitempty"`
}

// fails refuses a call with an HTTP status.
type fails struct {
	Code       int    `json:"code"`
	RetryAfter string `json:"retry_after,omitempty"`
}

// part is one piece of a scripted answer.
type part struct {
	Text string    `json:"text,omitempty"`
	Call *toolCall `json:"call,omitempty"`
}

// toolCall asks for a tool.
type toolCall struct {
	Name string         `json:"name"`
	Args map[string]any `json:"args"`
}

// The methods that are scripted and counted.
const (
	generates = "streamGenerateContent"
	embeds    = "batchEmbedContents"
)

// forever makes a step answer every call.
const forever = -1

// calls is what the stand-in was asked.
type calls struct {
	Counts  map[string]int `json:"counts"`
	Pending int            `json:"pending"`
}

func newStandIn(t *testing.T, base, key string) *standIn {
	t.Helper()
	transport := &http.Transport{}
	t.Cleanup(transport.CloseIdleConnections)
	return &standIn{t: t, base: base, key: key, http: &http.Client{Transport: transport}}
}

// script queues steps.
func (m *standIn) script(steps ...step) {
	m.t.Helper()
	m.call(http.MethodPost, "/admin/script", map[string]any{"steps": steps}, nil)
}

// forget empties the queue.
func (m *standIn) forget() {
	m.t.Helper()
	m.call(http.MethodDelete, "/admin/script", nil, nil)
}

// latency makes every call take that long.
func (m *standIn) latency(call string) {
	m.t.Helper()
	m.call(http.MethodPut, "/admin/latency", map[string]string{"call": call, "chunk": "0s"}, nil)
}

// count returns how many calls a method got.
func (m *standIn) count(method string) int {
	m.t.Helper()
	var c calls
	m.call(http.MethodGet, "/admin/calls", nil, &c)
	return c.Counts[method]
}

func (m *standIn) call(method, path string, in, out any) {
	m.t.Helper()
	body, err := json.Marshal(in)
	if err != nil {
		m.t.Fatal(err)
	}
	req, err := http.NewRequestWithContext(m.t.Context(), method, m.base+path, bytes.NewReader(body))
	if err != nil {
		m.t.Fatal(err)
	}
	req.Header.Set("X-Goog-Api-Key", m.key)
	resp, err := m.http.Do(req)
	if err != nil {
		m.t.Fatalf("ask the stand-in: %v", err)
	}
	defer func() { _ = resp.Body.Close() }()
	text := readAll(m.t, resp.Body)
	if resp.StatusCode/100 != 2 {
		m.t.Fatalf("the stand-in refuses %s %s: %s: %s; its admin endpoints are open only when devstack exec starts it",
			method, path, resp.Status, text)
	}
	if out != nil {
		if err := json.Unmarshal([]byte(text), out); err != nil {
			m.t.Fatalf("read the stand-in's answer: %v", err)
		}
	}
}

// searches is a model's turn that asks for the retrieval tool.
func searches(query string) step {
	return step{
		Endpoint: generates,
		Parts:    []part{{Call: &toolCall{Name: events.ToolSearchDocuments, Args: map[string]any{"query": query}}}},
	}
}

// says is a model's turn that answers, one word a chunk, with the pause between them.
func says(text, pause string) step {
	s := step{Endpoint: generates, ChunkDelay: pause}
	for word := range strings.SplitAfterSeq(text, " ") {
		s.Parts = append(s.Parts, part{Text: word})
	}
	return s
}
