package gemini

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math"
	"strings"

	"google.golang.org/genai"

	"github.com/tarento/copilot/pkg/fault"
)

// Request is one question to a model.
type Request struct {
	// Model is the provider's name for it, such as "gemini-2.5-flash".
	Model string
	// System is the instruction that stands above the conversation; it may be empty.
	System string
	// Messages is the conversation so far, oldest first.
	Messages []Message
	// Tools are what the model may call.
	Tools []Tool
	// Temperature and TopP steer the sampling; nil leaves them to the model.
	Temperature, TopP *float64
	// MaxTokens limits the answer, thoughts included; zero leaves it to the model.
	MaxTokens int
	// ResponseSchema is a JSON schema; when set, the answer is JSON that fits it.
	ResponseSchema json.RawMessage
}

// Tool is a function the model may ask for.
type Tool struct {
	// Name has letters, digits, underscores, dots and dashes.
	Name string
	// Description tells the model when to use it.
	Description string
	// Parameters is the JSON schema of the arguments, an object; empty when there are none.
	Parameters json.RawMessage
}

// The reasons for which a Response can end. All other reasons of the provider are failures.
const (
	// FinishStop: the model said what it had to say, or wants tools called.
	FinishStop = "stop"
	// FinishMaxTokens: the answer reached its limit of tokens and is incomplete.
	FinishMaxTokens = "max_tokens"
)

// Response is a model's answer.
type Response struct {
	// Message is ready to be appended to the conversation.
	Message Message `json:"message"`
	// FinishReason is FinishStop or FinishMaxTokens.
	FinishReason string `json:"finish_reason"`
	Usage        Usage  `json:"usage"`
	// Model is the version that answered, which may be more exact than the name that was asked for.
	Model string `json:"model"`
}

// Usage is what a call cost, in tokens.
type Usage struct {
	// InputTokens are those of the whole prompt, of which CachedTokens were cheaper.
	InputTokens  int `json:"input_tokens"`
	CachedTokens int `json:"cached_tokens,omitempty"`
	// OutputTokens are those of the answer; ThoughtTokens, of what the model thought before, come on top.
	OutputTokens  int `json:"output_tokens"`
	ThoughtTokens int `json:"thought_tokens,omitempty"`
	// Estimated says that the provider reported nothing and the numbers were derived from lengths.
	Estimated bool `json:"estimated,omitempty"`
}

// Generate asks a model and returns its whole answer. The answer is always streamed; onText, when not nil, gets the text
// piece by piece as it arrives, never a thought and never an empty piece. An error of onText ends the call and is returned as
// it is. When Generate fails, the pieces already handed out are no answer: another attempt begins from nothing.
func (c *Client) Generate(ctx context.Context, request Request, onText func(text string) error) (*Response, error) {
	contents, err := encode(request.Messages)
	if err != nil {
		return nil, err
	}
	config, err := request.config()
	if err != nil {
		return nil, err
	}
	watched, dog := c.watch(ctx)
	defer dog.stop()

	var answer collector
	for chunk, err := range c.sdk.Models.GenerateContentStream(watched, request.Model, contents, config) {
		if err != nil && answer.complete() {
			break // the connection failed after the last word
		}
		if err != nil {
			return nil, c.fault(ctx, watched, request.Model, err)
		}
		dog.sleep()
		if text := answer.add(chunk); text != "" && onText != nil {
			if err := onText(text); err != nil {
				return nil, err
			}
		}
		dog.wake()
	}
	if err := watched.Err(); err != nil && !answer.complete() { // a stream may end quietly with its context
		return nil, c.fault(ctx, watched, request.Model, err)
	}
	return answer.response(request.Model)
}

