package e2e_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

// streamed is one server-sent event of a job.
type streamed struct {
	id   string
	name events.Type
	data []byte
}

// stream is an open connection to a job's events.
type stream struct {
	body io.ReadCloser
	src  *bufio.Reader
	id   string
	// beats counts signs of life, and may be read from any goroutine; silence is the longest time without a line, heard when the last one
	// came.
	beats   atomic.Int64
	silence time.Duration
	heard   time.Time
}

// refusedError is an answer that is no stream.
type refusedError struct{ what string }

// Error says what came instead.
func (e *refusedError) Error() string { return e.what }

// open connects to a job's events after the event with the id; empty is the beginning. It may be called from any goroutine.
func (c *client) open(ctx context.Context, job, after string) (*stream, error) {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.base+"/api/v1/jobs/"+job+"/events", http.NoBody)
	if err != nil {
		return nil, err
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+c.token)
	if after != "" {
		req.Header.Set("Last-Event-ID", after)
	}
	resp, err := c.http.Do(req)
	if err != nil {
		return nil, err
	}
	if media := resp.Header.Get("Content-Type"); resp.StatusCode != http.StatusOK || !strings.HasPrefix(media, "text/event-stream") {
		text, _ := io.ReadAll(io.LimitReader(resp.Body, 1<<10))
		_ = resp.Body.Close()
		return nil, &refusedError{fmt.Sprintf("events of job %s: status %d, type %q: %s", job, resp.StatusCode, media, text)}
	}
	return &stream{body: resp.Body, src: bufio.NewReader(resp.Body), id: after, heard: time.Now()}, nil
}

func (s *stream) close() { _ = s.body.Close() }

// next returns the next event; io.EOF when the server has ended the stream.
func (s *stream) next() (streamed, error) {
	var e streamed
	for {
		line, err := s.src.ReadString('\n')
		if err != nil {
			return streamed{}, err
		}
		s.silence, s.heard = max(s.silence, time.Since(s.heard)), time.Now()
		line = strings.TrimSuffix(line, "\n")
		name, value, _ := strings.Cut(line, ":")
		value = strings.TrimPrefix(value, " ")
		switch {
		case line == "" && e.name != "":
			e.id = s.id
			return e, nil
		case line != "" && name == "":
			s.beats.Add(1)
		case name == "id":
			s.id = value
		case name == "event":
			e.name = events.Type(value)
		case name == "data":
			e.data = append(e.data, value...)
		}
	}
}

// take reads n events after the one with the id and cuts the connection; with a negative n it reads until the server ends
// the stream. It may be called from any goroutine.
func (c *client) take(ctx context.Context, job, after string, n int) ([]streamed, error) {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	s, err := c.open(ctx, job, after)
	if err != nil {
		return nil, err
	}
	defer s.close()
	var seen []streamed
	for n < 0 || len(seen) < n {
		e, err := s.next()
		if errors.Is(err, io.EOF) {
			return seen, nil
		}
		if err != nil {
			return seen, err
		}
		seen = append(seen, e)
	}
	return seen, nil
}

// follower watches a job over one connection from the beginning.
type follower struct {
	t    *testing.T
	job  string
	done chan struct{}

	mu      sync.Mutex
	seen    []streamed
	changed chan struct{}
	err     error
}

// follow starts to watch a job. The test's end closes the connection.
func (c *client) follow(job string) *follower {
	c.t.Helper()
	ctx, cancel := context.WithCancel(c.t.Context())
	f := &follower{t: c.t, job: job, done: make(chan struct{}), changed: make(chan struct{})}
	s, err := c.open(ctx, job, "")
	if err != nil {
		cancel()
		c.t.Fatal(err)
	}
	c.t.Cleanup(func() {
		cancel()
		<-f.done
	})
	go f.read(s)
	return f
}

func (f *follower) read(s *stream) {
	defer close(f.done)
	defer s.close()
	for {
		e, err := s.next()
		f.mu.Lock()
		if err == nil {
			f.seen = append(f.seen, e)
		} else if !errors.Is(err, io.EOF) {
			f.err = err
		}
		close(f.changed)
		f.changed = make(chan struct{})
		f.mu.Unlock()
		if err != nil {
			return
		}
	}
}

// await returns what was seen once it fulfills the condition.
func (f *follower) await(within time.Duration, what string, holds func([]streamed) bool) []streamed {
	f.t.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	for {
		f.mu.Lock()
		seen, changed := slices.Clone(f.seen), f.changed
		f.mu.Unlock()
		if holds(seen) {
			return seen
		}
		select {
		case <-changed:
		case <-f.done:
			f.t.Fatalf("the events of job %s ended (%v) before %s:\n%s", f.job, f.err, what, outline(seen))
		case <-limit.C:
			f.t.Fatalf("the events of job %s did not show within %s: %s:\n%s", f.job, within, what, outline(seen))
		}
	}
}

