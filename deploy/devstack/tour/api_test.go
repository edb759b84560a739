package tour

import (
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
	"testing"

	"github.com/tarento/copilot/gateway/client"
)

const (
	testUser     = "admin@acme.com"
	testPassword = "SecurePassword123!"
	testToken    = "token-of-the-test"
)

// frame is one event of a scripted stream. The id is made of its place, so that a stream can be resumed.
type frame struct {
	name string
	data any
}

// scriptedJob is what the API says of one job.
type scriptedJob struct {
	client.Job

	frames []frame
	// cuts holds, for one connection after the other, how many frames it sends before it breaks. Connections after the last
	// one are not cut.
	cuts []int
	// stall makes every connection hang after its frames, instead of ending.
	stall bool

	resumed []string // the Last-Event-ID of each connection
}

// fakeAPI plays the public API by a script: the jobs it hands out, in their order, are those of ingests and answers.
type fakeAPI struct {
	t   *testing.T
	url string

	mu        sync.Mutex
	documents []client.Document
	ingests   []*scriptedJob // taken by uploads
	answers   []*scriptedJob // taken by questions
	jobs      map[string]*scriptedJob
	uploads   []string                          // titles
	polled    []client.DocumentProcessingStatus // the statuses that reading one document answers, then completed
	asked     []string
}

// newFakeAPI starts an API in which all goes well: each upload is ingested, each question is answered from the right passage.
func newFakeAPI(t *testing.T) *fakeAPI {
	t.Helper()
	a := &fakeAPI{t: t, jobs: map[string]*scriptedJob{}}
	for i := range 3 {
		a.ingests = append(a.ingests, ingestJob(fmt.Sprintf("ingest-%d", i), 109*(1-min(i, 1)), 40))
	}
	for i, q := range questions() {
		a.answers = append(a.answers, answerJob(fmt.Sprintf("answer-%d", i), "It says: "+q.Phrase+" [1]", client.Citation{
			Mark: "[1]", DocumentID: "d", ChunkID: "c", Title: q.Document, Page: q.Page, Heading: "Above > " + q.Heading, Text: q.Phrase,
		}))
	}
	mux := http.NewServeMux()
	mux.HandleFunc("POST /api/v1/auth/login", a.login)
	mux.HandleFunc("GET /api/v1/documents", a.authorized(a.listDocuments))
	mux.HandleFunc("GET /api/v1/documents/{id}", a.authorized(a.readDocument))
	mux.HandleFunc("POST /api/v1/documents/upload", a.authorized(a.upload))
	mux.HandleFunc("GET /api/v1/agent-configs", a.authorized(func(w http.ResponseWriter, _ *http.Request) {
		reply(w, http.StatusOK, map[string]any{"data": []any{
			map[string]any{"id": "agent-0", "name": "Document Analyzer II"},
			map[string]any{"id": "agent-1", "name": "Document Analyzer", "project_id": "project-1"},
		}})
	}))
	mux.HandleFunc("POST /api/v1/conversations", a.authorized(a.startConversation))
	mux.HandleFunc("POST /api/v1/conversations/{id}/messages", a.authorized(a.ask))
	mux.HandleFunc("GET /api/v1/jobs/{id}", a.authorized(a.readJob))
	mux.HandleFunc("GET /api/v1/jobs/{id}/events", a.authorized(a.stream))
	server := httptest.NewServer(mux)
	t.Cleanup(server.Close)
	a.url = server.URL
	return a
}

// ingestJob is an ingest that succeeds.
func ingestJob(id string, pages, chunks int) *scriptedJob {
	return &scriptedJob{
		Job: client.Job{
			ID: id, Kind: client.JobKindDocumentIngest, Status: client.JobStatusSucceeded,
			Result: marshal(client.DocumentIngestResult{DocumentID: "doc-" + id, Pages: pages, Chunks: chunks}),
		},
		frames: []frame{
			{"job.state", client.JobState{Status: client.JobStatusQueued}},
			{"job.state", client.JobState{Status: client.JobStatusRunning, Attempt: 1}},
			{"job.progress", client.JobProgress{Stage: "parse", Done: 1, Total: 2}},
			{"job.progress", client.JobProgress{Stage: "parse", Done: 2, Total: 2}},
			{"job.state", client.JobState{Status: client.JobStatusWaiting, WaitingOn: "children"}},
			{"job.progress", client.JobProgress{Stage: "embed", Done: chunks, Total: chunks}},
			{"some.news", map[string]any{"from": "a later server"}},
			{"job.state", client.JobState{Status: client.JobStatusSucceeded}},
		},
	}
}

