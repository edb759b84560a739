package e2e_test

import (
	"fmt"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

// recovered is how long the rest of a job may take after its worker was killed: the lease, the sweep, and the work itself on a
// machine that does other things too.
const recovered = time.Minute

// states lists what a job went through, as "status" or "status: code of the failure".
func states(t *testing.T, seen []streamed) []string {
	t.Helper()
	var all []string
	for _, s := range decode[events.JobState](t, seen) {
		state := string(s.Status)
		if s.Error != nil {
			state += ": " + s.Error.Code
		}
		all = append(all, state)
	}
	return all
}

// lostOnce is what a job goes through whose worker is lost once.
func lostOnce(between ...string) []string {
	return slices.Concat([]string{"queued", "running", "queued: worker.lost", "running"}, between, []string{"succeeded"})
}

func TestIngestGoesOnAfterItsWorkerIsKilledWhileParsing(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{
		without: []string{agentProgram},
		env:     map[string]map[string]string{ingestProgram: {"INGEST_PARSE_WORKERS": "1"}},
	})
	c := s.login(adminAcme)
	const pages = 400
	j := c.upload(bigPDF(1, pages))
	f := c.follow(j.ID)
	f.await(recovered, "that the parser is under way", func(seen []streamed) bool {
		return slices.ContainsFunc(decode[events.JobProgress](t, seen), func(p events.JobProgress) bool {
			return p.Stage == "parse" && p.Done > 0 && p.Done < p.Total
		})
	})
	s.workers[ingestProgram].kill(t)
	s.workers[ingestProgram].restart(t)

	seen := f.all(recovered)
	mustTell(t, seen)
	if got, want := states(t, seen), lostOnce("waiting"); !slices.Equal(got, want) {
		t.Errorf("the job went through %q, want %q", got, want)
	}
	if d := c.document(j.DocumentID); d.Status != "completed" {
		t.Errorf("the document is %+v, want it completed", d)
	}
	if n := s.db.count("SELECT page_count FROM documents WHERE id = $1", j.DocumentID); n != pages {
		t.Errorf("the document has %d pages, want %d", n, pages)
	}
	for _, child := range s.db.children(j.ID) {
		if child.Attempt != 1 || child.Status != events.StatusSucceeded {
			t.Errorf("a part was embedded as %+v, want it done once", child)
		}
	}
	s.db.verify()
}

func TestEmbeddingGoesOnAfterItsWorkerIsKilledInTheMiddleOfCalls(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{without: []string{agentProgram}})
	c := s.login(adminAcme)
	// The first two calls go through; those that follow hang until their worker dies.
	s.model.script(step{Endpoint: embeds, Repeat: 2}, step{Endpoint: embeds, Repeat: forever, Delay: "2m"})
	j := c.upload(bigText(2, 5000))
	f := c.follow(j.ID)
	var before []jobRow
	eventually(t, recovered, "some parts are done and calls for others are in flight", func() (bool, string) {
		before = s.db.children(j.ID)
		done, calls := finished(before), s.model.count(embeds)
		return done > 0 && calls > 2 && done < len(before), fmt.Sprintf("%d of %d parts, %d calls", done, len(before), calls)
	})
	s.workers[embeddingProgram].kill(t)
	before = s.db.children(j.ID)
	s.model.forget()
	s.workers[embeddingProgram].restart(t)

	seen := f.all(recovered)
	mustTell(t, seen)
	if got, want := states(t, seen), []string{"queued", "running", "waiting", "succeeded"}; !slices.Equal(got, want) {
		t.Errorf("the ingest went through %q, want %q: it was not its worker that died", got, want)
	}
	progress := decode[events.JobProgress](t, seen)
	for i := 1; i < len(progress); i++ {
		if progress[i].Stage == progress[i-1].Stage && progress[i].Done < progress[i-1].Done {
			t.Errorf("progress falls from %+v to %+v", progress[i-1], progress[i])
		}
	}
	after := s.db.children(j.ID)
	if len(after) != len(before) {
		t.Fatalf("%d parts before, %d after", len(before), len(after))
	}
	again := 0
	for i, part := range after {
		switch {
		case part.Status != events.StatusSucceeded:
			t.Errorf("a part ended as %+v", part)
		case before[i].Status == events.StatusSucceeded && part != before[i] && !part.Finished.Equal(*before[i].Finished):
			t.Errorf("a part that was done has changed from %+v to %+v", before[i], part)
		case before[i].Status == events.StatusRunning && part.Attempt != 2:
			t.Errorf("a part that was under way ended as %+v, want its second attempt", part)
		}
		again += part.Attempt - 1
	}
	if again == 0 {
		t.Error("no part was tried again: nothing was under way when the worker died")
	}
	s.db.verify()
}

func finished(jobs []jobRow) int {
	n := 0
	for _, j := range jobs {
		if j.Finished != nil {
			n++
		}
	}
	return n
}

// answer is long enough to be cut in the middle, and cites what was retrieved.
const longAnswer = "If the primary does not acknowledge a page within 7 minutes, the secondary on-call engineer is paged automatically [1]. " +
	"After another ten minutes the page goes to the engineering manager [1]. Whoever takes the page decides on the severity, " +
	"writes down what was seen and when, and asks for a second pair of hands rather too early than too late. Ünïcödé counts too: 日本語."

