package httpapi_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"net"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/tarento/copilot/pkg/access"
)

// told is what the gateway says over a socket.
type told struct {
	Op, ID, Type, Reason string
	EventID              string    `json:"event_id"`
	ExpiresAt            time.Time `json:"expires_at"`
	RetryAfter           int       `json:"retry_after"`
	Restarted            bool
	Data                 json.RawMessage
	Error                *problem
}

// socket is an open WebSocket.
type socket struct {
	t    *testing.T
	conn *websocket.Conn
}

// dials opens a socket with these headers, name and value in turn.
func (g *gateway) dials(headers ...string) (*socket, *http.Response, error) {
	g.t.Helper()
	h := http.Header{}
	var protocols []string
	for i := 0; i < len(headers); i += 2 {
		if headers[i] == "Sec-WebSocket-Protocol" {
			protocols = strings.Split(headers[i+1], ", ")
			continue
		}
		h.Add(headers[i], headers[i+1])
	}
	ctx, cancel := context.WithTimeout(g.t.Context(), patience)
	defer cancel()
	conn, resp, err := websocket.Dial(ctx, g.url+"/api/v1/ws", &websocket.DialOptions{HTTPClient: g.http, HTTPHeader: h, Subprotocols: protocols})
	if err != nil {
		return nil, resp, err
	}
	conn.SetReadLimit(-1)
	g.t.Cleanup(func() { _ = conn.CloseNow() })
	return &socket{g.t, conn}, resp, nil
}

// opens returns a socket that is let in.
func (g *gateway) opens(headers ...string) *socket {
	g.t.Helper()
	k, resp, err := g.dials(headers...)
	if err != nil {
		g.t.Fatalf("the socket was not opened: %v, %v", err, resp)
	}
	return k
}

// socket opens one as somebody and returns when it is known who that is.
func (g *gateway) socket(as string) *socket {
	g.t.Helper()
	k := g.opens("Authorization", "Bearer "+g.token(as))
	if first := k.next(); first.Op != "authenticated" || time.Until(first.ExpiresAt) <= 0 {
		g.t.Fatalf("the socket begins with %+v", first)
	}
	return k
}

// says sends a message: a text as it is, all else as JSON.
func (k *socket) says(message any) {
	k.t.Helper()
	text, ok := message.(string)
	if !ok {
		encoded, err := json.Marshal(message)
		if err != nil {
			k.t.Fatal(err)
		}
		text = string(encoded)
	}
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	if err := k.conn.Write(ctx, websocket.MessageText, []byte(text)); err != nil {
		k.t.Fatalf("say %.100s: %v", text, err)
	}
}

// read returns the next message, or the end of the socket.
func (k *socket) read() (m told, err error) {
	ctx, cancel := context.WithTimeout(k.t.Context(), patience)
	defer cancel()
	_, text, err := k.conn.Read(ctx)
	if err == nil {
		err = json.Unmarshal(text, &m)
	}
	return m, err
}

// next is read for a socket that goes on.
func (k *socket) next() told {
	k.t.Helper()
	m, err := k.read()
	if err != nil {
		k.t.Fatalf("the socket ended with %v", err)
	}
	return m
}

// asks says something and returns the answer, which must be the next message.
func (k *socket) asks(message any) told {
	k.t.Helper()
	k.says(message)
	return k.next()
}

// alive checks that the socket still serves.
func (k *socket) alive() {
	k.t.Helper()
	if m := k.asks(`{"op":"ping","id":"still there?"}`); m.Op != "pong" || m.ID != "still there?" {
		k.t.Errorf("a ping was answered with %+v", m)
	}
}

// ends reads to the end, and returns what was said before and how the socket was closed.
func (k *socket) ends() (before []told, end websocket.CloseError) {
	k.t.Helper()
	for {
		m, err := k.read()
		if err == nil {
			before = append(before, m)
			continue
		}
		if !errors.As(err, &end) {
			k.t.Fatalf("the socket broke off: %v, after %d messages", err, len(before))
		}
		return before, end
	}
}

// closed checks how a socket ends.
func (k *socket) closed(what string, code websocket.StatusCode, reason string) {
	k.t.Helper()
	if _, end := k.ends(); end.Code != code || end.Reason != reason {
		k.t.Errorf("%s: closed with %d %q, want %d %q", what, end.Code, end.Reason, code, reason)
	}
}