// answerJob is a run that streams the text in three pieces and succeeds.
func answerJob(id, text string, cited ...client.Citation) *scriptedJob {
	a, b := len(text)/3, 2*len(text)/3
	return &scriptedJob{
		Job: client.Job{
			ID: id, Kind: client.JobKindAgentRun, Status: client.JobStatusSucceeded,
			Result: marshal(client.AgentRunResult{Content: text, MessageID: "m", Citations: cited, Model: "test-model"}),
		},
		frames: []frame{
			{"job.state", client.JobState{Status: client.JobStatusRunning, Attempt: 1}},
			{"step.started", client.StepStarted{Step: 1, Kind: client.StepKindModelCall, Attempt: 1}},
			{"text.delta", client.TextDelta{Start: 2, Offset: 0, Text: text[:a]}},
			{"text.delta", client.TextDelta{Start: 2, Offset: a, Text: text[a:b]}},
			{"text.delta", client.TextDelta{Start: 2, Offset: b, Text: text[b:]}},
			{"usage", client.TokenUsage{Model: "test-model", OutputTokens: 3}},
			{"job.state", client.JobState{Status: client.JobStatusSucceeded}},
		},
	}
}

func (a *fakeAPI) authorized(next http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		if r.Header.Get("Authorization") != "Bearer "+testToken {
			problem(w, http.StatusUnauthorized, "The token is missing.")
			return
		}
		a.mu.Lock()
		defer a.mu.Unlock()
		next(w, r)
	}
}

func (a *fakeAPI) login(w http.ResponseWriter, r *http.Request) {
	var in struct{ Username, Password string }
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in.Username != testUser || in.Password != testPassword {
		problem(w, http.StatusUnauthorized, "The username or the password is wrong.")
		return
	}
	reply(w, http.StatusOK, map[string]any{
		"user": map[string]any{"email": testUser}, "tokens": map[string]any{"access_token": testToken},
	})
}

func (a *fakeAPI) listDocuments(w http.ResponseWriter, r *http.Request) {
	found := []client.Document{{ID: "other", Title: "Another " + r.FormValue("search"), ProcessingStatus: client.DocumentProcessingStatusCompleted}}
	for _, d := range a.documents {
		if d.Title == r.FormValue("search") {
			found = append(found, d)
		}
	}
	reply(w, http.StatusOK, map[string]any{"data": found})
}

func (a *fakeAPI) readDocument(w http.ResponseWriter, r *http.Request) {
	for _, d := range a.documents {
		if d.ID == r.PathValue("id") {
			d.ProcessingStatus = client.DocumentProcessingStatusCompleted
			if len(a.polled) > 0 {
				d.ProcessingStatus, a.polled = a.polled[0], a.polled[1:]
			}
			reply(w, http.StatusOK, d)
			return
		}
	}
	problem(w, http.StatusNotFound, "There is no such document.")
}

func (a *fakeAPI) upload(w http.ResponseWriter, r *http.Request) {
	file, header, err := r.FormFile("file")
	if err != nil {
		problem(w, http.StatusBadRequest, err.Error())
		return
	}
	data, err := io.ReadAll(file)
	if err != nil || len(a.ingests) == 0 || header.Header.Get("Content-Type") == "application/octet-stream" {
		problem(w, http.StatusUnprocessableEntity, "The script has no such upload.")
		return
	}
	j := a.ingests[0]
	a.ingests = a.ingests[1:]
	a.jobs[j.ID] = j
	a.uploads = append(a.uploads, r.FormValue("title"))
	a.documents = append(a.documents, client.Document{
		ID: "doc-" + j.ID, Title: r.FormValue("title"), FileSize: len(data), ProcessingStatus: client.DocumentProcessingStatusCompleted,
	})
	w.Header().Set("Location", "/api/v1/jobs/"+j.ID)
	reply(w, http.StatusAccepted, map[string]any{"id": j.ID, "kind": j.Kind, "status": "queued", "document_id": "doc-" + j.ID})
}

