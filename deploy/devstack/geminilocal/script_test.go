package geminilocal_test

import (
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"google.golang.org/genai"

	"github.com/tarento/copilot/deploy/devstack/geminilocal"
)

func TestScriptedAnswers(t *testing.T) {
	t.Parallel()
	pieces := []geminilocal.Part{{Text: "one "}, {Text: "two "}, {Text: "three"}}
	type outcome struct {
		text    string
		chunks  int
		finish  genai.FinishReason
		blocked genai.BlockedReason
		code    int    // of an APIError
		failed  bool   // with any other error
		retry   string // of RetryInfo
	}
	tests := map[string]struct {
		step geminilocal.Step
		want outcome
	}{
		"pieces arrive one by one": {geminilocal.Step{Parts: pieces}, outcome{text: "one two three", chunks: 3, finish: "STOP"}},
		"an answer may stop early": {
			geminilocal.Step{Parts: pieces, Finish: "MAX_TOKENS"},
			outcome{text: "one two three", chunks: 3, finish: "MAX_TOKENS"},
		},
		"a call may be malformed": {
			geminilocal.Step{Finish: "MALFORMED_FUNCTION_CALL"},
			outcome{chunks: 1, finish: "MALFORMED_FUNCTION_CALL"},
		},
		"a prompt may be blocked": {geminilocal.Step{Blocked: "SAFETY"}, outcome{chunks: 1, blocked: "SAFETY"}},
		"a stream may break": {
			geminilocal.Step{Parts: pieces, Cut: &geminilocal.Cut{After: 2}},
			outcome{text: "one two ", chunks: 2, failed: true},
		},
		"a stream may break at once": {geminilocal.Step{Parts: pieces, Cut: &geminilocal.Cut{}}, outcome{failed: true}},
		"a stream may end too early": {
			geminilocal.Step{Parts: pieces, Cut: &geminilocal.Cut{After: 1, Clean: true}},
			outcome{text: "one ", chunks: 1},
		},
		"a stream may fail half-way": {
			geminilocal.Step{Parts: pieces, Error: &geminilocal.Failure{Code: 503, After: 1}},
			outcome{text: "one ", chunks: 1, code: 503},
		},
		"a quota may be used up": {
			geminilocal.Step{Error: &geminilocal.Failure{Code: 429, RetryAfter: geminilocal.Duration(7500 * time.Millisecond)}},
			outcome{code: 429, retry: "7.5s"},
		},
		"the service may be away":   {geminilocal.Step{Error: &geminilocal.Failure{Code: 503}}, outcome{code: 503}},
		"the service may be broken": {geminilocal.Step{Error: &geminilocal.Failure{Code: 500}}, outcome{code: 500}},
		"a key may be invalid": {
			geminilocal.Step{Error: &geminilocal.Failure{Code: 400, Reason: "API_KEY_INVALID"}},
			outcome{code: 400},
		},
		"its own answer may be cut": {
			geminilocal.Step{Cut: &geminilocal.Cut{After: 1}},
			outcome{text: "You said: “Hello”. ", chunks: 1, failed: true},
		},
		"a delay alone changes it not": {
			geminilocal.Step{Delay: geminilocal.Duration(time.Millisecond), ChunkDelay: geminilocal.Duration(time.Microsecond)},
			outcome{
				text: "You said: “Hello”. No documents were offered to answer from. " +
					"(Answered by the local stand-in for Gemini, which quotes passages.)",
				chunks: 7,
				finish: "STOP",
			},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			s := start(t, geminilocal.Config{Admin: true})
			s.script(t, tc.step)
			chunks, err := stream(t.Context(), s.sdk, genai.Text("Hello"), nil)
			got := outcome{chunks: len(chunks)}
			for _, c := range chunks {
				got.text += c.Text()
				if len(c.Candidates) > 0 {
					got.finish = c.Candidates[0].FinishReason
				}
				if c.PromptFeedback != nil {
					got.blocked = c.PromptFeedback.BlockReason
				}
			}
			if api, ok := errors.AsType[genai.APIError](err); ok {
				got.code = api.Code
				for _, d := range api.Details {
					if d["@type"] == "type.googleapis.com/google.rpc.RetryInfo" {
						got.retry, _ = d["retryDelay"].(string)
					}
				}
			} else {
				got.failed = err != nil
			}
			if got != tc.want {
				t.Errorf("got %+v (%v), want %+v", got, err, tc.want)
			}
			if n := s.calls(t).Total; n != 1 {
				t.Errorf("%d calls arrived, want 1", n)
			}
		})
	}
}

