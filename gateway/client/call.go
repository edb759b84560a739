package client

import (
	"bytes"
	"context"
	cryptorand "crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"
)

// CallOption sets something about one call.
type CallOption func(*settings)

// settings are what a call's options have set.
type settings struct {
	header  http.Header
	wait    time.Duration
	inspect *Answer
	again   bool
}

// repeatable marks a POST that is safe to repeat as it is.
func repeatable() CallOption { return func(s *settings) { s.again = true } }

// WithIdempotencyKey makes a submit safe to repeat, also by another process: the same key and body get the same job, for 24 hours.
// Without it, operations that take a key get a random one, which covers the repetitions of this call alone.
func WithIdempotencyKey(key string) CallOption { return WithHeader("Idempotency-Key", key) }

// WaitFor holds the answer until the job has ended, or for so long; the server waits for whole seconds, at most 30 of them.
func WaitFor(d time.Duration) CallOption {
	return func(s *settings) {
		s.wait = d
		s.header.Set("Prefer", "wait="+strconv.Itoa(int(max(d, time.Second).Seconds())))
	}
}

// IfMatch makes a change only if the resource still has this ETag; otherwise the call fails with status 412. [Inspect] finds the
// ETag in the answer that showed the resource.
func IfMatch(etag string) CallOption { return WithHeader("If-Match", etag) }

// IfNoneMatch asks only for what is not the state with this ETag; if it still is, the call fails with [ErrNotModified].
func IfNoneMatch(etag string) CallOption { return WithHeader("If-None-Match", etag) }

// After resumes a stream of events after the one with this id.
func After(lastEventID string) CallOption { return WithHeader("Last-Event-ID", lastEventID) }

// WithRequestID names the call in the server's log.
func WithRequestID(id string) CallOption { return WithHeader("X-Request-ID", id) }

// WithHeader sends a header with the call.
func WithHeader(name, value string) CallOption {
	return func(s *settings) { s.header.Set(name, value) }
}

// Inspect shows, once the call has returned, what stands in the answer beside its body.
func Inspect(a *Answer) CallOption { return func(s *settings) { s.inspect = a } }

// Answer is what stands in an answer beside its body.
type Answer struct {
	Status int
	// ETag tells this state of the resource from others; see [IfMatch].
	ETag string
	// Location is the path of what was made.
	Location string
	// Replayed says that an earlier call with the same idempotency key did the work.
	Replayed bool
	// RequestID finds the call in the server's log.
	RequestID string
	Header    http.Header
}

func (a *Answer) fill(resp *http.Response) {
	h := resp.Header
	*a = Answer{
		Status: resp.StatusCode, ETag: h.Get("ETag"), Location: h.Get("Location"),
		Replayed: h.Get("Idempotency-Replayed") == "true", RequestID: h.Get("X-Request-ID"), Header: h,
	}
}

// request is one call as the generated methods describe it.
type request struct {
	method, path string
	query        url.Values
	// body is encoded as JSON; form is sent as it is. At most one is set.
	body any
	form *form
	// public calls carry no credentials.
	public bool
	// keyed calls take an idempotency key.
	keyed bool
	// accept is the media type that is wanted; JSON when it is empty.
	accept string
	// open answers are handed on as they arrive, and are not bounded by the timeout.
	open bool
}

// maxAnswer bounds what is read of one JSON answer.
const maxAnswer = 64 << 20

// call makes a call whose answer is a T.
func call[T any](ctx context.Context, c *Client, r request, options []CallOption) (*T, error) {
	out := new(T)
	if err := c.do(ctx, r, options, func(int) any { return out }); err != nil {
		return nil, err
	}
	return out, nil
}

// do makes a call and decodes its answer into what into gives for the status; nil leaves the body unread.
func (c *Client) do(ctx context.Context, r request, options []CallOption, into func(status int) any) error {
	resp, done, err := c.send(ctx, r, options) //nolint:bodyclose // done closes it
	if err != nil {
		return err
	}
	defer done()
	target := into(resp.StatusCode)
	if target == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(resp.Body, maxAnswer)).Decode(target); err != nil {
		if cause := context.Cause(resp.Request.Context()); cause != nil { //nolint:contextcheck // that of the attempt ends with its time
			err = cause
		}
		return fmt.Errorf("%s %s: read the answer: %w", r.method, r.path, err)
	}
	// Read to its end, so that the connection can be used again.
	_, _ = io.CopyN(io.Discard, resp.Body, 1)
	return nil
}

// stream makes a call whose answer is read while it arrives.
func (c *Client) stream(ctx context.Context, r request, options []CallOption) (io.ReadCloser, error) {
	r.open, r.accept = true, "*/*"
	resp, done, err := c.send(ctx, r, options) //nolint:bodyclose // done closes it
	if err != nil {
		return nil, err
	}
	return body{resp.Body, done}, nil
}

// body is an answer's that is closed together with its call.
type body struct {
	io.Reader

	done func()
}

// Close implements io.Closer.
func (b body) Close() error {
	b.done()
	return nil
}

