package client

import (
	"cmp"
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/http"
	"slices"
	"strings"
	"time"
)

// Event is one server-sent event.
type Event struct {
	// ID is the event's place in its stream. It is opaque; [After] resumes behind it.
	ID string
	// Type says what happened, and so what Data holds.
	Type EventType
	// Data is the event as JSON.
	Data json.RawMessage
}

// Into decodes the event's data, such as a [JobState] when its type is [EventJobState].
func (e Event) Into(v any) error {
	if err := json.Unmarshal(e.Data, v); err != nil {
		return fmt.Errorf("read the event %s %s: %w", e.Type, e.ID, err)
	}
	return nil
}

// ended reports whether a job's stream ends with this event.
func (e Event) ended() bool {
	var s JobState
	return e.Type == EventJobState && json.Unmarshal(e.Data, &s) == nil && s.Status.Ended()
}

// mediaStream is the media type of server-sent events.
const mediaStream = "text/event-stream"

const (
	// maxEmptyStreams is how often in a row a stream may be cut without a new event before its follower gives up.
	maxEmptyStreams = 10
	firstReconnect  = 200 * time.Millisecond
	slowestConnect  = 3 * time.Second
)

var (
	errSilent = errors.New("the event stream was silent for too long")
	errCut    = errors.New("the event stream was cut")
	// errEnough ends a stream whose reader has left the loop.
	errEnough = errors.New("enough")
)

// follower is the state of one followed stream across its connections.
type follower struct {
	client  *Client
	request request
	options []CallOption
	// last is the event that ends the stream for good; nil follows it for ever.
	last  func(Event) bool
	yield func(Event, error) bool

	lastID string        // where to resume
	delay  time.Duration // before the next connection, at least
	over   bool
}

// follow yields the events of a stream, and connects again and resumes where it was whenever the stream is cut. It ends after the
// last event, or with an error, which is yielded once.
func (c *Client) follow(ctx context.Context, r request, options []CallOption, last func(Event) bool) iter.Seq2[Event, error] {
	return func(yield func(Event, error) bool) {
		r.accept, r.open = mediaStream, true
		if r.keyed {
			// One key for all connections, so that none of them submits the work again.
			r.keyed, options = false, append([]CallOption{WithIdempotencyKey(rand.Text())}, options...)
		}
		f := follower{client: c, request: r, options: options, last: last, yield: yield, delay: firstReconnect}
		if err := f.run(ctx); err != nil && !errors.Is(err, errEnough) {
			yield(Event{}, err)
		}
	}
}

// run connects until the last event has come.
func (f *follower) run(ctx context.Context) error {
	for empty := 0; ; {
		start := time.Now()
		got, err := f.connect(ctx)
		if f.over {
			return nil
		}
		if cause := context.Cause(ctx); cause != nil {
			return cause
		}
		if !resumable(err) {
			return err
		}
		empty++
		if got || time.Since(start) > f.client.silence {
			empty = 1
		}
		if empty > maxEmptyStreams {
			return fmt.Errorf("gave up after %d connections without a new event: %w", maxEmptyStreams, err)
		}
		if err := sleep(ctx, min(f.delay<<(empty-1), slowestConnect)); err != nil {
			return err
		}
	}
}

// resumable reports whether a new connection may go better.
func resumable(err error) bool {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p.Status == http.StatusTooManyRequests || p.Status >= http.StatusInternalServerError
	}
	return errors.Is(err, errCut) || errors.Is(err, errSilent) || errors.Is(err, ErrUnreachable)
}

// connect reads one connection until it ends. It reports whether at least one event came.
func (f *follower) connect(ctx context.Context) (got bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	watchdog := time.AfterFunc(f.client.silence, func() { cancel(errSilent) })
	defer watchdog.Stop()

	options := f.options
	if f.lastID != "" {
		options = append(slices.Clip(options), After(f.lastID))
	}
	resp, done, err := f.client.send(ctx, f.request, options) //nolint:bodyclose // done closes it
	if err != nil {
		return false, err
	}
	defer done()
	if job := resp.Header.Get("Location"); f.request.method != http.MethodGet && job != "" {
		// The work is submitted; from now on its job is followed.
		f.request = request{method: http.MethodGet, path: job + "/events", accept: mediaStream, open: true}
	}
	if media, _, _ := strings.Cut(resp.Header.Get("Content-Type"), ";"); media != mediaStream {
		return false, fmt.Errorf("%s %s: expected an event stream, got %q", f.request.method, f.request.path, media)
	}
	stream := newSSEReader(aliveReader{resp.Body, func() { watchdog.Reset(f.client.silence) }})
	for {
		next, err := stream.next()
		f.lastID = cmp.Or(stream.lastEventID(), f.lastID) // which also comes without an event
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
		e := Event{ID: next.ID, Type: EventType(next.Name), Data: next.Data}
		switch e.Type {
		case eventTokenExpired:
			// The next connection renews the token; this one did what it could.
			return true, fmt.Errorf("%w: the access token has expired", errCut)
		case eventAccessChanged, eventReaderSlow:
			return got, fmt.Errorf("%w: %s", errCut, e.Type)
		case eventAccessRevoked:
			return got, f.refused(e)
		case eventError:
			return got, fmt.Errorf("%w: %w", errCut, f.refused(e))
		default:
		}
		// The reader's time with the event does not count as the server's silence.
		watchdog.Stop()
		got = true
		if !f.yield(e, nil) {
			return got, errEnough
		}
		if f.last != nil && f.last(e) {
			f.over = true
			return got, nil
		}
		watchdog.Reset(f.client.silence)
	}
}

// refused is why the server broke off the stream.
func (f *follower) refused(e Event) error {
	p := &Problem{Status: http.StatusInternalServerError}
	if err := e.Into(p); err != nil {
		return err
	}
	p.Method, p.Path = f.request.method, f.request.path
	return p
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
