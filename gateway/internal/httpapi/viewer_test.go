package httpapi_test

import (
	"fmt"
	"io"
	"net"
	"strings"
	"testing"

	"github.com/tarento/copilot/pkg/store"
)

func TestAStreamIsCountedAndLoggedUntilItEnds(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.embed(admin, 1)[0]
	frames, resp := g.follow(admin, "/v1/jobs/"+id+"/events", "X-Request-ID", "followed")
	if !resp.Close {
		t.Errorf("the connection is offered for other requests: %v", resp.Header)
	}
	<-frames
	const open = "copilot_http_requests_open "
	if !strings.Contains(g.metrics(), open+"1\n") || !strings.Contains(g.metrics(), "copilot_stream_subscribers 1\n") {
		t.Errorf("the stream is not counted: %s", g.metrics())
	}
	if log := g.log.String(); strings.Contains(log, `"followed"`) {
		t.Errorf("logged before its end: %s", log)
	}
	g.end(g.claim(id), store.Succeed(nil))
	all(t, frames)
	g.eventually("the end is counted", func() bool {
		m := g.metrics()
		return strings.Contains(m, open+"0\n") && strings.Contains(m, "copilot_stream_subscribers 0\n") &&
			strings.Contains(m, `copilot_stream_ends_total{reason="done"} 1`) &&
			strings.Contains(m, `copilot_http_request_seconds_count{method="GET",route="/api/v1/jobs/:id/events",status="200"} 1`)
	})
	n := 0
	for line := range strings.Lines(g.log.String()) {
		if strings.Contains(line, `"msg":"request"`) && strings.Contains(line, `"request_id":"followed"`) {
			if n++; !strings.Contains(line, `"user_id":"`+adminID) || !strings.Contains(line, `"status":200`) || strings.Contains(line, `"bytes":0`) {
				t.Errorf("logged as %s", line)
			}
		}
	}
	if n != 1 {
		t.Errorf("logged %d times", n)
	}
}

func TestAClientThatLeavesAStreamIsNoticed(t *testing.T) {
	t.Parallel()
	g := start(t, "STREAM_HEARTBEAT", "1h")
	id := g.embed(admin, 1)[0]
	frames, resp := g.follow(admin, "/v1/jobs/"+id+"/events")
	<-frames
	_ = resp.Body.Close()
	g.eventually("nobody follows", func() bool {
		return strings.Contains(g.metrics(), `copilot_stream_ends_total{reason="left"} 1`) && strings.Contains(g.metrics(), "copilot_stream_subscribers 0\n")
	})
}

func TestAStreamOfHTTP10HasNoChunks(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.embed(admin, 1)[0]
	g.end(g.claim(id), store.Succeed(nil))
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	fmt.Fprintf(conn, "GET /api/v1/jobs/%s/events HTTP/1.0\r\nHost: x\r\nAuthorization: Bearer %s\r\n\r\n", id, g.token(admin))
	seen, err := io.ReadAll(conn)
	if err != nil {
		t.Fatal(err)
	}
	head, body, _ := strings.Cut(string(seen), "\r\n\r\n")
	if !strings.Contains(head, " 200 ") || strings.Contains(head, "chunked") || !strings.HasPrefix(body, "retry: 1000\n\nid: 1\nevent: job.state\ndata: {") ||
		!strings.HasSuffix(body, "}\n\n") {
		t.Errorf("got %s\n\n%s", head, body)
	}
}
