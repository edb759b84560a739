package gemini_test

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/workers/internal/gemini"
	"github.com/tarento/copilot/workers/internal/gemini/geminitest"
)

func TestFailuresAreClassifiedAndNeverRetriedHere(t *testing.T) {
	t.Parallel()
	three := []geminitest.Part{{Text: "one "}, {Text: "two "}, {Text: "three"}}
	tests := map[string]struct {
		step   geminitest.Step
		kind   fault.Kind
		code   string
		after  time.Duration
		pieces string // what was handed out before the failure
	}{
		"a quota with a delay": {
			step:  geminitest.Limit(7500 * time.Millisecond),
			kind:  fault.RateLimited,
			code:  "provider.rate_limited",
			after: 7500 * time.Millisecond,
		},
		"a quota without a delay": {
			step: geminitest.Fail(429),
			kind: fault.RateLimited,
			code: "provider.rate_limited",
		},
		"an overload": {
			step: geminitest.Fail(503),
			kind: fault.Unavailable,
			code: "provider.unavailable",
		},
		"an overload with a delay": {
			step:  geminitest.Step{Error: &geminitest.Error{Code: 503, RetryAfter: geminitest.Duration(time.Second)}},
			kind:  fault.Unavailable,
			code:  "provider.unavailable",
			after: time.Second,
		},
		"an internal error": {
			step: geminitest.Fail(500),
			kind: fault.Unavailable,
			code: "provider.unavailable",
		},
		"a deadline of the service": {
			step: geminitest.Fail(504),
			kind: fault.Unavailable,
			code: "provider.unavailable",
		},
		"an error in the middle of a stream": {
			step:   geminitest.Step{Parts: three, Error: &geminitest.Error{Code: 503, After: 2}},
			kind:   fault.Unavailable,
			code:   "provider.unavailable",
			pieces: "one two ",
		},
		"an invalid argument":         {step: geminitest.Fail(400), kind: fault.Invalid, code: "model.rejected"},
		"a request that is too large": {step: geminitest.Fail(413), kind: fault.Invalid, code: "model.rejected"},
		"a model that is gone":        {step: geminitest.Fail(404), kind: fault.Invalid, code: "model.unknown"},
		"no credentials":              {step: geminitest.Fail(401), kind: fault.Forbidden, code: "provider.credentials"},
		"no permission":               {step: geminitest.Fail(403), kind: fault.Forbidden, code: "provider.credentials"},
		"a key that is an invalid argument": {
			step: geminitest.Step{Error: &geminitest.Error{Code: 400, Reason: "API_KEY_INVALID"}},
			kind: fault.Forbidden,
			code: "provider.credentials",
		},
		"a refused prompt": {
			step: geminitest.Step{Blocked: "PROHIBITED_CONTENT"},
			kind: fault.Invalid,
			code: "model.blocked",
		},
		"an answer stopped by the filter": {
			step:   geminitest.Step{Parts: three[:1], Finish: "SAFETY"},
			kind:   fault.Invalid,
			code:   "model.blocked",
			pieces: "one ",
		},
		"a malformed call": {
			step: geminitest.Step{Finish: "MALFORMED_FUNCTION_CALL"},
			kind: fault.Upstream,
			code: "model.malformed_call",
		},
		"a call of an undeclared kind": {
			step: geminitest.Step{Finish: "UNEXPECTED_TOOL_CALL"},
			kind: fault.Upstream,
			code: "model.malformed_call",
		},
		"an end for no known reason": {
			step: geminitest.Step{Finish: "OTHER"},
			kind: fault.Upstream,
			code: "model.no_answer",
		},
		"an empty answer": {
			step: geminitest.Step{Finish: "STOP"},
			kind: fault.Upstream,
			code: "model.no_answer",
		},
		"a thought without an answer": {
			step: geminitest.Step{Parts: []geminitest.Part{{Thought: "hm"}}},
			kind: fault.Upstream,
			code: "model.no_answer",
		},
		"a connection that breaks": {
			step:   geminitest.Step{Parts: three, Cut: &geminitest.Cut{After: 2}},
			kind:   fault.Upstream,
			code:   "provider.stream_cut",
			pieces: "one two ",
		},
		"a connection that breaks at once": {
			step: geminitest.Step{Parts: three, Cut: &geminitest.Cut{}},
			kind: fault.Upstream,
			code: "provider.stream_cut",
		},
		"a stream that ends without its end": {
			step:   geminitest.Step{Parts: three, Cut: &geminitest.Cut{After: 1, Clean: true}},
			kind:   fault.Upstream,
			code:   "provider.stream_cut",
			pieces: "one ",
		},
		"a stream that ends before it begins": {
			step: geminitest.Step{Parts: three, Cut: &geminitest.Cut{Clean: true}},
			kind: fault.Upstream,
			code: "provider.stream_cut",
		},
		"an error that repeats the key in words": {
			step: geminitest.Step{Error: &geminitest.Error{Code: 400, Message: "KEY"}},
			kind: fault.Invalid,
			code: "model.rejected",
		},
		"an error that goes on and on": {
			step: geminitest.Step{Error: &geminitest.Error{Code: 400, Message: strings.Repeat("é", 10_000)}},
			kind: fault.Invalid,
			code: "model.rejected",
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := geminitest.Open(t)
			if tc.step.Error != nil && tc.step.Error.Message == "KEY" {
				tc.step.Error.Message = "The key " + model.Key + " is odd."
			}
			model.Script(t, tc.step)
			var pieces strings.Builder
			response, err := model.Client(t).Generate(t.Context(), asking("Hello"), func(text string) error {
				pieces.WriteString(text)
				return nil
			})
			wantFault(t, err, tc.kind, tc.code)
			if response != nil || pieces.String() != tc.pieces {
				t.Errorf("response %+v after the pieces %q, want none after %q", response, pieces.String(), tc.pieces)
			}
			if got := fault.Of(err).RetryAfter; got != tc.after {
				t.Errorf("retry after %s, want %s", got, tc.after)
			}
			if strings.Contains(err.Error(), model.Key) || len(err.Error()) > 4<<10 {
				t.Errorf("the error tells too much: %v", err)
			}
			wantCalls(t, model, 1)
		})
	}
}

