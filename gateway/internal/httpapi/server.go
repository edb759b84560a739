package httpapi

import (
	"fmt"
	"log/slog"
	"net/http"
	"reflect"
	"sync"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/gateway/internal/account"
	"github.com/tarento/copilot/gateway/internal/jobs"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/gateway/internal/webhook"
	"github.com/tarento/copilot/pkg/blob"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/egress"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/telemetry"
)

// mediaJSON is the media type of every body that says nothing else.
const mediaJSON = "application/json"

// Config is what can be set about the API.
type Config struct {
	// Version is the release that answers say they come from.
	Version string
	// MaxUpload is the largest file that is taken, in bytes.
	MaxUpload int64
	// BodyWithin is how long a JSON body may take to arrive.
	BodyWithin time.Duration
	// AnswerWithin is how long a client may take to read an answer; 0 means 75 s. Streams bound each of their events themselves.
	AnswerWithin time.Duration
	// Heartbeat is how often a stream shows that it is alive while it has nothing to tell; 0 means 15 s.
	Heartbeat time.Duration
	// DefaultModel is the language model of agents that name none.
	DefaultModel string
	// TrustedProxies are the addresses and networks whose X-Forwarded-For is believed; nobody's by default.
	TrustedProxies []string
	// CursorKey seals the cursors of collections; the same on all gateways.
	CursorKey []byte
	// RequireMatch refuses changes without an If-Match header.
	RequireMatch bool
	CORS         CORS
	Sockets      Sockets
}

// Parts are what the API works with.
type Parts struct {
	Store *store.Store
	Bus   *bus.Bus
	Blobs blob.Store
	// Egress fetches what users' addresses name.
	Egress   *egress.Client
	Hub      *stream.Hub
	Crews    Crews
	Queues   Queues
	Jobs     *jobs.Service
	Accounts *account.Service
	Webhooks *webhook.Service
	Guard    *Guard
	Limits   *Limits
	// Ready says whether what the API cannot do without is there, Wanted about what it can.
	Ready   *telemetry.Readiness
	Wanted  *telemetry.Readiness
	Log     *slog.Logger
	Metrics prometheus.Registerer
}

// Server is the API as an http.Handler. It is safe for concurrent use.
type Server struct {
	Parts

	cfg     Config
	log     *slog.Logger
	metrics *requestMetrics
	router  *gin.Engine
	api     huma.API
	presets presetSchemas
	sockets *sockets
}

// strictNames has field names compared as the document has them, case included. It is a setting of huma's for all its APIs.
var strictNames = sync.OnceValue(func() bool {
	huma.ValidateStrictCasing = true
	return true
})

// New builds the API with all its operations.
func New(cfg Config, parts Parts) (*Server, error) {
	gin.SetMode(gin.ReleaseMode)
	strictNames()
	if cfg.AnswerWithin == 0 {
		cfg.AnswerWithin = answerWithin
	}
	if cfg.Heartbeat == 0 {
		cfg.Heartbeat = heartbeat
	}
	cfg.Sockets = cfg.Sockets.withDefaults()
	s := &Server{Parts: parts, cfg: cfg, log: parts.Log, metrics: newRequestMetrics(parts.Metrics), router: gin.New()}
	s.sockets = newSockets(parts.Metrics)
	s.router.HandleMethodNotAllowed = true
	if err := s.router.SetTrustedProxies(cfg.TrustedProxies); err != nil {
		return nil, fmt.Errorf("httpapi: read the trusted proxies: %w", err)
	}
	s.router.Use(s.identify, s.record, survive, secure, s.share, shortTarget, s.pace)
	s.router.NoRoute(func(c *gin.Context) {
		abort(c, newProblem(fault.NotFound, "route.not_found", "There is nothing at this path. The operations are listed at /docs."))
	})
	s.router.NoMethod(func(c *gin.Context) {
		abort(c, rareProblem(http.StatusMethodNotAllowed, "method-not-allowed", "Method not allowed", "route.method_not_allowed",
			"This path does not take "+method(c.Request.Method)+"."))
	})
	s.api = humagin.New(s.router, s.describe())
	s.presets = newPresetSchemas()
	s.operations()
	s.system()
	if err := s.docs(); err != nil {
		return nil, err
	}
	return s, nil
}

// ServeHTTP implements http.Handler.
func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) { s.router.ServeHTTP(w, r) }

