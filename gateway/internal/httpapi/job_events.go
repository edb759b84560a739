package httpapi

import (
	"context"
	"fmt"
	"net/http"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
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
	job, err := s.Jobs.Get(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return s.follow(ctx, p, job, from)
}

// follow streams the events of a job that the caller may see.
func (s *Server) follow(ctx context.Context, p *rbac.Principal, job *store.Job, from events.Position) (*eventStreamOutput, error) {
	sub, err := s.Hub.Subscribe(ctx, p.Tenant, job.ID, from)
	if err != nil {
		return nil, err
	}
	begin := fmt.Sprintf("retry: %d\n\n", reconnect.Milliseconds())
	shown := seesJob(job.CreatedBy, job.ProjectID)
	return &eventStreamOutput{Body: s.events(p, sub, shown, begin)}, nil //nolint:contextcheck // the request's own
}