func TestScriptedCallsComeBackAsOnePart(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{Admin: true})
	s.script(t, geminilocal.Step{
		Parts: []geminilocal.Part{
			{Thought: "hm"},
			{Text: "Let me "},
			{Text: "look."},
			{Call: &geminilocal.Call{Name: "a"}},
			{Call: &geminilocal.Call{Name: "b", ID: "mine", Args: map[string]any{"x": 1.0}}},
		},
		Usage: &geminilocal.Usage{Prompt: 100, Cached: 40, Output: 9, Thoughts: 3},
	})
	res, err := s.sdk.Models.GenerateContent(t.Context(), chatModel, genai.Text("Hello"), nil)
	if err != nil {
		t.Fatal(err)
	}
	parts := res.Candidates[0].Content.Parts
	if len(parts) != 4 || !parts[0].Thought || parts[1].Text != "Let me look." || parts[2].FunctionCall.ID == "" ||
		len(parts[2].ThoughtSignature) == 0 ||
		parts[3].FunctionCall.ID != "mine" {
		t.Errorf("got %d parts, want thought, text and two calls", len(parts))
	}
	if u := res.UsageMetadata; u.PromptTokenCount != 100 || u.CachedContentTokenCount != 40 || u.CandidatesTokenCount != 9 ||
		u.ThoughtsTokenCount != 3 ||
		u.TotalTokenCount != 112 {
		t.Errorf("usage %+v is not the scripted one", u)
	}
}

func TestStepsAreTakenInOrderByThoseTheyFit(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{Admin: true})
	say := func(text string) []geminilocal.Part { return []geminilocal.Part{{Text: text}} }
	s.script(t,
		geminilocal.Step{Endpoint: "embed", Error: &geminilocal.Failure{Code: 503}},
		geminilocal.Step{Contains: `a "quoted" <name>`, Parts: say("matched"), Repeat: 2},
		geminilocal.Step{Model: "gemini-2.5-pro", Parts: say("pro")},
		geminilocal.Step{Parts: say("first")},
	)
	s.script(
		t,
		geminilocal.Step{Endpoint: "streamGenerateContent", Parts: say("streamed"), Repeat: -1},
		geminilocal.Step{Parts: say("last")},
	)

	ask := func(text string) string {
		t.Helper()
		res, err := s.sdk.Models.GenerateContent(t.Context(), chatModel, genai.Text(text), nil)
		if err != nil {
			t.Fatal(err)
		}
		return res.Text()
	}
	got := []string{ask("Hello"), ask(`Say a "quoted" <name>`), ask("Hello"), ask(`Again a "quoted" <name>`)}
	if want := []string{"first", "matched", "last", "matched"}; !slices.Equal(got, want) {
		t.Errorf("answers %q, want %q", got, want)
	}
	if text := ask(`A third a "quoted" <name>`); !strings.Contains(text, "local stand-in") {
		t.Errorf("after its script it answered %q", text)
	}
	for range 2 {
		if chunks, err := stream(t.Context(), s.sdk, genai.Text("Hello"), nil); err != nil || chunks[0].Text() != "streamed" {
			t.Errorf("the step for ever ended: %v", err)
		}
	}
	if _, err := s.sdk.Models.EmbedContent(t.Context(), embedModel, genai.Text("x"), nil); err == nil {
		t.Error("the step for embeddings did not apply")
	}
	calls := s.calls(t)
	if calls.Total != 8 || calls.Counts["generateContent"] != 5 || calls.Counts["streamGenerateContent"] != 2 ||
		calls.Counts["batchEmbedContents"] != 1 ||
		calls.Pending != 2 {
		t.Errorf("counted %+v", calls)
	}
	if first := calls.Requests[0]; first.Model != chatModel || !first.Scripted ||
		!strings.Contains(string(first.Request), "Hello") {
		t.Errorf("recorded %+v", first)
	}

	s.do(t, http.MethodDelete, "/admin/script", nil)
	s.do(t, http.MethodDelete, "/admin/calls", nil)
	if calls := s.calls(t); calls.Total != 0 || calls.Pending != 0 || len(calls.Requests) != 0 {
		t.Errorf("after the reset there is still %+v", calls)
	}
}

