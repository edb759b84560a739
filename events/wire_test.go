package events_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"reflect"
	"strings"
	"testing"
	"testing/quick"
	"time"
	"unicode/utf8"

	"github.com/tarento/copilot/events"
)

var update = flag.Bool("update", false, "write the golden files anew")

// messages holds one full example of everything that travels.
func messages() map[string]any {
	at := time.Date(2026, 3, 1, 12, 30, 0, 123456000, time.UTC)
	failure := events.Failure{Code: "document.encrypted", Message: "The PDF is encrypted. Remove the password and upload it again."}
	return map[string]any{
		"dispatch": events.Dispatch{JobID: "j", TenantID: "t", Kind: events.KindAgentRun, Number: 2},
		"cancel":   events.Cancel{JobID: "j"},
		"access":   events.AccessChanged{TenantID: "t", Untold: true},
		"nudge": events.Nudge{DueInMS: 1500, Ready: []events.Ready{
			{TenantID: "t", Kind: events.KindAgentRun, Class: events.ClassInteractive, Priority: 5, Job: &events.ReadyJob{
				ID: "j", AgentID: "a", AgentLimit: 2,
			}},
		}},
		"flow": events.Flow{
			Worker: "w", Kind: events.KindAgentRun, Claimed: []string{"a"}, Missed: []string{"b"},
			Ended: []events.Ended{{JobID: "c", DurationMS: 1.5, Outcome: events.OutcomeRetried}},
		},
		"queue": events.QueueSnapshot{Kinds: []events.KindQueue{{
			Kind: events.KindAgentRun, Workers: 2, Slots: 8, Free: 1, MeanMS: 1500.5, FullAgents: []string{"a"},
			Tenants: []events.TenantQueue{{TenantID: "t", Interactive: 2, Bulk: 30, UnderWay: 5, Weight: 3, MaxRunning: 6}},
		}}},
		"worker": events.WorkerBeat{
			Worker: "w", Kind: events.KindAgentRun, Version: "1.0.0", Slots: 4, Running: 1, Jobs: []string{"a"}, StartedAt: at,
			Draining: true, Stopped: true,
		},
		"resize": events.Resize{Worker: "w", Kind: events.KindAgentRun, Slots: 8},
		"event": events.Event{
			JobID: "j", TenantID: "t", Seq: 7, Type: events.TypeJobProgress, Time: at,
			Data: json.RawMessage(`{"stage":"parse","done":3,"total":9}`),
		},
		"job.state": events.JobState{
			Status: events.StatusQueued, WaitingOn: events.WaitingSchedule, Attempt: 1, RunAt: &at, Error: &failure,
		},
		"job.state.running": events.JobState{Status: events.StatusRunning, Attempt: 1, Worker: "w"},
		"job.state.dead":    events.JobState{Status: events.StatusFailed, Attempt: 5, Error: &failure, Dead: true},
		"job.progress":      events.JobProgress{Stage: "embed", Done: 100, Total: 340},
		"step.started":      events.StepStarted{Step: 1, Kind: events.StepModelCall, Name: "generate", Attempt: 1},
		"step.finished":     events.StepFinished{Step: 2, Kind: events.StepRetrieval, Name: "search_documents", DurationMS: 12},
		"text.delta":        events.TextDelta{Start: 4, Offset: 12, Text: "Grüß "},
		"usage":             events.Usage{Model: "gemini-2.5-flash", InputTokens: 10, OutputTokens: 20},
		"agent.run.input": events.AgentRunInput{
			AgentID: "a", UserInput: "Hello", SystemPrompt: "Be brief.",
			LLM:   events.LLM{Model: "gemini-2.5-flash", Temperature: new(0.7), TopP: new(0.9), MaxTokens: 2048},
			Tools: []string{events.ToolSearchDocuments}, MaxIterations: 6, ConversationID: "c", MessageID: "m",
			Scope: events.Scope{Projects: []string{"p"}},
		},
		"agent.run.result": events.AgentRunResult{
			Content: "CHF 310 [1].", MessageID: "m", Model: "gemini-2.5-flash", FinishReason: "stop", Iterations: 2,
			Citations: []events.Citation{{
				Mark: "[1]", DocumentID: "d", ChunkID: "k", Title: "Policy", Page: 3, EndPage: 4, Heading: "Hotels", Text: "CHF 310",
			}},
			Usage: events.Usage{Model: "gemini-2.5-flash", InputTokens: 10, OutputTokens: 20},
		},
		"document.ingest.input": events.DocumentIngestInput{
			DocumentID: "d", BlobKey: "t/d", FileName: "a.pdf", MediaType: "application/pdf",
		},
		"document.ingest.result":  events.DocumentIngestResult{DocumentID: "d", Pages: 109, Chunks: 340},
		"document.delete.input":   events.DocumentDeleteInput{DocumentID: "d"},
		"document.delete.result":  events.DocumentDeleteResult{DocumentID: "d"},
		"document.sync.input":     events.DocumentSyncInput{DocumentID: "d"},
		"document.sync.result":    events.DocumentSyncResult{DocumentID: "d", Vectors: 340},
		"embedding.create.input":  events.EmbeddingCreateInput{Model: "e", Texts: []string{"a"}, Store: true},
		"embedding.create.chunks": events.EmbeddingCreateInput{DocumentID: "d", IndexingID: "i", FirstChunk: 100, Chunks: 100},
		"embedding.create.result": events.EmbeddingCreateResult{
			Model: "e", Dimension: 2, Count: 1, Embeddings: [][]float32{{0.5, -0.25}}, VectorIDs: []string{"v"},
			Usage: events.Usage{Model: "e", InputTokens: 1},
		},
		"webhook.deliver.input":  events.WebhookDeliverInput{DeliveryID: "d"},
		"webhook.deliver.result": events.WebhookDeliverResult{DeliveryID: "d", StatusCode: 204},
		"search.request": events.SearchRequest{
			TenantID: "t", Scope: events.Scope{All: true}, Query: "hotel", Mode: events.SearchHybrid, Limit: 5, MinScore: 0.1,
			Filter: events.SearchFilter{
				DocumentIDs: []string{"d"}, ProjectIDs: []string{"p"}, DocumentTypes: []string{"policy"}, Tags: []string{"x"},
			},
		},
		"search.reply": events.SearchReply{Hits: []events.SearchHit{{
			DocumentID: "d", ChunkID: "k", Title: "Policy", Text: "CHF 310", Score: 0.5,
			Location: events.SearchLocation{Page: 3, EndPage: 4, Heading: "Travel > Hotels", Start: 10, End: 17},
		}}},
		"search.reply.error": events.SearchReply{Error: &events.SearchError{Kind: "unavailable", Failure: failure}},
	}
}

