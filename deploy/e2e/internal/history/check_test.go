package history_test

import (
	"encoding/json"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

// noon is when every hand-made history begins.
var noon = time.Date(2026, 1, 2, 12, 0, 0, 0, time.UTC)

func at(ms int) time.Time { return noon.Add(time.Duration(ms) * time.Millisecond) }

// logged writes an entry of the log.
func logged(seq int64, ms int, writer string, epoch int64, status events.Status, tx int64, f events.Fact) history.Entry {
	data, err := json.Marshal(f)
	if err != nil {
		panic(err)
	}
	return history.Entry{Seq: seq, Type: f.EventType(), Data: data, Written: history.Written{
		At: at(ms), Writer: writer, Epoch: epoch, Status: status, Tx: tx,
	}}
}

// good is a run that was submitted, claimed by A, which was lost in the middle of its answer, swept, claimed by B and finished, with
// two readers: one who saw everything live, one who came late.
func good() *history.Job {
	const (
		queued, running, done = events.StatusQueued, events.StatusRunning, events.StatusSucceeded
		gateway, a, b         = "gateway-1", "agent-1", "agent-2"
	)
	j := &history.Job{
		ID: "one", Kind: events.KindAgentRun, Accepted: true, Wanted: history.Wanted{Status: done, Text: "hello world"},
		Record: &history.Record{Status: done, Attempt: 2, Epoch: 2, LastSeq: 12},
		Changes: []history.Change{
			{At: at(0), Writer: gateway, To: queued, Tx: 1},
			{At: at(10), Writer: a, From: queued, To: running, Epoch: 1, Attempt: 1, Tx: 2},
			{
				At: at(3000), Writer: gateway, From: running, To: queued, EpochBefore: 1, Epoch: 1, Attempt: 1, Tx: 6,
				LeaseLeft: -time.Second,
			},
			{At: at(3010), Writer: b, From: queued, To: running, EpochBefore: 1, Epoch: 2, Attempt: 2, Tx: 7},
			{
				At: at(4000), Writer: b, From: running, To: done, EpochBefore: 2, Epoch: 2, Attempt: 2, Tx: 10,
				LeaseLeft: time.Second,
			},
		},
		Log: []history.Entry{
			logged(1, 0, gateway, 0, queued, 1, events.JobState{Status: queued}),
			logged(2, 10, a, 1, running, 2, events.JobState{Status: running, Attempt: 1}),
			logged(3, 20, a, 1, running, 3, events.StepStarted{Step: 1, Kind: events.StepModelCall, Attempt: 1}),
			logged(4, 100, a, 1, running, 4, events.StepFinished{Step: 1, Kind: events.StepModelCall}),
			logged(5, 110, a, 1, running, 5, events.StepStarted{Step: 2, Kind: events.StepModelCall, Attempt: 1}),
			logged(6, 3000, gateway, 1, queued, 6, events.JobState{Status: queued, Attempt: 1, Error: &events.Failure{Code: "worker.lost"}}),
			logged(7, 3010, b, 2, running, 7, events.JobState{Status: running, Attempt: 2}),
			logged(8, 3020, b, 2, running, 8, events.StepStarted{Step: 2, Kind: events.StepModelCall, Attempt: 2}),
			logged(9, 3100, b, 2, running, 9, events.TextDelta{Start: 8, Text: "hello "}),
			logged(10, 4000, b, 2, done, 10, events.TextDelta{Start: 8, Offset: 6, Text: "world"}),
			logged(11, 4000, b, 2, done, 10, events.StepFinished{Step: 2, Kind: events.StepModelCall}),
			logged(12, 4000, b, 2, done, 10, events.JobState{Status: done, Attempt: 2}),
		},
		Steps: []history.Step{
			{No: 1, Kind: events.StepModelCall, Attempt: 1, Written: history.Written{At: at(100), Writer: a, Epoch: 1, Status: running, Tx: 4}},
			{No: 2, Kind: events.StepModelCall, Attempt: 2, Written: history.Written{At: at(4000), Writer: b, Epoch: 2, Status: done, Tx: 10}},
		},
		Calls: []history.Call{
			{Worker: a, Turn: 0, Began: at(25), Answered: true},
			{Worker: a, Turn: 1, Began: at(115), Answered: true}, // the answer was lost
			{Worker: b, Turn: 1, Began: at(3025), Answered: true},
		},
	}
	live := &history.Reader{Name: "live", Ended: true, Connections: 3}
	late := &history.Reader{Name: "late", Ended: true, Connections: 1}
	for _, e := range j.Log {
		shown := history.Shown{ID: strconv.FormatInt(e.Seq, 10), Type: e.Type, Data: e.Data}
		late.Shown = append(late.Shown, shown)
		switch e.Seq {
		case 5: // text that A's death made void, and that only who was there has seen
			live.Shown = append(live.Shown, shown, text("5.3", 5, 0, "hel"))
		case 9, 10: // the same text, in other pieces
			live.Shown = append(live.Shown, text(fmt.Sprintf("8.%d", e.Seq), 8, 6*int(e.Seq-9), []string{"hello ", "world"}[e.Seq-9]))
		default:
			live.Shown = append(live.Shown, shown)
		}
	}
	j.Readers = []history.Reader{*live, *late}
	return j
}

// text is a piece of text as a reader is shown it.
func text(id string, start int64, offset int, words string) history.Shown {
	data, err := json.Marshal(events.TextDelta{Start: start, Offset: offset, Text: words})
	if err != nil {
		panic(err)
	}
	return history.Shown{ID: id, Type: events.TypeTextDelta, Data: data}
}

func TestAGoodHistoryBreaksNoPromise(t *testing.T) {
	t.Parallel()
	violations, tally := history.Check(good())
	for _, v := range violations {
		t.Errorf("%s: %s", v.Promise, v.What)
	}
	want := history.Tally{Unjournalled: 1, Calls: 3, Claims: 2, LeasesLost: 1, Shown: 25, Connections: 4}
	if tally != want {
		t.Errorf("tallied %+v, want %+v", tally, want)
	}
}

func TestEachBrokenPromiseIsFound(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm    func(j *history.Job)
		promise history.Promise
		what    string // part of what is said
	}{
		"an accepted job that nobody knows": {
			func(j *history.Job) { j.Record = nil }, history.Kept, "the record does not know it",
		},
		"a job that never ends": {
			func(j *history.Job) {
				j.Record.Status, j.Record.LastSeq = events.StatusRunning, 11
				j.Changes, j.Log = j.Changes[:4], j.Log[:11]
				j.Log[9].Status, j.Log[10].Status, j.Steps[1].Status = events.StatusRunning, events.StatusRunning, events.StatusRunning
				j.Readers = nil
			}, history.Kept, "still running",
		},
		"a job that ends twice": {
			func(j *history.Job) {
				j.Changes = append(j.Changes, history.Change{
					At: at(5000), Writer: "agent-1", From: events.StatusSucceeded, To: events.StatusFailed, EpochBefore: 2, Epoch: 2,
				})
			}, history.EndsOnce, "from succeeded to failed",
		},
		"an event after the end": {
			func(j *history.Job) {
				j.Log = append(j.Log, logged(13, 5000, "gateway-1", 2, events.StatusSucceeded, 11, events.JobProgress{Stage: "embed"}))
				j.Record.LastSeq, j.Readers = 13, nil
			}, history.EndsOnce, "comes after its end",
		},
		"a job that fails although nothing was wrong with it": {
			func(j *history.Job) { j.Wanted.Status = events.StatusFailed }, history.EndsRight, "it is succeeded, want failed",
		},
		"a confirmed cancel that is not kept": {
			func(j *history.Job) { j.Wanted.Cancelled = true }, history.EndsRight, "was told that it is cancelled",
		},
		"a job that begins before its time": {
			func(j *history.Job) { j.RunAt = at(11) }, history.InTime, "agent-1 claims it 1ms before its time",
		},
		"a job that begins before its time, the second time": {
			func(j *history.Job) {
				j.RunAt, j.Changes[1].Epoch, j.Changes[2].EpochBefore = at(3500), 0, 0
			}, history.InTime, "agent-2 claims it 490ms before its time",
		},
		"a transition that the state machine does not know": {
			func(j *history.Job) { j.Changes[3].To, j.Changes[4].From = events.StatusWaiting, events.StatusWaiting },
			history.Legal, "from queued to waiting",
		},
		"a job that is made in another state than queued": {
			func(j *history.Job) { j.Changes[0].To = events.StatusRunning }, history.Legal, "want it made as queued",
		},
		"an epoch that falls": {
			func(j *history.Job) { j.Changes[4].Epoch = 1 }, history.Legal, "epoch falls from 2 to 1",
		},
		"a claim that does not raise the epoch": {
			func(j *history.Job) { j.Changes[3].EpochBefore = 2 }, history.Legal, "stays at epoch 2",
		},
		"a log that tells of a step backwards": {
			func(j *history.Job) {
				j.Log[6] = logged(7, 3010, "agent-2", 2, events.StatusRunning, 7, events.JobState{Status: events.StatusWaiting})
				j.Readers = nil
			}, history.Legal, "event 7 tells that it is waiting, after queued",
		},
		"an event of a worker that has lost the job": {
			func(j *history.Job) { j.Log[8].Writer = "agent-1" }, history.Fenced, "at epoch 2, which is agent-2's",
		},
		"an event of a worker whose job is back in the queue": {
			func(j *history.Job) {
				j.Log[4].Status, j.Log[4].At = events.StatusQueued, at(3005)
			}, history.Fenced, "when the job is queued",
		},
		"a step that a worker journals which has lost the job": {
			func(j *history.Job) { j.Steps[1].Writer = "agent-1" }, history.Fenced, "the journal of step 2 at epoch 2, which is agent-2's",
		},
		"a step that is journalled for an attempt that is over": {
			func(j *history.Job) { j.Steps[1].Attempt = 1 }, history.Fenced, "by attempt 1 during attempt 2",
		},
		"an end by a worker that has lost the job": {
			func(j *history.Job) { j.Changes[4].Writer = "agent-1" }, history.Fenced, "while agent-2 holds it",
		},
		"a job that is taken from a living worker": {
			func(j *history.Job) { j.Changes[2].LeaseLeft = time.Second }, history.Fenced, "gateway-1 makes it queued while agent-1 holds it",
		},
		"a write at an epoch that nobody has claimed": {
			func(j *history.Job) { j.Log[8].Epoch = 7 }, history.Fenced, "which nobody has claimed",
		},
		"a model call that is made although it is journalled": {
			func(j *history.Job) {
				j.Calls = append(j.Calls, history.Call{Worker: "agent-2", Turn: 0, Began: at(3015), Answered: true})
			}, history.StepsOnce, "agent-2 makes model call 1",
		},
		"a model call that the same attempt makes again": {
			func(j *history.Job) {
				j.Calls = append(j.Calls, history.Call{Worker: "agent-1", Turn: 0, Began: at(150), Answered: true})
			}, history.StepsOnce, "agent-1 makes model call 1",
		},
		"a step that begins again after it was finished": {
			func(j *history.Job) {
				j.Log[7] = logged(8, 3020, "agent-2", 2, events.StatusRunning, 8, events.StepStarted{Step: 1})
				j.Readers = nil
			}, history.StepsOnce, "step 1 begins again",
		},
		"a step that is finished twice": {
			func(j *history.Job) {
				j.Log[10] = logged(11, 4000, "agent-2", 2, events.StatusSucceeded, 10, events.StepFinished{Step: 1})
				j.Readers = nil
			}, history.StepsOnce, "step 1 is finished again",
		},
		"a step that is journalled and not told of": {
			func(j *history.Job) {
				j.Steps = append(j.Steps, history.Step{No: 3, Attempt: 2, Written: j.Steps[1].Written})
			},
			history.StepsOnce, "the log does not tell of it",
		},
		"a step that is told of and not journalled": {
			func(j *history.Job) { j.Steps = j.Steps[:1] }, history.StepsOnce, "step 2 is finished, and not journalled",
		},
		"an event that is missing from the log": {
			func(j *history.Job) { j.Log, j.Readers = append(j.Log[:6:6], j.Log[7:]...), nil }, history.LogWhole, "event 8 is the 7th",
		},
		"a log that is shorter than the job says": {
			func(j *history.Job) { j.Record.LastSeq = 13 }, history.LogWhole, "the job says 13",
		},
		"a log without the end": {
			func(j *history.Job) { j.Log, j.Record.LastSeq, j.Readers = j.Log[:11], 11, nil }, history.LogWhole, "the log ends with",
		},
		"a reader who missed an event": {
			func(j *history.Job) { j.Readers[1].Shown = append(j.Readers[1].Shown[:6:6], j.Readers[1].Shown[7:]...) },
			history.ShownOnce, "is shown where the log has 7",
		},
		"a reader who saw an event twice": {
			func(j *history.Job) { j.Readers[1].Shown[7] = j.Readers[1].Shown[6] }, history.ShownOnce, "comes after event 7",
		},
		"a reader who missed a word": {
			func(j *history.Job) { j.Readers[1].Shown = append(j.Readers[1].Shown[:8:8], j.Readers[1].Shown[9:]...) },
			history.ShownOnce, "goes on at byte 6",
		},
		"a reader who missed the last word": {
			func(j *history.Job) {
				j.Readers[1].Shown = append(j.Readers[1].Shown[:9:9], j.Readers[1].Shown[10:]...)
			},
			history.ShownOnce, `is "hello ", the log has "hello world"`,
		},
		"a reader who saw text of a step that was over": {
			func(j *history.Job) { j.Readers[0].Shown[9] = text("8.3", 5, 3, "lo") }, history.ShownOnce, "belongs to event 5",
		},
		"a reader who was told something else": {
			func(j *history.Job) { j.Readers[1].Shown[1].Data = json.RawMessage(`{"status":"queued"}`) },
			history.ShownOnce, "is shown where the log has 2",
		},
		"a reader who saw an event that is not in the log": {
			func(j *history.Job) {
				j.Readers[1].Shown = append(j.Readers[1].Shown, history.Shown{ID: "13", Type: events.TypeUsage, Data: json.RawMessage(`{}`)})
			}, history.ShownOnce, "event 13, usage, is not in the log",
		},
		"a reader who never saw the end": {
			func(j *history.Job) { j.Readers[1].Ended = false }, history.ShownOnce, "never saw the end",
		},
		"an event without a position": {
			func(j *history.Job) { j.Readers[1].Shown[2].ID = "x" }, history.ShownOnce, "malformed position",
		},
		"a text that the model did not say": {
			func(j *history.Job) { j.Wanted.Text = "good bye" }, history.ShownOnce, `the model said "good bye"`,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := good()
			c.harm(j)
			violations, _ := history.Check(j)
			var said []string
			for _, v := range violations {
				if v.Promise == c.promise && strings.Contains(v.What, c.what) {
					return
				}
				said = append(said, fmt.Sprintf("%s: %s", v.Promise, v.What))
			}
			t.Errorf("found %q, want %s: ...%s...", said, c.promise, c.what)
		})
	}
}

