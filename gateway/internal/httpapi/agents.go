package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/jobs"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// NewRun is what an agent is asked to do: in words, in the input of its type, or both.
type NewRun struct {
	Scheduling

	UserInput     string         `json:"user_input,omitempty" maxLength:"200000" example:"What does the travel policy say about taxis?" doc:"The task, in words"`
	Input         map[string]any `json:"input,omitempty" doc:"What the agent's type takes, see GET /agent-types; instead of words or beside them"`
	SystemPrompt  string         `json:"system_prompt,omitempty" maxLength:"100000" example:"Answer in one sentence." doc:"Instead of the agent's own"`
	MaxIterations int            `json:"max_iterations,omitempty" minimum:"1" maximum:"25" example:"8" doc:"How often the model may be called; the default suits most tasks"`
}

type runAgentInput struct {
	Submitting
	AgentConfigInput

	Body NewRun
}

func (s *Server) agentOperations() {
	secured(s, access.AgentsExecute, operation{
		id: "run-agent", method: http.MethodPost, path: "/agents/{id}/runs", tag: tagAgents, accepts: true, summary: "Run an agent",
		about:  "Outside of any conversation. The job's result holds the answer with its citations; its events stream the text.",
		errors: []int{http.StatusNotFound},
	}, s.runAgent)
	s.agentTypeOperations()
	s.earlierAgentOperations()
}

func (s *Server) runAgent(ctx context.Context, p *rbac.Principal, in *runAgentInput) (*acceptedOutput, error) {
	sub, err := s.submitRun(ctx, p, in.Repeatable, "POST /agents/"+in.ID.String()+"/runs", in.ID, nil, in.Body)
	if err != nil {
		return nil, err
	}
	return s.accept(ctx, p, sub, in.Prefer)
}

// submitRun submits one run of an agent, for its own project or for the one that is named.
func (s *Server) submitRun(
	ctx context.Context, p *rbac.Principal, h Repeatable, operation string, agent uuid.UUID, project *uuid.UUID, run NewRun,
) (sub jobs.Submission, err error) {
	once, err := h.once(operation, []any{project, run})
	if err != nil {
		return sub, err
	}
	return s.Jobs.Submit(ctx, p, once, func(tx *store.Tx) ([]store.NewJob, error) {
		return s.prepare(tx, p, agent, project, run)
	})
}

// prepare builds a job for each run of an agent.
func (s *Server) prepare(
	tx *store.Tx, p *rbac.Principal, id uuid.UUID, project *uuid.UUID, runs ...NewRun,
) ([]store.NewJob, error) {
	agent, err := s.runnable(tx, p, id)
	if err != nil {
		return nil, err
	}
	if err := usesProject(tx, p, project); err != nil {
		return nil, err
	}
	work, now := make([]store.NewJob, len(runs)), time.Now()
	for i, run := range runs {
		if work[i], err = s.runOf(p, agent, project, run, now); err != nil {
			return nil, err
		}
	}
	return work, nil
}

// runOf is the job of a run that was asked for now, in the agent's project or in the one that is named.
func (s *Server) runOf(
	p *rbac.Principal, agent *store.AgentConfig, project *uuid.UUID, run NewRun, now time.Time,
) (job store.NewJob, err error) {
	if err := s.presets.fill(agent.AgentType, &run); err != nil {
		return job, err
	}
	job = s.run(p, agent, run)
	if project != nil {
		job.ProjectID = project
	}
	err = run.schedule(&job, now)
	return job, err
}

// runnable returns an agent that the caller may run.
func (s *Server) runnable(tx *store.Tx, p *rbac.Principal, id uuid.UUID) (*store.AgentConfig, error) {
	agent, err := visibleAgent(tx, p, id)
	if err != nil {
		return nil, err
	}
	if !agent.IsActive {
		return nil, fault.New(fault.Conflict, "agent.inactive", "This agent is deactivated. Choose another one or have it activated.")
	}
	if !p.RunsAgent(agent.ProjectID) {
		return nil, fault.New(fault.Forbidden, "agent.not_allowed",
			"You may not run this agent: your role or your projects do not allow it.")
	}
	return agent, nil
}

// run is the job of an agent. It carries the agent's configuration as it is now, and what the caller may read.
func (s *Server) run(p *rbac.Principal, agent *store.AgentConfig, r NewRun) store.NewJob {
	prompt := r.SystemPrompt
	if prompt == "" {
		prompt = agent.SystemPrompt
	}
	tools := enabled(shownTools(agent))
	if tools == nil {
		tools = []string{}
	}
	return store.NewJob{
		Kind: events.KindAgentRun, Class: events.ClassInteractive, AgentConfigID: &agent.ID, ProjectID: agent.ProjectID,
		AgentLimit: agent.MaxConcurrentRuns,
		Input: events.AgentRunInput{
			AgentID: agent.ID.String(), UserInput: r.UserInput, SystemPrompt: prompt, LLM: s.llm(agent), Tools: tools,
			MaxIterations: r.MaxIterations, Scope: p.Documents(),
		},
	}
}
