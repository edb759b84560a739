package app

import (
	"net/netip"
	"runtime"
	"slices"
	"time"

	"github.com/tarento/copilot/gateway/internal/auth"
	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/telemetry"
)

// Config is what the gateway is told.
type Config struct {
	HTTPAddr    string        `env:"HTTP_ADDR"     envDefault:":8080"       desc:"Address of the API."`
	OpsAddr     string        `env:"OPS_ADDR"      envDefault:":9090"       desc:"Address of /livez, /readyz and /metrics."`
	Environment string        `env:"ENVIRONMENT"   envDefault:"development" desc:"development, test or production; production refuses weak settings."`
	DrainDelay  time.Duration `env:"DRAIN_DELAY"   envDefault:"5s"          desc:"How long the gateway goes on serving after SIGTERM while /readyz says that it is not ready, for load balancers to notice."`
	Drain       time.Duration `env:"DRAIN_TIMEOUT" envDefault:"20s"         desc:"How long open requests get to finish after that. Event streams end at once and ask to come back."`

	DatabaseURL   secret.Text `env:"DATABASE_URL,required"                        desc:"Postgres as the application role, which sees one tenant at a time."`
	EngineURL     secret.Text `env:"ENGINE_DATABASE_URL,required"                 desc:"Postgres as the engine role, which sees the jobs of all tenants and nothing else."`
	MaxConns      int32       `env:"DATABASE_MAX_CONNS"      envDefault:"20"      desc:"Connections to Postgres as the application role, at most."`
	NATSURL       string      `env:"NATS_URL,required"                            desc:"NATS servers, separated by commas."`
	NATSNamespace string      `env:"NATS_NAMESPACE"          envDefault:"copilot" desc:"First part of every subject; separates environments that share a NATS."`
	RedisURL      secret.Text `env:"REDIS_URL,required"                           desc:"Redis, for rate limits and what callers may do. While it is away, RATE_LIMIT_FAIL_CLOSED says what becomes of limits, and Postgres is asked."`
	BlobDir       string      `env:"BLOB_DIR,required"                            desc:"Folder of uploaded files, the same as the ingest workers'."`

	MaxUpload      int64         `env:"MAX_UPLOAD_BYTES" envDefault:"104857600"        desc:"Largest file that may be uploaded, in bytes."`
	BodyTimeout    time.Duration `env:"BODY_READ_TIMEOUT" envDefault:"10s" desc:"How long a JSON body may take to arrive. Uploads may take longer, as long as they move."`
	DefaultModel   string        `env:"DEFAULT_LLM_MODEL" envDefault:"gemini-2.5-flash" desc:"Language model of agents that name none."`
	DispatchDepth  int           `env:"DISPATCH_DEPTH"   envDefault:"4096"             desc:"Jobs of one kind that lie with the broker at most, however much room the workers have."`
	CORSOrigins    []string      `env:"CORS_ORIGINS"                                   desc:"Origins of web pages that may call the API, separated by commas; * allows all, empty none."`
	TrustedProxies []string      `env:"TRUSTED_PROXIES"                                desc:"Addresses and networks whose X-Forwarded-For is believed, separated by commas."`

	Heartbeat time.Duration `env:"STREAM_HEARTBEAT" envDefault:"15s" desc:"How often an event stream that has nothing to tell shows that it is alive. Proxies must allow as much silence, and some."`

	GCPercent int `env:"GOGC" envDefault:"400" desc:"How much the heap may grow between garbage collections, in percent; more is faster and takes more memory."`

	EgressAllowed []netip.Prefix `env:"EGRESS_ALLOWED_NETWORKS" desc:"Networks that addresses of documents and webhooks may lead to although they are not public, separated by commas; nobody's by default."`

	RequireMatch bool `env:"REQUIRE_IF_MATCH" envDefault:"false" desc:"Whether changes without an If-Match header are refused, with 428."`

	Sockets  Sockets
	Keep     Keep
	Limits   Limits
	Auth     Auth
	Webhooks Webhooks
	Log      telemetry.LogConfig
}

// Sockets is what the gateway is told about WebSocket connections.
type Sockets struct {
	Subscriptions int           `env:"WEBSOCKET_SUBSCRIPTIONS"        envDefault:"100"   desc:"Subscriptions that one WebSocket connection may have."`
	Message       int64         `env:"WEBSOCKET_MESSAGE_BYTES"        envDefault:"16384" desc:"Largest message that a client may send over a WebSocket, in bytes."`
	ReadWithin    time.Duration `env:"WEBSOCKET_READ_TIMEOUT"         envDefault:"10s"   desc:"How long a client may take to make room for the next message before its WebSocket is closed as too slow."`
	Authenticate  time.Duration `env:"WEBSOCKET_AUTHENTICATE_TIMEOUT" envDefault:"10s"   desc:"How long a client may take to say who it is, once its WebSocket is open."`
}

