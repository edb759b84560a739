package egress_test

import (
	"io"
	"net/http"
	"net/http/httptest"
	"net/netip"
	"strings"
	"testing"

	"github.com/tarento/copilot/pkg/egress"
	"github.com/tarento/copilot/pkg/fault"
)

func TestAddressesThatAreNotPublicAreNotCalled(t *testing.T) {
	t.Parallel()
	called := false
	server := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { called = true }))
	t.Cleanup(server.Close)
	port := server.URL[strings.LastIndex(server.URL, ":"):]
	c := egress.New(egress.Options{})
	for _, address := range []string{
		server.URL, "http://localhost" + port, "http://[::1]" + port, "http://[::ffff:127.0.0.1]" + port, "http://0.0.0.0" + port,
		"http://2130706433" + port, "http://10.0.0.1/", "http://192.168.1.1/", "http://172.16.0.1/", "http://169.254.169.254/latest/meta-data",
		"http://100.64.0.1/", "http://[fd00::1]/", "http://[fe80::1]/", "http://[64:ff9b::7f00:1]/", "http://[2002:7f00:1::]/",
		"http://224.0.0.1/", "http://255.255.255.255/", "ftp://example.com/", "file:///etc/passwd", "http://user@192.0.2.1/", "//x", "http://",
	} {
		resp, err := c.Get(t.Context(), address, "*/*")
		if err == nil {
			_ = resp.Body.Close()
		}
		if code := fault.Of(err).Code; !fault.Is(err, fault.Invalid) || code != "url.not_allowed" && code != "url.failed" {
			t.Errorf("%s: got %v", address, err)
		}
	}
	if called {
		t.Error("the server on the loopback was called")
	}
}

func TestAnAllowedNetworkIsCalledAndARedirectOutOfItIsNot(t *testing.T) {
	t.Parallel()
	inner := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "hello") }))
	t.Cleanup(inner.Close)
	outer := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		http.Redirect(w, r, r.URL.Query().Get("to"), http.StatusFound)
	}))
	t.Cleanup(outer.Close)
	c := egress.New(egress.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	resp, err := c.Get(t.Context(), outer.URL+"?to="+inner.URL, "*/*")
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if text, err := io.ReadAll(resp.Body); err != nil || string(text) != "hello" {
		t.Errorf("got %q, %v", text, err)
	}
	for _, to := range []string{"http://127.0.0.2:1/", "http://10.0.0.1/", "file:///etc/passwd", outer.URL + "?to=" + outer.URL} {
		resp, err := c.Get(t.Context(), outer.URL+"?to="+to, "*/*")
		if err == nil {
			_ = resp.Body.Close()
			t.Errorf("followed a redirect to %s", to)
		}
	}
}

func TestAnAddressThatFailsIsTold(t *testing.T) {
	t.Parallel()
	server := httptest.NewServer(http.NotFoundHandler())
	t.Cleanup(server.Close)
	c := egress.New(egress.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}})
	resp, err := c.Get(t.Context(), server.URL, "*/*")
	if err == nil {
		_ = resp.Body.Close()
	}
	if fault.Of(err).Code != "url.failed" || !strings.Contains(fault.Of(err).Message, "404") {
		t.Errorf("got %v", err)
	}
}

func TestPostSendsOnceAndSaysWhyNot(t *testing.T) {
	t.Parallel()
	inner := httptest.NewServer(http.HandlerFunc(func(http.ResponseWriter, *http.Request) { t.Error("a redirect was followed") }))
	t.Cleanup(inner.Close)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Location", inner.URL)
		w.WriteHeader(http.StatusFound)
		_, _ = w.Write(append(body, r.Header.Get("X-Test")...))
	}))
	t.Cleanup(server.Close)
	c := egress.New(egress.Options{Allowed: []netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}})
	reply, err := c.Post(t.Context(), server.URL, http.Header{"X-Test": {"header"}}, []byte("body "), 8)
	if err != nil || reply.StatusCode != http.StatusFound || string(reply.Body) != "body hea" || reply.Header.Get("Location") != inner.URL {
		t.Errorf("got %+v, %v", reply, err)
	}
	gone := httptest.NewServer(nil)
	gone.Close()
	for address, code := range map[string]string{
		"http://10.0.0.1/": "url.not_allowed", "http://[::1]:1/": "url.not_allowed", "http://u:p@127.0.0.1/": "url.not_allowed",
		"http://127.0.0.2:1/": "url.not_allowed", gone.URL + "/?key=hidden": "url.failed", "http://nobody.invalid/?key=hidden": "url.failed",
	} {
		_, err := c.Post(t.Context(), address, nil, nil, 1)
		if f := fault.Of(err); f.Code != code || strings.Contains(err.Error(), "hidden") {
			t.Errorf("%s: %v", address, err)
		}
	}
	if _, err := egress.New(egress.Options{}).Post(t.Context(), strings.Replace(server.URL, "127.0.0.1", "localhost", 1), nil, nil, 1); fault.Of(err).Code != "url.not_allowed" {
		t.Errorf("a name that leads inside: %v", err)
	}
}
