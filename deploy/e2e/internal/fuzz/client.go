package fuzz

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"
)

// request is what is sent. Header values are as they go over the wire.
type request struct {
	method string
	// target is the path and the query, encoded.
	target string
	header http.Header
	body   []byte
}

// answer is what came back.
type answer struct {
	status int
	header http.Header
	body   []byte
	took   time.Duration
}

func (a answer) success() bool { return a.status/100 == 2 }

// field reads a text from the body's object; empty when it is not there.
func (a answer) field(names ...string) string {
	var at any
	if json.Unmarshal(a.body, &at) != nil {
		return ""
	}
	for _, name := range names {
		object, _ := at.(map[string]any)
		at = object[name]
	}
	text, _ := at.(string)
	return text
}

// client sends requests to one gateway. It is safe for concurrent use.
type client struct {
	base string
	http *http.Client
}

const (
	// mostBody is how much of an answer is read.
	mostBody = 8 << 20
	// listen is how long a stream is read that may go on for ever.
	listen = 300 * time.Millisecond
)

func newClient(base string) *client {
	return &client{base: base, http: &http.Client{
		Transport: &http.Transport{MaxIdleConnsPerHost: 64},
		// An answer is judged by itself, not where it leads.
		CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
	}}
}

// errListened ends a stream that was read long enough.
var errListened = errors.New("listened long enough")

// do sends a request and reads the answer. An answer that takes longer than within is an error, but a stream is only read for a moment.
func (c *client) do(ctx context.Context, r request, streams bool, within time.Duration) (a answer, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	late := time.AfterFunc(within, func() { cancel(fmt.Errorf("no answer within %s", within)) })
	defer late.Stop()
	req, err := http.NewRequestWithContext(ctx, r.method, c.base+r.target, bytes.NewReader(r.body))
	if err != nil {
		return answer{}, fmt.Errorf("make the request: %w", err)
	}
	req.Header = r.header.Clone()
	started := time.Now()
	resp, err := c.http.Do(req)
	if err != nil {
		return answer{}, errors.Join(err, context.Cause(ctx))
	}
	defer func() { _ = resp.Body.Close() }()
	if streams {
		enough := time.AfterFunc(listen, func() { cancel(errListened) })
		defer enough.Stop()
	}
	a = answer{status: resp.StatusCode, header: resp.Header}
	a.body, err = io.ReadAll(io.LimitReader(resp.Body, mostBody))
	if err != nil && !errors.Is(context.Cause(ctx), errListened) {
		return answer{}, fmt.Errorf("read the answer: %w", errors.Join(err, context.Cause(ctx)))
	}
	a.took = time.Since(started)
	return a, nil
}

// json sends a value and returns the answer, which must be a success.
func (c *client) json(ctx context.Context, method, target, token string, in any) (answer, error) {
	r := request{method: method, target: target, header: http.Header{}}
	if token != "" {
		r.header.Set("Authorization", "Bearer "+token)
	}
	if in != nil {
		r.header.Set("Content-Type", "application/json")
		var err error
		if r.body, err = json.Marshal(in); err != nil {
			return answer{}, fmt.Errorf("%s %s: %w", method, target, err)
		}
	}
	a, err := c.do(ctx, r, false, patience)
	if err != nil {
		return answer{}, fmt.Errorf("%s %s: %w", method, target, err)
	}
	if !a.success() {
		return a, fmt.Errorf("%s %s: status %d: %s", method, target, a.status, a.body)
	}
	return a, nil
}

// patience is how long what is not judged may take.
const patience = time.Minute
