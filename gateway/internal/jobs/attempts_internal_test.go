package jobs

import (
	"encoding/json"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

func TestAttemptsAreReadOutOfTheLog(t *testing.T) {
	t.Parallel()
	queued := events.JobState{Status: events.StatusQueued}
	running := func(n int) events.JobState {
		return events.JobState{Status: events.StatusRunning, Attempt: n, Worker: "w"}
	}
	away := &events.Failure{Code: "away"}
	type attempt struct {
		number  int
		outcome Outcome
		code    string
	}
	for name, c := range map[string]struct {
		log  []events.JobState
		want []attempt
	}{
		"a job that nobody took has none": {[]events.JobState{queued}, nil},
		"one that runs has no end":        {[]events.JobState{queued, running(1)}, []attempt{{1, Running, ""}}},
		"what is tried again failed before": {
			[]events.JobState{queued, running(1), {Status: events.StatusQueued, Attempt: 1, Error: away}, running(2), {Status: events.StatusSucceeded, Attempt: 2}},
			[]attempt{{1, Again, "away"}, {2, Succeeded, ""}},
		},
		"what is put off is not counted": {
			[]events.JobState{queued, running(1), {Status: events.StatusQueued}, running(1), {Status: events.StatusCancelled, Attempt: 1}},
			[]attempt{{1, Postponed, ""}, {1, Cancelled, ""}},
		},
		"a job ends with its parts": {
			[]events.JobState{running(1), {Status: events.StatusWaiting, Attempt: 1}, {Status: events.StatusFailed, Attempt: 1, Error: away}},
			[]attempt{{1, Failed, "away"}},
		},
		"a worker that was lost is followed": {
			[]events.JobState{running(1), running(2)}, []attempt{{1, Again, "worker.lost"}, {2, Running, ""}},
		},
		"a log without its beginning is read as far as it goes": {
			[]events.JobState{{Status: events.StatusQueued, Attempt: 4, Error: away}, running(5)}, []attempt{{5, Running, ""}},
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			log := make([]events.Event, len(c.log))
			for i, state := range c.log {
				data, err := json.Marshal(state)
				if err != nil {
					t.Fatal(err)
				}
				log[i] = events.Event{Seq: int64(i + 1), Type: events.TypeJobState, Time: time.Unix(int64(i), 0), Data: data}
			}
			got, err := attempts(log)
			if err != nil || len(got) != len(c.want) {
				t.Fatalf("got %+v, %v", got, err)
			}
			for i, a := range got {
				code := ""
				if a.Error != nil {
					code = a.Error.Code
				}
				if (attempt{a.Number, a.Outcome, code}) != c.want[i] || a.Worker != "w" || (a.Finished == nil) != (a.Outcome == Running) {
					t.Errorf("attempt %d is %+v, want %+v", i, a, c.want[i])
				}
			}
		})
	}
	if _, err := attempts([]events.Event{{Data: json.RawMessage("{")}}); err == nil {
		t.Error("a broken log was read")
	}
}

func TestARetryReadsWhatBothScopesReach(t *testing.T) {
	t.Parallel()
	all, ab, bc := events.Scope{All: true}, events.Scope{Projects: []string{"a", "b"}}, events.Scope{Projects: []string{"b", "c"}}
	for name, c := range map[string]struct {
		then, now events.Scope
		want      string
	}{
		"what one may no longer read is left out": {ab, bc, `{"projects":["b"]}`},
		"who reads all now read less then":        {ab, all, `{"projects":["a","b"]}`},
		"who read all then reads less now":        {all, bc, `{"projects":["b","c"]}`},
		"all is all":                              {all, all, `{"all":true}`},
		"nothing in common is nothing":            {ab, events.Scope{}, `{}`},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			if got, err := json.Marshal(common(c.then, c.now)); err != nil || string(got) != c.want {
				t.Errorf("got %s, %v, want %s", got, err, c.want)
			}
		})
	}
}