func TestRunGoesOnAfterTheLastFinishedStepWhenItsWorkerIsKilled(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{})
	c := s.login(adminAcme)
	if j := c.await(c.upload(runbook(t)).ID, time.Minute); j.Status != events.StatusSucceeded {
		t.Fatalf("the runbook was not ingested: %+v", j)
	}
	embedded := s.model.count(embeds)
	s.model.script(searches("secondary on-call engineer paged"), says(longAnswer, "300ms"), says(longAnswer, "10ms"))
	conversation := c.converse(agentAcme)
	j := c.ask(conversation, "When is the secondary on-call engineer paged automatically?")
	f := c.follow(j.ID)
	f.await(time.Minute, "that the answer is being written", func(seen []streamed) bool {
		return len(decode[events.TextDelta](t, seen)) >= 8
	})
	s.workers[agentProgram].kill(t)
	s.workers[agentProgram].restart(t)

	seen := f.all(recovered)
	told := mustTell(t, seen)
	if got, want := states(t, seen), lostOnce(); !slices.Equal(got, want) {
		t.Errorf("the run went through %q, want %q", got, want)
	}
	result := runResult(t, c.job(j.ID))
	if told.text != longAnswer || result.Content != longAnswer {
		t.Errorf("shown   %q\nstored  %q\nwritten %q", told.text, result.Content, longAnswer)
	}
	if len(result.Citations) != 1 || result.Citations[0].Mark != "[1]" {
		t.Errorf("the answer cites %+v, want the one passage of the search before the crash", result.Citations)
	}
	if n := s.model.count(generates); n != 3 {
		t.Errorf("the model was called %d times, want 3: the finished call, the lost one and its repetition", n)
	}
	if n := s.model.count(embeds) - embedded; n != 1 {
		t.Errorf("the query was embedded %d times, want once", n)
	}
	assertJournal(t, s, j.ID, "1 model_call 1", "2 retrieval 1", "3 model_call 2")
	assertStarted(t, seen, "1 attempt 1", "2 attempt 1", "3 attempt 1", "3 attempt 2")
	if messages := c.messages(conversation); len(messages) != 2 || messages[1].Content != longAnswer {
		t.Errorf("the conversation holds %+v, want the question and one answer", messages)
	}
	s.db.verify()
}

func TestWorkerThatWasFrozenPastItsLeaseWritesNothingMore(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{
		without: []string{ingestProgram, embeddingProgram}, env: map[string]map[string]string{agentProgram: {"WORKER_SLOTS": "1"}},
	})
	c := s.login(adminAcme)
	const other = "The second worker says this, at its leisure and word for word, because the first one sleeps and nobody waits for it."
	s.model.script(says(longAnswer, "300ms"), says(other, "150ms"))
	conversation := c.converse(agentAcme)
	j := c.ask(conversation, "Who answers?")
	f := c.follow(j.ID)
	f.await(time.Minute, "that the answer is being written", func(seen []streamed) bool {
		return len(decode[events.TextDelta](t, seen)) >= 5
	})
	frozen := s.workers[agentProgram]
	frozen.signal(syscall.SIGSTOP)
	t.Cleanup(func() { frozen.signal(syscall.SIGCONT) })
	s.startWorker(agentProgram)
	f.await(recovered, "that the second worker writes", func(seen []streamed) bool {
		return slices.ContainsFunc(decode[events.TextDelta](t, seen), func(d events.TextDelta) bool { return d.Text == "The " })
	})

	// It comes back with half an answer in its hands, while another one writes, and must notice that the job is not its own.
	frozen.signal(syscall.SIGCONT)
	eventually(t, recovered, "the worker that came back has given up", func() (bool, string) {
		text := frozen.log.last(5)
		return strings.Contains(text, "lease lost"), text
	})
	seen := f.all(recovered)
	told := mustTell(t, seen)
	if told.text != other || runResult(t, c.job(j.ID)).Content != other {
		t.Errorf("the answer is %q, want the second worker's", told.text)
	}
	if got, want := states(t, seen), lostOnce(); !slices.Equal(got, want) {
		t.Errorf("the run went through %q, want %q", got, want)
	}
	if row := s.db.job(j.ID); row.Epoch != 2 || row.Attempt != 2 {
		t.Errorf("the job ended as %+v, want two claims", row)
	}
	if messages := c.messages(conversation); len(messages) != 2 {
		t.Errorf("the conversation holds %d messages, want the question and one answer", len(messages))
	}
	assertJournal(t, s, j.ID, "1 model_call 2")
	s.db.verify()
}

// assertJournal compares a run's journal: number, kind and attempt of each step.
func assertJournal(t *testing.T, s *stack, job string, want ...string) {
	t.Helper()
	rows := list[struct{ Step string }](s.db,
		"SELECT step_no || ' ' || kind || ' ' || attempt FROM run_steps WHERE job_id = $1 ORDER BY step_no", job)
	var got []string
	for _, r := range rows {
		got = append(got, r.Step)
	}
	if !slices.Equal(got, want) {
		t.Errorf("the journal is %q, want %q", got, want)
	}
}

// assertStarted compares which steps were begun in which attempt.
func assertStarted(t *testing.T, seen []streamed, want ...string) {
	t.Helper()
	var got []string
	for _, started := range decode[events.StepStarted](t, seen) {
		got = append(got, fmt.Sprintf("%d attempt %d", started.Step, started.Attempt))
	}
	if !slices.Equal(got, want) {
		t.Errorf("these steps were begun: %q, want %q", got, want)
	}
}
