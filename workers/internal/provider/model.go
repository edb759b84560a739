package provider

import (
	"context"
	"encoding/json"
	"unicode/utf8"

	"github.com/tarento/copilot/workers/internal/gemini"
)

// Client makes the calls, as *gemini.Client does. Its errors are classified as that package's documentation says.
type Client interface {
	Generate(ctx context.Context, request gemini.Request, onText func(text string) error) (*gemini.Response, error)
	Embed(ctx context.Context, model string, texts []string, task string, dimension int) ([][]float32, gemini.Usage, error)
}

// Model is a Client whose calls pass a Gate.
type Model struct {
	gate   *Gate
	client Client
	job    bool
}

var _ Client = (*Model)(nil)

// ForJobs returns the model for handlers of jobs: a call that may not be made now waits for at most two seconds, and then fails with
// an error that puts the job off until its turn comes.
func (g *Gate) ForJobs(c Client) *Model { return &Model{g, c, true} }

// ForRequests returns the model for requests that somebody waits for: a call that may not be made now fails at once, with
// fault.Unavailable and RetryAfter.
func (g *Gate) ForRequests(c Client) *Model { return &Model{g, c, false} }

// Generate implements Client.
func (m *Model) Generate(ctx context.Context, request gemini.Request, onText func(text string) error) (*gemini.Response, error) {
	p, err := m.gate.enter(ctx, request.Model, m.gate.estimate(request), m.job)
	if err != nil {
		return nil, err
	}
	var refused error // what onText made of a piece, which says nothing about the provider
	response, err := m.client.Generate(ctx, request, func(text string) error {
		p.hear(ctx)
		if onText != nil {
			refused = onText(text)
		}
		return refused
	})
	if refused != nil {
		p.abandon(ctx)
		return nil, err
	}
	tokens := -1
	if err == nil {
		u := response.Usage
		tokens = u.InputTokens + u.OutputTokens + u.ThoughtTokens
	}
	return response, p.settle(ctx, err, tokens)
}

// Embed implements Client.
func (m *Model) Embed(
	ctx context.Context, model string, texts []string, task string, dimension int,
) ([][]float32, gemini.Usage, error) {
	if len(texts) == 0 {
		return m.client.Embed(ctx, model, texts, task, dimension)
	}
	tokens := 0
	for _, text := range texts {
		tokens += tokensOf(text)
	}
	p, err := m.gate.enter(ctx, model, tokens, m.job)
	if err != nil {
		return nil, gemini.Usage{}, err
	}
	vectors, usage, err := m.client.Embed(ctx, model, texts, task, dimension)
	spent := -1
	if err == nil {
		spent = usage.InputTokens
	}
	return vectors, usage, p.settle(ctx, err, spent)
}

// answerTokens is how long an answer is taken to be before it is there.
const answerTokens = 500

// estimate guesses the tokens of a call, prompt and answer, where the model's tokens are limited.
func (g *Gate) estimate(r gemini.Request) int {
	if g.limits.of(r.Model).Tokens == 0 {
		return 0
	}
	tokens := answerTokens
	if r.MaxTokens > 0 {
		tokens = min(tokens, r.MaxTokens)
	}
	tokens += tokensOf(r.System) + len(r.ResponseSchema)/4
	for _, t := range r.Tools {
		tokens += tokensOf(t.Name) + tokensOf(t.Description) + len(t.Parameters)/4
	}
	for _, message := range r.Messages {
		tokens += tokensOfMessage(message)
	}
	return tokens
}

func tokensOfMessage(m gemini.Message) int {
	if len(m.Raw) > 0 {
		return len(m.Raw) / 4
	}
	tokens := tokensOf(m.Text)
	for _, result := range m.Results {
		content, err := json.Marshal(result.Content)
		if err != nil {
			continue // the client says so
		}
		tokens += len(content) / 4
	}
	return tokens
}

// tokensOf estimates four characters a token, as providers advise.
func tokensOf(text string) int { return (utf8.RuneCountInString(text) + 3) / 4 }
