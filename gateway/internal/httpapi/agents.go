package httpapi

import (
	"context"
	"net/http"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// NewRun is what an agent is asked to do.
type NewRun struct {
	UserInput     string `json:"user_input" minLength:"1" maxLength:"200000" example:"What does the travel policy say about taxis?" doc:"The task, in words"`
	SystemPrompt  string `json:"system_prompt,omitempty" maxLength:"100000" doc:"Instead of the agent's own"`
	MaxIterations int    `json:"max_iterations,omitempty" minimum:"1" maximum:"25" example:"5" doc:"How often the model may be called; the default suits most tasks"`
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
}

func (s *Server) runAgent(ctx context.Context, p *rbac.Principal, in *runAgentInput) (*acceptedOutput, error) {
	once, err := in.once("POST /agents/"+in.ID.String()+"/runs", in.Body)
	if err != nil {
		return nil, err
	}
	sub, err := s.Jobs.Submit(ctx, p, once, func(tx *store.Tx) (store.NewJob, error) {
		agent, err := s.runnable(tx, p, in.ID)
		if err != nil {
			return store.NewJob{}, err
		}
		return s.run(p, agent, in.Body), nil
	})
	if err != nil {
		return nil, err
	}
	return s.accept(ctx, p, sub, in.Prefer)
}

// runnable returns an agent that the caller may run.
func (s *Server) runnable(tx *store.Tx, p *rbac.Principal, id uuid.UUID) (*store.AgentConfig, error) {
	agent, err := tx.AgentConfigs().Get(id)
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
	tools := enabled(toolsOf(agent))
	if tools == nil {
		tools = []string{}
	}
	return store.NewJob{
		Kind: events.KindAgentRun, Class: events.ClassInteractive, AgentConfigID: &agent.ID, ProjectID: agent.ProjectID,
		Input: events.AgentRunInput{
			AgentID: agent.ID.String(), UserInput: r.UserInput, SystemPrompt: prompt, LLM: s.llm(agent), Tools: tools,
			MaxIterations: r.MaxIterations, Scope: p.Documents(),
		},
	}
}