// Validate implements config.Validator.
func (c Sockets) Validate() error {
	switch {
	case c.Subscriptions < 1:
		return config.Invalid("WEBSOCKET_SUBSCRIPTIONS", "must be positive")
	case c.Message < 1<<10 || c.Message > 1<<20:
		return config.Invalid("WEBSOCKET_MESSAGE_BYTES", "must be from 1024 to 1048576")
	case c.ReadWithin <= 0:
		return config.Invalid("WEBSOCKET_READ_TIMEOUT", "must be positive")
	case c.Authenticate <= 0:
		return config.Invalid("WEBSOCKET_AUTHENTICATE_TIMEOUT", "must be positive")
	default:
		return nil
	}
}

// Webhooks is what the gateway is told about sending messages to receivers, and about keeping what signs them.
type Webhooks struct {
	Slots        int             `env:"WEBHOOK_SLOTS"         envDefault:"16"                                desc:"Messages to webhooks that this gateway sends at once; 0 leaves them to other gateways."`
	Retries      []time.Duration `env:"WEBHOOK_RETRIES"       envDefault:"5s,5m,30m,2h,5h,10h,14h,20h,24h" desc:"Pauses between the attempts to send a message, separated by commas; there is one attempt more. What is under way keeps its number of attempts."`
	Lease        time.Duration   `env:"WEBHOOK_LEASE"         envDefault:"30s"                               desc:"How long a message stays with a gateway that shows no sign of life. Renewed three times in that span."`
	DisableAfter time.Duration   `env:"WEBHOOK_DISABLE_AFTER" envDefault:"120h"                              desc:"For how long no message may be delivered before a webhook is turned off."`
	Key          secret.Text     `env:"SECRETS_KEY"                                                            desc:"Seals secrets that must be read back, such as those that sign messages to webhooks; the same on all gateways, at least 32 bytes of randomness. Without it JWT_SECRET does, and secrets are lost when that is replaced."`
	OldKey       secret.Text     `env:"SECRETS_PREVIOUS_KEY"                                                   desc:"Another key that opens what it has sealed. Set it when SECRETS_KEY is replaced."`
}

// Validate implements config.Validator.
func (w Webhooks) Validate() error {
	switch {
	case w.Slots < 0:
		return config.Invalid("WEBHOOK_SLOTS", "must not be negative")
	case len(w.Retries) == 0 || len(w.Retries) > 100 || slices.Min(w.Retries) <= 0:
		return config.Invalid("WEBHOOK_RETRIES", "must be one to 100 positive durations")
	case w.Lease <= 0:
		return config.Invalid("WEBHOOK_LEASE", "must be positive")
	case w.DisableAfter <= 0:
		return config.Invalid("WEBHOOK_DISABLE_AFTER", "must be positive")
	case !w.Key.IsZero() && w.Key.Len() < auth.MinSecretLength:
		return config.Invalid("SECRETS_KEY", "must have at least %d bytes", auth.MinSecretLength)
	default:
		return nil
	}
}

// Keep is what the gateway is told about how long things are kept.
type Keep struct {
	Expired    time.Duration `env:"PRUNE_AFTER"     envDefault:"24h"   desc:"How long sessions and idempotency keys are kept after they have expired. Within the hour after that they are deleted."`
	Events     time.Duration `env:"JOB_EVENTS_KEEP" envDefault:"720h"  desc:"How long the events and the journal of a job are kept after it has ended; dead jobs keep theirs. Who resumes a stream or reads the feed of a tenant may stay away that long. 0 keeps them as long as the job."`
	Deliveries time.Duration `env:"WEBHOOK_KEEP" envDefault:"720h" desc:"How long deliveries to webhooks are kept after they were made or given up."`
	Jobs       time.Duration `env:"JOBS_KEEP"       envDefault:"2160h" desc:"How long a job is kept after it has ended, with its result and all that is about it; 0 keeps jobs for ever."`
}

// leastKept is how long at least what clients come back to is there: an idempotency key names a job for that long.
const leastKept = store.IdempotencyTTL

// Validate implements config.Validator.
func (k Keep) Validate() error {
	switch {
	case k.Expired < 0:
		return config.Invalid("PRUNE_AFTER", "must not be negative")
	case k.Deliveries <= 0:
		return config.Invalid("WEBHOOK_KEEP", "must be positive")
	case k.Events != 0 && k.Events < leastKept:
		return config.Invalid("JOB_EVENTS_KEEP", "must be 0 or at least %s", leastKept)
	case k.Jobs != 0 && k.Jobs < max(k.Events, leastKept):
		return config.Invalid("JOBS_KEEP", "must be 0, or at least %s and JOB_EVENTS_KEEP", leastKept)
	default:
		return nil
	}
}

