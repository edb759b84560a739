package gemini

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"google.golang.org/genai"
)

// Config says which service to use.
type Config struct {
	// APIKey authenticates the deployment. It is required; the local stand-in takes any.
	APIKey string
	// BaseURL is where the service answers; empty means the Gemini API of Google. Environment variables do not change it.
	BaseURL string
	// Timeout is the longest silence of the service: until the first piece of an answer, and between two pieces. Zero means two
	// minutes. The length of a whole answer is limited by the caller's context alone.
	Timeout time.Duration
}

const (
	defaultBaseURL = "https://generativelanguage.googleapis.com"
	defaultTimeout = 2 * time.Minute
	// maxIdle is how many connections are kept between calls; embedding keeps this many in flight at most.
	maxIdle = 64
)

// Client calls the model provider. It is safe for concurrent use. Make it with New and Close it.
type Client struct {
	sdk       *genai.Client
	transport *http.Transport
	key       string
	timeout   time.Duration
}

// New returns a client. It sends nothing yet, so a wrong key shows at the first call.
func New(ctx context.Context, config Config) (*Client, error) {
	// The SDK's own errors about a configuration print all of it, the key too; so nothing invalid may reach it.
	if config.APIKey == "" {
		return nil, errors.New("making a Gemini client: the API key is empty")
	}
	base := cmp.Or(config.BaseURL, defaultBaseURL)
	if u, err := url.Parse(base); err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" {
		return nil, errors.New("making a Gemini client: the base URL is not an absolute http or https URL")
	}
	transport := &http.Transport{
		Proxy:               http.ProxyFromEnvironment,
		ForceAttemptHTTP2:   true,
		MaxIdleConns:        maxIdle,
		MaxIdleConnsPerHost: maxIdle,
		IdleConnTimeout:     90 * time.Second,
		TLSHandshakeTimeout: 10 * time.Second,
	}
	c := &Client{transport: transport, key: config.APIKey, timeout: cmp.Or(config.Timeout, defaultTimeout)}
	sdk, err := genai.NewClient(ctx, &genai.ClientConfig{
		APIKey:  config.APIKey,
		Backend: genai.BackendGeminiAPI,
		HTTPClient: &http.Client{
			Transport: transport,
			// A redirect would carry the key's header to whatever host it names. The service never redirects.
			CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse },
		},
		HTTPOptions: genai.HTTPOptions{BaseURL: base},
	})
	if err != nil {
		return nil, fmt.Errorf("making a Gemini client: %w", c.scrub(err))
	}
	c.sdk = sdk
	return c, nil
}

// Close gives the idle connections back. Calls that are under way are not disturbed.
func (c *Client) Close() { c.transport.CloseIdleConnections() }

// errSilent ends a call whose service said nothing for too long.
var errSilent = errors.New("the service was silent for too long")

// watchdog ends a call when the service is silent for too long.
type watchdog struct {
	timer  *time.Timer
	limit  time.Duration
	cancel context.CancelCauseFunc
}

// watch returns a context for one call and the watchdog that ends it with errSilent. The watchdog is awake already; stop it
// when the call is over.
func (c *Client) watch(ctx context.Context) (context.Context, watchdog) {
	watched, cancel := context.WithCancelCause(ctx)
	return watched, watchdog{
		timer: time.AfterFunc(c.timeout, func() { cancel(errSilent) }), limit: c.timeout, cancel: cancel,
	}
}

// sleep lets the caller take its time with what the service said; wake counts the service's silence from now.
func (w watchdog) sleep() { w.timer.Stop() }
func (w watchdog) wake()  { w.timer.Reset(w.limit) }

func (w watchdog) stop() {
	w.timer.Stop()
	w.cancel(nil)
}
