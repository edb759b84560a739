package gemini_test

import (
	"context"
	"encoding/json"
	"math"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/workers/internal/gemini"
	"github.com/tarento/copilot/workers/internal/gemini/geminitest"
)

// TestTheStandInKeepsTheContract and TestTheServiceKeepsTheContract run the same suite: what the stand-in promises, the real
// service keeps. The second one costs a few hundred tokens, so it has cases only when GEMINI_API_KEY is set.
func TestTheStandInKeepsTheContract(t *testing.T) {
	t.Parallel()
	testContract(t, geminitest.Open(t).Client(t))
}

func TestTheServiceKeepsTheContract(t *testing.T) {
	t.Parallel()
	key := os.Getenv("GEMINI_API_KEY")
	if key == "" {
		t.Log("no GEMINI_API_KEY: only the stand-in was tested")
		return
	}
	client, err := gemini.New(t.Context(), gemini.Config{APIKey: key})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	testContract(t, client)

	t.Run("a key nobody issued is a matter for the operator", func(t *testing.T) {
		t.Parallel()
		stranger, err := gemini.New(t.Context(), gemini.Config{APIKey: "AIzaNoSuchKeyWasEverIssued"})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(stranger.Close)
		_, err = stranger.Generate(t.Context(), asking("Hello"), nil)
		wantFault(t, err, fault.Forbidden, "provider.credentials")
	})
}

var leaveTool = gemini.Tool{
	Name:        "search_documents",
	Description: "Searches the company's documents. Call it before answering any question about the company.",
	Parameters: json.RawMessage(
		`{"type":"object","properties":{"query":{"type":"string","description":"What to search for"}},"required":["query"]}`,
	),
}

func asking(text string) gemini.Request {
	return gemini.Request{Model: chatModel, Messages: []gemini.Message{{Role: gemini.RoleUser, Text: text}}}
}

