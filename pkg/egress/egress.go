// Package egress makes calls to addresses that users name. Such a call must not become a way into the network that the
// caller stands in (server-side request forgery): an address is judged after its name was resolved, at the moment of each
// connection, so that neither a redirect nor a name that changes its address gets around it.
package egress

import (
	"context"
	"errors"
	"fmt"
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

// Client calls public addresses over HTTP and HTTPS. It is safe for concurrent use.
type Client struct{ http *http.Client }

// New builds a client.
func New(o Options) *Client {
	if o.Timeout == 0 {
		o.Timeout = defaultTimeout
	}
	dialer := &net.Dialer{Timeout: 5 * time.Second, Control: func(_, address string, _ syscall.RawConn) error {
		return o.judge(address)
	}}
	return &Client{&http.Client{
		Timeout: o.Timeout,
		// No proxy from the environment: it would be called instead of the address that was judged.
		Transport: &http.Transport{
			DialContext: dialer.DialContext, TLSHandshakeTimeout: 5 * time.Second, ResponseHeaderTimeout: o.Timeout,
			MaxResponseHeaderBytes: 64 << 10, DisableKeepAlives: true, ForceAttemptHTTP2: true,
		},
		CheckRedirect: func(r *http.Request, via []*http.Request) error {
			if len(via) >= maxRedirects {
				return errors.New("too many redirects")
			}
			return plausible(r.URL)
		},
	}}
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
