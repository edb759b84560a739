package tour

import (
	"bytes"
	"context"
	"errors"
	"net"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/gateway/client"
)

// take runs the tour against the API and returns what it printed.
func take(ctx context.Context, a *fakeAPI, change func(*Config)) (string, error) {
	var out bytes.Buffer
	cfg := Config{BaseURL: a.url + "/", Identifier: testUser, Password: testPassword, Out: &out, Check: true}
	if change != nil {
		change(&cfg)
	}
	err := Run(ctx, cfg)
	return out.String(), err
}

func expect(t *testing.T, got string, parts ...string) {
	t.Helper()
	for _, part := range parts {
		if !strings.Contains(got, part) {
			t.Errorf("%q is missing in:\n%s", part, got)
		}
	}
}

func TestRunUploadsAsksAndCites(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	out, err := take(t.Context(), a, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expect(t, out, "Logged in as admin@acme.com",
		"Uploaded mnesia-4.21.3.pdf, 419 KiB: job ingest-0", "mnesia-4.21.3.pdf: parse", "acme-travel-policy.docx: embed",
		"Ingested mnesia-4.21.3.pdf: 109 pages, 40 chunks in", "Ingested acme-oncall-runbook.md: 40 chunks in",
		"Started a conversation with Document Analyzer\n",
		"It says: 1000 records have been written in the log [1]\n", "[1] Mnesia User's Guide and Reference Manual, page 54",
		"It says: CHF 310 [1]\n", `[1] Acme Travel and Expense Policy, under "Above > 4.1 Nightly hotel limits"`,
		"First token after", "answered by test-model", "✓ It rests on Mnesia User's Guide and Reference Manual, page 54",
		"Ingested 109 pages and 120 chunks in", "3 questions, first token after", "The whole tour took")
	if strings.Contains(out, testPassword) || strings.Contains(out, testToken) {
		t.Errorf("a secret was printed:\n%s", out)
	}
	if want := []string{titleManual, titlePolicy, titleRunbook}; !reflect.DeepEqual(a.uploads, want) {
		t.Errorf("uploaded %q, want %q", a.uploads, want)
	}
	if want := []string{questions()[0].Text, questions()[1].Text, questions()[2].Text}; !reflect.DeepEqual(a.asked, want) {
		t.Errorf("asked %q, want %q", a.asked, want)
	}
}

func TestRunSkipsDocumentsOfAnEarlierTour(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	if out, err := take(t.Context(), a, nil); err != nil {
		t.Fatalf("first tour: %v\n%s", err, out)
	}
	again := newFakeAPI(t)
	again.documents = a.documents
	out, err := take(t.Context(), again, nil)
	if err != nil {
		t.Fatalf("second tour: %v\n%s", err, out)
	}
	expect(t, out, "Found mnesia-4.21.3.pdf of an earlier tour", "Found acme-oncall-runbook.md of an earlier tour")
	if len(again.uploads) != 0 {
		t.Errorf("uploaded %q again", again.uploads)
	}
}

func TestRunTakesOnlyWhatAnEarlierTourFinished(t *testing.T) {
	t.Parallel()
	docs, err := documents()
	if err != nil {
		t.Fatal(err)
	}
	stored := func(i int, status client.DocumentProcessingStatus, more int) client.Document {
		return client.Document{ID: docs[i].File, Title: docs[i].Title, FileSize: len(docs[i].Data) + more, ProcessingStatus: status}
	}
	a := newFakeAPI(t)
	a.documents = []client.Document{
		stored(0, client.DocumentProcessingStatusProcessing, 0), stored(1, client.DocumentProcessingStatusFailed, 0),
		stored(2, client.DocumentProcessingStatusCompleted, 1),
	}
	a.polled = []client.DocumentProcessingStatus{client.DocumentProcessingStatusProcessing}
	out, err := take(t.Context(), a, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expect(t, out, "Found mnesia-4.21.3.pdf of an earlier tour")
	if want := []string{titlePolicy, titleRunbook}; !reflect.DeepEqual(a.uploads, want) {
		t.Errorf("uploaded %q, want %q: one had failed, the other was another version", a.uploads, want)
	}
}

func TestRunResumesCutStreams(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	ingest, answer := a.ingests[0], a.answers[1]
	ingest.cuts = []int{3, 0, 2}
	answer.cuts = []int{3, 1}
	out, err := take(t.Context(), a, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	if want := []string{"", "at.2", "at.2", "at.4"}; !reflect.DeepEqual(ingest.resumed, want) {
		t.Errorf("the ingest was resumed at %q, want %q", ingest.resumed, want)
	}
	if want := []string{"", "at.2", "at.3"}; !reflect.DeepEqual(answer.resumed, want) {
		t.Errorf("the answer was resumed at %q, want %q", answer.resumed, want)
	}
	expect(t, out, "A  It says: CHF 310 [1]\n")
}

func TestRunOpensASilentStreamAgain(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	a.ingests[1].frames, a.ingests[1].stall = a.ingests[1].frames[:4], true
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	stalled := a.ingests[1]
	go func() {
		for {
			a.mu.Lock()
			resumed := slices.Contains(stalled.resumed, "at.3") // a slow machine may need several connections to get that far
			a.mu.Unlock()
			if resumed {
				cancel(errors.New("seen enough"))
				return
			}
			if pause(ctx, time.Millisecond) != nil {
				return
			}
		}
	}()
	_, err := take(ctx, a, func(c *Config) { c.SilenceTimeout = 400 * time.Millisecond })
	if err == nil {
		t.Fatal("the tour went on although a job hung")
	}
	expect(t, err.Error(), "seen enough", "ingest acme-travel-policy.docx", "follow job ingest-1", "last seen: parse 2 of 2")
}

func TestRunGivesUpOnAStreamThatOnlyBreaks(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	a.answers[0].cuts = make([]int, 100)
	_, err := take(t.Context(), a, nil)
	if err == nil {
		t.Fatal("no error")
	}
	expect(t, err.Error(), "gave up after 10 connections without a new event", "the event stream was cut", "(no event yet)")
}

func TestRunShowsARestartedAnswerFromItsBeginning(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	lost := frame{"text.delta", client.TextDelta{Start: 1, Offset: 0, Text: "It says: CHF 3"}}
	a.answers[1].frames = append([]frame{lost}, a.answers[1].frames...)
	out, err := take(t.Context(), a, nil)
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expect(t, out, "A  It says: CHF 3\n", "(the model starts again)\n", "A  It says: CHF 310 [1]\n")
}

func TestRunPrintsAnAnswerThatDidNotStream(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	a.answers[1].frames = a.answers[1].frames[len(a.answers[1].frames)-1:]
	out, err := take(t.Context(), a, func(c *Config) { c.Check = false })
	if err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	expect(t, out, "A  It says: CHF 310 [1]\n", "without a token streamed")
}

func TestRunFails(t *testing.T) {
	t.Parallel()
	tests := []struct {
		name   string
		script func(*fakeAPI)
		config func(*Config)
		want   []string
	}{
		{
			name:   "when a document cannot be ingested, with the job's reason",
			script: func(a *fakeAPI) { a.ingests[1].fail("document.encrypted", "The file is encrypted.") },
			want: []string{
				"ingest acme-travel-policy.docx",
				"job ingest-1 (document.ingest) is failed: The file is encrypted. (document.encrypted)",
			},
		},
		{
			name:   "when an answer fails, with the job's reason",
			script: func(a *fakeAPI) { a.answers[2].fail("model.blocked", "The prompt was blocked.") },
			want:   []string{"When is the secondary", "job answer-2 (agent.run) is failed: The prompt was blocked. (model.blocked)"},
		},
		{
			name: "when a job was canceled",
			script: func(a *fakeAPI) {
				a.answers[0].Status = client.JobStatusCancelled
				a.answers[0].frames = []frame{{"job.state", client.JobState{Status: client.JobStatusCancelled}}}
			},
			want: []string{"job answer-0 (agent.run) is cancelled, without a reason"},
		},
		{
			name:   "when nothing of a document can be searched",
			script: func(a *fakeAPI) { a.ingests[2] = ingestJob("empty", 0, 0) },
			want:   []string{"ingest acme-oncall-runbook.md", "no passage can be searched"},
		},
		{
			name:   "when the password is wrong, with a hint",
			config: func(c *Config) { c.Password = "wrong" },
			want: []string{
				"login as admin@acme.com was refused; has the database been seeded?",
				"POST /api/v1/auth/login: 401 Unauthorized: The username or the password is wrong. (request r-1)",
			},
		},
		{
			name:   "when an upload is refused, with the problem",
			script: func(a *fakeAPI) { a.ingests = nil },
			want:   []string{"upload mnesia-4.21.3.pdf", "422 Unprocessable Entity: The script has no such upload."},
		},
		{
			name:   "when it does not know where to go",
			config: func(c *Config) { c.BaseURL = "" },
			want:   []string{"the tour needs a base URL, an identifier and a password"},
		},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			a := newFakeAPI(t)
			if tt.script != nil {
				tt.script(a)
			}
			_, err := take(t.Context(), a, tt.config)
			if err == nil {
				t.Fatal("no error")
			}
			expect(t, err.Error(), tt.want...)
		})
	}
}

func (j *scriptedJob) fail(code, message string) {
	j.Status, j.Result = client.JobStatusFailed, nil
	j.Error = &client.JobError{Code: code, Message: message}
	j.frames = []frame{
		{"job.state", client.JobState{Status: client.JobStatusRunning, Attempt: 1}},
		{"job.state", client.JobState{Status: client.JobStatusFailed, Error: j.Error}},
	}
}

func TestRunSaysThatNoGatewayAnswers(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := "http://" + listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	err = Run(t.Context(), Config{BaseURL: address, Identifier: testUser, Password: testPassword})
	if err == nil {
		t.Fatal("no error")
	}
	expect(t, err.Error(), "is the gateway running?", "no answer from the gateway at "+address)
	if strings.Contains(err.Error(), testPassword) {
		t.Errorf("the password stands in %q", err)
	}
}

func TestRunEndsWithItsContext(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	a.answers[0].frames, a.answers[0].stall = a.answers[0].frames[:3], true
	ctx, cancel := context.WithCancelCause(t.Context())
	defer cancel(nil)
	enough := errors.New("seen enough")
	_, err := take(ctx, a, func(c *Config) {
		c.Out = writerFunc(func(p []byte) (int, error) {
			if bytes.Contains(p, []byte("It says")) {
				cancel(enough)
			}
			return len(p), nil
		})
	})
	if !errors.Is(err, enough) {
		t.Fatalf("error %v, want the cause of the context's end", err)
	}
	expect(t, err.Error(), "follow job answer-0 (last seen: writing the answer)")
}

// writerFunc is a function as a writer.
type writerFunc func(p []byte) (int, error)

// Write implements io.Writer.
func (f writerFunc) Write(p []byte) (int, error) { return f(p) }

func TestRunBoundsEachCall(t *testing.T) {
	t.Parallel()
	listener, err := new(net.ListenConfig).Listen(t.Context(), "tcp", "127.0.0.1:0") // accepts, and never answers
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	err = Run(t.Context(), Config{
		BaseURL: "http://" + listener.Addr().String(), Identifier: testUser, Password: testPassword, RequestTimeout: 20 * time.Millisecond,
	})
	if !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("error %v, want the deadline", err)
	}
	expect(t, err.Error(), "POST /api/v1/auth/login: no answer within 20ms")
}

