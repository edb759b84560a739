package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// NewEmbeddings are texts that vectors are wanted for.
type NewEmbeddings struct {
	Scheduling

	Texts []string `json:"texts" minItems:"1" maxItems:"100" minLength:"1" maxLength:"20000" nullable:"false" example:"[\"Taxis are paid for after 22:00.\"]" doc:"1 to 100 texts of 1 to 20000 characters"`
	Model string   `json:"model,omitempty" maxLength:"100" doc:"The embedding model; the platform's own when it is left out"`
	Store bool     `json:"store,omitempty" doc:"Also keep the vectors"`
}

type createEmbeddingsInput struct {
	Submitting

	Body NewEmbeddings
}

func (s *Server) embeddingOperations() {
	secured(s, access.EmbeddingsCreate, operation{
		id: "create-embeddings", method: http.MethodPost, path: "/embeddings", tag: tagEmbeddings, accepts: true,
		summary: "Compute embeddings", about: "The job's result holds one vector for each text, in their order.",
	}, s.createEmbeddings)
}

// job computes the embeddings that were asked for now.
func (n *NewEmbeddings) job(now time.Time) (store.NewJob, error) {
	job := store.NewJob{
		Kind: events.KindEmbeddingCreate, Class: events.ClassInteractive,
		Input: events.EmbeddingCreateInput{Model: n.Model, Store: n.Store, Texts: n.Texts},
	}
	err := n.schedule(&job, now)
	return job, err
}

func (s *Server) createEmbeddings(ctx context.Context, p *rbac.Principal, in *createEmbeddingsInput) (*acceptedOutput, error) {
	once, err := in.once("POST /embeddings", in.Body)
	if err != nil {
		return nil, err
	}
	sub, err := s.Jobs.Submit(ctx, p, once, func(*store.Tx) ([]store.NewJob, error) {
		job, err := in.Body.job(time.Now())
		return []store.NewJob{job}, err
	})
	if err != nil {
		return nil, err
	}
	return s.accept(ctx, p, sub, in.Prefer)
}