// all returns everything once the server has ended the stream.
func (f *follower) all(within time.Duration) []streamed {
	f.t.Helper()
	limit := time.NewTimer(within)
	defer limit.Stop()
	select {
	case <-f.done:
	case <-limit.C:
		f.t.Fatalf("the events of job %s did not end within %s:\n%s", f.job, within, outline(f.seenSoFar()))
	}
	if f.err != nil {
		f.t.Fatalf("the events of job %s broke off: %v:\n%s", f.job, f.err, outline(f.seen))
	}
	return f.seen
}

func (f *follower) seenSoFar() []streamed {
	f.mu.Lock()
	defer f.mu.Unlock()
	return slices.Clone(f.seen)
}

// outline writes events for a failure's message.
func outline(seen []streamed) string {
	var b strings.Builder
	for _, e := range seen {
		fmt.Fprintf(&b, "  %s %s %.120s\n", e.id, e.name, e.data)
	}
	return b.String()
}

// decode reads the events of a type.
func decode[F events.Fact](t *testing.T, seen []streamed) []F {
	t.Helper()
	var facts []F
	for _, e := range seen {
		var fact F
		if e.name != fact.EventType() {
			continue
		}
		if err := json.Unmarshal(e.data, &fact); err != nil {
			t.Fatalf("read event %s: %v: %s", e.id, err, e.data)
		}
		facts = append(facts, fact)
	}
	return facts
}

// story is what a stream tells, however its text was cut into pieces and however often it was connected anew.
type story struct {
	// lines are the facts in their order, each whole; a text is one line, at the place of its first piece.
	lines []string
	// text is the text of the last model call.
	text string
}

// tell puts a story together. It refuses a stream that repeats an event or a byte of text, that leaves a byte out, or whose ids
// are none.
func tell(seen []streamed) (story, error) {
	var s story
	var last events.Position
	var start int64
	for _, e := range seen {
		at, err := events.ParsePosition(e.id)
		if err != nil {
			return s, fmt.Errorf("event %s has no position as its id: %w", e.name, err)
		}
		if e.name != events.TypeTextDelta {
			if at.Seq <= last.Seq {
				return s, fmt.Errorf("event %s %s comes after %s", e.id, e.name, last)
			}
			last = at
			// The order of keys says nothing, and the database does not keep it.
			var fact map[string]any
			if err := json.Unmarshal(e.data, &fact); err != nil {
				return s, fmt.Errorf("event %s %s: %w", e.id, e.name, err)
			}
			s.lines = append(s.lines, fmt.Sprintf("%d %s %v", at.Seq, e.name, fact))
			continue
		}
		var d events.TextDelta
		if err := json.Unmarshal(e.data, &d); err != nil {
			return s, fmt.Errorf("event %s %s: %w", e.id, e.name, err)
		}
		if at.Seq < last.Seq {
			return s, fmt.Errorf("text %s comes after %s", e.id, last)
		}
		last = at
		if d.Start != start {
			start, s.text = d.Start, ""
			s.lines = append(s.lines, "")
		}
		if d.Offset != len(s.text) || d.Text == "" {
			return s, fmt.Errorf("text %s goes on at byte %d with %q, after %d bytes", e.id, d.Offset, d.Text, len(s.text))
		}
		s.text += d.Text
		if last := s.lines[len(s.lines)-1]; last != "" && !strings.HasPrefix(last, "text ") {
			return s, fmt.Errorf("text %s goes on after another event: %s", e.id, last)
		}
		s.lines[len(s.lines)-1] = fmt.Sprintf("text %d %s", start, s.text)
	}
	return s, nil
}

// mustTell is tell for streams that a test has read whole.
func mustTell(t *testing.T, seen []streamed) story {
	t.Helper()
	s, err := tell(seen)
	if err != nil {
		t.Fatalf("%v\n%s", err, outline(seen))
	}
	return s
}

// differs says where two stories part; empty when they are the same.
func (s story) differs(other story) string {
	for i := range max(len(s.lines), len(other.lines)) {
		var a, b string
		if i < len(s.lines) {
			a = s.lines[i]
		}
		if i < len(other.lines) {
			b = other.lines[i]
		}
		if a != b {
			return fmt.Sprintf("at line %d\n  got  %s\n  want %s", i+1, a, b)
		}
	}
	return ""
}
