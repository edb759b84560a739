package floor

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"time"

	"github.com/gin-gonic/gin"
	"github.com/golang-jwt/jwt/v5"
	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"gorm.io/gorm"

	"github.com/tarento/copilot/events"
)

// The paths of the API. Ready answers 204 once everything is connected. An agent's own path is that of all agents, a slash and
// its id.
const (
	PathReady   = "/ready"
	PathInsert  = "/insert"
	PathPublish = "/publish"
	PathRun     = "/run"
	PathAgents  = "/agent-configs"
)

// Skip is the parameter that has a list of agents also say how many there are in all.
const Skip = "skip"

// Serve answers the API until ctx ends.
func Serve(ctx context.Context, c Config) error {
	if c.Address == "" || c.Secret == "" {
		return errors.New("floor: " + VarAddress + " and " + VarSecret + " must be set")
	}
	e, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer e.close()
	db, err := openGORM(c.DatabaseURL)
	if err != nil {
		return err
	}
	defer closeGORM(db)
	a := &api{config: c, engines: e, gorm: db, parser: jwt.NewParser(jwt.WithValidMethods([]string{"HS256"}), jwt.WithExpirationRequired())}
	for subject, handle := range map[string]nats.MsgHandler{c.done("*"): a.ended, c.Live("*"): a.hub.deliver} {
		if _, err := e.nats.Subscribe(subject, handle); err != nil {
			return fmt.Errorf("floor: subscribe: %w", err)
		}
	}
	listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", c.Address)
	if err != nil {
		return fmt.Errorf("floor: %w", err)
	}
	server := &http.Server{Handler: a.streams(a.router()), ReadHeaderTimeout: 10 * time.Second}
	release := context.AfterFunc(ctx, func() { _ = server.Close() })
	defer release()
	if err := server.Serve(listener); !errors.Is(err, http.ErrServerClosed) {
		return fmt.Errorf("floor: serve: %w", err)
	}
	return nil
}

// api is the bare handlers.
type api struct {
	*engines

	config Config
	gorm   *gorm.DB
	parser *jwt.Parser
	// waiting has the channel of each request that waits for its job, by the job's id.
	waiting sync.Map
	hub     hub
}

func (a *api) router() http.Handler {
	gin.SetMode(gin.ReleaseMode)
	router := gin.New()
	router.GET(PathReady, func(g *gin.Context) { g.Status(http.StatusNoContent) })
	signed := router.Group("", a.authenticate)
	signed.POST(PathInsert, a.insert)
	signed.POST(PathPublish, a.publish)
	signed.POST(PathRun, a.run)
	signed.GET(PathAgents+"/:id", a.agent)
	signed.GET(PathAgents, a.agents)
	return router
}

// user and organization are where authenticate keeps who calls.
const (
	user         = "user"
	organization = "organization"
)

// claims are what the floor reads of the system's tokens.
type claims struct {
	jwt.RegisteredClaims

	Organization uuid.UUID `json:"org"`
}

// caller verifies the token.
func (a *api) caller(r *http.Request) (caller claims, err error) {
	token, _ := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	_, err = a.parser.ParseWithClaims(token, &caller, func(*jwt.Token) (any, error) { return []byte(a.config.Secret), nil })
	return caller, err
}

// authenticate lets callers with a good token through.
func (a *api) authenticate(g *gin.Context) {
	caller, err := a.caller(g.Request)
	if err != nil {
		g.AbortWithStatusJSON(http.StatusUnauthorized, gin.H{"error": err.Error()})
		return
	}
	g.Set(user, caller.Subject)
	g.Set(organization, caller.Organization)
}

// embedding is the same body as the system's POST embeddings.
type embedding struct {
	Texts []string `binding:"required,min=1,max=100" json:"texts"`
}

// agentRun is the same body as the system's POST agents/{id}/runs.
type agentRun struct {
	UserInput string `binding:"required,max=200000" json:"user_input"`
}

// row inserts a job whose body is a T, and returns its id.
func row[T any](a *api, g *gin.Context, kind events.Kind) (string, error) {
	var in T
	if err := g.ShouldBindJSON(&in); err != nil {
		return "", fmt.Errorf("read the body: %w", err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return "", fmt.Errorf("make an id: %w", err)
	}
	_, err = a.pool.Exec(g.Request.Context(), "INSERT INTO floor.jobs (id, created_by, kind, input) VALUES ($1, $2, $3, $4)",
		id.String(), g.GetString(user), kind, in)
	if err != nil {
		return "", fmt.Errorf("insert: %w", err)
	}
	return id.String(), nil
}

// insert answers as soon as the row is committed. That the job is ever done is left to somebody who looks for it.
func (a *api) insert(g *gin.Context) {
	id, err := row[agentRun](a, g, events.KindAgentRun)
	if err != nil {
		refuse(g, err)
		return
	}
	g.JSON(http.StatusAccepted, gin.H{"id": id, "status": "queued"})
}

// publish answers as soon as the row is committed and the broker has taken the job. A process that dies in between loses it.
func (a *api) publish(g *gin.Context) {
	id, err := row[agentRun](a, g, events.KindAgentRun)
	if err != nil {
		refuse(g, err)
		return
	}
	if _, err := a.jetstream.Publish(g.Request.Context(), a.config.work(), []byte(id)); err != nil {
		refuse(g, fmt.Errorf("publish: %w", err))
		return
	}
	g.JSON(http.StatusAccepted, gin.H{"id": id, "status": "queued"})
}

// run answers when a worker has done the job.
func (a *api) run(g *gin.Context) {
	id, err := row[embedding](a, g, events.KindEmbeddingCreate)
	if err != nil {
		refuse(g, err)
		return
	}
	ended := make(chan struct{}, 1)
	a.waiting.Store(id, ended)
	defer a.waiting.Delete(id)
	if _, err := a.jetstream.Publish(g.Request.Context(), a.config.work(), []byte(id)); err != nil {
		refuse(g, fmt.Errorf("publish: %w", err))
		return
	}
	select {
	case <-ended:
		g.JSON(http.StatusOK, gin.H{"id": id, "status": "succeeded"})
	case <-g.Request.Context().Done():
	}
}

// ended wakes the request that waits for a job.
func (a *api) ended(m *nats.Msg) {
	stored, _ := a.waiting.Load(a.config.doneOf(m.Subject))
	waiting, ok := stored.(chan struct{})
	if !ok {
		return
	}
	select {
	case waiting <- struct{}{}:
	default: // told already: JetStream may deliver twice
	}
}

func refuse(g *gin.Context, err error) {
	g.AbortWithStatusJSON(http.StatusInternalServerError, gin.H{"error": err.Error()})
}