func TestASocketIsOpenedByHeaderSubprotocolOrMessageAndNeverByItsAddress(t *testing.T) {
	t.Parallel()
	g := start(t, "WEBSOCKET_AUTHENTICATE_TIMEOUT", "1m")
	token := g.token(member)
	_, key := g.key(admin, access.JobsRead)
	_, other := g.key(admin, access.AuditRead)

	for how, headers := range map[string][]string{
		"a token":                 {"Authorization", "Bearer " + token},
		"an API key":              {"X-API-Key", key},
		"a token and a protocol":  {"Authorization", "Bearer " + token, "Sec-WebSocket-Protocol", "copilot.v1"},
		"a token as protocol":     {"Sec-WebSocket-Protocol", "copilot.v1, bearer." + token},
		"an API key as protocol":  {"Sec-WebSocket-Protocol", "copilot.v1, bearer." + key},
		"a page of the gateway's": {"Sec-WebSocket-Protocol", "copilot.v1, bearer." + token, "Origin", g.url},
	} {
		k, resp, err := g.dials(headers...)
		if err != nil {
			t.Errorf("%s: %v", how, err)
			continue
		}
		if first := k.next(); first.Op != "authenticated" {
			t.Errorf("%s: begins with %+v", how, first)
		}
		k.alive()
		if got := resp.Header.Get("Sec-WebSocket-Protocol"); strings.Contains(got, token) || slices.Contains(headers, "Sec-WebSocket-Protocol") != (got == "copilot.v1") {
			t.Errorf("%s: speaks %q", how, got)
		}
	}

	late := g.opens()
	late.alive()
	for what, message := range map[string]string{
		"a subscription": `{"op":"subscribe","id":"a","feed":{}}`, "garbage": `{"op":"authenticate","token":"not.a.token"}`,
		"a key for something else": `{"op":"authenticate","token":"` + other + `"}`,
	} {
		if m := late.asks(message); m.Op != "error" || m.Error == nil || m.Error.Status != 401 && m.Error.Status != 403 {
			t.Errorf("%s before anybody is known: %+v", what, m)
		}
	}
	if m := late.asks(map[string]string{"op": "authenticate", "token": token}); m.Op != "authenticated" || m.ExpiresAt.IsZero() {
		t.Errorf("authenticated with a message: %+v", m)
	}
	late.alive()
	if m := late.asks(map[string]string{"op": "authenticate", "token": g.token(admin)}); m.Error == nil || m.Error.Code != "auth.other_user" {
		t.Errorf("a second user: %+v", m)
	}
	late.alive()
	g.beside("WEBSOCKET_AUTHENTICATE_TIMEOUT", "100ms").opens().closed("nobody", 4401, "auth.required")

	for what, c := range map[string]struct {
		headers []string
		code    websocket.StatusCode
		reason  string
	}{
		"garbage":                  {[]string{"Sec-WebSocket-Protocol", "copilot.v1, bearer.not.a.token"}, 4401, "token.invalid"},
		"an old token":             {[]string{"Sec-WebSocket-Protocol", "copilot.v1, bearer." + g.expired()}, 4401, "token.expired"},
		"a key for something else": {[]string{"Sec-WebSocket-Protocol", "copilot.v1, bearer." + other}, 4403, "permission.missing"},
	} {
		g.opens(c.headers...).closed(what, c.code, c.reason)
	}
	for what, c := range map[string]struct {
		headers []string
		status  int
		code    string
	}{
		"a bad token":              {[]string{"Authorization", "Bearer not.a.token"}, 401, "token.invalid"},
		"a key for something else": {[]string{"X-API-Key", other}, 403, "permission.missing"},
		"another protocol":         {[]string{"Authorization", "Bearer " + token, "Sec-WebSocket-Protocol", "graphql-ws"}, 400, "socket.handshake"},
		"a page of another origin": {[]string{"Authorization", "Bearer " + token, "Origin", "https://evil.example"}, 403, "socket.origin"},
		"a page of no origin":      {[]string{"Origin", "null"}, 403, "socket.origin"},
	} {
		_, resp, err := g.dials(c.headers...)
		if err == nil || resp == nil || resp.StatusCode != c.status {
			t.Errorf("%s: %v, %v, want status %d", what, err, resp, c.status)
			continue
		}
		body, _ := io.ReadAll(resp.Body)
		if !strings.Contains(string(body), `"code":"`+c.code+`"`) {
			t.Errorf("%s: %s, want %s", what, body, c.code)
		}
	}

	plain := g.call(member, "GET", "/v1/ws", nil).wants(426)
	if p := plain.problem(); p.Code != "socket.upgrade" || plain.header.Get("Upgrade") != "websocket" {
		t.Errorf("a plain request: %+v %v", p, plain.header)
	}
	g.call("", "GET", "/v1/ws", nil).wants(401)
	g.call(member, "POST", "/v1/ws", `{}`).wants(405)
	g.call(member, "GET", "/v1/ws?token="+token, nil).wants(422).has("query.token")
	if strings.Contains(g.log.String(), token) {
		t.Error("a token is in the log")
	}
}