func TestEmbeddingFailuresAreClassifiedToo(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		step geminitest.Step
		kind fault.Kind
		code string
	}{
		"a quota":     {geminitest.Limit(time.Second), fault.RateLimited, "provider.rate_limited"},
		"an overload": {geminitest.Fail(503), fault.Unavailable, "provider.unavailable"},
		"a bad key":   {geminitest.Fail(403), fault.Forbidden, "provider.credentials"},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := geminitest.Open(t)
			tc.step.Endpoint = "embed"
			model.Script(t, tc.step)
			_, _, err := model.Client(t).Embed(t.Context(), embedModel, []string{"x"}, gemini.TaskQuery, 8)
			wantFault(t, err, tc.kind, tc.code)
			wantCalls(t, model, 1)
		})
	}
}

func TestRequestsThatMakeNoSenseAreNotSent(t *testing.T) {
	t.Parallel()
	nan := math.NaN()
	with := func(change func(*gemini.Request)) gemini.Request {
		r := asking("Hello")
		change(&r)
		return r
	}
	for name, request := range map[string]gemini.Request{
		"no model":                  with(func(r *gemini.Request) { r.Model = "" }),
		"a model that is a path":    with(func(r *gemini.Request) { r.Model = "../files:upload" }),
		"no messages":               with(func(r *gemini.Request) { r.Messages = nil }),
		"an empty message":          with(func(r *gemini.Request) { r.Messages[0].Text = "" }),
		"a role nobody has":         with(func(r *gemini.Request) { r.Messages[0].Role = "oracle" }),
		"a temperature that is NaN": with(func(r *gemini.Request) { r.Temperature = &nan }),
		"a negative limit":          with(func(r *gemini.Request) { r.MaxTokens = -1 }),
		"a schema that is no JSON":  with(func(r *gemini.Request) { r.ResponseSchema = json.RawMessage("{") }),
		"a tool's schema neither": with(func(r *gemini.Request) {
			r.Tools = []gemini.Tool{{Name: "x", Parameters: json.RawMessage("{")}}
		}),
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := geminitest.Open(t)
			_, err := model.Client(t).Generate(t.Context(), request, nil)
			wantFault(t, err, fault.Invalid, "model.invalid_request")
			wantCalls(t, model, 0)
		})
	}
	for name, call := range map[string]struct {
		texts     []string
		task      string
		dimension int
	}{
		"a text that is empty":     {[]string{"x", ""}, gemini.TaskDocument, 8},
		"more than a hundred":      {slices.Repeat([]string{"x"}, gemini.MaxBatch+1), gemini.TaskDocument, 8},
		"a purpose nobody has":     {[]string{"x"}, "fun", 8},
		"vectors without any size": {[]string{"x"}, gemini.TaskQuery, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			model := geminitest.Open(t)
			_, _, err := model.Client(t).Embed(t.Context(), embedModel, call.texts, call.task, call.dimension)
			wantFault(t, err, fault.Invalid, "model.invalid_request")
			wantCalls(t, model, 0)
		})
	}
}

