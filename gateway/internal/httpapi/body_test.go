package httpapi_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"strings"
	"testing"
	"time"
)

func TestWhatNoReaderShouldHaveToGuessIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t)
	const configs, login = "/v1/agent-configs", "/v1/auth/login"
	for _, c := range []refusal{
		{name: "a key twice", method: "POST", path: login, body: `{"username":"a","password":"b","password":"sesame"}`, status: 400, code: "request.malformed", says: "body.password", hides: "sesame"},
		{name: "a key in two spellings", method: "POST", path: login, body: `{"username":"a","password":"b","Password":"sesame"}`, status: 400, code: "request.malformed", says: "body.Password", hides: "sesame"},
		{name: "a NUL", method: "POST", path: login, body: `{"username":"a\u0000","password":"sesame"}`, status: 422, code: "request.invalid", says: "body.username", hides: "sesame"},
		{name: "no UTF-8", method: "POST", path: login, body: "{\"username\":\"a\xff\",\"password\":\"sesame\"}", status: 400, code: "request.malformed", says: "body.username", hides: "sesame"},
		{name: "too many levels", as: admin, method: "POST", path: configs, body: `{"name":"x","settings":` + strings.Repeat("[", 1000) + strings.Repeat("]", 1000) + `}`, status: 400, code: "request.malformed", says: "64 levels"},
		{name: "too many values", as: admin, method: "POST", path: configs, body: `{"name":"x","settings":[0` + strings.Repeat(",0", 60_000) + `]}`, status: 400, code: "request.malformed", says: "50000 values"},
		{name: "an unknown parameter", as: admin, method: "GET", path: "/v1/jobs?limit=5&stauts=sesame", status: 422, code: "request.invalid", says: `"query.stauts"`, hides: "sesame"},
		{name: "an unknown parameter, with those that there are", as: admin, method: "GET", path: "/v1/jobs?stauts=x", status: 422, says: "expected only"},
		{name: "a parameter where none is", as: admin, method: "GET", path: "/v1/auth/me?expand=role", status: 422, says: "expected none"},
		{name: "a parameter twice", as: admin, method: "GET", path: "/v1/jobs?status=failed&status=queued", status: 422, code: "request.invalid", says: `"query.status"`},
		{name: "a list in two parameters", as: admin, method: "GET", path: "/v1/events?kind=agent.run&kind=embedding.create", status: 422, says: "separated by commas"},
		{name: "a parameter that is no text", as: admin, method: "GET", path: "/v1/documents/search/query?query=%ff", status: 422, says: "query.query"},
		{name: "a parameter with a NUL", as: admin, method: "GET", path: "/v1/documents/search/query?query=a%00b", status: 422, says: "query.query"},
		{name: "a query that is none", as: admin, method: "GET", path: "/v1/jobs?limit=%zz", status: 422, says: "percent-encoded"},
		{name: "a path with a NUL", as: admin, method: "GET", path: "/v1/jobs/a%00b", status: 422, says: "path"},
		{name: "a path that is no text", as: admin, method: "GET", path: "/v1/jobs/%ff", status: 422, says: "path"},
		{name: "a query that does not end", as: admin, method: "GET", path: "/v1/jobs?cursor=" + strings.Repeat("x", 9000), status: 414, code: "request.target_too_long"},
	} {
		g.tokenFor(c.as)
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			var body any
			if c.body != "" {
				body = c.body
			}
			a := g.callFrom(t, c.as, c.method, c.path, body).wants(c.status)
			if p := a.problem(); c.code != "" && p.Code != c.code {
				t.Errorf("code %q, want %q: %s", p.Code, c.code, a.body)
			}
			a.has(c.says)
			if c.hides != "" {
				a.lacks(c.hides)
			}
		})
	}
}

// dial connects to the gateway as a client that speaks no more HTTP than the test does.
func (g *gateway) dial() net.Conn {
	g.t.Helper()
	c, err := new(net.Dialer).DialContext(g.t.Context(), "tcp", strings.TrimPrefix(g.url, "http://"))
	if err != nil {
		g.t.Fatal(err)
	}
	g.t.Cleanup(func() { c.Close() })
	if err := c.SetDeadline(time.Now().Add(patience)); err != nil {
		g.t.Fatal(err)
	}
	return c
}