func TestWhatIsAllowedIsNotComplainedOf(t *testing.T) {
	t.Parallel()
	for name, allow := range map[string]func(j *history.Job){
		"a job that nobody was told of and that is not there": func(j *history.Job) { j.Accepted, j.Record = false, nil },
		"a job that has used up its attempts": func(j *history.Job) {
			j.Wanted.Status, j.Record.Dead = events.StatusFailed, true
		},
		"a job that had used up its attempts, until somebody had it done again": func(j *history.Job) {
			die(j)
			j.Wanted.Status, j.Record.RetriedAs = events.StatusSucceeded, "two"
		},
		"a job that begins at its time": func(j *history.Job) { j.RunAt = at(10) },
		"a call by a worker that does not know yet that it has lost the job": func(j *history.Job) {
			j.Calls = append(j.Calls, history.Call{Worker: "agent-1", Turn: 1, Began: at(4100), Answered: true})
		},
		"a cancel while another holds the job": func(j *history.Job) {
			end := &j.Changes[4]
			end.Writer, end.To, end.Epoch, j.Record.Status = "gateway-2", events.StatusCancelled, 3, events.StatusCancelled
			j.Log = append(j.Log[:9:9], logged(10, 4000, "gateway-2", 3, events.StatusCancelled, 10, events.JobState{Status: events.StatusCancelled}))
			j.Wanted, j.Record.LastSeq, j.Steps, j.Readers = history.Wanted{Cancelled: true}, 10, j.Steps[:1], nil
		},
		"a reader of a job that is still open": func(j *history.Job) {
			j.Readers[1].Ended = true
			j.Readers = j.Readers[1:]
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			j := good()
			allow(j)
			violations, _ := history.Check(j)
			for _, v := range violations {
				t.Errorf("%s: %s", v.Promise, v.What)
			}
		})
	}
}