func TestEmbeddingNothingNeedsNoCall(t *testing.T) {
	t.Parallel()
	model := geminitest.Open(t)
	if vectors, _, err := model.Client(t).Embed(t.Context(), embedModel, nil, gemini.TaskQuery, 8); err != nil || vectors != nil {
		t.Errorf("no texts gave %v, %v", vectors, err)
	}
	wantCalls(t, model, 0)
}

// wantCalls checks how many calls reached the service.
func wantCalls(t *testing.T, model *geminitest.Standin, want int) {
	t.Helper()
	if got := model.Calls(t).Total; got != want {
		t.Errorf("%d calls arrived, want %d", got, want)
	}
}

func TestTheModelsMessageGoesBackVerbatim(t *testing.T) {
	t.Parallel()
	model := geminitest.Open(t)
	client := model.Client(t)
	model.Script(t,
		geminitest.Step{Parts: []geminitest.Part{
			{Thought: "I should look."},
			{Text: "Let me "},
			{Text: "look."},
			{Call: &geminitest.Call{ID: "a1", Name: "lookup", Args: map[string]any{"n": 1.0}}},
			{Call: &geminitest.Call{Name: "lookup", NoID: true}},
		}, Usage: &geminitest.Usage{Prompt: 100, Cached: 60, Output: 20, Thoughts: 5}},
		geminitest.Say("Done."),
	)
	request := asking("Look twice")
	first, err := client.Generate(t.Context(), request, nil)
	if err != nil {
		t.Fatal(err)
	}
	m := first.Message
	if m.Text != "Let me look." || len(m.Calls) != 2 || m.Calls[0].ID != "a1" || m.Calls[1].ID == "" ||
		m.Calls[0].Args["n"] != 1.0 {
		t.Fatalf("message %+v", m)
	}
	if want := (gemini.Usage{InputTokens: 100, CachedTokens: 60, OutputTokens: 20, ThoughtTokens: 5}); first.Usage != want {
		t.Errorf("usage %+v, want %+v", first.Usage, want)
	}

	results := gemini.Message{Role: gemini.RoleTool, Results: []gemini.ToolResult{
		{ID: m.Calls[0].ID, Name: "lookup", Content: []int{1, 2}},
		{ID: m.Calls[1].ID, Name: "lookup", Error: "no such shelf", Content: "ignored"},
	}}
	request.Messages = journalled(t, append(request.Messages, m, results))
	if _, err := client.Generate(t.Context(), request, nil); err != nil {
		t.Fatal(err)
	}
	calls := model.Calls(t)
	var sent struct{ Contents []json.RawMessage }
	if err := json.Unmarshal(calls.Requests[1].Request, &sent); err != nil || len(sent.Contents) != 3 {
		t.Fatalf("recorded %s: %v", calls.Requests[1].Request, err)
	}
	wantJSON(t, sent.Contents[1], `{"role":"model","parts":[{"text":"I should look.","thought":true},{"text":"Let me look."},
		{"functionCall":{"id":"a1","name":"lookup","args":{"n":1}},"thoughtSignature":"bG9jYWwtc3RhbmRpbjphMQ=="},
		{"functionCall":{"name":"lookup"},"thoughtSignature":"bG9jYWwtc3RhbmRpbjo="}]}`)
	wantJSON(t, sent.Contents[2], `{"role":"user","parts":[
		{"functionResponse":{"id":"a1","name":"lookup","response":{"output":[1,2]}}},
		{"functionResponse":{"name":"lookup","response":{"error":"no such shelf"}}}]}`)
}

// wantJSON compares two JSON texts by value.
func wantJSON(t *testing.T, got json.RawMessage, want string) {
	t.Helper()
	canonical := func(data []byte) string {
		var v any
		if err := json.Unmarshal(data, &v); err != nil {
			t.Fatalf("%v: %s", err, data)
		}
		out, err := json.Marshal(v)
		if err != nil {
			t.Fatal(err)
		}
		return string(out)
	}
	if g, w := canonical(got), canonical([]byte(want)); g != w {
		t.Errorf("got\n%s\nwant\n%s", g, w)
	}
}