func TestPagesOfOriginsThatAreAllowedOpenSockets(t *testing.T) {
	t.Parallel()
	g := start(t, "CORS_ORIGINS", "https://app.example")
	if first := g.opens("Origin", "https://app.example", "Sec-WebSocket-Protocol", "copilot.v1, bearer."+g.token(member)).next(); first.Op != "authenticated" {
		t.Errorf("begins with %+v", first)
	}
	if _, resp, err := g.dials("Origin", "https://other.example", "Authorization", "Bearer "+g.token(member)); err == nil || resp.StatusCode != http.StatusForbidden {
		t.Errorf("another origin: %v, %v", err, resp)
	}
}

func TestABadMessageIsAnsweredWithWhatIsWrongAndTheSocketGoesOn(t *testing.T) {
	t.Parallel()
	g := start(t, "WEBSOCKET_SUBSCRIPTIONS", "2", "WEBSOCKET_MESSAGE_BYTES", "1024")
	job, foreign := g.embed(admin, 1)[0], g.embed(stranger, 1)[0]
	k := g.socket(admin)
	for message, want := range map[string]struct{ code, location, id string }{
		``:                             {"request.malformed", "message", ""},
		`{`:                            {"request.malformed", "message", ""},
		`{"op":"ping","op":"ping"}`:    {"request.malformed", "message.op", ""},
		"{\"op\":\"\xff\"}":            {"request.malformed", "message.op", ""},
		`[]`:                           {"request.invalid", "message", ""},
		`null`:                         {"request.invalid", "message", ""},
		`{"id":"a"}`:                   {"request.invalid", "message.op", "a"},
		`{"op":"dance","id":"a"}`:      {"request.invalid", "message.op", "a"},
		`{"op":7}`:                     {"request.invalid", "message.op", ""},
		`{"op":"subscribe"}`:           {"request.invalid", "message", ""},
		`{"op":"subscribe","id":"a"}`:  {"request.invalid", "message", "a"},
		`{"op":"subscribe","id":""}`:   {"request.invalid", "message.id", ""},
		`{"op":"subscribe","id":7}`:    {"request.invalid", "message.id", ""},
		`{"op":"unsubscribe"}`:         {"request.invalid", "message", ""},
		`{"op":"authenticate"}`:        {"request.invalid", "message", ""},
		`{"op":"ping","id":"a","b":1}`: {"request.invalid", "message.b", "a"},
		`{"op":"subscribe","id":"a","feed":{},"job_id":"` + job + `"}`:             {"request.invalid", "message", "a"},
		`{"op":"subscribe","id":"a","job_id":"mine"}`:                              {"request.invalid", "message.job_id", "a"},
		`{"op":"subscribe","id":"a","job_id":null}`:                                {"request.invalid", "message", "a"},
		`{"op":"subscribe","id":"a","feed":null}`:                                  {"request.invalid", "message", "a"},
		`{"op":"subscribe","id":"a","feed":[]}`:                                    {"request.invalid", "message.feed", "a"},
		`{"op":"subscribe","id":"a","feed":{"kinds":["dance"]}}`:                   {"request.invalid", "message.feed.kinds[0]", "a"},
		`{"op":"subscribe","id":"a","feed":{"from":"yesterday"}}`:                  {"request.invalid", "message.feed.from", "a"},
		`{"op":"subscribe","id":"a","feed":{"since":"yesterday"}}`:                 {"request.invalid", "message.feed.since", "a"},
		`{"op":"subscribe","id":"a","feed":{},"last_event_id":"7"}`:                {"stream.cursor", "", "a"},
		`{"op":"subscribe","id":"a","job_id":"` + job + `","last_event_id":"x"}`:   {"request.invalid", "message.last_event_id", "a"},
		`{"op":"subscribe","id":"a","job_id":"` + job + `","last_event_id":"999"}`: {"stream.position", "", "a"},
		`{"op":"subscribe","id":"a","job_id":"` + nothing + `"}`:                   {"job.not_found", "", "a"},
		`{"op":"subscribe","id":"a","job_id":"` + foreign + `"}`:                   {"job.not_found", "", "a"},
		`{"op":"unsubscribe","id":"a"}`:                                            {"subscription.not_found", "", "a"},
		`{"op":"authenticate","token":"not.a.token"}`:                              {"token.invalid", "", ""},
		`{"op":"ping","id":"` + strings.Repeat("x", 2000) + `"}`:                   {"message.too_large", "", ""},
	} {
		m := k.asks(message)
		if m.Op != "error" || m.ID != want.id || m.Error == nil || m.Error.Code != want.code || m.Error.RequestID == "" || m.Error.Detail == "" {
			t.Errorf("%.80s: %+v %+v, want %+v", message, m, m.Error, want)
			continue
		}
		if where := m.Error.Errors; want.location != "" && (len(where) == 0 || where[0].Location != want.location) {
			t.Errorf("%.80s: errors at %+v, want %s", message, where, want.location)
		}
	}
	if err := k.conn.Write(t.Context(), websocket.MessageBinary, []byte(`{"op":"ping"}`)); err != nil {
		t.Fatal(err)
	}
	if m := k.next(); m.Error == nil || m.Error.Code != "message.binary" {
		t.Errorf("a binary message: %+v", m)
	}
	silent := map[string]any{"kinds": []string{"document.sync"}}
	for _, id := range []string{"a", "b"} {
		if m := k.asks(map[string]any{"op": "subscribe", "id": id, "feed": silent}); m.Op != "subscribed" || m.ID != id || m.EventID == "" {
			t.Fatalf("subscribed: %+v", m)
		}
	}
	for id, code := range map[string]string{"a": "subscription.exists", "c": "subscription.limit"} {
		if m := k.asks(map[string]any{"op": "subscribe", "id": id, "feed": silent}); m.Error == nil || m.Error.Code != code {
			t.Errorf("another subscription %s: %+v, want %s", id, m, code)
		}
	}
	if m := k.asks(`{"op":"unsubscribe","id":"a"}`); m.Op != "ended" || m.ID != "a" || m.Reason != "unsubscribed" || m.Error != nil {
		t.Errorf("unsubscribed: %+v", m)
	}
	if m := k.asks(`{"op":"subscribe","id":"c","job_id":"` + job + `"}`); m.Op != "subscribed" || m.ID != "c" {
		t.Errorf("in its place: %+v", m)
	}
	if m := k.next(); m.Op != "event" || m.ID != "c" || m.EventID != "1" || m.Type != "job.state" {
		t.Errorf("and its event: %+v", m)
	}
	k.alive()
	g.eventually("the gateway counts it", func() bool {
		all := g.metrics()
		return strings.Contains(all, "copilot_socket_connections 1\n") && strings.Contains(all, "copilot_socket_subscriptions 2\n")
	})
	k.says(`{"op":"ping","id":"` + strings.Repeat("x", 3<<20) + `"}`)
	k.closed("a message without an end", websocket.StatusMessageTooBig, "message.too_large")
	g.eventually("the gateway counts that it ended", func() bool {
		all := g.metrics()
		return strings.Contains(all, "copilot_socket_connections 0\n") && strings.Contains(all, "copilot_socket_subscriptions 0\n") &&
			strings.Contains(all, `copilot_socket_closed_total{reason="message.too_large"} 1`)
	})
}

