package agent

import (
	"context"
	"fmt"
	"strings"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/workers/internal/gemini"
	"github.com/tarento/copilot/workers/internal/provider"
)

// Model is what the agent needs of a model provider. onText is called with each piece of text as it arrives.
type Model interface {
	Generate(ctx context.Context, req gemini.Request, onText func(text string) error) (*gemini.Response, error)
}

// Searcher finds passages that the request's scope may read.
type Searcher interface {
	Search(ctx context.Context, req events.SearchRequest) ([]events.SearchHit, error)
}

// Handler runs agent.run jobs.
type Handler struct {
	model  Model
	search Searcher
}

var _ runner.Handler = (*Handler)(nil)

// New builds the handler.
func New(m Model, s Searcher) *Handler { return &Handler{m, s} }

// Kind implements runner.Handler.
func (h *Handler) Kind() events.Kind { return events.KindAgentRun }

// Bounds of one run.
const (
	defaultIterations = 6
	maxIterations     = 25
	historyMessages   = 40
)

// Handle implements runner.Handler.
func (h *Handler) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
	var in events.AgentRunInput
	if err := run.Input(&in); err != nil {
		return runner.Outcome{}, err
	}
	ctx = provider.WithClass(ctx, run.Job().Class)
	began := time.Now()
	messages, err := prompt(ctx, run, in)
	if err != nil {
		return runner.Outcome{}, err
	}
	c := conversation{handler: h, run: run, in: in, messages: messages, passages: newPassages()}
	answer, err := c.converse(ctx)
	if err != nil {
		return runner.Outcome{}, err
	}
	return c.outcome(answer, time.Since(began))
}

// prompt returns the conversation so far, ending with the user's input.
func prompt(ctx context.Context, run *runner.Run, in events.AgentRunInput) ([]gemini.Message, error) {
	var messages []gemini.Message
	if in.ConversationID != "" {
		earlier, err := history(ctx, run, in)
		if err != nil {
			return nil, err
		}
		messages = earlier
	}
	return append(messages, gemini.Message{Role: gemini.RoleUser, Text: in.UserInput}), nil
}

func history(ctx context.Context, run *runner.Run, in events.AgentRunInput) ([]gemini.Message, error) {
	id, err := runner.ParseID("conversation", in.ConversationID)
	if err != nil {
		return nil, err
	}
	message, err := runner.ParseID("message", in.MessageID)
	if err != nil {
		return nil, err
	}
	var earlier []store.Message
	err = run.Read(ctx, func(tx *store.Tx) (err error) {
		// Only up to the message that is answered: what was written since must not change a run that is resumed.
		earlier, err = tx.Messages().HistoryUntil(id, message, historyMessages)
		return err
	})
	if err != nil {
		return nil, err
	}
	var messages []gemini.Message
	for _, m := range earlier {
		switch {
		case m.ID == message:
		case m.Role == store.RoleUser:
			messages = append(messages, gemini.Message{Role: gemini.RoleUser, Text: m.Content})
		case m.Role == store.RoleAssistant:
			messages = append(messages, gemini.Message{Role: gemini.RoleModel, Text: m.Content})
		}
	}
	return messages, nil
}

// conversation is the state of one run's loop.
type conversation struct {
	handler    *Handler
	run        *runner.Run
	in         events.AgentRunInput
	messages   []gemini.Message
	passages   *passages
	usage      events.Usage
	iterations int
}

// converse calls the model until it answers without asking for a tool. In the last iteration it gets no tools, so that it must
// answer.
func (c *conversation) converse(ctx context.Context) (*gemini.Response, error) {
	limit := c.in.MaxIterations
	if limit <= 0 {
		limit = defaultIterations
	}
	limit = min(limit, maxIterations)
	for c.iterations = 1; ; c.iterations++ {
		last := c.iterations == limit
		resp, err := c.generate(ctx, c.request(!last), last)
		if err != nil {
			return nil, err
		}
		c.messages = append(c.messages, resp.Message)
		if len(resp.Message.Calls) == 0 || last {
			return resp, nil
		}
		results, err := c.callTools(ctx, resp.Message.Calls)
		if err != nil {
			return nil, err
		}
		c.messages = append(c.messages, gemini.Message{Role: gemini.RoleTool, Results: results})
	}
}

