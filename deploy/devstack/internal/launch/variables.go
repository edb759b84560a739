package launch

// The variables that the system's programs read, and by which a person names servers of their own.
const (
	varOwnerDatabase  = "MIGRATE_DATABASE_URL"
	varAppDatabase    = "DATABASE_URL"
	varEngineDatabase = "ENGINE_DATABASE_URL"
	varNATS           = "NATS_URL"
	varNamespace      = "NATS_NAMESPACE"
	varRedis          = "REDIS_URL"
	varQdrant         = "QDRANT_URL"
	varQdrantKey      = "QDRANT_API_KEY"
	varGeminiKey      = "GEMINI_API_KEY"
	varGeminiURL      = "GEMINI_BASE_URL"
	varBlobs          = "BLOB_DIR"
	varCache          = "CACHE_DIR"
	varTokenKey       = "JWT_SECRET"
	varDrainDelay     = "DRAIN_DELAY"
	varHTTP           = "HTTP_ADDR"
	varOps            = "OPS_ADDR"
	varEnvironment    = "ENVIRONMENT"
	varLogLevel       = "LOG_LEVEL"
	varLogFormat      = "LOG_FORMAT"
	varPath           = "PATH"

	// varURL tells a command that was started beside the system where its API is.
	varURL = "COPILOT_URL"

	// varMark is set in the env file, so that a launcher started from a shell that has read the file can tell.
	varMark = "DEVSTACK_ENV"
)