// Workers and gateways of different releases run side by side during a rollout, so the bytes are a promise.
func TestTheBytesOnTheWireDoNotChange(t *testing.T) {
	t.Parallel()
	for name, message := range messages() {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, err := json.MarshalIndent(message, "", "  ")
			if err != nil {
				t.Fatal(err)
			}
			got = append(got, '\n')
			file := filepath.Join("testdata", name+".json")
			if *update {
				if err := os.WriteFile(file, got, 0o600); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(file)
			if err != nil {
				t.Fatal(err)
			}
			if !bytes.Equal(got, want) {
				t.Errorf("got\n%s\nwant\n%s", got, want)
			}
			again := reflect.New(reflect.TypeOf(message))
			decoder := json.NewDecoder(bytes.NewReader(want))
			decoder.DisallowUnknownFields()
			if err := decoder.Decode(again.Interface()); err != nil {
				t.Fatal(err)
			}
			round, err := json.MarshalIndent(again.Elem().Interface(), "", "  ")
			if err != nil || !bytes.Equal(append(round, '\n'), want) {
				t.Errorf("read and written again it is\n%s (%v)", round, err)
			}
		})
	}
}

func TestASubjectIsNamedInTheContractOnly(t *testing.T) {
	t.Parallel()
	contract, err := os.ReadFile("asyncapi.yaml")
	if err != nil {
		t.Fatal(err)
	}
	s := events.NewSubjects("copilot")
	for _, subject := range []string{
		s.Job("{kind}", "{class}"), s.Events("{tenant}"), s.Live("{tenant}", "{job}"), s.Cancel(), s.Nudge(), s.Flow(),
		s.Worker(), s.Roll(), s.Resize(), s.Access(), s.Search(),
	} {
		if !bytes.Contains(contract, []byte("address: "+subject+"\n")) {
			t.Errorf("asyncapi.yaml does not describe %s", subject)
		}
	}
	for _, typ := range events.Types() {
		if !bytes.Contains(contract, []byte(string(typ))) {
			t.Errorf("asyncapi.yaml does not describe the fact %s", typ)
		}
	}
	for _, kind := range events.Kinds() {
		if !bytes.Contains(contract, []byte(string(kind))) {
			t.Errorf("asyncapi.yaml does not know the kind %s", kind)
		}
	}
	if got := s.JobOf(s.Live("t", "j")); got != "j" {
		t.Errorf("the job of a live delta's subject is %q", got)
	}
	if got := s.TenantOf(s.Events("t")); got != "t" {
		t.Errorf("the tenant of an event's subject is %q", got)
	}
}