func TestKeysDoNotShareAScript(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{Admin: true})
	s.script(t, geminilocal.Step{Error: &geminilocal.Failure{Code: 503}, Repeat: -1})
	if _, err := s.client(t, "another-key").Models.GenerateContent(t.Context(), chatModel, genai.Text("Hello"), nil); err != nil {
		t.Errorf("another key got the scripted failure: %v", err)
	}
	if n := s.calls(t).Total; n != 0 {
		t.Errorf("another key's call was counted here: %d", n)
	}
}

func TestScriptsThatMeanNothingAreRefused(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{Admin: true})
	for name, step := range map[string]map[string]any{
		"an unknown field":      {"txet": "x"},
		"an unknown endpoint":   {"endpoint": "sing"},
		"a part of two kinds":   {"parts": []any{map[string]any{"text": "x", "thought": "y"}}},
		"an empty part":         {"parts": []any{map[string]any{}}},
		"an error that is none": {"error": map[string]any{"code": 200}},
		"a nameless duration":   {"delay": "soon"},
		"two ends of a stream":  {"error": map[string]any{"code": 500, "after": 1}, "cut": map[string]any{"after": 1}},
	} {
		if status, body := s.do(
			t,
			http.MethodPost,
			"/admin/script",
			map[string]any{"steps": []any{step}},
		); status != http.StatusBadRequest {
			t.Errorf("%s: %d %s", name, status, body)
		}
	}
	if pending := s.calls(t).Pending; pending != 0 {
		t.Errorf("%d refused steps were queued", pending)
	}
}

func TestWithoutAdminThereIsNothingToScript(t *testing.T) {
	t.Parallel()
	s := start(t, geminilocal.Config{})
	if status, _ := s.do(t, http.MethodGet, "/admin/calls", nil); status != http.StatusNotFound {
		t.Errorf("status %d, want 404", status)
	}
}

func TestWaitingEndsWhenTheClientLeaves(t *testing.T) {
	t.Parallel()
	tests := map[string]struct {
		config geminilocal.Config
		step   geminilocal.Step
		path   string
		put    map[string]string
	}{
		"before the first byte of an answer": {
			step: geminilocal.Step{Delay: geminilocal.Duration(time.Hour)},
			path: chatModel + ":generateContent",
		},
		"before the error": {
			step: geminilocal.Step{Delay: geminilocal.Duration(time.Hour), Error: &geminilocal.Failure{Code: 503}},
			path: embedModel + ":embedContent",
		},
		"between two chunks": {
			step: geminilocal.Step{ChunkDelay: geminilocal.Duration(time.Hour)},
			path: chatModel + ":streamGenerateContent?alt=sse",
		},
		"with the latency of the server": {
			config: geminilocal.Config{Latency: time.Hour},
			step:   geminilocal.Step{Finish: "STOP"},
			path:   chatModel + ":generateContent",
		},
		"with the latency of the session": {
			step: geminilocal.Step{Finish: "STOP"},
			path: chatModel + ":generateContent",
			put:  map[string]string{"call": "1h"},
		},
	}
	for name, tc := range tests {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			tc.config.Admin = true
			inner := geminilocal.New(tc.config)
			arrived, left := make(chan struct{}, 1), make(chan struct{})
			server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				if !strings.HasPrefix(r.URL.Path, "/v1beta/") {
					inner.ServeHTTP(w, r)
					return
				}
				arrived <- struct{}{}
				inner.ServeHTTP(w, r)
				close(left)
			}))
			t.Cleanup(server.Close)
			s := &standin{url: server.URL, http: server.Client()}
			s.script(t, tc.step)
			if tc.put != nil {
				s.do(t, http.MethodPut, "/admin/latency", tc.put)
			}

			ctx, leave := context.WithCancel(t.Context())
			defer leave()
			req, err := http.NewRequestWithContext(
				ctx,
				http.MethodPost,
				server.URL+"/v1beta/models/"+tc.path,
				strings.NewReader(`{"contents":[{"parts":[{"text":"Hello there"}]}]}`),
			)
			if err != nil {
				t.Fatal(err)
			}
			req.Header.Set("X-Goog-Api-Key", "test-key")
			done := make(chan struct{})
			go func() {
				defer close(done)
				if res, err := s.http.Do(req); err == nil {
					_ = res.Body.Close()
				}
			}()
			<-arrived
			leave()
			<-done
			select {
			case <-left:
			case <-time.After(time.Minute):
				t.Fatal("the handler still waits for a client that left")
			}
		})
	}
}