func TestSubscriptionsCountAsRequests(t *testing.T) {
	t.Parallel()
	g := start(t, "RATE_LIMIT_USER", "3")
	k := g.socket(member)
	var refused *told
	for i := range 10 {
		if m := k.asks(map[string]any{"op": "subscribe", "id": string(rune('a' + i)), "feed": map[string]any{}}); m.Op == "error" {
			refused = &m
			break
		}
	}
	if refused == nil || refused.Error.Status != http.StatusTooManyRequests || refused.RetryAfter < 1 {
		t.Errorf("ten subscriptions at three requests a minute: %+v", refused)
	}
	k.alive()
}

func TestWhatIsNoWebSocketIsNotServedAsOne(t *testing.T) {
	t.Parallel()
	g := start(t)
	token := g.token(member)
	conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.SetDeadline(time.Now().Add(patience)); err != nil {
		t.Fatal(err)
	}
	head := "GET /api/v1/ws HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer " + token + "\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
	for what, c := range map[string]struct{ headers, status string }{
		"an old version": {"Sec-WebSocket-Version: 8\r\nSec-WebSocket-Key: MDEyMzQ1Njc4OWFiY2RlZg==\r\n", "426"},
		"no key":         {"Sec-WebSocket-Version: 13\r\n", "400"},
		"a short key":    {"Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: MDEy\r\n", "400"},
	} {
		if _, err := io.WriteString(conn, head+c.headers+"\r\n"); err != nil {
			t.Fatal(err)
		}
		resp := readResponse(t, conn)
		if !strings.HasPrefix(resp, "HTTP/1.1 "+c.status) {
			t.Errorf("%s: %.60q, want %s", what, resp, c.status)
		}
	}
}

// readResponse reads what one write has brought back.
func readResponse(t *testing.T, conn net.Conn) string {
	t.Helper()
	buf := make([]byte, 16<<10)
	n, err := conn.Read(buf)
	if err != nil {
		t.Fatal(err)
	}
	return string(buf[:n])
}