func testContract(t *testing.T, client *gemini.Client) {
	t.Helper()
	bounded := func(t *testing.T) context.Context {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		t.Cleanup(cancel)
		return ctx
	}

	t.Run("an answer arrives in pieces that add up to it", func(t *testing.T) {
		t.Parallel()
		var pieces []string
		request := asking("Say one sentence about the sea.")
		request.System = "You are a poet."
		request.Temperature = new(float64)
		response, err := client.Generate(bounded(t), request, func(text string) error {
			pieces = append(pieces, text)
			return nil
		})
		if err != nil {
			t.Fatal(err)
		}
		m := response.Message
		if m.Role != gemini.RoleModel || m.Text == "" || strings.Join(pieces, "") != m.Text || len(m.Raw) == 0 {
			t.Errorf("message %+v from pieces %q", m, pieces)
		}
		if response.FinishReason != gemini.FinishStop || response.Usage.InputTokens == 0 || response.Usage.OutputTokens == 0 ||
			response.Usage.Estimated {
			t.Errorf("finish %q, usage %+v", response.FinishReason, response.Usage)
		}
		if !strings.HasPrefix(response.Model, chatModel) {
			t.Errorf("answered by %q", response.Model)
		}
	})

	t.Run("a tool is called, and its result is used, across a journal", func(t *testing.T) {
		t.Parallel()
		request := asking("How many days of annual leave does an employee get? Search the documents.")
		request.Tools = []gemini.Tool{leaveTool}
		first, err := client.Generate(bounded(t), request, nil)
		if err != nil {
			t.Fatal(err)
		}
		calls := first.Message.Calls
		if len(calls) == 0 || calls[0].ID == "" || calls[0].Name != leaveTool.Name || calls[0].Args["query"] == "" {
			t.Fatalf("calls %+v, want one of %s", calls, leaveTool.Name)
		}
		results := gemini.Message{Role: gemini.RoleTool}
		for _, call := range calls {
			results.Results = append(results.Results, gemini.ToolResult{ID: call.ID, Name: call.Name, Content: map[string]any{
				"passages": []any{
					map[string]any{"mark": "[1]", "title": "Handbook", "text": "Every employee gets 25 days of annual leave."},
				},
			}})
		}
		request.Messages = journalled(t, append(request.Messages, first.Message, results))
		second, err := client.Generate(bounded(t), request, nil)
		if err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(second.Message.Text, "25") {
			t.Errorf("answer %q does not use the tool's result", second.Message.Text)
		}
	})

	t.Run("a schema is kept", func(t *testing.T) {
		t.Parallel()
		request := asking("Name a color.")
		request.ResponseSchema = json.RawMessage(
			`{"type":"object","properties":{"color":{"type":"string"},"warm":{"type":"boolean"}},"required":["color","warm"]}`,
		)
		response, err := client.Generate(bounded(t), request, nil)
		if err != nil {
			t.Fatal(err)
		}
		var got map[string]any
		if err := json.Unmarshal([]byte(response.Message.Text), &got); err != nil {
			t.Fatalf("no JSON: %v: %s", err, response.Message.Text)
		}
		_, isText := got["color"].(string)
		_, isBool := got["warm"].(bool)
		if !isText || !isBool {
			t.Errorf("%v does not fit the schema", got)
		}
	})

	t.Run("a limit of tokens ends the answer and says so", func(t *testing.T) {
		t.Parallel()
		request := asking("Write a long story about the sea.")
		request.MaxTokens = 8
		response, err := client.Generate(bounded(t), request, nil)
		if err != nil {
			t.Fatal(err)
		}
		if response.FinishReason != gemini.FinishMaxTokens {
			t.Errorf("finished with %q", response.FinishReason)
		}
	})

	t.Run("vectors have the asked dimension and length one, and neighbors are near", func(t *testing.T) {
		t.Parallel()
		documents, usage, err := client.Embed(bounded(t), embedModel, []string{
			"Every employee gets 25 days of annual leave.", "The kernel mounts the root file system.",
		}, gemini.TaskDocument, 256)
		if err != nil {
			t.Fatal(err)
		}
		queries, _, err := client.Embed(
			bounded(t),
			embedModel,
			[]string{"How many days of leave does an employee get?"},
			gemini.TaskQuery,
			256,
		)
		if err != nil {
			t.Fatal(err)
		}
		if len(documents) != 2 || len(queries) != 1 || usage.InputTokens == 0 || !usage.Estimated {
			t.Fatalf("%d and %d vectors, usage %+v", len(documents), len(queries), usage)
		}
		for _, v := range append(documents, queries...) {
			if norm := math.Sqrt(dot(v, v)); len(v) != 256 || math.Abs(norm-1) > 1e-5 {
				t.Errorf("a vector of %d dimensions and length %v", len(v), norm)
			}
		}
		if near, far := dot(queries[0], documents[0]), dot(queries[0], documents[1]); near <= far {
			t.Errorf("the answer lies at %.3f, another text at %.3f", near, far)
		}
	})

	t.Run("an unknown model is the caller's mistake", func(t *testing.T) {
		t.Parallel()
		request := asking("Hello")
		request.Model = "no-such-model"
		_, err := client.Generate(bounded(t), request, nil)
		wantFault(t, err, fault.Invalid, "model.unknown")
		_, _, err = client.Embed(bounded(t), "no-such-model", []string{"Hello"}, gemini.TaskQuery, 256)
		wantFault(t, err, fault.Invalid, "model.unknown")
	})
}

// journalled sends messages through JSON, as a worker that resumes a run does.
func journalled(t *testing.T, messages []gemini.Message) []gemini.Message {
	t.Helper()
	data, err := json.Marshal(messages)
	if err != nil {
		t.Fatal(err)
	}
	var back []gemini.Message
	if err := json.Unmarshal(data, &back); err != nil {
		t.Fatal(err)
	}
	return back
}

func dot(a, b []float32) float64 {
	sum := 0.0
	for i := range a {
		sum += float64(a[i]) * float64(b[i])
	}
	return sum
}

// wantFault checks the kind and the code of a failure.
func wantFault(t *testing.T, err error, kind fault.Kind, code string) {
	t.Helper()
	if err == nil {
		t.Errorf("no error, want %s (%s)", code, kind)
		return
	}
	if f := fault.Of(err); f.Kind != kind || f.Code != code {
		t.Errorf("got %s (%s): %v; want %s (%s)", f.Code, f.Kind, err, code, kind)
	}
}