func (a *fakeAPI) startConversation(w http.ResponseWriter, r *http.Request) {
	var in map[string]string
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || in["agent_config_id"] != "agent-1" || in["project_id"] != "project-1" {
		problem(w, http.StatusUnprocessableEntity, "The conversation is not what the script expects.")
		return
	}
	reply(w, http.StatusCreated, map[string]any{"id": "conversation-1", "title": in["title"]})
}

func (a *fakeAPI) ask(w http.ResponseWriter, r *http.Request) {
	var in map[string]string
	if err := json.NewDecoder(r.Body).Decode(&in); err != nil || len(a.answers) == 0 || r.PathValue("id") != "conversation-1" {
		problem(w, http.StatusUnprocessableEntity, "The script has no such question.")
		return
	}
	j := a.answers[0]
	a.answers = a.answers[1:]
	a.jobs[j.ID] = j
	a.asked = append(a.asked, in["content"])
	reply(w, http.StatusAccepted, map[string]any{"id": j.ID, "kind": j.Kind, "status": "queued"})
}

func (a *fakeAPI) readJob(w http.ResponseWriter, r *http.Request) {
	j, ok := a.jobs[r.PathValue("id")]
	if !ok {
		problem(w, http.StatusNotFound, "There is no such job.")
		return
	}
	reply(w, http.StatusOK, j.Job)
}

// stream plays the job's frames after Last-Event-ID. It gives the lock back, so that other calls go on while it hangs.
func (a *fakeAPI) stream(w http.ResponseWriter, r *http.Request) {
	j, ok := a.jobs[r.PathValue("id")]
	if !ok {
		problem(w, http.StatusNotFound, "There is no such job.")
		return
	}
	last := r.Header.Get("Last-Event-ID")
	j.resumed = append(j.resumed, last)
	from := 0
	if last != "" {
		from = slices.IndexFunc(j.frames, func(f frame) bool { return frameID(j.frames, f) == last }) + 1
	}
	send := len(j.frames) - from
	cut := len(j.cuts) > 0
	if cut {
		send, j.cuts = min(j.cuts[0], send), j.cuts[1:]
	}
	frames, all, stall := j.frames[from:from+send], j.frames, j.stall
	a.mu.Unlock()
	defer a.mu.Lock()

	w.Header().Set("Content-Type", "text/event-stream; charset=utf-8")
	fmt.Fprint(w, "retry: 1\n: hello\n\n")
	for _, f := range frames {
		fmt.Fprintf(w, "id: %s\nevent: %s\ndata: %s\n\n", frameID(all, f), f.name, marshal(f.data))
	}
	if cut {
		fmt.Fprintf(w, "id: half\nevent: job.state\ndata: {\"status\":") // an event that does not end
	}
	if flusher, ok := w.(http.Flusher); ok {
		flusher.Flush()
	}
	if stall {
		<-r.Context().Done()
	}
	if cut {
		panic(http.ErrAbortHandler)
	}
}

// frameID is opaque to clients on purpose.
func frameID(all []frame, f frame) string {
	return fmt.Sprintf("at.%d", slices.IndexFunc(all, func(o frame) bool {
		return o.name == f.name && string(marshal(o.data)) == string(marshal(f.data))
	}))
}

func reply(w http.ResponseWriter, status int, body any) {
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(status)
	_, _ = w.Write(marshal(body))
}

func problem(w http.ResponseWriter, status int, detail string) {
	w.Header().Set("Content-Type", "application/problem+json")
	w.WriteHeader(status)
	_, _ = w.Write(marshal(map[string]any{
		"type": "about:blank", "title": http.StatusText(status), "detail": detail, "request_id": "r-1",
	}))
}

func marshal(v any) json.RawMessage {
	data, err := json.Marshal(v)
	if err != nil {
		panic(err)
	}
	return data
}
