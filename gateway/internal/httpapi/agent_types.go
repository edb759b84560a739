package httpapi

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"

	"github.com/danielgtaylor/huma/v2"

	"github.com/tarento/copilot/gateway/internal/presets"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// AgentType is a type of agents. One that is a preset makes a working agent by itself.
type AgentType struct {
	AgentType    string         `json:"agent_type" enum:"rfp,jira,documentation,hr,finance,document_analyzer,chat_agent,custom" doc:"What agents of this type say as agent_type"`
	Name         string         `json:"name" example:"HR assistant" doc:"What it is called"`
	Description  string         `json:"description" doc:"What agents of this type do"`
	IsPreset     bool           `json:"is_preset" doc:"Whether a new agent of this type starts with the prompt, tools and settings below"`
	SystemPrompt string         `json:"system_prompt" doc:"The system prompt of a new agent; empty when it is no preset"`
	Tools        []string       `json:"tools" nullable:"false" example:"[\"search_documents\"]" doc:"The tools of a new agent"`
	LLMConfig    LLMConfig      `json:"llm_config" doc:"The model's settings of a new agent"`
	InputSchema  map[string]any `json:"input_schema" doc:"What a run takes as input, as JSON Schema 2020-12; an empty schema when it takes words only"`
}

// presetSchemas are the types of agents with the schemas of their input, which are the same for all requests.
type presetSchemas struct {
	registry huma.Registry
	all      []presets.Preset
	input    map[string]*huma.Schema
	told     map[string]map[string]any
}

func newPresetSchemas() presetSchemas {
	s := presetSchemas{
		registry: huma.NewMapRegistry("#/", huma.DefaultSchemaNamer), all: presets.All(), input: map[string]*huma.Schema{},
		told: map[string]map[string]any{},
	}
	for _, p := range s.all {
		if p.Input != nil {
			s.input[p.Type] = huma.SchemaFromType(s.registry, p.Input)
			s.told[p.Type], _ = objectOf(s.input[p.Type]) // a schema is always an object
		}
	}
	return s
}

// of returns the preset of a type; nil for a type that leaves all to its maker.
func (s presetSchemas) of(kind string) *preset {
	for _, p := range s.all {
		if p.Type == kind && p.Ready() {
			return &preset{p}
		}
	}
	return nil
}

// preset completes what a new agent leaves out.
type preset struct{ presets.Preset }

// complete gives a new agent what its maker left out, and returns its tools.
func (p *preset) complete(row *store.AgentConfig, llm *LLMConfig, tools []ToolConfig) []ToolConfig {
	if row.SystemPrompt == "" {
		row.SystemPrompt = p.SystemPrompt
	}
	if llm.Temperature == nil {
		llm.Temperature = &p.Temperature
	}
	if llm.MaxTokens == 0 {
		llm.MaxTokens = p.MaxTokens
	}
	if tools != nil {
		return tools
	}
	for _, name := range p.Tools {
		tools = append(tools, ToolConfig{Name: name})
	}
	return tools
}

func (s presetSchemas) show(p *presets.Preset) AgentType {
	shown := AgentType{
		AgentType: p.Type, Name: p.Name, Description: p.Description, IsPreset: p.Ready(), SystemPrompt: p.SystemPrompt,
		Tools: append([]string{}, p.Tools...), InputSchema: map[string]any{},
	}
	if p.Ready() {
		shown.LLMConfig = LLMConfig{Temperature: &p.Temperature, MaxTokens: p.MaxTokens}
		shown.InputSchema = s.told[p.Type]
	}
	return shown
}