// Limits is what the gateway is told about how much it serves to whom, and how fast clients must be.
type Limits struct {
	User           int           `env:"RATE_LIMIT_USER"         envDefault:"1200"  desc:"Requests of one user a minute, over all gateways; twice as many may come at once; 0 does not limit."`
	Key            int           `env:"RATE_LIMIT_KEY"          envDefault:"1200"  desc:"Requests with one API key a minute; likewise."`
	Organization   int           `env:"RATE_LIMIT_ORGANIZATION" envDefault:"12000" desc:"Requests of all users and keys of one organization a minute; likewise."`
	Address        int           `env:"RATE_LIMIT_ADDRESS"      envDefault:"600"   desc:"Requests from one address (of IPv6, one /64) a minute by callers who are not known: public operations and refused tokens; likewise."`
	FailClosed     bool          `env:"RATE_LIMIT_FAIL_CLOSED"  envDefault:"false" desc:"Refuses all requests with 503 while Redis is away; false lets all pass. Both show in copilot_ratelimit_decisions_total."`
	LoginsClosed   *bool         `env:"LOGIN_LIMITS_FAIL_CLOSED"                   desc:"The same for logins and registrations alone; as RATE_LIMIT_FAIL_CLOSED where it is not set. True keeps passwords from being guessed without a limit during an outage of Redis, at the price that nobody can log in."`
	HeaderTimeout  time.Duration `env:"HEADER_READ_TIMEOUT"     envDefault:"5s"    desc:"How long the head of a request may take to arrive."`
	AnswerTimeout  time.Duration `env:"ANSWER_WRITE_TIMEOUT"    envDefault:"75s"   desc:"How long a client may take to read an answer, and so more than the 60 s that an operation may take. Streams and downloads may take longer, as long as they move."`
	BcryptParallel int           `env:"BCRYPT_PARALLEL"         envDefault:"0"     desc:"Passwords that are hashed at the same time; 0 means one fewer than there are processors, so that logins leave one to all else."`
	BcryptQueue    int           `env:"BCRYPT_QUEUE"            envDefault:"64"    desc:"Logins that may wait for those; the rest is answered 503 with Retry-After."`
}

// loginsClosed reports whether attempts to log in are refused while they cannot be counted.
func (l Limits) loginsClosed() bool {
	if l.LoginsClosed != nil {
		return *l.LoginsClosed
	}
	return l.FailClosed
}

// withPlaces gives the threads that hash passwords processors of their own in the eyes of Go's scheduler. They step back for all
// others, so one that hashes may not run for a while; if it held a place of those that answer requests, these would wait for it.
func (l Limits) withPlaces() Limits {
	processors := runtime.GOMAXPROCS(0)
	if l.BcryptParallel == 0 {
		l.BcryptParallel = max(1, processors-1)
	}
	runtime.GOMAXPROCS(processors + l.BcryptParallel)
	return l
}

// Validate implements config.Validator.
func (l Limits) Validate() error {
	switch {
	case l.HeaderTimeout <= 0:
		return config.Invalid("HEADER_READ_TIMEOUT", "must be positive")
	case l.AnswerTimeout <= 0:
		return config.Invalid("ANSWER_WRITE_TIMEOUT", "must be positive")
	case l.BcryptParallel < 0:
		return config.Invalid("BCRYPT_PARALLEL", "must not be negative")
	case l.BcryptQueue < 1:
		return config.Invalid("BCRYPT_QUEUE", "must be positive")
	default:
		return nil
	}
}

