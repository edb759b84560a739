package client_test

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"sync"
	"testing"

	"github.com/tarento/copilot/gateway/client"
)

// inMemory serves calls without a network, so that time can be synctest's. Like a real connection it breaks when the handler panics
// and when the caller gives up.
type inMemory struct{ handler http.Handler }

// RoundTrip implements http.RoundTripper.
func (t inMemory) RoundTrip(req *http.Request) (*http.Response, error) {
	out, in := io.Pipe()
	w := &pipeWriter{header: http.Header{}, started: make(chan struct{}), pipe: in}
	stop := context.AfterFunc(req.Context(), func() { in.CloseWithError(context.Cause(req.Context())) })
	go func() {
		defer stop()
		if req.Body != nil {
			defer req.Body.Close()
		}
		defer func() {
			if recover() != nil {
				w.WriteHeader(http.StatusOK)
				in.CloseWithError(io.ErrUnexpectedEOF)
			}
		}()
		served := req.Clone(req.Context())
		if served.Body == nil {
			served.Body = http.NoBody
		}
		t.handler.ServeHTTP(w, served)
		w.WriteHeader(http.StatusOK)
		in.Close()
	}()
	select {
	case <-w.started:
		return &http.Response{
			Status: http.StatusText(w.status), StatusCode: w.status, Header: w.header, Body: out, Request: req, ProtoMajor: 1, ProtoMinor: 1,
		}, nil
	case <-req.Context().Done():
		return nil, req.Context().Err()
	}
}

type pipeWriter struct {
	header  http.Header
	pipe    *io.PipeWriter
	once    sync.Once
	started chan struct{}
	status  int
}

func (w *pipeWriter) Header() http.Header { return w.header }

func (w *pipeWriter) WriteHeader(status int) {
	w.once.Do(func() {
		w.status = status
		w.header = w.header.Clone()
		close(w.started)
	})
}

func (w *pipeWriter) Write(p []byte) (int, error) {
	w.WriteHeader(http.StatusOK)
	return w.pipe.Write(p)
}

// dial returns a client of a handler.
func dial(t *testing.T, handler http.Handler, options ...client.Option) *client.Client {
	t.Helper()
	options = append([]client.Option{client.WithHTTPClient(&http.Client{Transport: inMemory{handler}})}, options...)
	c, err := client.New("http://gateway.test", options...)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

// reply answers with JSON.
func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(body)
}

// refuse answers with a problem document.
func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.Header().Set("X-Request-ID", "r-1")
	w.WriteHeader(status)
	_ = json.NewEncoder(w).Encode(map[string]any{
		"type": "urn:copilot:problem:test", "title": http.StatusText(status), "status": status, "code": code, "detail": "So it is.",
		"request_id": "r-1", "errors": []any{map[string]any{"location": "body.email", "message": "expected another one"}},
	})
}
