package agent_test

import (
	"context"
	"encoding/json"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/google/uuid"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/runnertest"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/workers/internal/agent"
	"github.com/tarento/copilot/workers/internal/gemini/geminitest"
)

func TestMain(m *testing.M) {
	// The SDK links OpenCensus, which starts one goroutine for the life of the process.
	goleak.VerifyTestMain(m, goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

// library is a Searcher that knows two passages and counts the searches.
type library struct {
	searches atomic.Int32
	fail     atomic.Int32 // how many searches fail first
	last     atomic.Pointer[events.SearchRequest]
}

func (l *library) Search(_ context.Context, req events.SearchRequest) ([]events.SearchHit, error) {
	l.searches.Add(1)
	l.last.Store(&req)
	if l.fail.Add(-1) >= 0 {
		return nil, fault.New(fault.Unavailable, "search.no_worker", "Nobody is there.")
	}
	return []events.SearchHit{
		{
			DocumentID: "d1", ChunkID: "c1", Title: "Policy", Text: "The nightly limit in Zurich is CHF 310.",
			Location: events.SearchLocation{Page: 4, Heading: "Hotels"},
		},
		{DocumentID: "d2", ChunkID: "c2", Title: "Runbook", Text: "The pager rings after seven minutes."},
	}, nil
}

type world struct {
	*runnertest.Bench
	model        *geminitest.Standin
	library      *library
	conversation uuid.UUID
}

func newWorld(t *testing.T) *world {
	t.Helper()
	w := &world{model: geminitest.Open(t), library: &library{}}
	w.Bench = runnertest.Start(t, runner.Config{}, agent.New(w.model.Client(t), w.library))
	w.in(t, func(tx *store.Tx) error {
		c := &store.Conversation{UserID: uuid.MustParse("01900000-0000-7000-8000-000000000a21"), Title: "T"}
		defer func() { w.conversation = c.ID }()
		return tx.Conversations().Create(c)
	})
	return w
}

func (w *world) in(t *testing.T, fn func(tx *store.Tx) error) {
	t.Helper()
	if err := w.Store.InTenant(t.Context(), w.Tenant, fn); err != nil {
		t.Fatal(err)
	}
}

// ask stores the question as a message and runs the agent on it.
func (w *world) ask(t *testing.T, question string, change func(*events.AgentRunInput)) (*store.Job, events.AgentRunResult) {
	t.Helper()
	message := &store.Message{ConversationID: w.conversation, Role: store.RoleUser, Content: question}
	w.in(t, func(tx *store.Tx) error { return tx.Messages().Create(message) })
	in := events.AgentRunInput{
		UserInput: question, LLM: events.LLM{Model: "gemini-2.5-flash"}, Tools: []string{events.ToolSearchDocuments},
		ConversationID: w.conversation.String(), MessageID: message.ID.String(), Scope: events.Scope{Projects: []string{"p"}},
	}
	if change != nil {
		change(&in)
	}
	job := w.UntilEnded(w.Submit(store.NewJob{Input: in}))
	var result events.AgentRunResult
	if job.Status == events.StatusSucceeded {
		if err := json.Unmarshal(job.Result, &result); err != nil {
			t.Fatal(err)
		}
	}
	return job, result
}

func TestAnAnswerRestsOnRetrievedPassagesAndIsStoredWithItsCitations(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	_, result := w.ask(t, "What is the nightly limit in Zurich?", nil)
	if !strings.Contains(result.Content, "CHF 310") || len(result.Citations) == 0 {
		t.Fatalf("answered %q with %v", result.Content, result.Citations)
	}
	if c := result.Citations[0]; c.Mark != "[1]" || c.DocumentID != "d1" || c.Page != 4 || c.Heading != "Hotels" {
		t.Errorf("cites %+v", c)
	}
	if req := w.library.last.Load(); req.TenantID != w.Tenant.String() || len(req.Scope.Projects) != 1 {
		t.Errorf("searched as %+v", req)
	}
	w.in(t, func(tx *store.Tx) error {
		messages, err := tx.Messages().History(w.conversation, 10)
		if err != nil {
			return err
		}
		if len(messages) != 2 || messages[1].Content != result.Content || messages[1].ID.String() != result.MessageID {
			t.Errorf("the conversation holds %+v", messages)
		}
		return nil
	})
}

func TestTheModelSeesTheConversationSoFar(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.model.Script(t, geminitest.Say("Nice to meet you."), geminitest.Say("You are Ada."))
	w.ask(t, "I am Ada.", nil)
	if _, result := w.ask(t, "Who am I?", nil); result.Content != "You are Ada." {
		t.Fatalf("answered %q", result.Content)
	}
	requests := w.model.Calls(t).Requests
	seen, err := json.Marshal(requests[len(requests)-1])
	if err != nil {
		t.Fatal(err)
	}
	for _, want := range []string{"I am Ada.", "Nice to meet you.", "Who am I?"} {
		if n := strings.Count(string(seen), want); n != 1 {
			t.Errorf("the model saw %q %d times", want, n)
		}
	}
}

func TestAFailedToolCallResumesAfterTheFinishedModelCall(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.library.fail.Store(1)
	search := geminitest.CallTool(events.ToolSearchDocuments, map[string]any{"query": "limit"})
	w.model.Script(t, search, geminitest.Say("It is CHF 310 [1]."))
	job, result := w.ask(t, "What is the limit?", nil)
	if job.Attempt != 1 || result.Content != "It is CHF 310 [1]." {
		t.Fatalf("attempt %d answered %q", job.Attempt, result.Content)
	}
	if n := w.model.Calls(t).Total; n != 2 {
		t.Errorf("%d calls to the model, want 2", n)
	}
}

func TestMistakesOfTheModelGoBackToTheModel(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.model.Script(t,
		geminitest.CallTool("no_such_tool", nil),
		geminitest.CallTool(events.ToolSearchDocuments, map[string]any{"query": 7}),
		geminitest.Say("I give up [9] [1]."))
	job, result := w.ask(t, "?", nil)
	if job.Attempt != 1 || result.Iterations != 3 || len(result.Citations) != 0 || w.library.searches.Load() != 0 {
		t.Errorf("attempt %d, %d iterations, cites %v", job.Attempt, result.Iterations, result.Citations)
	}
}

func TestTheLastIterationOffersNoTools(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.model.Script(t, geminitest.CallTool(events.ToolSearchDocuments, map[string]any{"query": "a"}), geminitest.Say("Done."))
	_, result := w.ask(t, "?", func(in *events.AgentRunInput) { in.MaxIterations = 2 })
	requests := w.model.Calls(t).Requests
	last, err := json.Marshal(requests[len(requests)-1])
	if err != nil {
		t.Fatal(err)
	}
	if result.Content != "Done." || strings.Contains(string(last), "functionDeclarations") {
		t.Errorf("answered %q to %s", result.Content, last)
	}
}

func TestABlockedPromptFailsWithoutAnotherAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.model.Script(t, geminitest.Step{Blocked: "SAFETY"})
	if job, _ := w.ask(t, "?", nil); job.Status != events.StatusFailed || job.Attempt != 1 || *job.ErrorCode != "model.blocked" {
		t.Errorf("got %s after %d attempts: %v", job.Status, job.Attempt, *job.ErrorCode)
	}
}

func TestAnEmptyAnswerIsAskedForAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.model.Script(t, geminitest.Say(" "), geminitest.Say("CHF 310."))
	job, result := w.ask(t, "?", nil)
	if job.Status != events.StatusSucceeded || job.Attempt != 2 || result.Content != "CHF 310." {
		t.Errorf("got %s after %d attempts: %q", job.Status, job.Attempt, result.Content)
	}
}

func TestAnAnswerWithoutRoomForAWordFailsWithoutAnotherAttempt(t *testing.T) {
	t.Parallel()
	w := newWorld(t)
	w.model.Script(t, geminitest.Step{Finish: "MAX_TOKENS"})
	if job, _ := w.ask(t, "?", nil); job.Status != events.StatusFailed || job.Attempt != 1 || *job.ErrorCode != "model.out_of_tokens" {
		t.Errorf("got %s after %d attempts: %v", job.Status, job.Attempt, job.ErrorCode)
	}
}
