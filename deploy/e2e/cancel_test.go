package e2e_test

import (
	"fmt"
	"net/http"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

// stopsWithin is how soon a worker must have noticed that its job was cancelled, on a machine that does much else. A drill measures the
// second that is promised.
const stopsWithin = time.Second + patience

// oneSlot makes a worker take one job at a time. Its lease is long, so that it cannot be the lease that tells it of the cancel.
func oneSlot() map[string]string { return map[string]string{"WORKER_SLOTS": "1", "WORKER_LEASE": "5m"} }

func TestCancelledRunFreesItsWorkerWithinASecond(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{
		without: []string{ingestProgram, embeddingProgram}, env: map[string]map[string]string{agentProgram: oneSlot()},
	})
	c := s.login(adminAcme)
	s.model.script(says("One word, and then nothing for long.", "2m"), says("The next in the queue.", "1ms"))
	conversation := c.converse(agentAcme)
	first := c.ask(conversation, "Take your time.")
	watched := c.follow(first.ID)
	watched.await(time.Minute, "the first word", func(seen []streamed) bool { return len(decode[events.TextDelta](t, seen)) > 0 })
	next := c.run(agentAcme, "Who is next?")

	var cancelled job
	c.post("/api/v1/jobs/"+first.ID+"/cancel", nil).wants(http.StatusOK).into(&cancelled)
	if cancelled.Status != events.StatusCancelled {
		t.Errorf("the answer to the cancel says %s", cancelled.Status)
	}
	seen := watched.all(stopsWithin)
	mustTell(t, seen)
	record := s.db.job(first.ID)

	if ended := c.await(next.ID, time.Minute); runResult(t, ended).Content != "The next in the queue." {
		t.Errorf("the next run says %s", ended.Result)
	}
	assertNext(t, s, first.ID, next.ID)
	if now := s.db.job(first.ID); now.LastSeq != record.LastSeq || now.Status != events.StatusCancelled {
		t.Errorf("the cancelled job was %+v and is %+v now", record, now)
	}
	if messages := c.messages(conversation); len(messages) != 1 {
		t.Errorf("the conversation holds %+v, want the question only", messages)
	}
	assertJournal(t, s, first.ID)

	t.Run("cancelling again changes nothing", func(t *testing.T) {
		c.post("/api/v1/jobs/"+first.ID+"/cancel", nil).wants(http.StatusOK)
		if now := s.db.job(first.ID); now != record && now.LastSeq != record.LastSeq {
			t.Errorf("the job is %+v, was %+v", now, record)
		}
	})
	t.Run("a job that has succeeded cannot be cancelled", func(t *testing.T) {
		if p := c.post("/api/v1/jobs/"+next.ID+"/cancel", nil).wants(http.StatusConflict).problem(); p.Code == "" {
			t.Errorf("the problem is %+v", p)
		}
	})
	s.db.verify()
}

// assertNext fails the test unless the one slot of the cancelled job's worker had the next job soon.
func assertNext(t *testing.T, s *stack, cancelled, next string) {
	t.Helper()
	var idle time.Duration
	s.db.scan("SELECT b.started_at - a.finished_at FROM jobs a, jobs b WHERE a.id = $1 AND b.id = $2", []any{cancelled, next}, &idle)
	if idle < 0 || idle > stopsWithin {
		t.Errorf("the next job began %s after the cancel, want at most %s", idle, stopsWithin)
	}
}

func TestCancelledIngestTakesItsPartsAlong(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{without: []string{agentProgram}, env: map[string]map[string]string{embeddingProgram: oneSlot()}})
	c := s.login(adminAcme)
	s.model.script(step{Endpoint: embeds, Contains: "Entry 3-", Repeat: forever, Delay: "2m"})
	j := c.upload(bigText(3, 3000))
	eventually(t, time.Minute, "a part is being embedded", func() (bool, string) {
		n := s.model.count(embeds)
		return n > 0, fmt.Sprintf("%d calls", n)
	})
	after := c.embed("Something else entirely.")
	c.post("/api/v1/jobs/"+j.ID+"/cancel", nil).wants(http.StatusOK)
	if ended := c.await(after.ID, time.Minute); ended.Status != events.StatusSucceeded {
		t.Errorf("the job behind it ended as %+v", ended)
	}
	assertNext(t, s, j.ID, after.ID)
	for _, part := range s.db.children(j.ID) {
		if part.Status != events.StatusCancelled {
			t.Errorf("a part is %+v, want it cancelled", part)
		}
	}
	if d := c.document(j.DocumentID); d.Status != "failed" || d.Error == "" {
		t.Errorf("the document is %+v, want it failed with a reason", d)
	}
	s.db.verify()
}
