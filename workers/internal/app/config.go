package app

import (
	"runtime"
	"time"

	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/telemetry"
	"github.com/tarento/copilot/workers/internal/provider"
	"github.com/tarento/copilot/workers/internal/vector"
)

// Shared is what every worker is told.
type Shared struct {
	OpsAddr       string        `env:"OPS_ADDR"            envDefault:":9091"   desc:"Address of /livez, /readyz and /metrics."`
	DatabaseURL   secret.Text   `env:"DATABASE_URL,required"                    desc:"Postgres as the application role, which sees one tenant at a time."`
	EngineURL     secret.Text   `env:"ENGINE_DATABASE_URL,required"             desc:"Postgres as the engine role, which sees the jobs of all tenants and nothing else."`
	NATSURL       string        `env:"NATS_URL,required"                        desc:"NATS servers, separated by commas."`
	NATSNamespace string        `env:"NATS_NAMESPACE"      envDefault:"copilot" desc:"First part of every subject; separates environments that share a NATS."`
	Slots         int           `env:"WORKER_SLOTS"        envDefault:"0"       desc:"Jobs that run at once in this process; 0 means the worker's own default."`
	Lease         time.Duration `env:"WORKER_LEASE"        envDefault:"30s"     desc:"How long a job stays with a worker that shows no sign of life. Renewed three times in that span."`
	Timeout       time.Duration `env:"WORKER_TIMEOUT"      envDefault:"15m"     desc:"How long one attempt of a job may take."`
	Grace         time.Duration `env:"WORKER_GRACE"        envDefault:"20s"     desc:"How long running jobs may go on after SIGTERM before they go back to the queue."`
	Log           telemetry.LogConfig
}

// Validate implements config.Validator.
func (c Shared) Validate() error {
	switch {
	case c.Lease < time.Second:
		return config.Invalid("WORKER_LEASE", "must be at least 1s")
	case c.Timeout <= 0:
		return config.Invalid("WORKER_TIMEOUT", "must be positive")
	case c.Slots < 0:
		return config.Invalid("WORKER_SLOTS", "must not be negative")
	}
	return nil
}

// Provider is what the workers that call a model are told.
type Provider struct {
	APIKey  secret.Text `env:"GEMINI_API_KEY,required" desc:"Key of the Gemini API."`
	BaseURL string      `env:"GEMINI_BASE_URL"         desc:"Where the Gemini API is, if not at Google: a proxy or a stand-in."`
	// Limits is text here so that what is wrong with it can be said in full.
	Limits   string      `env:"PROVIDER_LIMITS"    desc:"What all workers together may use of models in any minute: gemini-2.5-flash=rpm:1000,tpm:1000000;*=rpm:60 names requests (rpm) and tokens (tpm), * each other model. Empty means no limits."`
	RedisURL secret.Text `env:"REDIS_URL,required" desc:"Redis, where workers share the limits of models and which of them are paused. While it is away, each process limits and pauses by itself."`
}

// Validate implements config.Validator.
func (c Provider) Validate() error {
	if _, err := provider.ParseLimits(c.Limits); err != nil {
		return config.Invalid("PROVIDER_LIMITS", "cannot be read: %v", err)
	}
	return nil
}

// Agent configures the agent worker.
type Agent struct {
	Shared
	Provider
}

// Ingest configures the ingest worker.
type Ingest struct {
	Shared
	BlobDir      string `env:"BLOB_DIR,required"                     desc:"Folder of uploaded files, the same as the gateway's."`
	CacheDir     string `env:"CACHE_DIR"                             desc:"Private folder for the compiled PDF sandbox; empty compiles it at every start."`
	ParseWorkers int    `env:"INGEST_PARSE_WORKERS" envDefault:"0"   desc:"PDF pages that are read at once; 0 means one per core."`
	ChunkTokens  int    `env:"INGEST_CHUNK_TOKENS"  envDefault:"256" desc:"Size that chunks aim at, in estimated tokens."`
}

func (c Ingest) parseWorkers() int {
	if c.ParseWorkers > 0 {
		return c.ParseWorkers
	}
	return runtime.GOMAXPROCS(0)
}

// Embedding configures the embedding worker.
type Embedding struct {
	Shared
	Provider
	Qdrant    vector.Config
	Model     string `env:"EMBEDDING_MODEL"      envDefault:"gemini-embedding-001"  desc:"Embedding model. Changing it needs all documents to be indexed again."`
	Dimension int    `env:"EMBEDDING_DIMENSION"  envDefault:"768"                   desc:"Length of the vectors."`
	Parallel  int    `env:"EMBEDDING_PARALLEL"   envDefault:"4"                     desc:"Calls to the embedding model that are under way at once."`
}
