package httpapi

import (
	"bufio"
	"cmp"
	"context"
	"encoding/base64"
	"net"
	"net/http"
	"net/url"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/coder/websocket"
	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
)

const (
	// socketProtocol is the subprotocol of sockets. One that begins with socketBearer carries a token: browsers cannot set headers.
	socketProtocol = "copilot.v1"
	socketBearer   = "bearer."
	headerProtocol = "Sec-WebSocket-Protocol"
)

// socketOperation is what the authorization table says of sockets. They authenticate and are rechecked in a way of their own, because
// their clients can show a new token while they last.
func socketOperation() operation {
	return operation{
		id: "open-socket", method: http.MethodGet, path: "/ws", tag: tagJobs, long: true,
		summary: "Follow many jobs over one WebSocket",
		about: "One WebSocket connection (subprotocol `copilot.v1`) with many subscriptions, to jobs and to the feed of all jobs, " +
			"that come and go while it lasts. Each sees the same events with the same ids in the same order as the stream of " +
			"server-sent events, and goes on after any of them, at any gateway. Messages are JSON texts; docs/websocket.md describes " +
			"them, the reasons to close, and the limits.\n\n" +
			"The token comes as `Authorization` or `X-API-Key`, as a second subprotocol `bearer.<token>`, or with the first message, and " +
			"never in the address. A new one, sent before the old one ends, keeps the connection. Web pages need an origin that " +
			"the gateway serves or allows.",
		errors: []int{
			http.StatusBadRequest, http.StatusUnauthorized, http.StatusForbidden, http.StatusUpgradeRequired,
		},
	}
}

// socketOperations registers the path of sockets. The framework knows answers that are bodies only, so it is told, and not asked.
func (s *Server) socketOperations() {
	op := socketOperation()
	h := op.huma(s.cfg.BodyWithin)
	h.Security = []map[string][]string{{bearer: {}}, {apiKey: {}}}
	h.Extensions = map[string]any{"x-permission": string(access.JobsRead)}
	h.Description += "\n\nNeeds the permission `" + string(access.JobsRead) + "`."
	h.Parameters = []*huma.Param{{
		Name: "Sec-WebSocket-Protocol", In: "header", Description: "`copilot.v1`, and `bearer.<token>` from web pages",
		Schema: &huma.Schema{Type: huma.TypeString}, Example: "copilot.v1, bearer.eyJhbGciOi",
	}}
	problem := s.api.OpenAPI().Components.Schemas.Schema(reflect.TypeFor[Problem](), true, "")
	h.Responses = map[string]*huma.Response{
		strconv.Itoa(http.StatusSwitchingProtocols): {Description: "The connection is a WebSocket from here on"},
	}
	for _, status := range h.Errors {
		h.Responses[strconv.Itoa(status)] = &huma.Response{
			Description: http.StatusText(status), Content: map[string]*huma.MediaType{problemMedia: {Schema: problem}},
		}
	}
	s.api.OpenAPI().AddOperation(&h)
	s.router.GET(h.Path, s.openSocket)
}

// credentials are what a client shows of who it is: the headers, or what stands for them.
type credentials struct{ authorization, key string }

// openSocket makes a request a socket, or refuses it with a problem.
func (s *Server) openSocket(c *gin.Context) {
	ctx := c.Request.Context()
	shown, late := showsOf(c.Request)
	var p *rbac.Principal
	var err error
	if late {
		err = s.Limits.unknown(ctx, c.Writer.Header(), requestOf(ctx).ip)
	} else {
		p, err = s.introduce(ctx, c.Writer.Header(), shown)
	}
	if err == nil {
		err = s.handshake(c.Request)
	}
	if err != nil {
		problem := s.failed(ctx, err)
		if problem.Status == http.StatusUpgradeRequired {
			c.Header("Connection", "Upgrade")
			c.Header("Upgrade", "websocket")
			c.Header("Sec-WebSocket-Version", "13")
		}
		abort(c, problem)
		return
	}
	k := newSocket(s)
	if !s.sockets.enter(k) {
		abort(c, s.failed(ctx, errMoving()))
		return
	}
	reason := reasonGone
	defer func() { s.sockets.leave(k, reason) }()
	w := &takenWriter{ResponseWriter: c.Writer}
	conn, err := websocket.Accept(w, c.Request, &websocket.AcceptOptions{
		Subprotocols: []string{socketProtocol}, InsecureSkipVerify: true, // handshake has looked at the origin
		OnPingReceived: func(context.Context, []byte) bool { k.hear(); return true },
		OnPongReceived: func(context.Context, []byte) { k.hear() },
	})
	if err != nil {
		requestOf(ctx).log.WarnContext(ctx, "socket not opened", "error", err)
		return
	}
	reason = k.run(ctx, conn, w.raw, p, shown)
}

// takenWriter remembers the connection that is taken from it.
type takenWriter struct {
	gin.ResponseWriter

	raw net.Conn
}

// Hijack implements http.Hijacker.
func (w *takenWriter) Hijack() (raw net.Conn, buffers *bufio.ReadWriter, err error) {
	raw, buffers, err = w.ResponseWriter.Hijack()
	w.raw = raw
	return raw, buffers, err
}

