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
	// heartbeat is how often a silent stream shows that it is alive.
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
			"stream also ends with the access token, with the event token.expired: refresh it and connect again.",
		errors: []int{http.StatusNotFound},
	}, s.followJob)
	followed := s.api.OpenAPI().Paths[base+"/jobs/{id}/events"].Get.Responses["200"]
	followed.Content = map[string]*huma.MediaType{"text/event-stream": {Schema: &huma.Schema{Type: huma.TypeString}}}
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
	return &eventStreamOutput{Body: func(ctx huma.Context) { //nolint:contextcheck // it carries the same context
		defer sub.Close()
		ctx.SetHeader("Content-Type", "text/event-stream")
		ctx.SetHeader("Cache-Control", "no-store")
		ctx.SetHeader("X-Accel-Buffering", "no")
		ctx.SetStatus(http.StatusOK)
		writer := humagin.Unwrap(ctx).Writer
		w := &eventWriter{w: writer, control: http.NewResponseController(writer)}
		if err := w.follow(ctx.Context(), sub, p.Expires); err != nil {
			requestOf(ctx.Context()).log.WarnContext(ctx.Context(), "event stream broken off", "job_id", job, "error", err)
		}
	}}, nil
}

// eventWriter writes server-sent events to one client.
type eventWriter struct {
	w       io.Writer
	control *http.ResponseController
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
		item, err := w.next(alive, sub)
		switch {
		case err == nil:
			err = w.send(fmt.Sprintf("id: %s\nevent: %s\ndata: %s\n\n", item.Position, item.Event.Type, item.Event.Data))
			if err != nil {
				return nil
			}
		case errors.Is(err, io.EOF), errors.Is(err, errClientGone), ctx.Err() != nil:
			return nil
		case alive.Err() != nil:
			_ = w.send(": the access token has expired; refresh it and connect again\nevent: token.expired\ndata: {}\n\n")
			return nil
		case fault.Is(err, fault.Unavailable):
			_ = w.send(fmt.Sprintf("retry: %d\n: this gateway is shutting down; connect again\n\n", reconnect.Milliseconds()/2))
			return nil
		default:
			_ = w.fail(err)
			return err
		}
	}
}

// next waits for the next item and shows a sign of life whenever that takes long.
func (w *eventWriter) next(ctx context.Context, sub *stream.Subscription) (stream.Item, error) {
	for {
		waiting, cancel := context.WithTimeout(ctx, heartbeat)
		item, err := sub.Next(waiting)
		over := waiting.Err() != nil
		cancel()
		if err == nil || !over || ctx.Err() != nil {
			return item, err
		}
		if err := w.send(": still here\n\n"); err != nil {
			return stream.Item{}, err
		}
	}
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
