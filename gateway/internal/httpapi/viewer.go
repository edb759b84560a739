package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/tarento/copilot/gateway/internal/account"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/pkg/fault"
)

const (
	// heartbeat is how often a silent stream shows that it is alive, if nothing else is configured.
	heartbeat = 15 * time.Second
	// reconnect is when a client should come back after a stream that was cut.
	reconnect = time.Second
)

// viewer is who a stream of server-sent events is shown to. It is all that is left of a request whose connection was taken over.
type viewer struct {
	server   *Server
	answered answered
	watch    *account.Watch
	// left is closed when the stream has ended, if the handler waits for that.
	left chan struct{}
}

// events answers with a stream of what a source shows, after a first frame. The head of the answer is net/http's; then the connection is
// taken over, and the handler returns with all that a request holds on to. Where that cannot be, as with HTTP/2, the handler waits.
func (s *Server) events(p *rbac.Principal, source stream.Source, shown sight, begin string) func(huma.Context) {
	return func(h huma.Context) {
		c := humagin.Unwrap(h)
		// Not what ends with the caller's access: that ends the line, which says so.
		ctx := c.Request.Context()
		r := requestOf(ctx)
		h.SetHeader("Content-Type", "text/event-stream")
		h.SetHeader("Cache-Control", "no-store")
		h.SetHeader("X-Accel-Buffering", "no")
		h.SetStatus(http.StatusOK)
		hijacker, takeOver := hijackerOf(c)
		if takeOver {
			h.SetHeader("Connection", "close") // it carries no other request afterwards
		}
		wire, err := s.wire(ctx, c, hijacker, begin)
		if err != nil {
			source.Close()
			return // nobody is there
		}
		v := &viewer{server: s, answered: answeredOf(c, r)}
		r.handed = takeOver
		if !takeOver {
			v.left = make(chan struct{})
		}
		line := s.Hub.Line(wire, source, v, p.Expires)
		v.watch = s.Accounts.Watch(p.Tenant, r.again.asks(shown), line.End)
		line.Show(ctx, int64(len(begin)))
		if !takeOver {
			<-v.left
		}
	}
}

// hijackerOf returns what the connection of an answer can be taken over with. Gin's own refuses once a body has begun; here it goes on.
func hijackerOf(c *gin.Context) (http.Hijacker, bool) {
	wrapped, ok := c.Writer.(interface{ Unwrap() http.ResponseWriter })
	if !ok || c.Request.TLS != nil {
		return nil, false
	}
	hijacker, ok := wrapped.Unwrap().(http.Hijacker)
	return hijacker, ok
}

// wire sends the head of the answer and the first frame, and returns what leads to the client from there on.
func (*Server) wire(ctx context.Context, c *gin.Context, hijacker http.Hijacker, begin string) (stream.Wire, error) {
	if _, err := c.Writer.WriteString(begin); err != nil {
		return nil, fmt.Errorf("httpapi: begin a stream: %w", err)
	}
	if err := http.NewResponseController(c.Writer).Flush(); err != nil {
		return nil, fmt.Errorf("httpapi: begin a stream: %w", err)
	}
	if hijacker == nil {
		return stream.NewAnswer(ctx, c.Writer), nil
	}
	var conn net.Conn
	conn, _, err := hijacker.Hijack()
	if err != nil {
		return nil, fmt.Errorf("httpapi: take a connection over: %w", err)
	}
	return stream.NewSocket(conn, c.Request.ProtoAtLeast(1, 1)), nil
}

// Farewell implements stream.Viewer: it tells the client why its stream ends.
func (*viewer) Farewell(why error) string {
	switch {
	case errors.Is(why, stream.ErrExpired):
		return ": the access token has expired; refresh it and connect again\nevent: token.expired\ndata: {}\n\n"
	case fault.Is(why, fault.Forbidden) && fault.Of(why).Code == reasonChanged:
		return parting(reasonChanged, why)
	case fault.Is(why, fault.Unauthenticated), fault.Is(why, fault.Forbidden):
		return parting(reasonRevoked, why)
	case errors.Is(why, stream.ErrGone), errors.Is(why, stream.ErrSlow):
		return ""
	case fault.Is(why, fault.Unavailable):
		return fmt.Sprintf("retry: %d\n: this gateway is shutting down; connect again\n\n", reconnect.Milliseconds()/2)
	case fault.Is(why, fault.RateLimited):
		return parting("reader.slow", why)
	default:
		return fmt.Sprintf("retry: %d\n", 2*reconnect.Milliseconds()) + parting("error", why)
	}
}

// parting is an event with the reason why it is the last.
func parting(event string, reason error) string {
	data, err := json.Marshal(problemOf(reason))
	if err != nil {
		data = []byte("{}") // a problem is always encoded
	}
	return fmt.Sprintf("event: %s\ndata: %s\n\n", event, data)
}

// Left implements stream.Viewer.
func (v *viewer) Left(ctx context.Context, written int64, why error) {
	v.watch.Stop()
	reason := endOf(why)
	v.server.metrics.ends.WithLabelValues(reason).Inc()
	if reason == endFailed {
		v.server.log.WarnContext(ctx, "event stream broken off", "request_id", v.answered.id, "error", why)
	}
	if v.left != nil {
		close(v.left)
		return
	}
	v.server.recorded(ctx, v.answered, int(written))
}

// endOf names the end of a stream in the metrics.
func endOf(why error) string {
	switch {
	case errors.Is(why, io.EOF):
		return "done"
	case errors.Is(why, stream.ErrGone):
		return "left"
	case errors.Is(why, stream.ErrSlow), fault.Is(why, fault.RateLimited):
		return "slow"
	case errors.Is(why, stream.ErrExpired):
		return "expired"
	case fault.Is(why, fault.Unauthenticated), fault.Is(why, fault.Forbidden):
		return "revoked"
	case fault.Is(why, fault.Unavailable):
		return "moving"
	default:
		return endFailed
	}
}

// endFailed is the only end that an operator should know of.
const endFailed = "failed"