func TestTheRequestSaysWhatWasAsked(t *testing.T) {
	t.Parallel()
	model := geminitest.Open(t)
	temperature, topP := 0.25, 0.5
	request := gemini.Request{
		Model:          chatModel,
		System:         "Be brief.",
		Temperature:    &temperature,
		TopP:           &topP,
		MaxTokens:      99,
		Tools:          []gemini.Tool{{Name: "ping"}, leaveTool},
		ResponseSchema: json.RawMessage(`{"type":"string"}`),
		Messages: []gemini.Message{
			{Role: gemini.RoleUser, Text: "Hi"}, {Role: gemini.RoleModel, Text: "Hello"}, {Role: gemini.RoleUser, Text: "Bye"},
		},
	}
	if _, err := model.Client(t).Generate(t.Context(), request, nil); err != nil {
		t.Fatal(err)
	}
	parameters, err := json.Marshal(leaveTool.Parameters)
	if err != nil {
		t.Fatal(err)
	}
	wantJSON(t, model.Calls(t).Requests[0].Request, `{
		"systemInstruction":{"role":"user","parts":[{"text":"Be brief."}]},
		"contents":[{"role":"user","parts":[{"text":"Hi"}]},{"role":"model","parts":[{"text":"Hello"}]},
			{"role":"user","parts":[{"text":"Bye"}]}],
		"tools":[{"functionDeclarations":[{"name":"ping"},{"name":"search_documents",
			"description":"`+leaveTool.Description+`","parametersJsonSchema":`+string(parameters)+`}]}],
		"generationConfig":{"temperature":0.25,"topP":0.5,"maxOutputTokens":99,
			"responseMimeType":"application/json","responseJsonSchema":{"type":"string"}}}`)
}

func TestTheEndOfTheCallersContextPassesThrough(t *testing.T) {
	t.Parallel()
	t.Run("canceled before the first piece", func(t *testing.T) {
		t.Parallel()
		model := geminitest.Open(t)
		model.Latency(t, time.Hour, 0)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		done := make(chan error, 1)
		client := model.Client(t)
		go func() {
			_, err := client.Generate(ctx, asking("Hello"), nil)
			done <- err
		}()
		for deadline := time.Now().Add(time.Minute); model.Calls(t).Total == 0; {
			if time.Now().After(deadline) {
				t.Fatal("the call never arrived")
			}
		}
		cancel()
		if err := <-done; err != context.Canceled { //nolint:errorlint // unchanged is what is promised
			t.Errorf("got %v", err)
		}
	})
	t.Run("canceled between two pieces", func(t *testing.T) {
		t.Parallel()
		model := geminitest.Open(t)
		model.Latency(t, 0, time.Hour)
		ctx, cancel := context.WithCancel(t.Context())
		defer cancel()
		_, err := model.Client(t).Generate(ctx, asking("Hello"), func(string) error {
			cancel()
			return nil
		})
		if err != context.Canceled { //nolint:errorlint // unchanged is what is promised
			t.Errorf("got %v", err)
		}
	})
	t.Run("out of time while embedding", func(t *testing.T) {
		t.Parallel()
		model := geminitest.Open(t)
		model.Latency(t, time.Hour, 0)
		ctx, cancel := context.WithTimeout(t.Context(), 20*time.Millisecond)
		defer cancel()
		_, _, err := model.Client(t).Embed(ctx, embedModel, []string{"x"}, gemini.TaskQuery, 8)
		if err != context.DeadlineExceeded { //nolint:errorlint // unchanged is what is promised
			t.Errorf("got %v", err)
		}
	})
}

func TestASilentServiceIsGivenUp(t *testing.T) {
	t.Parallel()
	const soon = 50 * time.Millisecond
	silent := func(t *testing.T, timeout, call, chunk time.Duration) *gemini.Client {
		t.Helper()
		model := geminitest.Open(t)
		model.Latency(t, call, chunk)
		config := model.Config()
		config.Timeout = timeout
		client, err := gemini.New(t.Context(), config)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(client.Close)
		return client
	}
	t.Run("before its answer", func(t *testing.T) {
		t.Parallel()
		_, err := silent(t, soon, time.Hour, 0).Generate(t.Context(), asking("Hello"), nil)
		wantFault(t, err, fault.Timeout, "provider.timeout")
	})
	t.Run("between two pieces", func(t *testing.T) {
		t.Parallel()
		_, err := silent(t, soon, 0, time.Hour).Generate(t.Context(), asking("Hello"), nil)
		wantFault(t, err, fault.Timeout, "provider.timeout")
	})
	t.Run("while it embeds", func(t *testing.T) {
		t.Parallel()
		_, _, err := silent(t, soon, time.Hour, 0).Embed(t.Context(), embedModel, []string{"x"}, gemini.TaskQuery, 8)
		wantFault(t, err, fault.Timeout, "provider.timeout")
	})
	t.Run("but not for the time its reader takes", func(t *testing.T) {
		t.Parallel()
		// So long that it is not the machine which makes the service silent.
		const timeout = 5 * time.Second
		slept := false
		_, err := silent(t, timeout, 0, 10*time.Millisecond).Generate(t.Context(), asking("Hello"), func(string) error {
			if !slept {
				slept = true
				<-time.After(timeout + time.Second)
			}
			return nil
		})
		if err != nil {
			t.Errorf("got %v", err)
		}
	})
}