func (c *conversation) request(withTools bool) gemini.Request {
	req := gemini.Request{
		Model: c.in.LLM.Model, System: c.in.SystemPrompt, Messages: c.messages,
		Temperature: c.in.LLM.Temperature, TopP: c.in.LLM.TopP, MaxTokens: c.in.LLM.MaxTokens,
	}
	for _, name := range c.in.Tools {
		if name == events.ToolSearchDocuments {
			req.System = strings.TrimSpace(req.System + "\n\n" + citationRule)
			if withTools {
				req.Tools = append(req.Tools, searchTool())
			}
		}
	}
	return req
}

// generate calls the model once. What it says last must be an answer; an empty one is no finished step, so that another attempt asks again.
func (c *conversation) generate(ctx context.Context, req gemini.Request, last bool) (*gemini.Response, error) {
	resp, err := runner.Step(ctx, c.run, events.StepModelCall, "generate", req,
		func(ctx context.Context, text *runner.Text) (*gemini.Response, *events.Usage, error) {
			resp, err := c.handler.model.Generate(ctx, req, func(piece string) error { return text.Write(ctx, piece) })
			if err == nil && (last || len(resp.Message.Calls) == 0) {
				err = answered(resp)
			}
			if err != nil {
				return nil, nil, err
			}
			return resp, &events.Usage{
				Model: resp.Model, InputTokens: resp.Usage.InputTokens, OutputTokens: resp.Usage.OutputTokens,
			}, nil
		})
	if err != nil {
		return nil, err
	}
	c.usage.Model = resp.Model
	c.usage.InputTokens += resp.Usage.InputTokens
	c.usage.OutputTokens += resp.Usage.OutputTokens
	return resp, nil
}

// answered refuses an answer without a word.
func answered(resp *gemini.Response) error {
	switch {
	case strings.TrimSpace(resp.Message.Text) != "":
		return nil
	case resp.FinishReason == gemini.FinishMaxTokens:
		return fault.New(fault.Invalid, "model.out_of_tokens",
			"The model had used up its tokens before the first word of its answer. Give the agent a larger max_tokens.")
	default:
		return fault.New(fault.Upstream, "model.empty_answer", "The model gave no answer.")
	}
}

// outcome turns the answer into the job's result and, in a conversation, a stored message.
func (c *conversation) outcome(answer *gemini.Response, took time.Duration) (runner.Outcome, error) {
	content := strings.TrimSpace(answer.Message.Text)
	result := events.AgentRunResult{
		Content: content, Citations: c.passages.cited(content), Model: answer.Model, FinishReason: answer.FinishReason,
		Iterations: c.iterations, Usage: c.usage,
	}
	if c.in.ConversationID == "" {
		return runner.Outcome{Result: result}, nil
	}
	conversationID, err := runner.ParseID("conversation", c.in.ConversationID)
	if err != nil {
		return runner.Outcome{}, err
	}
	question, err := runner.ParseID("message", c.in.MessageID)
	if err != nil {
		return runner.Outcome{}, err
	}
	// The answer comes after its question, whatever the clocks of this worker and of the gateway say.
	id, err := store.NewIDAfter(question)
	if err != nil {
		return runner.Outcome{}, fmt.Errorf("agent: make message id: %w", err)
	}
	result.MessageID = id.String()
	message := &store.Message{
		ID: id, ConversationID: conversationID, Role: store.RoleAssistant, Content: content,
		TokensUsed: c.usage.InputTokens + c.usage.OutputTokens, ProcessingTimeMS: int(took.Milliseconds()),
		MsgMetadata: store.Object{
			"model": answer.Model, "finish_reason": answer.FinishReason, "citations": result.Citations, "job_id": c.run.Job().ID,
		},
	}
	return runner.Outcome{Result: result, Also: func(tx *store.Tx) error { return tx.Messages().Create(message) }}, nil
}