// Auth is what the gateway is told about passwords and tokens. OldKey is no secret; as a secret.Text it can come from a file, and
// stays unseen should it be the private half by mistake.
type Auth struct {
	Secret     secret.Text   `env:"JWT_SECRET,required"                                    desc:"Signs access tokens with HS256, and derives what all gateways must derive alike; the same on all of them, at least 32 bytes of randomness."`
	Previous   secret.Text   `env:"JWT_PREVIOUS_SECRET"                                    desc:"Another secret whose HS256 tokens are good. Set it while keys are rotated, for as long as access tokens live."`
	Algorithm  string        `env:"JWT_ALGORITHM"                  envDefault:"HS256"       desc:"HS256 or EdDSA. EdDSA signs access tokens with a private key, and /.well-known/jwks.json tells others how to verify them."`
	PrivateKey secret.Text   `env:"JWT_PRIVATE_KEY"                                        desc:"Ed25519 key that signs with EdDSA, as PEM (PKCS #8), with line breaks or \\n for them; the same on all gateways."`
	OldKey     secret.Text   `env:"JWT_PREVIOUS_PUBLIC_KEY"                                desc:"Another Ed25519 key whose tokens are good: the public half as PEM (SPKI). Set it while keys are rotated, for as long as access tokens live."`
	Issuer     string        `env:"JWT_ISSUER"                     envDefault:"copilot"     desc:"Issuer of access tokens; differs between environments that share a secret."`
	Audience   string        `env:"JWT_AUDIENCE"                   envDefault:"copilot-api" desc:"Audience of access tokens."`
	AccessTTL  time.Duration `env:"ACCESS_TOKEN_TTL"               envDefault:"30m"         desc:"How long an access token lives."`
	RefreshTTL time.Duration `env:"REFRESH_TOKEN_TTL"              envDefault:"168h"        desc:"How long a session lasts without being used."`
	BcryptCost int           `env:"BCRYPT_COST"                    envDefault:"12"          desc:"Cost of password hashes; each step doubles the work."`
	Remember   time.Duration `env:"ACCOUNT_CACHE_TTL"              envDefault:"750ms"       desc:"How long a gateway believes what it has looked up about a session or an API key. Changes are told to all gateways at once; so long they can take where the message is lost. 0s asks Postgres every time."`
	PerAccount int           `env:"LOGINS_PER_ACCOUNT"             envDefault:"10"          desc:"Login attempts of one account a minute; twice as many may come at once; 0 does not limit."`
	PerAddress int           `env:"LOGINS_PER_ADDRESS"             envDefault:"60"          desc:"Login attempts from one address a minute; likewise."`
	Registers  int           `env:"REGISTRATIONS_PER_ADDRESS"      envDefault:"10"          desc:"New accounts from one address a minute; likewise."`
}

// The environments.
const (
	development = "development"
	test        = "test"
	production  = "production"
)

// productionCost is the least bcrypt cost that production takes.
const productionCost = 10

// Validate implements config.Validator.
func (c Config) Validate() error {
	switch {
	case c.Environment != development && c.Environment != test && c.Environment != production:
		return config.Invalid("ENVIRONMENT", "must be development, test or production")
	case c.MaxUpload < 1:
		return config.Invalid("MAX_UPLOAD_BYTES", "must be positive")
	case c.MaxConns < 2:
		return config.Invalid("DATABASE_MAX_CONNS", "must be at least 2")
	case c.BodyTimeout <= 0:
		return config.Invalid("BODY_READ_TIMEOUT", "must be positive")
	case c.DrainDelay < 0:
		return config.Invalid("DRAIN_DELAY", "must not be negative")
	case c.Drain <= 0:
		return config.Invalid("DRAIN_TIMEOUT", "must be positive")
	case c.Heartbeat <= 0:
		return config.Invalid("STREAM_HEARTBEAT", "must be positive")
	case c.DispatchDepth < 1:
		return config.Invalid("DISPATCH_DEPTH", "must be positive")
	case c.Environment == production && c.Auth.BcryptCost < productionCost:
		return config.Invalid("BCRYPT_COST", "must be at least %d in production", productionCost)
	default:
		return nil
	}
}

// Validate implements config.Validator.
func (a Auth) Validate() error {
	switch {
	case a.Secret.Len() < auth.MinSecretLength:
		return config.Invalid("JWT_SECRET", "must have at least %d bytes", auth.MinSecretLength)
	case !a.Previous.IsZero() && a.Previous.Len() < auth.MinSecretLength:
		return config.Invalid("JWT_PREVIOUS_SECRET", "must have at least %d bytes", auth.MinSecretLength)
	case len(a.Issuer) > auth.MaxNameLength:
		return config.Invalid("JWT_ISSUER", "must have at most %d bytes", auth.MaxNameLength)
	case len(a.Audience) > auth.MaxNameLength:
		return config.Invalid("JWT_AUDIENCE", "must have at most %d bytes", auth.MaxNameLength)
	case a.AccessTTL < time.Second:
		return config.Invalid("ACCESS_TOKEN_TTL", "must be at least 1s")
	case a.RefreshTTL < a.AccessTTL:
		return config.Invalid("REFRESH_TOKEN_TTL", "must not be shorter than ACCESS_TOKEN_TTL")
	case a.BcryptCost < 4 || a.BcryptCost > 31:
		return config.Invalid("BCRYPT_COST", "must be from 4 to 31")
	default:
		_, err := a.keyring()
		return err
	}
}