// showsOf returns the credentials of a request. Those that come in a subprotocol, or with a message, are late: they are looked at when
// the socket is open, because a page learns from a close code what is wrong, and nothing from a status.
func showsOf(r *http.Request) (shown credentials, late bool) {
	shown = credentials{r.Header.Get("Authorization"), r.Header.Get("X-Api-Key")} // headerAPIKey, as http.Header spells it
	if shown != (credentials{}) || !isUpgrade(r) {
		return shown, false
	}
	for _, offer := range offers(r) {
		if token, ok := strings.CutPrefix(offer, socketBearer); ok {
			return credentials{authorization: "Bearer " + token}, true
		}
	}
	return shown, true
}

// introduce returns who somebody is who may open sockets, and counts that it was asked.
func (s *Server) introduce(ctx context.Context, answer http.Header, shown credentials) (*rbac.Principal, error) {
	p, err := s.authenticate(ctx, shown.authorization, shown.key)
	switch {
	case err == nil:
		err = s.Limits.caller(ctx, answer, p)
	case fault.Is(err, fault.Unauthenticated):
		err = cmp.Or(s.Limits.unknown(ctx, answer, requestOf(ctx).ip), err)
	}
	if err != nil {
		return nil, err
	}
	return p, socketOperation().admits(p, access.JobsRead)
}

// handshake refuses requests that are no good beginning of a socket.
func (s *Server) handshake(r *http.Request) error {
	if p := checkTarget(r.URL, nil); p != nil {
		return p
	}
	refuse := func(detail string) error {
		return newProblem(fault.Malformed, "socket.handshake", detail)
	}
	key, err := base64.StdEncoding.DecodeString(strings.TrimSpace(r.Header.Get("Sec-WebSocket-Key")))
	keys, protocols := len(r.Header.Values("Sec-WebSocket-Key")), offers(r)
	switch {
	case !isUpgrade(r), r.Header.Get("Sec-WebSocket-Version") != "13":
		return rareProblem(http.StatusUpgradeRequired, "upgrade-required", "Upgrade required", "socket.upgrade",
			"This is where WebSocket connections begin: send a handshake of RFC 6455, version 13.")
	case keys != 1, err != nil, len(key) != 16:
		return refuse("Sec-WebSocket-Key is not 16 bytes in base64.")
	case len(protocols) > 0 && !slices.Contains(protocols, socketProtocol):
		return refuse("None of the subprotocols is spoken here. Offer " + socketProtocol + ", or none.")
	case !s.knowsOrigin(r):
		return fault.New(fault.Forbidden, "socket.origin",
			"Pages of this origin may not open sockets here. The operator of the gateway can allow it with CORS_ORIGINS.")
	default:
		return nil
	}
}

// knowsOrigin reports whether a request comes from a page of the gateway's own origin or of one that is allowed, or from no page.
func (s *Server) knowsOrigin(r *http.Request) bool {
	origin := r.Header.Get("Origin")
	if origin == "" || s.cfg.CORS.allows(origin) {
		return true
	}
	u, err := url.Parse(origin)
	return err == nil && u.Host != "" && strings.EqualFold(u.Host, r.Host)
}

func isUpgrade(r *http.Request) bool {
	return slices.ContainsFunc(tokensOf(r, "Connection"), func(t string) bool { return strings.EqualFold(t, "upgrade") }) &&
		slices.ContainsFunc(tokensOf(r, "Upgrade"), func(t string) bool { return strings.EqualFold(t, "websocket") })
}

// offers are the subprotocols that the client would speak.
func offers(r *http.Request) []string { return tokensOf(r, headerProtocol) }

func tokensOf(r *http.Request, header string) (tokens []string) {
	for _, line := range r.Header.Values(header) {
		for token := range strings.SplitSeq(line, ",") {
			if token = strings.TrimSpace(token); token != "" {
				tokens = append(tokens, token)
			}
		}
	}
	return tokens
}

// A socket's reasons to end, which stand in its close frame beside the code.
const (
	reasonGone     = "client.gone"
	reasonExpired  = "token.expired"
	reasonNobody   = "auth.required"
	reasonRefused  = "token.refused"
	reasonSlow     = "reader.slow"
	reasonSilent   = "client.silent"
	reasonMoving   = "stream.moving"
	reasonTooLarge = "message.too_large"
	reasonFailed   = "internal"
)

// statusCode is the close code that means what an HTTP status means.
func statusCode(status int) websocket.StatusCode { return websocket.StatusCode(4000 + status) }

// leaving is why a socket ends.
type leaving struct {
	code websocket.StatusCode
	// reason is one of the above, said what the client is told, which is more where a token was refused.
	reason, said string
}

// Error implements error.
func (l leaving) Error() string { return l.said }

func leave(status int, reason string) leaving { return leaving{statusCode(status), reason, reason} }

func errMoving() error {
	return fault.New(fault.Unavailable, reasonMoving, "This gateway is shutting down. Connect again to go on.")
}

// leavingFor finds the reason in what a socket's context ended with.
func leavingFor(cause error) leaving {
	if why, ok := cause.(leaving); ok { //nolint:errorlint // it is never wrapped
		return why
	}
	switch f := fault.Of(cause); {
	case fault.Is(cause, fault.Unavailable):
		return leaving{websocket.StatusServiceRestart, reasonMoving, reasonMoving}
	case f.Code == reasonExpired:
		return leave(http.StatusUnauthorized, reasonExpired)
	case f.Kind == fault.Unauthenticated, f.Kind == fault.Forbidden:
		return leave(http.StatusForbidden, reasonRevoked)
	default:
		return leaving{websocket.StatusInternalError, reasonFailed, reasonFailed}
	}
}
