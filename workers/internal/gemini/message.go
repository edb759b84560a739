package gemini

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"strings"

	"google.golang.org/genai"

	"github.com/tarento/copilot/pkg/fault"
)

// Role says who a message is from.
type Role string

// The three roles of a conversation. The system's instruction is not a message; it stands in the Request.
const (
	RoleUser  Role = "user"
	RoleModel Role = "model"
	RoleTool  Role = "tool"
)

// Message is one turn of a conversation. It can be stored as JSON and used again.
type Message struct {
	Role Role `json:"role"`
	// Text is what was said. Thoughts of the model are not part of it.
	Text string `json:"text,omitempty"`
	// Calls are the tools that the model (RoleModel) wants called, in its order.
	Calls []ToolCall `json:"calls,omitempty"`
	// Results answer the calls of the message before (RoleTool): one for each, in the same order.
	Results []ToolResult `json:"results,omitempty"`
	// Raw is the model's message as the provider sent it. When set it is sent back instead of Text and Calls.
	Raw json.RawMessage `json:"raw,omitempty"`
}

// ToolCall is a model's wish to have a tool called.
type ToolCall struct {
	// ID is unique within the conversation. A model that gives none gets one made up here.
	ID string `json:"id"`
	// Name is the tool's, as declared, but the model may invent others.
	Name string `json:"name"`
	// Args are decoded JSON and have not been checked against the tool's schema. It may be nil.
	Args map[string]any `json:"args,omitempty"`
}

// ToolResult is what a tool answered.
type ToolResult struct {
	// ID and Name are those of the call.
	ID   string `json:"id"`
	Name string `json:"name"`
	// Content is anything that encodes to JSON. What is not an object is wrapped in one.
	Content any `json:"content,omitempty"`
	// Error, when set, tells the model that the tool failed and why; Content is not sent then.
	Error string `json:"error,omitempty"`
}

// madeUp begins the ids of calls that came without one. They are not sent back.
const madeUp = "local-"

// invalid is the fault for a request that cannot be sent.
func invalid(format string, args ...any) *fault.Error {
	return fault.New(fault.Invalid, "model.invalid_request", format, args...)
}

// encode turns the conversation into the SDK's form.
func encode(messages []Message) ([]*genai.Content, error) {
	if len(messages) == 0 {
		return nil, invalid("A request to the model needs at least one message.")
	}
	contents := make([]*genai.Content, len(messages))
	for i, m := range messages {
		content, err := m.encode()
		if err != nil {
			return nil, fmt.Errorf("encoding message %d of the conversation: %w", i, err)
		}
		contents[i] = content
	}
	return contents, nil
}

func (m Message) encode() (*genai.Content, error) {
	content := &genai.Content{}
	switch m.Role {
	case RoleModel:
		content.Role = genai.RoleModel
		if len(m.Raw) > 0 {
			if err := json.Unmarshal(m.Raw, content); err != nil {
				return nil, fmt.Errorf("reading the model's own message: %w", err)
			}
			return content, nil
		}
	case RoleUser, RoleTool:
		content.Role = genai.RoleUser
	default:
		return nil, invalid("A message cannot have the role %q.", m.Role)
	}
	if m.Text != "" {
		content.Parts = append(content.Parts, &genai.Part{Text: m.Text})
	}
	for _, call := range m.Calls {
		function := &genai.FunctionCall{ID: sentID(call.ID), Name: call.Name, Args: call.Args}
		content.Parts = append(content.Parts, &genai.Part{FunctionCall: function})
	}
	for _, result := range m.Results {
		object, err := result.object()
		if err != nil {
			return nil, err
		}
		response := &genai.FunctionResponse{ID: sentID(result.ID), Name: result.Name, Response: object}
		content.Parts = append(content.Parts, &genai.Part{FunctionResponse: response})
	}
	if len(content.Parts) == 0 {
		return nil, invalid("A message of the %s cannot be empty.", m.Role)
	}
	return content, nil
}

// sentID is the id as the provider knows it.
func sentID(id string) string {
	if strings.HasPrefix(id, madeUp) {
		return ""
	}
	return id
}

// object returns the result as the JSON object that the wire asks for.
func (r ToolResult) object() (map[string]any, error) {
	if r.Error != "" {
		return map[string]any{"error": r.Error}, nil
	}
	data, err := json.Marshal(r.Content)
	if err != nil {
		return nil, fmt.Errorf("encoding the result of tool %s: %w", r.Name, err)
	}
	var object map[string]any
	if err := json.Unmarshal(data, &object); err == nil && object != nil {
		return object, nil
	}
	return map[string]any{"output": json.RawMessage(data)}, nil
}

// collector puts a streamed answer together.
type collector struct {
	message Message
	parts   []*genai.Part
	finish  genai.FinishReason
	detail  string
	blocked genai.BlockedReason
	usage   Usage
	model   string
}

// add takes the next chunk in and returns the text it adds to the answer.
func (a *collector) add(chunk *genai.GenerateContentResponse) string {
	if chunk.ModelVersion != "" {
		a.model = chunk.ModelVersion
	}
	if chunk.PromptFeedback != nil {
		a.blocked = chunk.PromptFeedback.BlockReason
	}
	if u := chunk.UsageMetadata; u != nil { // a running total
		a.usage = Usage{
			InputTokens:   int(u.PromptTokenCount + u.ToolUsePromptTokenCount),
			OutputTokens:  int(u.CandidatesTokenCount),
			CachedTokens:  int(u.CachedContentTokenCount),
			ThoughtTokens: int(u.ThoughtsTokenCount),
		}
	}
	if len(chunk.Candidates) == 0 || chunk.Candidates[0] == nil {
		return ""
	}
	candidate := chunk.Candidates[0]
	if candidate.FinishReason != "" {
		a.finish, a.detail = candidate.FinishReason, candidate.FinishMessage
	}
	if candidate.Content == nil {
		return ""
	}
	var text strings.Builder
	for _, p := range candidate.Content.Parts {
		if p == nil {
			continue
		}
		if !p.Thought {
			text.WriteString(p.Text)
		}
		if f := p.FunctionCall; f != nil {
			call := ToolCall{ID: f.ID, Name: f.Name, Args: f.Args}
			if call.ID == "" {
				call.ID = madeUp + rand.Text()
			}
			a.message.Calls = append(a.message.Calls, call)
		}
		a.keep(p)
	}
	a.message.Text += text.String()
	return text.String()
}

// keep appends a part to the verbatim message. Neighboring plain texts become one part, as the service itself would have
// sent them without streaming; a signed part stays as it is, since the signature belongs to it.
func (a *collector) keep(p *genai.Part) {
	if len(a.parts) > 0 {
		last := a.parts[len(a.parts)-1]
		if plain(p) && plain(last) && p.Thought == last.Thought {
			last.Text += p.Text
			return
		}
	}
	if plain(p) && p.Text == "" {
		return
	}
	a.parts = append(a.parts, p)
}

// plain reports whether a part is text or a thought and nothing else.
func plain(p *genai.Part) bool {
	return len(p.ThoughtSignature) == 0 && len(p.PartMetadata) == 0 &&
		p.FunctionCall == nil && p.FunctionResponse == nil && p.InlineData == nil && p.FileData == nil &&
		p.ExecutableCode == nil && p.CodeExecutionResult == nil && p.ToolCall == nil && p.ToolResponse == nil &&
		p.AudioTranscription == nil
}