// die lets the job end without an attempt left, and somebody decide about it since.
func die(j *history.Job) {
	j.Record.Status, j.Changes[4].To = events.StatusFailed, events.StatusFailed
	for _, n := range []int{9, 10} {
		j.Log[n].Status = events.StatusFailed
	}
	j.Log[11] = logged(12, 4000, "agent-2", 2, events.StatusFailed, 10, events.JobState{
		Status: events.StatusFailed, Attempt: 2, Error: &events.Failure{Code: "x.broken"}, Dead: true,
	})
	j.Wanted.Text, j.Readers = "", nil
	j.Steps[1].Status = events.StatusFailed
}

func TestABatchIsAcceptedAsAWholeOrNotAtAll(t *testing.T) {
	t.Parallel()
	ab, ba := []string{"a", "b"}, []string{"b", "a"}
	for name, c := range map[string]struct {
		batch history.Batch
		what  string // empty wants nothing
	}{
		"answered, and twice the same":      {history.Batch{Answered: [][]string{ba, ba}, Made: ab}, ""},
		"made, and never answered":          {history.Batch{Made: ab}, ""},
		"neither answered nor made":         {history.Batch{}, ""},
		"half of it made":                   {history.Batch{Made: ab[:1]}, "of 2 jobs the record has 1"},
		"made twice":                        {history.Batch{Answered: [][]string{ab}, Made: []string{"a", "b", "c", "d"}}, "the record has 4"},
		"answered in part":                  {history.Batch{Answered: [][]string{ab[:1]}, Made: ab}, "was told of 1"},
		"answered, and not made":            {history.Batch{Answered: [][]string{ab}}, "the record has []"},
		"answered with others in between":   {history.Batch{Answered: [][]string{ab, {"a", "c"}}, Made: ab}, "other jobs than the first"},
		"answered the second time shuffled": {history.Batch{Answered: [][]string{ab, ba}, Made: ab}, "other jobs than the first"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.batch.Key, c.batch.Size = "key", 2
			expect(t, history.CheckBatch(c.batch), history.Whole, c.what)
		})
	}
}

