package agent

import (
	"cmp"
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/workers/internal/gemini"
)

// citationRule is added to the system prompt of every agent that may search.
const citationRule = `Before you answer a question about facts, look them up with the search_documents tool.
Base your answer on the passages it returns, and put each passage's mark, such as [1], behind every statement that rests on it.
If the passages do not hold the answer, say so.`

// hitsPerSearch is how many passages one search adds to the prompt.
const hitsPerSearch = 8

func searchTool() gemini.Tool {
	return gemini.Tool{
		Name: events.ToolSearchDocuments,
		Description: "Searches the organization's documents and returns the passages that fit best, " +
			"each with its mark, title, page and heading.",
		Parameters: json.RawMessage(`{
			"type": "object",
			"properties": {"query": {"type": "string", "description": "What to look for, in the words that the documents would use."}},
			"required": ["query"]
		}`),
	}
}

// callTools does what the model asked for, one journalled step per call. A call that makes no sense is answered with an error that the
// model can react to; a failure of ours ends the attempt.
func (c *conversation) callTools(ctx context.Context, calls []gemini.ToolCall) ([]gemini.ToolResult, error) {
	results := make([]gemini.ToolResult, len(calls))
	for i, call := range calls {
		result, err := c.callTool(ctx, call)
		if err != nil {
			return nil, err
		}
		result.ID, result.Name = call.ID, call.Name
		results[i] = result
	}
	return results, nil
}

func (c *conversation) callTool(ctx context.Context, call gemini.ToolCall) (gemini.ToolResult, error) {
	if call.Name != events.ToolSearchDocuments {
		return gemini.ToolResult{Error: "there is no such tool"}, nil
	}
	query, _ := call.Args["query"].(string)
	if query = strings.TrimSpace(query); query == "" {
		return gemini.ToolResult{Error: "query must be a text that is not empty"}, nil
	}
	req := events.SearchRequest{
		TenantID: c.run.Tenant().String(), Scope: c.in.Scope, Query: query, Mode: events.SearchHybrid, Limit: hitsPerSearch,
	}
	hits, err := runner.Step(ctx, c.run, events.StepRetrieval, call.Name, req,
		func(ctx context.Context, _ *runner.Text) ([]events.SearchHit, *events.Usage, error) {
			hits, err := c.handler.search.Search(ctx, req)
			return hits, nil, err
		})
	if err != nil {
		return gemini.ToolResult{}, err
	}
	return gemini.ToolResult{Content: c.passages.add(hits)}, nil
}

// passages are all that a run has retrieved, each under its mark. A passage that is found twice keeps its mark.
type passages struct {
	byMark []events.Citation
	markOf map[string]int // by chunk id, from 1
}

func newPassages() *passages { return &passages{markOf: map[string]int{}} }

// passage is the form in which the model sees a hit.
type passage struct {
	Mark    string `json:"mark"`
	Title   string `json:"title"`
	Page    int    `json:"page,omitempty"`
	Heading string `json:"heading,omitempty"`
	Text    string `json:"text"`
}

func (p *passages) add(hits []events.SearchHit) map[string]any {
	shown := make([]passage, len(hits))
	for i, hit := range hits {
		n, known := p.markOf[hit.ChunkID]
		if !known {
			n = len(p.byMark) + 1
			p.markOf[hit.ChunkID] = n
			p.byMark = append(p.byMark, events.Citation{
				Mark: mark(n), DocumentID: hit.DocumentID, ChunkID: hit.ChunkID, Title: hit.Title,
				Page: hit.Location.Page, EndPage: hit.Location.EndPage, Heading: hit.Location.Heading, Text: hit.Text,
			})
		}
		shown[i] = passage{mark(n), hit.Title, hit.Location.Page, hit.Location.Heading, hit.Text}
	}
	return map[string]any{"passages": shown}
}

func mark(n int) string { return "[" + strconv.Itoa(n) + "]" }

// marks finds "[3]" and lists such as "[1, 3]".
var marks = regexp.MustCompile(`\[(\d+(?:\s*,\s*\d+)*)\]`)

// cited returns the passages whose marks stand in the answer, in the order of their first use.
func (p *passages) cited(answer string) []events.Citation {
	cited := []events.Citation{}
	seen := map[int]bool{}
	for _, m := range marks.FindAllStringSubmatch(answer, -1) {
		for number := range strings.SplitSeq(m[1], ",") {
			n, err := strconv.Atoi(strings.TrimSpace(number))
			if err != nil || n < 1 || n > len(p.byMark) || seen[n] {
				continue
			}
			seen[n] = true
			cited = append(cited, p.byMark[n-1])
		}
	}
	return cited
}

// Retrieval asks the embedding workers over the bus.
type Retrieval struct {
	Bus *bus.Bus
	// Within is how long they may take to answer; zero means 30 s. A worker that dies takes the requests in its hands with it, and
	// nobody else will ever answer them.
	Within time.Duration
}

const defaultWithin = 30 * time.Second

var _ Searcher = Retrieval{}

// Search implements Searcher.
func (r Retrieval) Search(ctx context.Context, req events.SearchRequest) ([]events.SearchHit, error) {
	ctx, cancel := context.WithTimeout(ctx, cmp.Or(r.Within, defaultWithin))
	defer cancel()
	var reply events.SearchReply
	if err := r.Bus.Request(ctx, r.Bus.Subjects().Search(), req, &reply); err != nil {
		return nil, fmt.Errorf("agent: search: %w", err)
	}
	if reply.Error != nil {
		return nil, refused(*reply.Error)
	}
	return reply.Hits, nil
}

// refused is the error for a search that failed. What has to wait, comes back at a moment of its own.
func refused(e events.SearchError) error {
	after := time.Duration(e.RetryAfterMS) * time.Millisecond
	if e.WaitingOn == events.WaitingNothing {
		return fault.New(fault.KindOf(e.Kind), e.Code, "%s", e.Message).After(after)
	}
	after += rand.N(after/2 + time.Second)
	return fault.Wrap(runner.Snooze(after, e.WaitingOn), fault.KindOf(e.Kind), e.Code, "%s", e.Message).After(after)
}
