package httpapi

import (
	"context"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/store"
)

// JobOfBatch is one job of a batch: exactly one of its fields.
type JobOfBatch struct {
	Run        *Execution     `json:"run,omitempty" doc:"A run of an agent, as POST /agents/execute takes it"`
	Embeddings *NewEmbeddings `json:"embeddings,omitempty" doc:"Texts that vectors are wanted for, as POST /embeddings takes them"`
}

// NewJobs are jobs that are submitted together.
type NewJobs struct {
	Jobs  []JobOfBatch `json:"jobs" minItems:"1" maxItems:"1000" nullable:"false" doc:"1 to 1000 jobs"`
	Class events.Class `json:"class,omitempty" enum:"interactive,bulk" default:"bulk" doc:"Bulk work lets the organization's interactive work go first"`
}

type submitJobsInput struct {
	Repeatable

	Body NewJobs
}

// JobIDs are the jobs that a batch has made.
type JobIDs struct {
	IDs   []uuid.UUID `json:"ids" nullable:"false" example:"[\"0190f4a0-0000-7000-8000-000000000000\"]" doc:"The ids of the jobs, in the order of the batch"`
	Total int         `json:"total" example:"1000" doc:"How many there are"`
}

type jobIDsOutput struct {
	Status     int
	RetryAfter string `header:"Retry-After" doc:"When to ask again, in seconds"`
	Replayed   string `header:"Idempotency-Replayed" doc:"true when an earlier request with the same key made the jobs"`
	Body       JobIDs
}

// maxBatchBody is how large the body of a batch may be.
const maxBatchBody = 8 << 20

func (s *Server) jobBatchOperations() {
	secured(s, "", operation{
		id: "submit-jobs", method: http.MethodPost, path: "/jobs/batch", tag: tagJobs, summary: "Submit up to 1000 jobs",
		status: http.StatusAccepted, body: maxBatchBody, errors: []int{http.StatusForbidden, http.StatusNotFound, http.StatusConflict},
		about: "Runs of agents and embeddings in one request, at most 8 MiB, and 32 MiB with what the agents are told. They are accepted " +
			"together or not at all; what is wrong with one of them is told with its place, such as `body.jobs[3].run.agent_id`. Runs " +
			"need the permission `agents:execute`, embeddings `embeddings:create`.",
	}, s.submitJobs)
}

func (s *Server) submitJobs(ctx context.Context, p *rbac.Principal, in *submitJobsInput) (*jobIDsOutput, error) {
	once, err := in.once("POST /jobs/batch", in.Body)
	if err != nil {
		return nil, err
	}
	sub, err := s.Jobs.Submit(ctx, p, once, func(tx *store.Tx) ([]store.NewJob, error) {
		return s.prepareBatch(tx, p, in.Body)
	})
	if err != nil {
		return nil, err
	}
	out := &jobIDsOutput{Status: http.StatusAccepted, RetryAfter: seconds(pollAfter), Body: JobIDs{Total: len(sub.Jobs)}}
	if sub.Replayed {
		out.Replayed = yes
	}
	out.Body.IDs = shown(sub.Jobs, func(j **store.Job) uuid.UUID { return (*j).ID })
	return out, nil
}

// prepareBatch builds the jobs of a batch. What they share is read once.
func (s *Server) prepareBatch(tx *store.Tx, p *rbac.Principal, batch NewJobs) ([]store.NewJob, error) {
	b := &batchPreparation{
		Server: s, tx: tx, p: p, now: time.Now(), agents: map[uuid.UUID]*store.AgentConfig{}, projects: map[uuid.UUID]bool{},
	}
	work := make([]store.NewJob, len(batch.Jobs))
	for i, item := range batch.Jobs {
		at := "body.jobs[" + strconv.Itoa(i) + "]"
		job, err := b.job(item, &at)
		if err != nil {
			return nil, placed(err, at)
		}
		job.Class = batch.Class
		work[i] = job
	}
	return work, nil
}

// batchPreparation is what the jobs of a batch share.
type batchPreparation struct {
	*Server

	tx       *store.Tx
	p        *rbac.Principal
	now      time.Time
	agents   map[uuid.UUID]*store.AgentConfig
	projects map[uuid.UUID]bool
}

// job builds one job. At becomes the place in the request that an error is about.
func (b *batchPreparation) job(item JobOfBatch, at *string) (job store.NewJob, err error) {
	switch {
	case (item.Run == nil) == (item.Embeddings == nil):
		return job, invalid("body", "expected either run or embeddings")
	case item.Embeddings != nil:
		*at += ".embeddings"
		if err := b.p.Submits(events.KindEmbeddingCreate); err != nil {
			return job, err
		}
		return item.Embeddings.job(b.now)
	}
	*at += ".run"
	if err := b.p.Submits(events.KindAgentRun); err != nil {
		return job, err
	}
	agent, known := b.agents[item.Run.AgentID]
	if !known {
		if agent, err = b.runnable(b.tx, b.p, item.Run.AgentID); err != nil {
			return job, placed(err, "body.agent_id")
		}
		b.agents[item.Run.AgentID] = agent
	}
	if project := item.Run.ProjectID; project != nil && !b.projects[*project] {
		if err := usesProject(b.tx, b.p, project); err != nil {
			return job, placed(err, "body.project_id")
		}
		b.projects[*project] = true
	}
	return b.runOf(b.p, agent, item.Run.ProjectID, item.Run.NewRun, b.now)
}

// placed says at which place of the request something is wrong that is not a failure of ours.
func placed(err error, at string) error {
	p := problemOf(err)
	if p.Status >= http.StatusInternalServerError || p.Status == statusClientGone {
		return err
	}
	located := *p
	located.Errors = []FieldError{{Location: at, Message: p.Detail}}
	if len(p.Errors) > 0 {
		located.Errors = make([]FieldError, len(p.Errors))
		for i, e := range p.Errors {
			located.Errors[i] = FieldError{Location: at + strings.TrimPrefix(e.Location, "body"), Message: e.Message}
		}
	}
	return &located
}
