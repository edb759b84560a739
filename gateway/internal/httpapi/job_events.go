package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
)

const (
	// heartbeat is how often a silent stream shows that it is alive, if nothing else is configured.
	heartbeat = 15 * time.Second
	// eventWithin is how long a client may take to read one event.
	eventWithin = 10 * time.Second
	// reconnect is when a client should come back after a stream that was cut.
	reconnect = time.Second
)

type jobEventsInput struct {
	JobInput

	LastEventID string `header:"Last-Event-ID" maxLength:"64" doc:"The id of the last event that was seen; the stream goes on after it"`
	After       string `query:"last_event_id" maxLength:"64" doc:"The same, for clients that cannot set headers"`
}

type eventStreamOutput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Body        func(huma.Context)
}

func (s *Server) jobEventOperations() {
	secured(s, access.JobsRead, operation{
		id: "follow-job", method: http.MethodGet, path: "/jobs/{id}/events", tag: tagJobs, long: true,
		summary: "Follow a job as server-sent events",
		about: "The job's events from the beginning or after `Last-Event-ID`, then as they happen, until the job has ended. Each " +
			"has an `id` to resume from, its type as `event` (job.state, job.progress, step.started, step.finished, text.delta, " +
			"usage) and its JSON as `data`. No event is left out or sent twice; text deltas are cut to what was not seen yet. The " +
			"stream also ends with the access token (event token.expired: refresh it and connect again) and when the caller may no " +
			"longer read it (access.revoked, with the reason).",
		errors: []int{http.StatusNotFound},
	}, s.followJob)
	s.streams(s.api.OpenAPI().Paths[base+"/jobs/{id}/events"].Get)
}

// streams has the document say that an operation answers with server-sent events.
func (*Server) streams(op *huma.Operation) {
	op.Responses["200"].Content = map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}
}

func (s *Server) followJob(ctx context.Context, p *rbac.Principal, in *jobEventsInput) (*eventStreamOutput, error) {
	text := in.LastEventID
	if text == "" {
		text = in.After
	}
	from, err := events.ParsePosition(text)
	if err != nil {
		return nil, invalid("header.Last-Event-ID", "expected the id of an event of this stream")
	}
	if _, err := s.Jobs.Get(ctx, p, in.ID); err != nil {
		return nil, err
	}
	return s.follow(ctx, p, in.ID, from)
}

// follow streams the events of a job that the caller may see.
func (s *Server) follow(ctx context.Context, p *rbac.Principal, job uuid.UUID, from events.Position) (*eventStreamOutput, error) {
	sub, err := s.Hub.Subscribe(ctx, p.Tenant, job, from)
	if err != nil {
		return nil, err
	}
	return &eventStreamOutput{Body: s.events(func(ctx context.Context, w *eventWriter) error { //nolint:contextcheck // the same
		defer sub.Close()
		return w.follow(ctx, sub, p.Expires)
	})}, nil
}

// eventWriter writes server-sent events to one client.
type eventWriter struct {
	w       io.Writer
	control *http.ResponseController
	// heartbeat is how often a silent stream shows that it is alive.
	heartbeat time.Duration
}

// events answers with a stream that write fills.
func (s *Server) events(write func(context.Context, *eventWriter) error) func(huma.Context) {
	return func(ctx huma.Context) {
		ctx.SetHeader("Content-Type", "text/event-stream")
		ctx.SetHeader("Cache-Control", "no-store")
		ctx.SetHeader("X-Accel-Buffering", "no")
		ctx.SetStatus(http.StatusOK)
		writer := humagin.Unwrap(ctx).Writer
		w := &eventWriter{w: writer, control: http.NewResponseController(writer), heartbeat: s.cfg.Heartbeat}
		if err := write(ctx.Context(), w); err != nil {
			requestOf(ctx.Context()).log.WarnContext(ctx.Context(), "event stream broken off", "error", err)
		}
	}
}

// errClientGone means that there is nobody to write to.
var errClientGone = errors.New("client gone")

// follow writes what the subscription yields until the job or the token ends, the client leaves or the gateway does. Only
// what an operator should know comes back as an error.
func (w *eventWriter) follow(ctx context.Context, sub *stream.Subscription, expires time.Time) error {
	alive, cancel := context.WithDeadline(ctx, expires)
	defer cancel()
	if w.send(fmt.Sprintf("retry: %d\n\n", reconnect.Milliseconds())) != nil {
		return nil
	}
	for {
		item, err := beating(alive, w, sub.Next, func() string { return stillHere })
		if err == nil {
			err = w.send(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", item.Position, item.Event.Type, item.Event.Data))
		}
		if err != nil {
			return w.end(ctx, err, expires)
		}
	}
}

// stillHere is the sign of life of a silent stream.
const stillHere = ": still here\n\n"

// beating waits for what is next and shows a sign of life whenever that takes long.
func beating[T any](ctx context.Context, w *eventWriter, next func(context.Context) (T, error), sign func() string) (T, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, w.heartbeat)
		found, err := next(waiting)
		over := waiting.Err() != nil
		cancel()
		if err == nil || !over || ctx.Err() != nil {
			return found, err
		}
		if err := w.send(sign()); err != nil {
			return found, err
		}
	}
}

// end tells the client why its stream ends. Only what an operator should know comes back.
func (w *eventWriter) end(ctx context.Context, why error, expires time.Time) error {
	refusal := context.Cause(ctx)
	switch {
	case errors.Is(why, io.EOF), errors.Is(why, errClientGone):
	case !time.Now().Before(expires):
		_ = w.send(": the access token has expired; refresh it and connect again\nevent: token.expired\ndata: {}\n\n")
	case fault.Is(refusal, fault.Forbidden) && fault.Of(refusal).Code == codeAccessChanged:
		_ = w.leave(codeAccessChanged, refusal)
	case fault.Is(refusal, fault.Unauthenticated), fault.Is(refusal, fault.Forbidden):
		_ = w.leave("access.revoked", refusal)
	case ctx.Err() != nil:
	case fault.Is(why, fault.Unavailable):
		_ = w.send(fmt.Sprintf("retry: %d\n: this gateway is shutting down; connect again\n\n", reconnect.Milliseconds()/2))
	case fault.Is(why, fault.RateLimited):
		_ = w.leave("reader.slow", why)
	default:
		_ = w.fail(why)
		return why
	}
	return nil //nolint:nilerr // the client is told, and nobody else needs to know
}

// leave ends the stream with a reason.
func (w *eventWriter) leave(event string, reason error) error {
	data, err := json.Marshal(problemOf(reason))
	if err != nil {
		return err
	}
	return w.send(fmt.Sprintf("event: %s\ndata: %s\n\n", event, data))
}

// fail tells the client that the stream broke off and that it may come back.
func (w *eventWriter) fail(err error) error {
	data, encodeErr := json.Marshal(problemOf(err))
	if encodeErr != nil {
		return encodeErr
	}
	return w.send(fmt.Sprintf("retry: %d\nevent: error\ndata: %s\n\n", 2*reconnect.Milliseconds(), data))
}

// send writes one frame and hands it to the client within the time a client has.
func (w *eventWriter) send(frame string) error {
	// A writer without deadlines, as in some tests, has no slow client either.
	_ = w.control.SetWriteDeadline(time.Now().Add(eventWithin))
	if _, err := io.WriteString(w.w, frame); err != nil {
		return errClientGone
	}
	if err := w.control.Flush(); err != nil {
		return errClientGone
	}
	return nil
}
