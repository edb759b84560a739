package client

import (
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"strings"
	"time"
)

// Client calls the API of one gateway, or of many behind one address. Make it with [New]. It is safe for concurrent use.
type Client struct {
	base    string // without a slash at the end
	http    *http.Client
	agent   string
	apiKey  string
	timeout time.Duration // of one attempt; streams, uploads and downloads are not bounded by it
	silence time.Duration // after which a stream without a byte counts as cut
	retries int
	session session
}

// userAgent is what the server's log shows of calls whose program does not name itself.
const userAgent = "copilot-go/1"

// The defaults of the options.
const (
	defaultTimeout = 30 * time.Second
	defaultSilence = 45 * time.Second // three heartbeats
	defaultRetries = 3
)

// Option sets something about a [Client].
type Option func(*Client)

// WithHTTPClient makes the calls with this client instead of [http.DefaultClient]. It must not have a Timeout, which would cut
// streams and uploads; see [WithTimeout].
func WithHTTPClient(h *http.Client) Option { return func(c *Client) { c.http = h } }

// WithUserAgent names the calling program in front of this package's own name, such as "acme-importer/2.1".
func WithUserAgent(program string) Option {
	return func(c *Client) { c.agent = strings.TrimSpace(program + " " + userAgent) }
}

// WithAPIKey authenticates all calls with an API key, instead of a login.
func WithAPIKey(key string) Option { return func(c *Client) { c.apiKey = key } }

// WithTokens goes on with a session that was begun before, by this program or by another one.
func WithTokens(t Tokens) Option { return func(c *Client) { c.session.resume(t) } }

// OnTokens calls a function whenever there are new tokens, after a login or a renewal, and with the zero value after a logout: a
// refresh token is good for one renewal, so who keeps it has to keep the new one. Calls that need the tokens wait for the function.
func OnTokens(told func(Tokens)) Option { return func(c *Client) { c.session.told = told } }

// WithTimeout bounds each attempt of a call, beside its context; the default is 30 seconds. What the server was asked to wait for a
// job comes on top. Streams, uploads and downloads are not bounded by it.
func WithTimeout(d time.Duration) Option { return func(c *Client) { c.timeout = d } }

// WithSilence is how long a stream of events may be silent before it is opened again; the default is 45 seconds, which is three
// heartbeats.
func WithSilence(d time.Duration) Option { return func(c *Client) { c.silence = d } }

// WithRetries is how often a call that is safe to repeat is repeated at most; the default is 3, and 0 repeats nothing.
func WithRetries(n int) Option { return func(c *Client) { c.retries = n } }

// New returns a client of the API at an address such as "https://copilot.example.com". It makes no call.
func New(baseURL string, options ...Option) (*Client, error) {
	u, err := url.Parse(baseURL)
	if err != nil {
		return nil, fmt.Errorf("client: read the base URL: %w", err)
	}
	if (u.Scheme != "http" && u.Scheme != "https") || u.Host == "" || u.RawQuery != "" || u.Fragment != "" || u.User != nil {
		return nil, errors.New("client: the base URL must look like https://host or https://host/prefix")
	}
	c := &Client{
		base: strings.TrimRight(baseURL, "/"), http: http.DefaultClient, agent: userAgent,
		timeout: defaultTimeout, silence: defaultSilence, retries: defaultRetries,
		session: session{renewing: make(chan struct{}, 1)},
	}
	for _, set := range options {
		set(c)
	}
	return c, nil
}
