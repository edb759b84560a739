package tour

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"mime"
	"net/http"
	"net/url"
	"time"

	"github.com/tarento/copilot/events"
)

const (
	// maxEmptyStreams is how often in a row a stream may end without a new event before its follower gives up.
	maxEmptyStreams = 10
	firstReconnect  = 200 * time.Millisecond
	slowestConnect  = 3 * time.Second
)

var (
	errSilent = errors.New("the event stream was silent for too long")
	errCut    = errors.New("the event stream was cut")
)

// watcher is told of a job's events, in their order. Nil functions are left out.
type watcher struct {
	state    func(events.JobState)
	progress func(events.JobProgress)
	text     func(events.TextDelta)
}

// follow watches a job over server-sent events until it ends and returns it as it ended. When the stream is cut, follow connects
// again and resumes where it was. The error says so when the job did not succeed.
func (c *client) follow(ctx context.Context, id string, w watcher) (job, error) {
	f := follower{client: c, path: "/api/v1/jobs/" + url.PathEscape(id) + "/events", watcher: w, delay: firstReconnect}
	if err := f.run(ctx); err != nil {
		return job{}, fmt.Errorf("follow job %s%s: %w", id, f.lastSeen(), err)
	}
	ended, err := c.job(ctx, id)
	if err != nil {
		return job{}, fmt.Errorf("read job %s: %w", id, err)
	}
	return ended, ended.failure()
}

// follower is the state of one followed stream across its connections.
type follower struct {
	*client
	watcher watcher
	path    string

	lastID string        // where to resume
	delay  time.Duration // before the next connection, at least
	seen   string        // the last event, for error messages
	ended  bool
}

// run connects until the terminal event has come.
func (f *follower) run(ctx context.Context) error {
	empty := 0
	for {
		got, err := f.connect(ctx)
		if f.ended {
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if err != nil && !resumable(err) {
			return err
		}
		empty++
		if got {
			empty = 1
		}
		if empty > maxEmptyStreams {
			return fmt.Errorf("gave up after %d connections without a new event: %w", maxEmptyStreams, err)
		}
		if err := pause(ctx, min(f.delay<<(empty-1), slowestConnect)); err != nil {
			return err
		}
	}
}

// resumable reports whether a new connection may go better.
func resumable(err error) bool {
	if answer, ok := errors.AsType[*apiError](err); ok {
		return answer.Status == http.StatusTooManyRequests || answer.Status >= http.StatusInternalServerError
	}
	return errors.Is(err, errCut) || errors.Is(err, errSilent) || errors.Is(err, errUnreachable)
}

// connect reads one connection until it ends. It reports whether at least one event came.
func (f *follower) connect(ctx context.Context) (got bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(f.silence, func() { cancel(errSilent) })
	defer watchdog.Stop()

	header := http.Header{"Accept": {"text/event-stream"}, "Cache-Control": {"no-store"}}
	if f.lastID != "" {
		header.Set("Last-Event-ID", f.lastID)
	}
	resp, err := f.send(ctx, http.MethodGet, f.path, nil, header)
	if err != nil {
		return false, err
	}
	defer resp.Body.Close()
	if media, _, _ := mime.ParseMediaType(resp.Header.Get("Content-Type")); media != "text/event-stream" {
		return false, fmt.Errorf("GET %s: expected an event stream, got %q", f.path, resp.Header.Get("Content-Type"))
	}
	stream := newSSEReader(aliveReader{resp.Body, func() { watchdog.Reset(f.silence) }})
	for !f.ended {
		event, err := stream.next()
		if wish := stream.retryDelay(); wish > 0 {
			f.delay = min(wish, slowestConnect)
		}
		if err != nil {
			if cause := context.Cause(ctx); cause != nil {
				return got, cause
			}
			if errors.Is(err, errEventTooLarge) {
				return got, err
			}
			return got, fmt.Errorf("%w: %w", errCut, err)
		}
		got = true
		f.lastID = stream.lastEventID()
		if err := f.dispatch(event); err != nil {
			return got, fmt.Errorf("event %s of job: %w", event.Name, err)
		}
	}
	return got, nil
}

// dispatch hands one event to the watcher. Steps, usage and names that are not known are left out; new ones may come with a later
// server.
func (f *follower) dispatch(e sseEvent) error {
	switch events.Type(e.Name) {
	case events.TypeJobState:
		var s events.JobState
		if err := json.Unmarshal(e.Data, &s); err != nil {
			return err
		}
		f.seen = string(s.Status)
		f.ended = s.Status.Terminal()
		if f.watcher.state != nil {
			f.watcher.state(s)
		}
	case events.TypeJobProgress:
		var p events.JobProgress
		if err := json.Unmarshal(e.Data, &p); err != nil {
			return err
		}
		f.seen = fmt.Sprintf("%s %d of %d", p.Stage, p.Done, p.Total)
		if f.watcher.progress != nil {
			f.watcher.progress(p)
		}
	case events.TypeTextDelta:
		var d events.TextDelta
		if err := json.Unmarshal(e.Data, &d); err != nil {
			return err
		}
		f.seen = "writing the answer"
		if f.watcher.text != nil {
			f.watcher.text(d)
		}
	default:
	}
	return nil
}

// lastSeen says for an error message what the job did when it was last heard of.
func (f *follower) lastSeen() string {
	if f.seen == "" {
		return " (no event yet)"
	}
	return " (last seen: " + f.seen + ")"
}

// aliveReader calls alive whenever bytes arrive, heartbeats too.
type aliveReader struct {
	io.Reader
	alive func()
}

// Read implements io.Reader.
func (r aliveReader) Read(p []byte) (int, error) {
	n, err := r.Reader.Read(p)
	if n > 0 {
		r.alive()
	}
	return n, err
}

// pause waits, or returns the cause of the context's end.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}

// transcript puts the deltas of a run together to the text that the last model call wrote.
type transcript struct {
	start int64
	end   int // offset of the byte that comes next
	text  []byte
}

// add returns the part of the delta that is new. restarted says that it opens another text, which replaces the one so far.
// Pieces of a text that was replaced already, and bytes that came before, yield nothing.
func (t *transcript) add(d events.TextDelta) (piece string, restarted bool) {
	if d.Start < t.start {
		return "", false
	}
	if d.Start > t.start {
		restarted = len(t.text) > 0
		t.start, t.end, t.text = d.Start, 0, nil
	}
	rest, ok := d.After(t.end)
	if !ok {
		return "", restarted
	}
	t.end = rest.End()
	t.text = append(t.text, rest.Text...)
	return rest.Text, restarted
}
