package httpapi

import (
	"cmp"
	"context"
	"crypto/rand"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"runtime/debug"
	"strconv"
	"strings"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/pkg/fault"
)

// request is what is known about the request that a context belongs to. It lives on the request's goroutine.
type request struct {
	id    string
	log   *slog.Logger
	start time.Time
	// user is who makes it, once that is known; for the access log.
	user string
	ip   string
	// agent is the client's User-Agent.
	agent string
	// again admits the caller of what lasts once more, later on; nil for what does not last.
	again admission
	// handed says that the answer goes on when the handler has returned; whoever ends it has it recorded.
	handed bool
}

type requestKey struct{}

// requestOf returns the request of a context; one that belongs to none gets an empty one.
func requestOf(ctx context.Context) *request {
	if r, ok := ctx.Value(requestKey{}).(*request); ok {
		return r
	}
	return &request{log: slog.New(slog.DiscardHandler)}
}

const (
	headerRequestID = "X-Request-ID"
	maxRequestID    = 128
)

// identify gives the request its id, the client's own when it is sane, and its logger.
func (s *Server) identify(c *gin.Context) {
	id := c.GetHeader(headerRequestID)
	if !saneRequestID(id) {
		id = rand.Text()
	}
	r := &request{
		id: id, log: s.log.With("request_id", id), ip: c.ClientIP(),
		agent: strings.ToValidUTF8(clip(c.Request.UserAgent(), 256), "\uFFFD"), // it is stored with the session
	}
	c.Request = c.Request.WithContext(context.WithValue(c.Request.Context(), requestKey{}, r))
	c.Header(headerRequestID, id)
	c.Next()
}

func saneRequestID(id string) bool {
	if id == "" || len(id) > maxRequestID {
		return false
	}
	for i := range len(id) {
		if !isIDByte(id[i]) {
			return false
		}
	}
	return true
}

func isIDByte(b byte) bool {
	return b >= 'a' && b <= 'z' || b >= 'A' && b <= 'Z' || b >= '0' && b <= '9' || b == '-' || b == '_' || b == '.' || b == ':'
}

func clip(s string, n int) string { return s[:min(n, len(s))] }

// requestMetrics count what was asked and how it went, by route and never by path.
type requestMetrics struct {
	seconds *prometheus.HistogramVec
	open    prometheus.Gauge
	ends    *prometheus.CounterVec
}

func newRequestMetrics(reg prometheus.Registerer) *requestMetrics {
	m := &requestMetrics{
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name:    "copilot_http_request_seconds",
			Help:    "Time from a request to the end of its answer; streams count when they end.",
			Buckets: []float64{.001, .0025, .005, .01, .025, .05, .1, .25, .5, 1, 2.5, 5, 10, 30, 60},
		}, []string{"method", "route", "status"}),
		open: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "copilot_http_requests_open", Help: "Requests that are being answered, streams included.",
		}),
		ends: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_stream_ends_total",
			Help: "Event streams that have ended, by why: done, left, slow, expired, revoked, moving or failed.",
		}, []string{"reason"}),
	}
	reg.MustRegister(m.seconds, m.open, m.ends)
	return m
}

// record logs and counts each request. Query strings are left out, because tokens have been seen in them.
func (s *Server) record(c *gin.Context) {
	r := requestOf(c.Request.Context())
	r.start = time.Now()
	s.metrics.open.Inc()
	c.Next()
	if !r.handed {
		s.recorded(c.Request.Context(), answeredOf(c, r), c.Writer.Size())
	}
}

// answered is what the access log says of a request. It holds on to nothing else of it.
type answered struct {
	start                   time.Time
	id, method, path, route string
	ip, user                string
	status                  int
}

func answeredOf(c *gin.Context, r *request) answered {
	return answered{
		start: r.start, id: r.id, method: c.Request.Method, path: c.Request.URL.Path, route: cmp.Or(c.FullPath(), "none"),
		ip: r.ip, user: r.user, status: c.Writer.Status(),
	}
}

// recorded logs and counts a request whose answer has ended.
func (s *Server) recorded(ctx context.Context, a answered, written int) {
	s.metrics.open.Dec()
	took := time.Since(a.start)
	s.metrics.seconds.WithLabelValues(method(a.method), a.route, strconv.Itoa(a.status)).Observe(took.Seconds())
	level := slog.LevelInfo
	if a.status >= http.StatusInternalServerError {
		level = slog.LevelError
	}
	s.log.LogAttrs(ctx, level, "request", slog.String("request_id", a.id),
		slog.String("method", a.method), slog.String("path", a.path), slog.String("route", a.route),
		slog.Int("status", a.status), slog.Int("bytes", max(0, written)),
		slog.Float64("ms", float64(took.Microseconds())/1000), slog.String("ip", a.ip), slog.String("user_id", a.user))
}

// method bounds the label: clients may invent methods.
func method(m string) string {
	switch m {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return m
	default:
		return "other"
	}
}

// survive turns a panic into a 500 that tells nothing; the log tells everything.
func survive(c *gin.Context) {
	defer func() {
		value := recover()
		if value == nil {
			return
		}
		if err, ok := value.(error); ok && err == http.ErrAbortHandler { //nolint:errorlint // net/http compares it so, too
			panic(value)
		}
		ctx := c.Request.Context()
		requestOf(ctx).log.ErrorContext(ctx, "handler panicked", "panic", fmt.Sprint(value), "stack", string(debug.Stack()))
		abort(c, newProblem(fault.Internal, codeInternal, fault.Of(errPanic).Message))
	}()
	c.Next()
}

var errPanic = errors.New("handler panicked")

// answerWithin is how long a client may take to read an answer where nothing is said.
const answerWithin = 75 * time.Second

// pace keeps slow clients from holding connections: the answer must be read within its time, and a body's deadline, which the
// operation sets, ends with the body. Otherwise the deadline would end the request while it waits for a job.
func (s *Server) pace(c *gin.Context) {
	control := http.NewResponseController(c.Writer)
	// A writer without deadlines, as in some tests, has no slow client either.
	_ = control.SetWriteDeadline(time.Now().Add(s.cfg.AnswerWithin))
	if c.Request.Body != nil && c.Request.Body != http.NoBody {
		c.Request.Body = &pacedBody{ReadCloser: c.Request.Body, control: control}
	}
	c.Next()
}

// pacedBody lifts the connection's read deadline when the body was read whole.
type pacedBody struct {
	io.ReadCloser
	control *http.ResponseController
	// idle renews the deadline with every read, when it is set: a large body may take long as long as it moves.
	idle time.Duration
}

// Read implements io.Reader.
func (b *pacedBody) Read(p []byte) (int, error) {
	if b.idle > 0 {
		_ = b.control.SetReadDeadline(time.Now().Add(b.idle))
	}
	n, err := b.ReadCloser.Read(p)
	if err == io.EOF {
		_ = b.control.SetReadDeadline(time.Time{})
	}
	return n, err
}

// secure sets what browsers should know about every answer.
func secure(c *gin.Context) {
	h := c.Writer.Header()
	h.Set("X-Content-Type-Options", "nosniff")
	h.Set("X-Frame-Options", "DENY")
	h.Set("Referrer-Policy", "no-referrer")
	h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
	h.Set("Cross-Origin-Resource-Policy", "same-origin")
	h.Set("Cache-Control", "no-store")
	c.Next()
}
