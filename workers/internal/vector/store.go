package vector

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/qdrant/go-client/qdrant"
	"google.golang.org/grpc"

	"github.com/tarento/copilot/pkg/secret"
)

const (
	// DefaultPrefix starts the names of collections when Config.Prefix is empty.
	DefaultPrefix = "copilot"

	defaultPort = 6334
	// callTimeout bounds a call whose context has no earlier deadline.
	callTimeout = 30 * time.Second
)

// retries sends a call again when the connection broke. Every call of this package can be repeated without harm.
const retries = `{"methodConfig":[{"name":[{}],"retryPolicy":{"maxAttempts":3,"initialBackoff":"0.1s",` +
	`"maxBackoff":"1s","backoffMultiplier":2,"retryableStatusCodes":["UNAVAILABLE"]}}]}`

// Config says where Qdrant is.
type Config struct {
	// URL is http://host:port or grpc://host:port for a plain connection, https:// or grpcs:// for TLS. The port is that
	// of the gRPC API, 6334 when it is left out.
	URL string `env:"QDRANT_URL" envDefault:"http://127.0.0.1:6334" desc:"Qdrant's gRPC address; https:// for TLS"`
	// APIKey is sent with every call when it is set.
	APIKey secret.Text `env:"QDRANT_API_KEY" desc:"Qdrant's API key; empty when it needs none"`
	// Prefix starts the name of every collection, so that installations can share a server. Empty means DefaultPrefix.
	Prefix string `env:"QDRANT_PREFIX" envDefault:"copilot" desc:"Start of the names of Qdrant collections"`
}

// Store speaks to Qdrant. Open it, and Close it when nothing uses it any more. It is safe for concurrent use.
type Store struct {
	client *qdrant.GrpcClient
	prefix string
}

// Open checks the configuration and returns at once: the connection is made by the first call, and made again whenever
// it breaks. Ready tells whether the server can be reached.
func Open(ctx context.Context, cfg Config) (*Store, error) {
	if err := ctx.Err(); err != nil {
		return nil, fmt.Errorf("vector: open: %w", err)
	}
	target, err := parseURL(cfg.URL)
	if err != nil {
		return nil, err
	}
	prefix := cfg.Prefix
	if prefix == "" {
		prefix = DefaultPrefix
	}
	if slug(prefix) != prefix {
		return nil, fmt.Errorf("vector: prefix %q: only small letters, digits and dashes may be used", prefix)
	}
	target.APIKey = cfg.APIKey.Reveal()
	target.SkipCompatibilityCheck = true // it would block for a minute without a server
	target.GrpcOptions = []grpc.DialOption{grpc.WithDefaultServiceConfig(retries)}
	client, err := qdrant.NewGrpcClient(target)
	if err != nil {
		return nil, fmt.Errorf("vector: open: %w", err)
	}
	return &Store{client: client, prefix: prefix}, nil
}

// parseURL never repeats the URL in an error: people put passwords into URLs.
func parseURL(raw string) (*qdrant.Config, error) {
	u, err := url.Parse(raw)
	if err != nil {
		return nil, errors.New("vector: the Qdrant URL cannot be parsed")
	}
	cfg := &qdrant.Config{Host: u.Hostname(), Port: defaultPort}
	switch strings.ToLower(u.Scheme) {
	case "http", "grpc":
	case "https", "grpcs":
		cfg.UseTLS = true
	default:
		return nil, errors.New("vector: the Qdrant URL must start with http, https, grpc or grpcs")
	}
	if cfg.Host == "" {
		return nil, errors.New("vector: the Qdrant URL has no host")
	}
	if strings.Contains(cfg.Host, ":") {
		cfg.Host = "[" + cfg.Host + "]" // the client joins host and port with a plain colon
	}
	if u.User != nil {
		return nil, errors.New("vector: the Qdrant URL must not hold credentials; use the API key")
	}
	if p := u.Port(); p != "" {
		if cfg.Port, err = strconv.Atoi(p); err != nil || cfg.Port < 1 || cfg.Port > 65535 {
			return nil, errors.New("vector: the Qdrant URL has no valid port")
		}
	}
	return cfg, nil
}

// Close ends the connections. Calls under way fail.
func (s *Store) Close() error {
	if err := s.client.Close(); err != nil {
		return fmt.Errorf("vector: close: %w", err)
	}
	return nil
}

// Ready returns nil when the server answers.
func (s *Store) Ready(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	_, err := s.client.Qdrant().HealthCheck(ctx, &qdrant.HealthCheckRequest{})
	return classify(ctx, "check health", err)
}