// expect wants what is said to be among violations of a promise, or none where that is empty.
func expect(t *testing.T, got []history.Violation, promise history.Promise, what string) {
	t.Helper()
	if what == "" {
		for _, v := range got {
			t.Errorf("%s: %s: %s", v.Promise, v.Job, v.What)
		}
		return
	}
	if !slices.ContainsFunc(got, func(v history.Violation) bool { return v.Promise == promise && strings.Contains(v.What, what) }) {
		t.Errorf("found %+v, want %s: ...%s...", got, promise, what)
	}
}

func TestAJobIsDoneAgainOnce(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		harm func(jobs map[string]*history.Job, told map[string]string)
		what string // empty wants nothing
	}{
		"nothing wrong": {func(map[string]*history.Job, map[string]string) {}, ""},
		"a second retry": {func(jobs map[string]*history.Job, _ map[string]string) {
			jobs["three"] = &history.Job{ID: "three", Record: &history.Record{Status: events.StatusQueued, RetryOf: "one"}}
		}, `it was retried as ["three" "two"]`},
		"a retry that the old job does not know": {func(jobs map[string]*history.Job, _ map[string]string) {
			jobs["one"].Record.RetriedAs = ""
		}, `it was retried as two, and says ""`},
		"an old job that names one that is none": {func(jobs map[string]*history.Job, told map[string]string) {
			delete(jobs, "two")
			delete(told, "one")
		}, "retried as two, which does not say so"},
		"a retry of what has succeeded": {func(jobs map[string]*history.Job, _ map[string]string) {
			jobs["one"].Record.Status = events.StatusSucceeded
		}, "and is succeeded"},
		"a retry of what is dead still": {func(jobs map[string]*history.Job, _ map[string]string) {
			jobs["one"].Record.Dead = true
		}, "is dead still"},
		"a retry of what is gone": {func(jobs map[string]*history.Job, _ map[string]string) {
			jobs["one"].Record = nil
		}, "and is gone"},
		"a client that was told of another": {func(_ map[string]*history.Job, told map[string]string) {
			told["one"] = "three"
		}, "retried as three, which the record does not know"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			jobs := map[string]*history.Job{
				"one": {ID: "one", Record: &history.Record{Status: events.StatusFailed, RetriedAs: "two"}},
				"two": {ID: "two", Record: &history.Record{Status: events.StatusSucceeded, RetryOf: "one"}},
			}
			told := map[string]string{"one": "two"}
			c.harm(jobs, told)
			expect(t, history.CheckRetries(jobs, told), history.RetriedOnce, c.what)
		})
	}
}

func TestAKeyStandsForOneJob(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		submit history.Submit
		want   int
	}{
		"answered and made once":               {history.Submit{Answered: []string{"a"}, Made: []string{"a"}}, 0},
		"answered twice with the same":         {history.Submit{Answered: []string{"a", "a"}, Made: []string{"a"}}, 0},
		"made and never answered":              {history.Submit{Made: []string{"a"}}, 0},
		"answered with two":                    {history.Submit{Answered: []string{"a", "b"}, Made: []string{"a", "b"}}, 1},
		"made twice, and nobody was told":      {history.Submit{Made: []string{"a", "b"}}, 1},
		"answered with one, and another made":  {history.Submit{Answered: []string{"a"}, Made: []string{"b"}}, 1},
		"neither answered nor made, with luck": {history.Submit{}, 0},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			c.submit.Key = "key"
			if got := history.CheckSubmit(c.submit); len(got) != c.want || len(got) > 0 && got[0].Promise != history.MadeOnce {
				t.Errorf("found %+v, want %d", got, c.want)
			}
		})
	}
}