// operations registers every operation of the API.
func (s *Server) operations() {
	s.authOperations()
	s.sessionOperations()
	s.apiKeyOperations()
	s.userOperations()
	s.organizationOperations()
	s.jobLimitOperations()
	s.projectOperations()
	s.roleOperations()
	s.agentConfigOperations()
	s.agentScheduleOperations()
	s.agentOperations()
	s.conversationOperations()
	s.conversationSearchOperations()
	s.conversationExportOperations()
	s.messageOperations()
	s.documentOperations()
	s.documentChangeOperations()
	s.documentFileOperations()
	s.documentIntakeOperations()
	s.uploadOperations()
	s.searchOperations()
	s.embeddingOperations()
	s.jobOperations()
	s.jobStatsOperations()
	s.jobBatchOperations()
	s.jobRetryOperations()
	s.jobEventOperations()
	s.feedOperations()
	s.socketOperations()
	s.webhookOperations()
	s.workerOperations()
	s.auditLogOperations()
}

// describe is what the OpenAPI document says beside the operations.
func (s *Server) describe() huma.Config {
	registry := huma.NewMapRegistry("#/components/schemas/", huma.DefaultSchemaNamer)
	registry.RegisterTypeAlias(reflect.TypeFor[huma.ErrorModel](), reflect.TypeFor[Problem]())
	return huma.Config{
		OpenAPI: &huma.OpenAPI{
			OpenAPI: "3.1.0",
			Info: &huma.Info{
				Title: "Co-Pilot API", Version: s.cfg.Version,
				Description: "Run agents, ingest documents and search them. Work that takes long is a job: the answer is 202 with " +
					"the job, which can be polled, waited for (`Prefer: wait=30`) or followed as server-sent events.\n\n" +
					"Errors are RFC 9457 problem documents. A POST that creates work takes an `Idempotency-Key`.",
				License: &huma.License{Name: "Apache-2.0", Identifier: "Apache-2.0"},
			},
			Servers: []*huma.Server{{URL: "/", Description: "This gateway"}},
			Tags:    tags(),
			Components: &huma.Components{
				Schemas: registry,
				SecuritySchemes: map[string]*huma.SecurityScheme{
					bearer: {
						Type: "http", Scheme: "bearer", BearerFormat: "JWT",
						Description: "The access token that login and refresh answer, or an API key.",
					},
					apiKey: {
						Type: "apiKey", In: "header", Name: headerAPIKey,
						Description: "An API key. It does what its scopes name and its user may.",
					},
				},
			},
		},
		Formats:       map[string]huma.Format{mediaJSON: huma.DefaultJSONFormat, "json": huma.DefaultJSONFormat},
		DefaultFormat: mediaJSON,
		Transformers:  []huma.Transformer{completeProblem},
	}
}

// The tags, which group the operations in the documentation.
const (
	tagAuth          = "auth"
	tagUsers         = "users"
	tagOrganizations = "organizations"
	tagProjects      = "projects"
	tagRoles         = "roles"
	tagAgentConfigs  = "agent-configs"
	tagAgents        = "agents"
	tagConversations = "conversations"
	tagDocuments     = "documents"
	tagEmbeddings    = "embeddings"
	tagJobs          = "jobs"
	tagWebhooks      = "webhooks"
	tagWorkers       = "workers"
	tagAuditLogs     = "audit-logs"
)

func tags() []*huma.Tag {
	return []*huma.Tag{
		{Name: tagAuth, Description: "Accounts and tokens"},
		{Name: tagUsers, Description: "The people of an organization"},
		{Name: tagOrganizations, Description: "Organizations, each of which sees only its own"},
		{Name: tagProjects, Description: "Projects, and who works in them"},
		{Name: tagRoles, Description: "Roles, and what they may do"},
		{Name: tagAgentConfigs, Description: "Agents as they are configured"},
		{Name: tagAgents, Description: "Agents at work"},
		{Name: tagConversations, Description: "Conversations and their messages"},
		{Name: tagDocuments, Description: "Documents and how to find passages in them"},
		{Name: tagEmbeddings, Description: "Vectors for texts"},
		{Name: tagJobs, Description: "Work that was accepted, and how it goes"},
		{Name: tagWebhooks, Description: "Addresses that are told what becomes of jobs and documents, and what was sent to them"},
		{Name: tagWorkers, Description: "The processes that do the work"},
		{Name: tagAuditLogs, Description: "Who changed what in the organization"},
	}
}
