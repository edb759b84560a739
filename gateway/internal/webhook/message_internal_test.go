package webhook

import (
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

func TestWhatTheEndOfAJobIs(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		kind   events.Kind
		status events.Status
		dead   bool
		want   string
	}{
		"a run that went well":        {events.KindAgentRun, events.StatusSucceeded, false, "job.succeeded"},
		"a run that failed":           {events.KindAgentRun, events.StatusFailed, false, "job.failed"},
		"a run out of attempts":       {events.KindAgentRun, events.StatusFailed, true, "job.failed job.dead"},
		"a run that was cancelled":    {events.KindAgentRun, events.StatusCancelled, false, "job.cancelled"},
		"a document that was read":    {events.KindDocumentIngest, events.StatusSucceeded, false, "job.succeeded document.completed"},
		"a document that cannot be":   {events.KindDocumentIngest, events.StatusFailed, true, "job.failed job.dead document.failed"},
		"a document that was removed": {events.KindDocumentDelete, events.StatusSucceeded, false, "job.succeeded document.deleted"},
	} {
		end := &store.JobEnd{Job: &store.Job{Kind: c.kind}, State: events.JobState{Status: c.status, Dead: c.dead}}
		if got := strings.Join(typesOf(end), " "); got != c.want {
			t.Errorf("%s is %s, want %s", name, got, c.want)
		}
	}
}

func TestKindsNarrowEventsOfJobsOnly(t *testing.T) {
	t.Parallel()
	s := store.Subscriber{EventTypes: store.StringArray{JobFailed, DocumentFailed}, JobKinds: store.StringArray{"agent.run"}}
	for _, c := range []struct {
		kind events.Kind
		of   string
		want bool
	}{
		{events.KindAgentRun, JobFailed, true},
		{events.KindAgentRun, JobSucceeded, false},
		{events.KindDocumentIngest, JobFailed, false},
		{events.KindDocumentIngest, DocumentFailed, true},
	} {
		if got := wants(s, c.kind, c.of); got != c.want {
			t.Errorf("%s of %s: %t", c.of, c.kind, got)
		}
	}
}

func TestAMessageTellsOfTheEndAsItWas(t *testing.T) {
	t.Parallel()
	document := uuid.MustParse("01900000-0000-7000-8000-000000000001")
	at := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	s := New(Options{ShowJob: func(j *store.Job) any { return []any{j.Status, j.Dead, *j.ErrorCode, len(j.Result)} }})
	// It has been put back into the queue since.
	end := &store.JobEnd{
		Job: &store.Job{
			ID: document, Kind: events.KindDocumentIngest, Status: events.StatusQueued, DocumentID: &document, Result: make([]byte, maxResult+1),
		},
		Seq: 7, Time: at,
		State: events.JobState{Status: events.StatusFailed, Dead: true, Error: &events.Failure{Code: "x.bad", Message: "Bad."}},
	}
	got, err := s.payloadOf(end, DocumentFailed)
	const want = `{"type":"document.failed","timestamp":"2026-03-01T12:00:00Z","data":{"job":["failed",true,"x.bad",0],` +
		`"result_omitted":true,"document_id":"01900000-0000-7000-8000-000000000001"}}`
	if err != nil || string(got) != want {
		t.Errorf("got %s, %v", got, err)
	}
	if end.Job.Status != events.StatusQueued || len(end.Job.Result) == 0 {
		t.Error("the job itself was changed")
	}
	ids := []string{messageID(end, JobFailed), messageID(end, JobDead), messageID(end, JobFailed)}
	end.Seq++
	ids = append(ids, messageID(end, JobFailed))
	if ids[0] != ids[2] || len(slices.Compact(slices.Sorted(slices.Values(ids)))) != 3 {
		t.Errorf("ids of messages are %v", ids)
	}
}
