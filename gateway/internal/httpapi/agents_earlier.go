package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/jobs"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// The paths that clients of the earlier service know. Each does what its successor does.

// Execution is a run of an agent that is named in the body.
type Execution struct {
	NewRun

	AgentID   uuid.UUID  `json:"agent_id" format:"uuid" doc:"The agent to run"`
	ProjectID *uuid.UUID `json:"project_id,omitempty" nullable:"true" format:"uuid" doc:"The project that the run belongs to; the agent's when it is left out"`
}

type executeInput struct {
	Submitting

	Body Execution
}

// Batch is several runs of one agent.
type Batch struct {
	Scheduling

	AgentID       uuid.UUID  `json:"agent_id" format:"uuid" doc:"The agent to run"`
	ProjectID     *uuid.UUID `json:"project_id,omitempty" nullable:"true" format:"uuid" doc:"The project that the runs belong to; the agent's when it is left out"`
	Inputs        []string   `json:"inputs" minItems:"1" maxItems:"100" minLength:"1" maxLength:"200000" nullable:"false" example:"[\"What may a hotel cost?\"]" doc:"The tasks, one for each run"`
	SystemPrompt  string     `json:"system_prompt,omitempty" maxLength:"100000" doc:"Instead of the agent's own"`
	MaxIterations int        `json:"max_iterations,omitempty" minimum:"1" maximum:"25" example:"8" doc:"How often the model may be called in each run"`
}

type batchInput struct {
	Repeatable

	Body Batch
}

// Jobs are several jobs.
type Jobs struct {
	Data  []Job `json:"data" nullable:"false" doc:"The jobs, in the order of the inputs"`
	Total int   `json:"total" example:"2" doc:"How many there are"`
}

type batchOutput struct {
	Status     int
	RetryAfter string `header:"Retry-After" doc:"When to ask again, in seconds"`
	Replayed   string `header:"Idempotency-Replayed" doc:"true when an earlier request with the same key made the jobs"`
	Body       Jobs
}

type streamInput struct {
	Repeatable

	Body Execution
}

// AgentHealth says whether agents are at work.
type AgentHealth struct {
	Status         string    `json:"status" enum:"healthy,waiting" doc:"healthy when a worker has a free slot for the next run; waiting when runs queue until one has"`
	Agents         int64     `json:"agents" example:"3" doc:"How many active agents you may run"`
	WorkersWaiting int       `json:"workers_waiting" example:"4" doc:"How many requests for runs are open at the broker; 0 when all workers are busy and when none is there"`
	Timestamp      time.Time `json:"timestamp" doc:"When this was found out"`
}

type agentHealthOutput struct{ Body AgentHealth }

func (s *Server) earlierAgentOperations() {
	earlier := func(id, path, summary, successor string, errors ...int) operation {
		return operation{
			id: id, method: http.MethodPost, path: "/agents" + path, tag: tagAgents, summary: summary, deprecated: true,
			about: "As in the earlier service. Use " + successor + ".", errors: errors,
		}
	}
	create := earlier("create-agent", "/create", "Configure an agent", "POST /agent-configs", http.StatusNotFound, http.StatusConflict)
	create.status = http.StatusCreated
	secured(s, access.AgentsCreate, create, s.createAgentConfig)

	const runs = "POST /agents/{id}/runs"
	execute := earlier("execute-agent", "/execute", "Run an agent", runs, http.StatusNotFound)
	execute.accepts = true
	secured(s, access.AgentsExecute, execute, s.executes("POST /agents/execute"))
	loop := earlier("execute-agentic-loop", "/execute/agentic-loop", "Run an agent in a loop", runs, http.StatusNotFound)
	loop.accepts = true
	secured(s, access.AgentsExecute, loop, s.executes("POST /agents/execute/agentic-loop"))

	batch := earlier("batch-execute-agent", "/batch-execute", "Run an agent several times", runs, http.StatusNotFound, http.StatusConflict)
	batch.status, batch.deprecated = http.StatusAccepted, false
	batch.about = "One job for each input. They are accepted together or not at all."
	secured(s, access.AgentsExecute, batch, s.batchExecute)

	streamed := earlier("stream-agent", "/stream", "Run an agent and follow it", runs, http.StatusNotFound, http.StatusConflict)
	streamed.long, streamed.deprecated = true, false
	streamed.about = "Submits a run and streams its events as GET /jobs/{id}/events does. Location names the job: a client that is cut " +
		"off goes on there with Last-Event-ID."
	secured(s, access.AgentsExecute, streamed, s.streamAgent)
	s.streams(s.api.OpenAPI().Paths[base+"/agents/stream"].Post)

	secured(s, access.AgentsRead, operation{
		id: "get-agents-health", method: http.MethodGet, path: "/agents/health", tag: tagAgents, summary: "Ask whether agents are at work",
	}, s.agentHealth)
}