// trickle sends a byte every few milliseconds until the connection is cut or its deadline has passed, and reports that it was cut.
func trickle(c net.Conn) (cut bool) {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		if _, err := c.Write([]byte("a")); err != nil {
			return !errors.Is(err, os.ErrDeadlineExceeded)
		}
		<-tick.C
	}
}

func TestClientThatSendsItsHeadByteByByteIsCut(t *testing.T) {
	t.Parallel()
	g := start(t, "HEADER_READ_TIMEOUT", "300ms")
	c := g.dial()
	begun := time.Now()
	fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: x\r\nX-Slow: ")
	if !trickle(c) {
		t.Errorf("still connected after %s", time.Since(begun))
	}
}

func TestClientThatSendsItsBodyByteByByteIsToldSoAndCut(t *testing.T) {
	t.Parallel()
	g := start(t, "BODY_READ_TIMEOUT", "300ms")
	c := g.dial()
	fmt.Fprint(c, "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100000\r\n\r\n{\"username\":\"")
	cut := make(chan bool, 1)
	go func() { cut <- trickle(c) }()
	answer, err := io.ReadAll(c)
	if !<-cut {
		t.Error("still connected")
	}
	// The connection may be reset before the answer was read; when it came, it says why.
	if text := string(answer); text != "" && (!strings.HasPrefix(text, "HTTP/1.1 408 ") || !strings.Contains(text, "request.timeout")) {
		t.Errorf("answered %q, %v", text, err)
	}
	g.eventually("the log says that the body was late", func() bool { return strings.Contains(g.log.String(), `"status":408`) })
}

func TestClientThatDoesNotReadIsCut(t *testing.T) {
	t.Parallel()
	g := start(t, "ANSWER_WRITE_TIMEOUT", "500ms")
	c := g.dial()
	const asked = 100
	// Their answers are more than all buffers on the way can hold; the rest of the requests is not even taken.
	fmt.Fprint(c, strings.Repeat("GET /docs/swagger-ui-bundle.js HTTP/1.1\r\nHost: x\r\n\r\n", asked))
	if !trickle(c) {
		t.Error("still connected")
	}
	g.eventually("the gateway gave the answer up", func() bool { return strings.Contains(g.metrics(), "\ncopilot_http_requests_open 0\n") })
	answers := 0
	for r := bufio.NewReader(c); ; answers++ {
		resp, err := http.ReadResponse(r, nil)
		if err != nil {
			break
		}
		if _, err := io.Copy(io.Discard, resp.Body); err != nil {
			break
		}
		resp.Body.Close()
	}
	if answers == asked {
		t.Errorf("all %d answers were written although nobody read them", answers)
	}
}

func TestHeadThatIsTooLargeIsRefused(t *testing.T) {
	t.Parallel()
	g := start(t)
	c := g.dial()
	fmt.Fprint(c, "GET /health HTTP/1.1\r\nHost: x\r\nX-Large: "+strings.Repeat("a", 80<<10)+"\r\n\r\n")
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusRequestHeaderFieldsTooLarge {
		t.Errorf("80 KiB of headers were answered %s", resp.Status)
	}
}

func TestBodyThatBreaksOffIsNoFaultOfOurs(t *testing.T) {
	t.Parallel()
	g := start(t)
	c := g.dial()
	fmt.Fprint(c, "POST /api/v1/auth/login HTTP/1.1\r\nHost: x\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n{\"username\":")
	half, ok := c.(interface{ CloseWrite() error })
	if !ok {
		t.Fatalf("a %T cannot be closed on one side", c)
	}
	if err := half.CloseWrite(); err != nil {
		t.Fatal(err)
	}
	resp, err := http.ReadResponse(bufio.NewReader(c), nil)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode != http.StatusBadRequest {
		t.Errorf("answered %s", resp.Status)
	}
}

func TestUserAgentThatIsNoTextDoesNotFailALogin(t *testing.T) {
	t.Parallel()
	g := start(t)
	for name, agent := range map[string]string{"bytes": "\xff\xfe", "a long one of two-byte letters": "x" + strings.Repeat("ü", 300)} {
		body := map[string]string{"username": member, "password": password}
		if a := g.call("", "POST", "/v1/auth/login", body, "User-Agent", agent); a.status != 200 {
			t.Errorf("%s: %d %s", name, a.status, a.body)
		}
	}
}
