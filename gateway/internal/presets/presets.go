// Package presets holds the types of agents that ship with the service. Five of them come ready to work: with a system prompt, tools,
// settings of the model and the shape of what one run takes. The prompts lie beside this file, one for each type.
package presets

import (
	"embed"
	"fmt"
	"reflect"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

// Preset is a type of agents.
type Preset struct {
	// Type is the agent_type of its agents.
	Type string
	// Name and Description are for people.
	Name, Description string
	// SystemPrompt, Tools, Temperature and MaxTokens are what a new agent starts with; empty for a type that leaves all to its maker.
	SystemPrompt string
	Tools        []string
	Temperature  float64
	MaxTokens    int
	// Input is the struct that says what a run of such an agent takes beside the task in words; nil for a type that takes words only.
	Input reflect.Type
}

// Ready reports whether the preset makes a working agent by itself.
func (p *Preset) Ready() bool { return p.SystemPrompt != "" }

//go:embed prompts/*.md
var prompts embed.FS

// All returns every type of agents, the ready ones first. The slice is the caller's.
func All() []Preset {
	search := []string{events.ToolSearchDocuments}
	all := []Preset{
		{
			Type: store.AgentRFP, Name: "RFP response", Temperature: 0.3, MaxTokens: 8192, Tools: search, Input: reflect.TypeFor[RFP](),
			Description: "Drafts answers to a request for proposal from what the organization has written before",
		},
		{
			Type: store.AgentJira, Name: "Jira issues", Temperature: 0.2, MaxTokens: 4096, Tools: search, Input: reflect.TypeFor[Jira](),
			Description: "Turns a need in plain words into issues that a team can work on",
		},
		{
			Type: store.AgentDocumentation, Name: "Documentation", Temperature: 0.3, MaxTokens: 8192, Tools: search,
			Input:       reflect.TypeFor[Documentation](),
			Description: "Writes pages of documentation for a given reader, from the organization's sources",
		},
		{
			Type: store.AgentHR, Name: "HR assistant", Temperature: 0.1, MaxTokens: 2048, Tools: search, Input: reflect.TypeFor[HR](),
			Description: "Answers employees' questions from the organization's policies, and only from them",
		},
		{
			Type: store.AgentFinance, Name: "Finance analyst", Temperature: 0.1, MaxTokens: 4096, Tools: search,
			Input: reflect.TypeFor[Finance](), Description: "Reads figures out of reports, compares them and says how it computed",
		},
		{Type: store.AgentDocumentAnalyzer, Name: "Document analyzer", Description: "Answers from documents; its maker writes the prompt"},
		{Type: store.AgentChat, Name: "Chat", Description: "Talks with people; its maker writes the prompt"},
		{Type: store.AgentCustom, Name: "Custom", Description: "Whatever its maker makes of it"},
	}
	for i := range all {
		if all[i].Input == nil {
			continue
		}
		text, err := prompts.ReadFile("prompts/" + all[i].Type + ".md")
		if err != nil {
			panic(fmt.Sprintf("presets: %v", err)) // embedded: cannot be missing in a program that was tested
		}
		all[i].SystemPrompt = string(text)
	}
	return all
}