func TestRunWithCheckListsEveryMismatch(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	qs := questions()
	a.answers[0] = answerJob("a", qs[0].Phrase+" [1]", client.Citation{Mark: "[1]", Title: qs[0].Document, Page: 53})
	a.answers[1] = answerJob("b", "I do not know.")
	a.answers[2].frames[4].data = client.TextDelta{Start: 2, Offset: 1000, Text: "!"}
	out, err := take(t.Context(), a, nil)
	var wrong *CheckError
	if !errors.As(err, &wrong) {
		t.Fatalf("error %v, want a CheckError", err)
	}
	if len(wrong.Mismatches) != 4 {
		t.Errorf("%d mismatches, want 4: %q", len(wrong.Mismatches), wrong.Mismatches)
	}
	expect(t, err.Error(),
		"the answer cites Mnesia User's Guide and Reference Manual, page 53, expected Mnesia User's Guide and Reference Manual, page 54",
		"the answer cites nothing, expected Acme Travel and Expense Policy", `neither the answer nor the passage holds "CHF 310"`,
		"is not the stored answer")
	expect(t, out, "✗ ", "The whole tour took")
}

func TestRunWithoutCheckAcceptsAnyAnswer(t *testing.T) {
	t.Parallel()
	a := newFakeAPI(t)
	a.answers[1] = answerJob("b", "I do not know.")
	if out, err := take(t.Context(), a, func(c *Config) { c.Check = false }); err != nil {
		t.Errorf("%v\n%s", err, out)
	}
}