func (s *Server) executes(operation string) func(context.Context, *rbac.Principal, *executeInput) (*acceptedOutput, error) {
	return func(ctx context.Context, p *rbac.Principal, in *executeInput) (*acceptedOutput, error) {
		sub, err := s.submitExecution(ctx, p, in.Repeatable, operation, in.Body)
		if err != nil {
			return nil, err
		}
		return s.accept(ctx, p, sub, in.Prefer)
	}
}

func (s *Server) submitExecution(
	ctx context.Context, p *rbac.Principal, h Repeatable, operation string, e Execution,
) (jobs.Submission, error) {
	return s.submitRun(ctx, p, h, operation+" "+e.AgentID.String(), e.AgentID, e.ProjectID, e.NewRun)
}

func (s *Server) batchExecute(ctx context.Context, p *rbac.Principal, in *batchInput) (*batchOutput, error) {
	b := in.Body
	once, err := in.once("POST /agents/batch-execute", b)
	if err != nil {
		return nil, err
	}
	sub, err := s.Jobs.Submit(ctx, p, once, func(tx *store.Tx) ([]store.NewJob, error) {
		runs := make([]NewRun, len(b.Inputs))
		for i, task := range b.Inputs {
			runs[i] = NewRun{
				Scheduling: b.Scheduling, UserInput: task, SystemPrompt: b.SystemPrompt, MaxIterations: b.MaxIterations,
			}
		}
		return s.prepare(tx, p, b.AgentID, b.ProjectID, runs...)
	})
	if err != nil {
		return nil, err
	}
	out := &batchOutput{Status: http.StatusAccepted, RetryAfter: seconds(pollAfter), Body: Jobs{Total: len(sub.Jobs)}}
	if sub.Replayed {
		out.Replayed = yes
	}
	out.Body.Data = shown(sub.Jobs, func(j **store.Job) Job { return s.showJob(*j) })
	return out, nil
}

// streamOutput is a stream of events whose job has just been submitted.
type streamOutput struct {
	ContentType string `header:"Content-Type" hidden:"true"`
	Location    string `header:"Location" doc:"Where the job is"`
	Replayed    string `header:"Idempotency-Replayed" doc:"true when an earlier request with the same key made the job"`
	Body        func(huma.Context)
}

func (s *Server) streamAgent(ctx context.Context, p *rbac.Principal, in *streamInput) (*streamOutput, error) {
	sub, err := s.submitExecution(ctx, p, in.Repeatable, "POST /agents/stream", in.Body)
	if err != nil {
		return nil, err
	}
	followed, err := s.follow(ctx, p, sub.Job(), events.Position{})
	if err != nil {
		return nil, err
	}
	out := &streamOutput{Body: followed.Body, Location: jobPath(sub.Job().ID)}
	if sub.Replayed {
		out.Replayed = yes
	}
	return out, nil
}

func (s *Server) agentHealth(ctx context.Context, p *rbac.Principal, _ *struct{}) (*agentHealthOutput, error) {
	out := &agentHealthOutput{AgentHealth{Status: "waiting", Timestamp: events.Time(time.Now())}}
	waiting, err := s.Bus.Waiting(ctx, events.KindAgentRun)
	if err != nil {
		return nil, fault.Wrap(err, fault.Unavailable, "broker.unavailable", "The broker does not answer right now. Try again.")
	}
	if out.Body.WorkersWaiting = waiting; waiting > 0 {
		out.Body.Status = "healthy"
	}
	on, reach := true, p.Agents()
	err = s.Store.View(ctx, p.Tenant, func(tx *store.Tx) error {
		rows, err := tx.AgentConfigs().List(store.AgentConfigFilter{
			Active: &on, Narrowed: !reach.All, Projects: reach.Projects, Page: store.Page{Limit: 1, Count: true},
		})
		if err == nil {
			out.Body.Agents = *rows.Total
		}
		return err
	})
	return out, err
}
