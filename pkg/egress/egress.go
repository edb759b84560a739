// Package egress makes calls to addresses that users name. Such a call must not become a way into the network that the
// caller stands in (server-side request forgery): an address is judged after its name was resolved, at the moment of each
// connection, so that neither a redirect nor a name that changes its address gets around it.
package egress

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/netip"
	"net/url"
	"syscall"
	"time"

	"github.com/tarento/copilot/pkg/fault"
)

// Options are the settings of a Client.
type Options struct {
	// Allowed are networks that may be called although they are not public.
	Allowed []netip.Prefix
	// Timeout bounds one call, redirects and body included; zero means 30 s.
	Timeout time.Duration
}

const (
	defaultTimeout = 30 * time.Second
	maxRedirects   = 5
)

// Reply is what an address answered to Post.
type Reply struct {
	StatusCode int
	Header     http.Header
	// Body is the beginning of the answer, as far as it was asked for.
	Body []byte
}

// Client calls public addresses over HTTP and HTTPS. It is safe for concurrent use.
type Client struct {
	options Options
	http    *http.Client
	// once follows no redirects.
	once *http.Client
}

// New builds a client.
func New(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		return o.judge(address)
	}}
	// No proxy from the environment: it would be called instead of the address that was judged.
	transport := &http.Transport{
		DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: o.Timeout,
		MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: true, ForceAttemptHTTP2: true,
	}
	return &Client{
		options: o,
		http: &http.Client{Timeout: o.Timeout, Transport: transport, CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return errors.New("too many redirects")
			}
			return plausible(r.URL)
		}},
		once: &http.Client{Timeout: o.Timeout, Transport: transport, CheckRedirect: func(*http.Request, []*http.Request) error {
			return http.ErrUseLastResponse
		}},
	}
}

// errNotPublic is why a connection is not made.
var errNotPublic = errors.New("the address is not public")

// judge refuses addresses that are not public and not allowed.
func (o Options) judge(address string) error {
	at, err := netip.ParseAddrPort(address)
	if err != nil {
		return fmt.Errorf("egress: read address: %w", err)
	}
	ip := at.Addr().Unmap()
	for _, network := range o.Allowed {
		if network.Contains(ip) {
			return nil
		}
	}
	if !public(ip) {
		return errNotPublic
	}
	return nil
}

// special are the networks of the IANA special-purpose registries that net/netip has no word for.
var special = []netip.Prefix{
	netip.MustParsePrefix("0.0.0.0/8"), netip.MustParsePrefix("100.64.0.0/10"), netip.MustParsePrefix("192.0.0.0/24"),
	netip.MustParsePrefix("192.0.2.0/24"), netip.MustParsePrefix("192.88.99.0/24"), netip.MustParsePrefix("198.18.0.0/15"),
	netip.MustParsePrefix("198.51.100.0/24"), netip.MustParsePrefix("203.0.113.0/24"), netip.MustParsePrefix("240.0.0.0/4"),
	netip.MustParsePrefix("64:ff9b::/96"), netip.MustParsePrefix("64:ff9b:1::/48"), netip.MustParsePrefix("100::/64"),
	netip.MustParsePrefix("2001::/23"), netip.MustParsePrefix("2001:db8::/32"), netip.MustParsePrefix("2002::/16"),
	netip.MustParsePrefix("fec0::/10"),
}

func public(ip netip.Addr) bool {
	if !ip.IsGlobalUnicast() || ip.IsPrivate() || ip.Zone() != "" {
		return false
	}
	for _, network := range special {
		if network.Contains(ip) {
			return false
		}
	}
	return true
}

// plausible refuses what is no address of a document.
func plausible(u *url.URL) error {
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" || u.User != nil {
		return errors.New("expected an http or https address without a user name")
	}
	return nil
}

