package chaos

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
)

// meter stands before the model's stand-in and counts the calls of each job and turn. A turn of a job is a session of the stand-in, so
// each has a script of its own.
type meter struct {
	server   *http.Server
	listener net.Listener
	standIn  string
	proxy    *httputil.ReverseProxy
	admin    *http.Client

	mu    sync.Mutex
	calls map[string][]history.Call // by marker
	sums  map[string]int            // embedding calls, by marker
}

// marker is what a job's input carries, so that everything about it can be told from outside.
var marker = regexp.MustCompile(`mark-\d{6}`)

func startMeter(ctx context.Context, standIn string) (*meter, error) {
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return nil, fmt.Errorf("start the meter: %w", err)
	}
	transport := &http.Transport{MaxIdleConnsPerHost: 64}
	m := &meter{
		listener: listener, standIn: "http://" + standIn, calls: map[string][]history.Call{}, sums: map[string]int{},
		admin: &http.Client{Transport: transport, Timeout: 10 * time.Second},
	}
	target := &url.URL{Scheme: "http", Host: standIn}
	m.proxy = &httputil.ReverseProxy{
		Rewrite:       func(r *httputil.ProxyRequest) { r.SetURL(target) },
		FlushInterval: -1, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError),
		Transport:    transport,
		ErrorHandler: func(w http.ResponseWriter, _ *http.Request, _ error) { w.WriteHeader(http.StatusBadGateway) },
	}
	m.server = &http.Server{Handler: m, ReadHeaderTimeout: 10 * time.Second}
	go func() { _ = m.server.Serve(listener) }()
	return m, nil
}

func (m *meter) address() string { return m.listener.Addr().String() }

func (m *meter) close() {
	_ = m.server.Close()
	m.admin.CloseIdleConnections()
}

// asked is what the meter reads of a request.
type asked struct {
	Contents []struct {
		Role  string `json:"role"`
		Parts []struct {
			Text string `json:"text"`
		} `json:"parts"`
	} `json:"contents"`
}

// ServeHTTP counts a call and passes it on.
func (m *meter) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return // the caller is gone
	}
	r.Body = io.NopCloser(bytes.NewReader(body))
	session, mark, turn, generates := sessionOf(r.URL.Path, body)
	r.Header.Set(sessionHeader, session)
	if !generates {
		m.mu.Lock()
		m.sums[mark]++
		m.mu.Unlock()
		m.proxy.ServeHTTP(w, r)
		return
	}
	m.mu.Lock()
	at := len(m.calls[mark])
	m.calls[mark] = append(m.calls[mark], history.Call{Worker: r.Header.Get("X-Goog-Api-Key"), Turn: turn, Began: began})
	m.mu.Unlock()
	watched := &statusWriter{ResponseWriter: w}
	m.proxy.ServeHTTP(watched, r) // panics when the answer breaks off
	if watched.status == http.StatusOK && r.Context().Err() == nil {
		m.mu.Lock()
		m.calls[mark][at].Answered = true
		m.mu.Unlock()
	}
}

// sessionHeader names the stand-in's session.
const sessionHeader = "X-Standin-Session"

// sessionOf tells which job and turn a request belongs to. What is embedded has one session a job.
func sessionOf(path string, body []byte) (session, mark string, turn int, generates bool) {
	if !strings.Contains(path, "enerateContent") {
		mark = string(marker.Find(body))
		if bytes.Contains(body, []byte(poison)) {
			return embedSession(poison), mark, 0, false
		}
		return embedSession(mark), mark, 0, false
	}
	var in asked
	if json.Unmarshal(body, &in) == nil {
		for _, c := range in.Contents {
			for _, p := range c.Parts {
				if mark == "" { // later ones may quote passages of other jobs
					mark = marker.FindString(p.Text)
				}
			}
			if c.Role == "model" {
				turn++
			}
		}
	}
	return turnSession(mark, turn), mark, turn, true
}

func turnSession(mark string, turn int) string { return mark + "." + strconv.Itoa(turn) }

func embedSession(mark string) string { return mark + ".embed" }

// statusWriter remembers the status.
type statusWriter struct {
	http.ResponseWriter

	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusWriter) WriteHeader(status int) {
	w.status = status
	w.ResponseWriter.WriteHeader(status)
}

// Unwrap lets http.ResponseController flush.
func (w *statusWriter) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// reaction is one scripted reaction of the stand-in; its documentation says what the fields mean.
type reaction struct {
	Repeat     int      `json:"repeat,omitempty"`
	Delay      string   `json:"delay,omitempty"`
	ChunkDelay string   `json:"chunk_delay,omitempty"`
	Parts      []part   `json:"parts,omitempty"`
	Cut        *cut     `json:"cut,omitempty"`
	Error      *failure `json:"error,omitempty"`
}

type part struct {
	Text string `json:"text,omitempty"`
	Call *tool  `json:"call,omitempty"`
}

type tool struct {
	Name string         `json:"name"`
	Args map[string]any `json:"args"`
}

type cut struct {
	After int `json:"after"`
}

type failure struct {
	Code       int    `json:"code"`
	RetryAfter string `json:"retry_after,omitempty"`
}

// script tells the stand-in how a session goes.
func (m *meter) script(ctx context.Context, session string, reactions []reaction) error {
	return m.tell(ctx, http.MethodPost, "/admin/script", session, map[string]any{"steps": reactions})
}

// forget lets the stand-in forget the requests of a session.
func (m *meter) forget(ctx context.Context, session string) {
	_ = m.tell(ctx, http.MethodDelete, "/admin/calls", session, nil) // it only saves memory
}

func (m *meter) tell(ctx context.Context, method, path, session string, in any) error {
	body, err := json.Marshal(in)
	if err != nil {
		return fmt.Errorf("script the model: %w", err)
	}
	req, err := http.NewRequestWithContext(ctx, method, m.standIn+path, bytes.NewReader(body))
	if err != nil {
		return fmt.Errorf("script the model: %w", err)
	}
	req.Header.Set(sessionHeader, session)
	resp, err := m.admin.Do(req)
	if err != nil {
		return fmt.Errorf("script the model: %w", err)
	}
	text, _ := io.ReadAll(resp.Body)
	_ = resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		return errors.New("script the model: " + resp.Status + ": " + string(text))
	}
	return nil
}

// of returns the calls for a marker.
func (m *meter) of(mark string) []history.Call {
	m.mu.Lock()
	defer m.mu.Unlock()
	return append([]history.Call{}, m.calls[mark]...)
}

// embeddings is how many embedding calls there were.
func (m *meter) embeddings() (n int) {
	m.mu.Lock()
	defer m.mu.Unlock()
	for _, sum := range m.sums {
		n += sum
	}
	return n
}
