package httpapi

import (
	"cmp"
	"context"
	"fmt"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/pkg/access"
)

type feedInput struct {
	LastEventID string        `header:"Last-Event-ID" maxLength:"128" doc:"The id of the last event that was seen; the stream goes on after it"`
	After       string        `query:"last_event_id" maxLength:"128" doc:"The same, for clients that cannot set headers"`
	From        string        `query:"from" enum:"beginning,now" default:"now" doc:"Where a client without an id starts"`
	Since       time.Time     `query:"since" format:"date-time" example:"2026-01-31T12:00:00Z" doc:"Starts with what was written then, instead"`
	Kinds       []events.Kind `query:"kind" maxItems:"5" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create" doc:"Only events of jobs of these kinds, separated by commas"`
	Types       []events.Type `query:"type" maxItems:"6" enum:"job.state,job.progress,step.started,step.finished,text.delta,usage" doc:"Only these events, separated by commas"`

	since *time.Time
}

// Resolve implements huma.Resolver: no time and the beginning of the year 1, which is Go's zero time, are two things.
func (in *feedInput) Resolve(ctx huma.Context) []error {
	if ctx.Query("since") != "" {
		in.since = &in.Since
	}
	return nil
}

func (s *Server) feedOperations() {
	secured(s, access.JobsRead, operation{
		id: "follow-events", method: http.MethodGet, path: "/events", tag: tagJobs, long: true,
		summary: "Follow all jobs as server-sent events",
		about: "The events of all jobs that the caller may see, of one's own, of those of one's projects or of all, as the role allows, " +
			"in one stream that does not end: from now on, or after `Last-Event-ID`, at any gateway and however long ago that " +
			"was. Each has an `id` to resume from, its type as `event`, and as `data` the job's id and kind, the event's number " +
			"among those of its job, type and time, and its own data. No event is left out or sent twice, and those of one job come in " +
			"their order; text comes in the pieces that the log has. An `id` also comes alone: it stands behind events that the " +
			"caller was not to see.\n\n" +
			"The stream says why it ends: token.expired (refresh it), access.changed (the caller sees more or less than before) and " +
			"reader.slow, after all of which clients connect again and go on, and access.revoked. When the database was restored or " +
			"has failed over, a resumed stream begins with feed.restarted: events of the time before may come again.",
	}, s.followFeed)
	s.streams(s.api.OpenAPI().Paths[base+"/events"].Get)
}

func (s *Server) followFeed(ctx context.Context, p *rbac.Principal, in *feedInput) (*eventStreamOutput, error) {
	reach := p.Jobs()
	feed, err := s.Hub.Feed(ctx, p.Tenant, stream.FeedOptions{
		After: cmp.Or(in.LastEventID, in.After), Since: in.since, FromBeginning: in.From == "beginning",
		Sees: reach.Sees, Kinds: in.Kinds, Types: in.Types,
	})
	if err != nil {
		return nil, err
	}
	begin := fmt.Sprintf("retry: %d\nid: %s\n\n", reconnect.Milliseconds(), feed.Cursor())
	if feed.Restarted() {
		begin = fmt.Sprintf("retry: %d\nid: %s\nevent: feed.restarted\ndata: {}\n\n", reconnect.Milliseconds(), feed.Cursor())
	}
	return &eventStreamOutput{Body: s.events(p, feed, seesTheSame(reach), begin)}, nil //nolint:contextcheck // the request's own
}