// Get fetches what a user's address names. The caller closes the body and bounds what is read of it. An address that may not be called
// is fault.Invalid "url.not_allowed", one that does not answer with a success fault.Invalid "url.failed".
func (c *Client) Get(ctx context.Context, address, accept string) (*http.Response, error) {
	u, err := url.Parse(address)
	if err == nil {
		err = plausible(u)
	}
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "url.not_allowed", "Expected an http or https address without a user name.")
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, u.String(), http.NoBody)
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "url.not_allowed", "The address cannot be read.")
	}
	req.Header.Set("Accept", accept)
	req.Header.Set("User-Agent", "copilot")
	resp, err := c.http.Do(req)
	switch {
	case errors.Is(err, errNotPublic):
		return nil, fault.Wrap(err, fault.Invalid, "url.not_allowed", "The address leads to a network that is not public.")
	case ctx.Err() != nil:
		return nil, fmt.Errorf("egress: %w", ctx.Err())
	case err != nil:
		return nil, fault.Wrap(err, fault.Invalid, "url.failed", "The address cannot be reached, or does not answer in time.")
	case resp.StatusCode != http.StatusOK:
		_ = resp.Body.Close()
		return nil, fault.New(fault.Invalid, "url.failed", "The address answers with status %d.", resp.StatusCode)
	}
	return resp, nil
}

// Check refuses an address that Get and Post would not call whatever its name leads to: fault.Invalid "url.not_allowed". One that it lets
// pass is judged again when it is called.
func (c *Client) Check(address string) error {
	u, err := url.Parse(address)
	if err == nil {
		err = plausible(u)
	}
	if err != nil {
		return fault.Wrap(err, fault.Invalid, "url.not_allowed", "Expected an http or https address without a user name.")
	}
	if ip, err := netip.ParseAddr(u.Hostname()); err == nil {
		if err := c.options.judge(netip.AddrPortFrom(ip, 0).String()); err != nil {
			return notPublic(err)
		}
	}
	return nil
}

func notPublic(err error) error {
	return fault.Wrap(err, fault.Invalid, "url.not_allowed", "The address leads to a network that is not public.")
}

// Post sends a body to a user's address and returns the answer with as much of its body as asked for. A redirect is an answer like any
// other and is not followed. An address that may not be called is fault.Invalid "url.not_allowed". One that does not answer is
// fault.Upstream "url.failed", whose message says why without naming anything inside of our network.
func (c *Client) Post(ctx context.Context, address string, header http.Header, body []byte, most int64) (*Reply, error) {
	if err := c.Check(address); err != nil {
		return nil, err
	}
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, address, bytes.NewReader(body))
	if err != nil {
		return nil, fault.Wrap(err, fault.Invalid, "url.not_allowed", "The address cannot be read.")
	}
	req.Header = header.Clone()
	resp, err := c.once.Do(req)
	if err != nil {
		return nil, unreached(ctx, err)
	}
	defer func() { _ = resp.Body.Close() }()
	text, err := io.ReadAll(io.LimitReader(resp.Body, most))
	if err != nil && ctx.Err() != nil {
		return nil, fmt.Errorf("egress: %w", ctx.Err())
	}
	return &Reply{StatusCode: resp.StatusCode, Header: resp.Header, Body: text}, nil
}

// unreached says why an address did not answer. What the error itself says may name what only we should know: it is for logs.
func unreached(ctx context.Context, err error) error {
	// It would repeat the address, which may hold a secret.
	if outer, ok := errors.AsType[*url.Error](err); ok {
		err = outer.Err
	}
	if ctx.Err() != nil {
		return fmt.Errorf("egress: %w", ctx.Err())
	}
	if errors.Is(err, errNotPublic) {
		return notPublic(err)
	}
	message := "The address cannot be reached."
	if _, unknown := errors.AsType[*net.DNSError](err); unknown {
		message = "The name of the address is not known."
	}
	if _, refused := errors.AsType[*tls.CertificateVerificationError](err); refused {
		message = "The certificate of the address is not good."
	}
	if slow, ok := errors.AsType[net.Error](err); ok && slow.Timeout() {
		message = "The address did not answer in time."
	}
	return fault.Wrap(err, fault.Upstream, "url.failed", "%s", message)
}