// send makes a call, again where that is safe and promising, and returns the answer if it is a success. The caller calls done when
// it has read it.
func (c *Client) send(ctx context.Context, r request, options []CallOption) (_ *http.Response, done func(), err error) {
	s := settings{header: http.Header{"Accept": {"application/json"}, "User-Agent": {c.agent}}}
	if r.accept != "" {
		s.header.Set("Accept", r.accept)
	}
	if r.keyed {
		s.header.Set("Idempotency-Key", cryptorand.Text())
	}
	for _, set := range options {
		set(&s)
	}
	var encoded []byte
	if r.body != nil {
		if encoded, err = json.Marshal(r.body); err != nil {
			return nil, nil, fmt.Errorf("%s %s: encode the request: %w", r.method, r.path, err)
		}
	}
	renewed := false
	for failures := 0; ; {
		resp, done, token, err := c.attempt(ctx, r, s, encoded)
		if err == nil {
			if s.inspect != nil {
				s.inspect.fill(resp)
			}
			return resp, done, nil
		}
		if p, ok := errors.AsType[*Problem](err); ok && p.Status == http.StatusUnauthorized && p.Code == tokenExpired &&
			!renewed && !r.public && token != "" && r.form.again() {
			renewed = true
			if _, renewErr := c.renew(ctx, token); renewErr != nil {
				return nil, nil, errors.Join(err, renewErr)
			}
			continue
		}
		pause, promising := c.pause(r, s, err, failures)
		if !promising || !r.form.again() {
			return nil, nil, err
		}
		failures++
		if sleep(ctx, pause) != nil {
			return nil, nil, err
		}
	}
}

// attempt makes a call once. The token is the one that it carried.
func (c *Client) attempt(
	ctx context.Context, r request, s settings, encoded []byte,
) (_ *http.Response, done func(), token string, err error) {
	ctx, cancel := c.bound(ctx, r, s.wait)
	defer func() {
		if err != nil {
			cancel()
		}
	}()
	header := s.header.Clone()
	if !r.public {
		if token, err = c.authorize(ctx, header); err != nil {
			return nil, nil, "", fmt.Errorf("%s %s: renew the session: %w", r.method, r.path, err)
		}
	}
	content, contentType := r.content(encoded)
	// The transport closes what it has begun to send; this is for what it has not.
	if form, ok := content.(io.Closer); ok {
		defer func() {
			if err != nil {
				_ = form.Close()
			}
		}()
	}
	if contentType != "" {
		header.Set("Content-Type", contentType)
	}
	target := c.base + r.path
	if len(r.query) > 0 {
		target += "?" + r.query.Encode()
	}
	req, err := http.NewRequestWithContext(ctx, r.method, target, content)
	if err != nil {
		return nil, nil, token, fmt.Errorf("%s %s: %w", r.method, r.path, err)
	}
	req.Header = header
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, nil, token, c.unreachable(ctx, r, err)
	}
	if resp.StatusCode/100 == 2 {
		return resp, func() {
			_ = resp.Body.Close()
			cancel()
		}, token, nil
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode == http.StatusNotModified {
		if s.inspect != nil {
			s.inspect.fill(resp)
		}
		return nil, nil, token, fmt.Errorf("%s %s: %w", r.method, r.path, ErrNotModified)
	}
	return nil, nil, token, problemOf(resp, r.method, r.path)
}

// content opens the body of an attempt, if there is one.
func (r request) content(encoded []byte) (body io.Reader, contentType string) {
	switch {
	case r.form != nil:
		return r.form.open()
	case encoded != nil:
		return bytes.NewReader(encoded), "application/json" // which net/http can send again by itself
	default:
		return nil, ""
	}
}

// bound gives an attempt its time.
func (c *Client) bound(ctx context.Context, r request, wait time.Duration) (context.Context, context.CancelFunc) {
	if r.open || r.form != nil || c.timeout <= 0 {
		return context.WithCancel(ctx)
	}
	limit := c.timeout + wait
	return context.WithTimeoutCause(ctx, limit, fmt.Errorf("no answer within %s: %w", limit, context.DeadlineExceeded))
}

// unreachable explains why a call got no answer: the caller gave up, the time ran out, or nobody answers.
func (c *Client) unreachable(ctx context.Context, r request, err error) error {
	if cause := context.Cause(ctx); cause != nil {
		return fmt.Errorf("%s %s: %w", r.method, r.path, cause)
	}
	if urlErr, ok := errors.AsType[*url.Error](err); ok {
		err = urlErr.Err // without the method and the address, which are said already
	}
	return fmt.Errorf("%s %s: %w at %s: %w", r.method, r.path, ErrUnreachable, c.base, err)
}

const (
	firstPause   = 200 * time.Millisecond
	longestPause = 5 * time.Second
	// patience is the longest Retry-After that is waited for; longer ones are the caller's to decide.
	patience = 30 * time.Second
)

// pause says whether a call that failed should be made again, and when.
func (c *Client) pause(r request, s settings, err error, failures int) (time.Duration, bool) {
	if failures >= c.retries || !s.again && !idempotent(r.method, s.header) {
		return 0, false
	}
	// Randomly shorter, so that many clients do not come back at once.
	backoff := min(firstPause<<failures, longestPause)
	backoff = backoff/2 + rand.N(backoff/2)
	p, refused := errors.AsType[*Problem](err)
	switch {
	case !refused:
		return backoff, errors.Is(err, ErrUnreachable)
	case p.Status != http.StatusTooManyRequests && p.Status != http.StatusServiceUnavailable:
		return 0, false
	default:
		return max(p.RetryAfter, backoff), p.RetryAfter <= patience
	}
}

// idempotent reports whether making a call twice does what making it once does.
func idempotent(method string, h http.Header) bool {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPut, http.MethodDelete:
		return true
	default:
		return h.Get("Idempotency-Key") != ""
	}
}

// sleep waits, or returns the cause of the context's end.
func sleep(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// at joins the parts of a path, of which every second one is a value.
func at(parts ...string) string {
	var b strings.Builder
	for i, part := range parts {
		if i%2 == 1 {
			part = url.PathEscape(part)
		}
		b.WriteString(part)
	}
	return b.String()
}
