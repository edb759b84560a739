package client

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"strconv"
	"strings"
	"time"
)

// ErrUnreachable marks a call that got no answer because nobody could be reached or the connection broke.
var ErrUnreachable = errors.New("no answer from the gateway")

// ErrNotModified is the answer to a call with [IfNoneMatch] when nothing has changed.
var ErrNotModified = errors.New("not modified")

// Problem is an answer that is not a success: the problem document of RFC 9457 that the API sends with every error. An answer
// without one, as a proxy may send it, has its Status alone.
type Problem struct { //nolint:errname // RFC 9457 calls it so
	// Type is the kind of problem as a URI, such as "urn:copilot:problem:not-found"; Title says it in words. Both are stable.
	Type  string `json:"type"`
	Title string `json:"title"`
	// Status is that of the answer.
	Status int `json:"status"`
	// Code says exactly what is wrong, such as "job.not_found". It is stable: match on it.
	Code string `json:"code"`
	// Detail says for people what happened and what to do.
	Detail string `json:"detail"`
	// Instance is the path of the call.
	Instance string `json:"instance"`
	// RequestID finds the call in the server's log.
	RequestID string `json:"request_id"`
	// Errors says which parts of the request are wrong.
	Errors []FieldError `json:"errors"`

	// RetryAfter is how long the server asks to wait; zero when it does not say.
	RetryAfter time.Duration `json:"-"`
	// Method and Path are those of the call; the path is without its query.
	Method string `json:"-"`
	Path   string `json:"-"`
}

// FieldError is what is wrong with one part of a request.
type FieldError struct {
	// Location is where it stands: body, query, path or header, then the path in it, such as "body.email".
	Location string `json:"location"`
	// Message says what is wrong with it.
	Message string `json:"message"`
}

// Error names the call, the status and what the server says about it.
func (p *Problem) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s %s: %d %s", p.Method, p.Path, p.Status, http.StatusText(p.Status))
	if p.Detail != "" {
		b.WriteString(": " + p.Detail)
	} else if p.Title != "" && p.Title != http.StatusText(p.Status) {
		b.WriteString(": " + p.Title)
	}
	for _, e := range p.Errors {
		fmt.Fprintf(&b, "; %s: %s", e.Location, e.Message)
	}
	if p.RequestID != "" {
		fmt.Fprintf(&b, " (request %s)", p.RequestID)
	}
	return b.String()
}

// maxProblem bounds what is read of a problem.
const maxProblem = 1 << 20

// problemOf reads the problem out of an answer that is not a success.
func problemOf(resp *http.Response, method, path string) *Problem {
	p := &Problem{}
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); strings.HasSuffix(media, "json") {
		if json.NewDecoder(io.LimitReader(resp.Body, maxProblem)).Decode(p) != nil {
			*p = Problem{} // the status says enough
		}
	}
	p.Method, p.Path, p.Status = method, path, resp.StatusCode
	p.RetryAfter = retryAfter(resp.Header)
	if p.RequestID == "" {
		p.RequestID = resp.Header.Get("X-Request-ID")
	}
	return p
}

// retryAfter reads both forms of the header; what cannot be read asks for nothing.
func retryAfter(h http.Header) time.Duration {
	text := h.Get("Retry-After")
	if s, err := strconv.Atoi(text); err == nil {
		return time.Duration(max(0, s)) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return max(0, time.Until(at))
	}
	return 0
}