func TestTheStateMachineHasNoWayOutOfAnEndAndNoDeadEnd(t *testing.T) {
	t.Parallel()
	next := events.Transitions()
	for _, from := range events.Statuses() {
		if from.Terminal() != (len(next[from]) == 0) {
			t.Errorf("%s: terminal %v with %d ways out", from, from.Terminal(), len(next[from]))
		}
		if !from.Terminal() && !reachesEnd(from, map[events.Status]bool{}) {
			t.Errorf("from %s no end can be reached", from)
		}
		for _, end := range events.Statuses() {
			if end.Terminal() && end.CanBecome(from) {
				t.Errorf("%s can become %s", end, from)
			}
		}
		if !from.Terminal() && !from.CanBecome(events.StatusCancelled) {
			t.Errorf("%s cannot be cancelled", from)
		}
	}
}

func reachesEnd(from events.Status, seen map[events.Status]bool) bool {
	if from.Terminal() {
		return true
	}
	seen[from] = true
	for _, next := range events.Transitions()[from] {
		if !seen[next] && reachesEnd(next, seen) {
			return true
		}
	}
	return false
}

func TestPositionsSurviveTheirTextForm(t *testing.T) {
	t.Parallel()
	same := func(seq uint32, offset uint16) bool {
		p := events.Position{Seq: int64(seq), Offset: int(offset)}
		got, err := events.ParsePosition(p.String())
		return err == nil && got == p
	}
	if err := quick.Check(same, nil); err != nil {
		t.Error(err)
	}
	for _, bad := range []string{"x", "-1", "1.", "1.x", "1.-2", "1.2.3", " 1", "99999999999999999999"} {
		if _, err := events.ParsePosition(bad); !errors.Is(err, events.ErrPosition) {
			t.Errorf("%q was read (%v)", bad, err)
		}
	}
}

func TestADeltaIsCutWithoutLosingAByte(t *testing.T) {
	t.Parallel()
	d := events.TextDelta{Start: 3, Offset: 10, Text: "Grüß"}
	for offset := range 20 {
		rest, some := d.After(offset)
		want := strings.TrimPrefix(d.Text, d.Text[:min(max(offset-d.Offset, 0), len(d.Text))])
		if some != (want != "") || rest.Text != want || (some && (rest.End() != d.End() || rest.Start != d.Start)) {
			t.Errorf("after %d: %+v, %v", offset, rest, some)
		}
	}
	if rest, _ := d.After(12); !utf8.ValidString(rest.Text) {
		t.Error("a cut between characters broke one")
	}
}

func TestOnlyAFinalStateEndsTheLog(t *testing.T) {
	t.Parallel()
	for _, status := range events.Statuses() {
		data, err := json.Marshal(events.JobState{Status: status})
		if err != nil {
			t.Fatal(err)
		}
		if e := (events.Event{Type: events.TypeJobState, Data: data}); e.Terminal() != status.Terminal() {
			t.Errorf("%s: terminal %v", status, e.Terminal())
		}
	}
	if (events.Event{Type: events.TypeUsage, Data: json.RawMessage(`{"status":"failed"}`)}).Terminal() {
		t.Error("usage ended the log")
	}
}