// fill checks the input of a run against the agent's type, and writes it into the task.
func (s presetSchemas) fill(kind string, run *NewRun) error {
	if len(run.Input) == 0 {
		if strings.TrimSpace(run.UserInput) == "" {
			return invalid("body.user_input", "expected a task, as user_input or as input")
		}
		return nil
	}
	schema, ok := s.input[kind]
	if !ok {
		return invalid("body.input", "expected none: agents of the type "+kind+" take words only")
	}
	found, path := &huma.ValidateResult{}, huma.NewPathBuffer(nil, 0)
	path.Push("body")
	path.Push("input")
	huma.Validate(s.registry, schema, path, huma.ModeWriteToServer, run.Input, found)
	if len(found.Errors) > 0 {
		p := newProblem(fault.Invalid, codeInvalid, detailInvalid)
		for _, err := range found.Errors {
			if d, ok := err.(huma.ErrorDetailer); ok {
				p.Errors = append(p.Errors, FieldError{Location: d.ErrorDetail().Location, Message: d.ErrorDetail().Message})
			}
		}
		return p
	}
	task, err := render(schema, run.Input)
	if err != nil {
		return err
	}
	run.UserInput = strings.TrimSpace(strings.TrimSpace(run.UserInput) + "\n\n" + task)
	return nil
}

// render writes an input as text that a model reads well: a heading for each field, in the order of the schema.
func render(schema *huma.Schema, input map[string]any) (string, error) {
	names := make([]string, 0, len(input))
	for name := range input {
		names = append(names, name)
	}
	slices.SortFunc(names, func(a, b string) int {
		// What must be there comes first.
		if first := slices.Contains(schema.Required, a); first != slices.Contains(schema.Required, b) {
			if first {
				return -1
			}
			return 1
		}
		return strings.Compare(a, b)
	})
	var b strings.Builder
	for _, name := range names {
		title := strings.ReplaceAll(name, "_", " ")
		fmt.Fprintf(&b, "## %s%s\n", strings.ToUpper(title[:1]), title[1:])
		switch v := input[name].(type) {
		case string:
			b.WriteString(v)
		case []any:
			for _, element := range v {
				fmt.Fprintf(&b, "- %v\n", element)
			}
		default:
			text, err := json.Marshal(v)
			if err != nil {
				return "", fmt.Errorf("httpapi: write the input of a run: %w", err)
			}
			b.Write(text)
		}
		b.WriteString("\n\n")
	}
	return strings.TrimSpace(b.String()), nil
}

type agentTypeInput struct {
	AgentType string `path:"type" enum:"rfp,jira,documentation,hr,finance,document_analyzer,chat_agent,custom" doc:"The type of agents"`
}

type agentTypeOutput struct{ Body AgentType }

type agentTypesOutput struct {
	Body struct {
		Data []AgentType `json:"data" nullable:"false" doc:"The types, those that are presets first"`
	} `nameHint:"AgentTypes"`
}

func (s *Server) agentTypeOperations() {
	for _, path := range []string{"/agent-types", "/agent-configs/agent-types"} {
		list := operation{
			id: "list-agent-types", method: http.MethodGet, path: path, tag: tagAgentConfigs, summary: "List the types of agents",
			about: "Five of them are presets: with prompt, tools, settings and the schema of a run's input.",
		}
		if path != "/agent-types" {
			list.id, list.about = "list-agent-config-types", "The same as GET /agent-types."
		}
		secured(s, access.AgentsRead, list, func(context.Context, *rbac.Principal, *struct{}) (*agentTypesOutput, error) {
			out := &agentTypesOutput{}
			out.Body.Data = shown(s.presets.all, s.presets.show)
			return out, nil
		})
	}
	secured(s, access.AgentsRead, operation{
		id: "get-agent-type", method: http.MethodGet, path: "/agent-types/{type}", tag: tagAgentConfigs, summary: "Read a type of agents",
	}, func(_ context.Context, _ *rbac.Principal, in *agentTypeInput) (*agentTypeOutput, error) {
		i := slices.IndexFunc(s.presets.all, func(p presets.Preset) bool { return p.Type == in.AgentType })
		return &agentTypeOutput{s.presets.show(&s.presets.all[i])}, nil
	})
}
