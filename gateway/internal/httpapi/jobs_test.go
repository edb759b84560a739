package httpapi_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

func (g *gateway) embed(as string, n int) (ids []string) {
	g.t.Helper()
	for range n {
		ids = append(ids, g.call(as, "POST", "/v1/embeddings", `{"texts":["a"]}`).wants(202).job().ID)
	}
	return ids
}

func (g *gateway) jobs(as, query string) (ids []string, next string) {
	g.t.Helper()
	var page struct {
		Data       []job
		NextCursor string `json:"next_cursor"`
	}
	g.call(as, "GET", "/v1/jobs?"+query, nil).wants(200).into(&page)
	for _, j := range page.Data {
		ids = append(ids, j.ID)
	}
	return ids, page.NextCursor
}

func TestJobsAreListedNewestFirstWithinReach(t *testing.T) {
	t.Parallel()
	g := start(t)
	manager := g.person("paul", "Project Manager")
	made := g.embed(member, 5)
	slices.Reverse(made)
	var read []string
	for query := "limit=2"; ; {
		ids, next := g.jobs(member, query)
		read = append(read, ids...)
		if next == "" {
			break
		}
		query = "limit=2&cursor=" + next
	}
	if !slices.Equal(read, made) {
		t.Errorf("paged through %v, want %v", read, made)
	}
	first, next := g.jobs(member, "limit=3&sort=created_at")
	rest, _ := g.jobs(member, "limit=3&sort=created_at&cursor="+next)
	slices.Reverse(made)
	if all := slices.Concat(first, rest); !slices.Equal(all, made) {
		t.Errorf("from the oldest on: %v, want %v", all, made)
	}
	run := g.call(member, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	if ids, _ := g.jobs(manager, ""); !slices.Equal(ids, []string{run}) {
		t.Errorf("a Project Manager sees %v, want the project's job only", ids)
	}
	if ids, _ := g.jobs(admin, ""); len(ids) != 6 {
		t.Errorf("an Admin sees %d jobs, want 6", len(ids))
	}
	if ids, _ := g.jobs(stranger, ""); len(ids) != 0 {
		t.Errorf("another organization sees %v", ids)
	}
	for query, want := range map[string]int{
		"kind=agent.run": 1, "status=queued": 6, "status=failed": 0, "dead=false": 6, "dead=true": 0,
		"agent_id=" + acmeAgent: 1, "project_id=" + acmeProject: 1, "document_id=" + nothing: 0, "parent_id=" + nothing: 0,
	} {
		if ids, _ := g.jobs(admin, query); len(ids) != want {
			t.Errorf("%s: %d jobs, want %d", query, len(ids), want)
		}
	}
}

func TestCancelEndsAJobAndItsPartsAndTellsTheWorkers(t *testing.T) {
	t.Parallel()
	g := start(t)
	told := make(chan string, 10)
	err := g.bus.Subscribe(t.Context(), g.bus.Subjects().Cancel(), func(_ string, data []byte) {
		var c events.Cancel
		_ = json.Unmarshal(data, &c)
		told <- c.JobID
	})
	if err != nil {
		t.Fatal(err)
	}
	parent := g.upload(admin, "a.txt", "text/plain", "text", nil).wants(202).job()
	child := store.NewJob{Kind: events.KindEmbeddingCreate, Input: events.EmbeddingCreateInput{Texts: []string{"a"}}, Weight: 1}
	g.end(g.claim(parent.ID), store.WaitFor([]store.NewJob{child, child}, nil))
	ids, _ := g.jobs(admin, "parent_id="+parent.ID)
	if top, _ := g.jobs(admin, ""); len(ids) != 2 || len(top) != 1 {
		t.Fatalf("%d parts and %d jobs are listed, want 2 and 1", len(ids), len(top))
	}
	g.call(member, "POST", "/v1/jobs/"+parent.ID+"/cancel", nil).wants(404)
	g.call(admin, "POST", "/v1/jobs/"+parent.ID+"/cancel", nil).wants(200).has(`"status":"cancelled"`)
	want := append([]string{parent.ID}, ids...)
	for len(want) > 0 {
		timeout := time.NewTimer(patience)
		select {
		case id := <-told:
			want = slices.DeleteFunc(want, func(w string) bool { return w == id })
		case <-timeout.C:
			t.Fatalf("the workers were not told of %v", want)
		}
		timeout.Stop()
	}
	g.call(admin, "POST", "/v1/jobs/"+parent.ID+"/cancel", nil).wants(200)
	g.call(admin, "GET", "/v1/documents/"+parent.DocumentID, nil).wants(200).has(`"processing_status":"failed"`, "cancelled")
	done := g.embed(admin, 1)[0]
	g.end(g.claim(done), store.Succeed(nil))
	g.call(admin, "POST", "/v1/jobs/"+done+"/cancel", nil).wants(409).has("job.ended")
}

func TestFailedJobSaysWhy(t *testing.T) {
	t.Parallel()
	g := start(t)
	j := g.upload(admin, "a.pdf", "application/pdf", "no pdf", nil).wants(202).job()
	g.end(g.claim(j.ID), store.Fail(events.Failure{Code: "document.not_pdf", Message: "The file is no PDF."}, false))
	g.call(admin, "GET", "/v1/jobs/"+j.ID, nil).wants(200).
		has(`"status":"failed"`, `"error":{"code":"document.not_pdf","message":"The file is no PDF."}`, `"dead":false`)
	g.call(admin, "GET", "/v1/documents/"+j.DocumentID, nil).wants(200).
		has(`"processing_status":"failed"`, `"processing_error":"The file is no PDF."`)
}

func TestStepsOfARunAreRead(t *testing.T) {
	t.Parallel()
	g := start(t)
	j := g.claim(g.call(member, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID)
	g.within(j.Tenant(), func(tx *store.Tx) error {
		_, err := tx.Jobs().Journal(j.Lease(), store.RunStep{
			StepNo: 0, Kind: events.StepToolCall, Name: events.ToolSearchDocuments, Output: json.RawMessage(`{"hits":1}`),
			Attempt: 1, StartedAt: time.Now(), FinishedAt: time.Now(),
		})
		return err
	})
	g.call(member, "GET", "/v1/jobs/"+j.ID.String()+"/steps", nil).wants(200).
		has(`"name":"search_documents"`, `"kind":"tool_call"`, `"hits"`)
	g.call(stranger, "GET", "/v1/jobs/"+j.ID.String()+"/steps", nil).wants(404)
}

// frame is one server-sent event, or a comment.
type frame struct{ id, event, data, comment, retry string }

// follow opens an event stream. The frames end with the stream.
func (g *gateway) follow(as, path string, headers ...string) (<-chan frame, *http.Response) {
	g.t.Helper()
	resp, err := g.http.Do(g.request(g.t, as, "GET", path, nil, append(headers, "Accept", "text/event-stream")...))
	if err != nil {
		g.t.Fatal(err)
	}
	frames := make(chan frame, 1000)
	go func() {
		defer close(frames)
		defer resp.Body.Close()
		var f frame
		lines := bufio.NewScanner(resp.Body)
		for lines.Scan() {
			field, value, _ := strings.Cut(lines.Text(), ":")
			value = strings.TrimPrefix(value, " ")
			switch {
			case lines.Text() == "":
				frames <- f
				f = frame{}
			case field == "id":
				f.id = value
			case field == "event":
				f.event = value
			case field == "data":
				f.data = value
			case field == "retry":
				f.retry = value
			case field == "":
				f.comment = value
			}
		}
	}()
	return frames, resp
}

// all reads a stream to its end.
func all(t *testing.T, frames <-chan frame) (list []frame) {
	t.Helper()
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	for {
		select {
		case f, ok := <-frames:
			if !ok {
				return list
			}
			if f.event != "" || f.comment != "" {
				list = append(list, f)
			}
		case <-timeout.C:
			t.Fatalf("the stream did not end; so far %+v", list)
		}
	}
}

func names(list []frame) string {
	var out []string
	for _, f := range list {
		out = append(out, f.id+" "+f.event)
	}
	return strings.Join(out, ", ")
}

func TestEventStreamTellsTheWholeJobAndResumes(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.call(member, "POST", runs, `{"user_input":"x"}`).wants(202).job().ID
	path := "/v1/jobs/" + id + "/events"
	frames, resp := g.follow(member, path)
	if resp.StatusCode != http.StatusOK || resp.Header.Get("Content-Type") != "text/event-stream" ||
		resp.Header.Get("Cache-Control") != "no-store" || resp.Header.Get("X-Accel-Buffering") != "no" {
		t.Fatalf("%d %v", resp.StatusCode, resp.Header)
	}
	j := g.claim(id)
	g.within(j.Tenant(), func(tx *store.Tx) error {
		last, err := tx.Jobs().Append(j.Lease(), events.StepStarted{Step: 0, Kind: events.StepModelCall, Name: "m", Attempt: 1})
		if err != nil {
			return err
		}
		_, err = tx.Jobs().Append(j.Lease(), events.TextDelta{Start: last, Text: "Grüße\nund\n\nmehr"}, events.JobProgress{Stage: "x", Done: 1, Total: 2})
		return err
	})
	g.end(j, store.Succeed(events.AgentRunResult{Content: "done"}))
	seen := all(t, frames)
	var types []string
	for _, f := range seen {
		types = append(types, f.event)
	}
	if got := strings.Join(types, ","); got != "job.state,job.state,step.started,text.delta,job.progress,job.state" {
		t.Fatalf("saw %s", got)
	}
	var delta events.TextDelta
	if err := json.Unmarshal([]byte(seen[3].data), &delta); err != nil || delta.Text != "Grüße\nund\n\nmehr" {
		t.Errorf("the text came as %s", seen[3].data)
	}
	var state events.JobState
	if err := json.Unmarshal([]byte(seen[5].data), &state); err != nil || state.Status != events.StatusSucceeded {
		t.Errorf("the end came as %s", seen[5].data)
	}
	for i := range seen {
		rest, _ := g.follow(member, path, "Last-Event-ID", seen[i].id)
		if got, want := names(all(t, rest)), names(seen[i+1:]); got != want {
			t.Errorf("after %s: %s, want %s", seen[i].id, got, want)
		}
	}
	again, _ := g.follow(member, path+"?last_event_id="+seen[2].id)
	if got, want := names(all(t, again)), names(seen[3:]); got != want {
		t.Errorf("by the parameter: %s, want %s", got, want)
	}
	g.call(member, "GET", path, nil, "Last-Event-ID", "yesterday").wants(422).has("Last-Event-ID")
	g.call(stranger, "GET", path, nil).wants(404)
}

func TestEventStreamEndsWithTheToken(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.embed(admin, 1)[0]
	short := g.beside("ACCESS_TOKEN_TTL", "1s")
	var frames <-chan frame
	short.eventually("the stream begins before the token has expired", func() bool {
		delete(g.tokens, admin)
		var resp *http.Response
		frames, resp = short.follow(admin, "/v1/jobs/"+id+"/events")
		return resp.StatusCode == http.StatusOK
	})
	seen := all(t, frames)
	if last := seen[len(seen)-1]; last.event != "token.expired" || last.comment == "" || last.id != "" {
		t.Errorf("the stream ended with %+v", last)
	}
}

func TestShutdownEndsStreamsPolitelyAndFinishesRequests(t *testing.T) {
	t.Parallel()
	g := start(t)
	id := g.embed(admin, 1)[0]
	frames, _ := g.follow(admin, "/v1/jobs/"+id+"/events")
	if first := <-frames; first.retry == "" {
		t.Fatalf("the stream began with %+v", first)
	}
	waited := make(chan answer, 1)
	g.tokenFor(admin)
	const wait = 30 * time.Second
	go func() { waited <- g.call(admin, "GET", fmt.Sprintf("/v1/jobs/%s?wait=%.0f", id, wait.Seconds()), nil) }()
	g.eventually("the request waits", func() bool {
		return strings.Contains(g.metrics(), "copilot_stream_subscribers 2")
	})
	stopped := time.Now()
	g.http.CloseIdleConnections()
	g.stop()
	seen := all(t, frames)
	if last := seen[len(seen)-1]; !strings.Contains(last.comment, "shutting down") {
		t.Errorf("the stream ended with %+v", last)
	}
	(<-waited).wants(200).has(`"status":"queued"`)
	if took := time.Since(stopped); took >= wait {
		t.Errorf("stopping took %s", took)
	}
}
