package gemini

import (
	"context"
	"fmt"
	"math"
	"unicode/utf8"

	"google.golang.org/genai"

	"github.com/tarento/copilot/pkg/fault"
)

// MaxBatch is the largest number of texts in one call of Embed.
const MaxBatch = 100

// What embedded texts are for. Models place a question and its answer nearer to each other when they know which is which.
const (
	TaskDocument = "document"
	TaskQuery    = "query"
)

// Embed returns a vector for each text, in the order of the texts, in one call to the service. All vectors have the given
// dimension and length one, also where the model's own do not. task is TaskDocument or TaskQuery. No text may be empty. No
// texts need no call. The usage is an estimate, because the provider reports none.
func (c *Client) Embed(ctx context.Context, model string, texts []string, task string, dimension int) ([][]float32, Usage, error) {
	if len(texts) == 0 {
		return nil, Usage{}, nil
	}
	if len(texts) > MaxBatch {
		return nil, Usage{}, invalid("At most %d texts can be embedded in one call; these are %d.", MaxBatch, len(texts))
	}
	if dimension <= 0 || dimension > math.MaxInt32 {
		return nil, Usage{}, invalid("A vector cannot have %d dimensions.", dimension)
	}
	if _, err := (Request{Model: model}).config(); err != nil {
		return nil, Usage{}, err
	}
	config := &genai.EmbedContentConfig{OutputDimensionality: new(int32(dimension))}
	switch task {
	case TaskDocument:
		config.TaskType = "RETRIEVAL_DOCUMENT"
	case TaskQuery:
		config.TaskType = "RETRIEVAL_QUERY"
	default:
		return nil, Usage{}, invalid("%q is not a purpose of embeddings.", task)
	}
	contents := make([]*genai.Content, len(texts))
	usage := Usage{Estimated: true}
	for i, text := range texts {
		if text == "" {
			return nil, Usage{}, invalid("Text %d is empty and cannot be embedded.", i)
		}
		contents[i] = &genai.Content{Parts: []*genai.Part{{Text: text}}}
		usage.InputTokens += (utf8.RuneCountInString(text) + 3) / 4
	}

	watched, dog := c.watch(ctx)
	defer dog.stop()
	response, err := c.sdk.Models.EmbedContent(watched, model, contents, config)
	if err != nil {
		return nil, Usage{}, c.fault(ctx, watched, model, err)
	}
	if len(response.Embeddings) != len(texts) {
		return nil, Usage{}, broken(fmt.Errorf("%d vectors for %d texts", len(response.Embeddings), len(texts)))
	}
	vectors := make([][]float32, len(texts))
	for i, e := range response.Embeddings {
		if e == nil || len(e.Values) != dimension {
			return nil, Usage{}, broken(fmt.Errorf("vector %d does not have %d dimensions", i, dimension))
		}
		if err := normalize(e.Values); err != nil {
			return nil, Usage{}, broken(fmt.Errorf("vector %d: %w", i, err))
		}
		vectors[i] = e.Values
	}
	return vectors, usage, nil
}

// broken is the fault for a response that makes no sense; it may make sense the next time.
func broken(err error) *fault.Error {
	return fault.Wrap(err, fault.Upstream, "provider.unusable", "The model provider sent embeddings that cannot be used.")
}

// normalize scales v to length one, in place.
func normalize(v []float32) error {
	var square float64
	for _, f := range v {
		square += float64(f) * float64(f)
	}
	if square == 0 || math.IsInf(square, 0) || math.IsNaN(square) {
		return fmt.Errorf("its length is %v", math.Sqrt(square))
	}
	scale := 1 / math.Sqrt(square)
	for i := range v {
		v[i] = float32(float64(v[i]) * scale)
	}
	return nil
}