func TestAnErrorOfTheReaderEndsTheAnswer(t *testing.T) {
	t.Parallel()
	model := geminitest.Open(t)
	full := errors.New("the disk is full")
	pieces := 0
	_, err := model.Client(t).Generate(t.Context(), asking("Hello"), func(string) error {
		pieces++
		return full
	})
	if err != full || pieces != 1 { //nolint:errorlint // unchanged is what is promised
		t.Errorf("got %v after %d pieces", err, pieces)
	}
}

func TestAnAnswerThatIsCompleteSurvivesTheEndOfItsConnection(t *testing.T) {
	t.Parallel()
	model := geminitest.Open(t)
	step := geminitest.Say("All of it.")
	step.Cut = &geminitest.Cut{After: 1} // after the last chunk
	model.Script(t, step)
	response, err := model.Client(t).Generate(t.Context(), asking("Hello"), nil)
	if err != nil || response.Message.Text != "All of it." {
		t.Errorf("got %+v, %v", response, err)
	}
}

func TestAServiceThatIsNotThere(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	client, err := gemini.New(t.Context(), gemini.Config{APIKey: "secret-key", BaseURL: "http://" + address})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	_, err = client.Generate(t.Context(), asking("Hello"), nil)
	wantFault(t, err, fault.Unavailable, "provider.unavailable")
	_, _, err = client.Embed(t.Context(), embedModel, []string{"x"}, gemini.TaskQuery, 8)
	wantFault(t, err, fault.Unavailable, "provider.unavailable")
}

func TestARedirectDoesNotCarryTheKeyAway(t *testing.T) {
	t.Parallel()
	elsewhere := httptest.NewServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) {
		t.Errorf("the redirect was followed, with the key %q", r.Header.Get("X-Goog-Api-Key"))
	}))
	t.Cleanup(elsewhere.Close)
	server := httptest.NewServer(http.RedirectHandler(elsewhere.URL, http.StatusTemporaryRedirect))
	t.Cleanup(server.Close)
	client, err := gemini.New(t.Context(), gemini.Config{APIKey: "secret-key", BaseURL: server.URL})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	_, err = client.Generate(t.Context(), asking("Hello"), nil)
	wantFault(t, err, fault.Unavailable, "provider.unavailable")
}

func TestEmbeddingsThatCannotBeUsedAreRefused(t *testing.T) {
	t.Parallel()
	for name, body := range map[string]string{
		"too few":            `{"embeddings":[{"values":[1,0]}]}`,
		"of another size":    `{"embeddings":[{"values":[1,0]},{"values":[1]}]}`,
		"without a length":   `{"embeddings":[{"values":[1,0]},{"values":[0,0]}]}`,
		"of another service": `<html>`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			server := httptest.NewServer(
				http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte(body)) }),
			)
			t.Cleanup(server.Close)
			client, err := gemini.New(t.Context(), gemini.Config{APIKey: "k", BaseURL: server.URL})
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(client.Close)
			_, _, err = client.Embed(t.Context(), embedModel, []string{"a", "b"}, gemini.TaskDocument, 2)
			if !fault.Is(err, fault.Upstream) {
				t.Errorf("got %v", err)
			}
		})
	}
}

func TestAConfigurationWithoutMeaningIsRefused(t *testing.T) {
	t.Parallel()
	for name, config := range map[string]gemini.Config{
		"no key":              {},
		"a URL without host":  {APIKey: "secret-key", BaseURL: "localhost"},
		"a URL that is none":  {APIKey: "secret-key", BaseURL: "http://[::1"},
		"a URL of other kind": {APIKey: "secret-key", BaseURL: "ftp://example.com"},
	} {
		client, err := gemini.New(t.Context(), config)
		if err == nil {
			client.Close()
			t.Errorf("%s was accepted", name)
		} else if strings.Contains(err.Error(), "secret-key") {
			t.Errorf("%s: the error has the key: %v", name, err)
		}
	}
}