// config is the request without the conversation, in the SDK's form.
func (r Request) config() (*genai.GenerateContentConfig, error) {
	if r.Model == "" || strings.ContainsAny(r.Model, "?#:%\\ ") || strings.Contains(r.Model, "..") {
		return nil, invalid("%q is not the name of a model.", r.Model)
	}
	if r.MaxTokens < 0 || r.MaxTokens > math.MaxInt32 {
		return nil, invalid("The limit of %d tokens is out of range.", r.MaxTokens)
	}
	config := &genai.GenerateContentConfig{MaxOutputTokens: int32(r.MaxTokens)}
	if r.System != "" {
		config.SystemInstruction = &genai.Content{Role: genai.RoleUser, Parts: []*genai.Part{{Text: r.System}}}
	}
	for _, setting := range []struct {
		name string
		from *float64
		to   **float32
	}{{"temperature", r.Temperature, &config.Temperature}, {"top_p", r.TopP, &config.TopP}} {
		if setting.from == nil {
			continue
		}
		// The SDK would send an empty request for a number that JSON does not have.
		if math.IsNaN(*setting.from) || math.IsInf(*setting.from, 0) {
			return nil, invalid("%s must be a finite number.", setting.name)
		}
		*setting.to = new(float32(*setting.from))
	}
	if len(r.Tools) > 0 {
		declared := &genai.Tool{}
		for _, t := range r.Tools {
			function := &genai.FunctionDeclaration{Name: t.Name, Description: t.Description}
			if len(t.Parameters) > 0 {
				if !json.Valid(t.Parameters) {
					return nil, invalid("The parameters of the tool %q are not a JSON schema.", t.Name)
				}
				function.ParametersJsonSchema = t.Parameters
			}
			declared.FunctionDeclarations = append(declared.FunctionDeclarations, function)
		}
		config.Tools = []*genai.Tool{declared}
	}
	if len(r.ResponseSchema) > 0 {
		if !json.Valid(r.ResponseSchema) {
			return nil, invalid("The schema of the response is not a JSON schema.")
		}
		config.ResponseMIMEType = "application/json"
		config.ResponseJsonSchema = r.ResponseSchema
	}
	return config, nil
}

// complete reports whether the model finished its answer.
func (a *collector) complete() bool {
	return a.finish == genai.FinishReasonStop || a.finish == genai.FinishReasonMaxTokens
}

// response turns what was collected into an answer, or into the fault that the way it ended means.
func (a *collector) response(model string) (*Response, error) {
	if err := a.failure(); err != nil {
		return nil, err
	}
	a.message.Role = RoleModel
	if len(a.parts) > 0 {
		raw, err := json.Marshal(genai.Content{Role: genai.RoleModel, Parts: a.parts})
		if err != nil {
			return nil, fmt.Errorf("keeping the model's message: %w", err)
		}
		a.message.Raw = raw
	}
	response := &Response{Message: a.message, FinishReason: FinishStop, Usage: a.usage, Model: cmp.Or(a.model, model)}
	if a.finish == genai.FinishReasonMaxTokens {
		response.FinishReason = FinishMaxTokens
	}
	return response, nil
}

// failure is the fault that the end of the answer means, or nil.
func (a *collector) failure() error {
	cause := fmt.Errorf("finish reason %q: %s", a.finish, clipped(a.detail))
	switch a.finish {
	case genai.FinishReasonMaxTokens:
		return nil
	case genai.FinishReasonStop:
		if a.message.Text != "" || len(a.message.Calls) > 0 {
			return nil
		}
	case "", genai.FinishReasonUnspecified, genai.FinishReasonContinuation:
		if a.blocked != "" {
			return fault.New(fault.Invalid, "model.blocked",
				"The model provider refused the prompt (%s). Rephrase it.", label(string(a.blocked)))
		}
		return fault.New(fault.Upstream, "provider.stream_cut", "The model's answer broke off.")
	case genai.FinishReasonMalformedFunctionCall, genai.FinishReasonUnexpectedToolCall, genai.FinishReasonTooManyToolCalls:
		return fault.Wrap(cause, fault.Upstream, "model.malformed_call", "The model tried to use a tool and got it wrong.")
	case genai.FinishReasonSafety, genai.FinishReasonRecitation, genai.FinishReasonBlocklist, genai.FinishReasonProhibitedContent,
		genai.FinishReasonSPII, genai.FinishReasonLanguage:
		return fault.Wrap(cause, fault.Invalid, "model.blocked",
			"The model provider stopped the answer (%s). Rephrase the request.", label(string(a.finish)))
	default:
	}
	return fault.Wrap(cause, fault.Upstream, "model.no_answer", "The model stopped without an answer.")
}

// label makes the provider's constant readable: "PROHIBITED_CONTENT" becomes "prohibited content".
func label(constant string) string {
	return strings.ToLower(strings.ReplaceAll(constant, "_", " "))
}
