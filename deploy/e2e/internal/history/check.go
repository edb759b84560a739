package history

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/tarento/copilot/events"
)

// Check returns each promise that was broken to the job, and what else is worth counting.
func Check(j *Job) ([]Violation, Tally) {
	c := checker{job: j, claims: map[int64]Change{}}
	for _, change := range j.Changes {
		if change.Claims() {
			c.claims[change.Epoch] = change
			c.tally.Claims++
		}
	}
	if j.Record == nil {
		if j.Accepted {
			c.brokenf(Kept, "it was accepted, and the record does not know it")
		}
		return c.violations, c.tally
	}
	c.end()
	c.begin()
	c.changes()
	c.log()
	c.fences()
	c.steps()
	c.calls()
	c.readers()
	if j.died() {
		c.tally.Dead++
	}
	return c.violations, c.tally
}

// CheckSubmit returns the violation of a key that stands for more than one job.
func CheckSubmit(s Submit) []Violation {
	jobs := slices.Concat(s.Answered, s.Made)
	slices.Sort(jobs)
	if jobs = slices.Compact(jobs); len(jobs) > 1 {
		what := fmt.Sprintf("%d jobs: clients were told of %q, the record has %q", len(jobs), s.Answered, s.Made)
		return []Violation{{Promise: MadeOnce, Job: s.Key, What: what}}
	}
	return nil
}

// CheckBatch returns each violation of a batch that was accepted in part, or not always as the same jobs.
func CheckBatch(b Batch) (violations []Violation) {
	brokenf := func(format string, args ...any) {
		violations = append(violations, Violation{Promise: Whole, Job: b.Key, What: fmt.Sprintf(format, args...)})
	}
	made := slices.Sorted(slices.Values(b.Made))
	if len(made) != 0 && len(made) != b.Size {
		brokenf("of %d jobs the record has %d", b.Size, len(made))
	}
	for i, answer := range b.Answered {
		switch {
		case len(answer) != b.Size:
			brokenf("of %d jobs a client was told of %d", b.Size, len(answer))
		case !slices.Equal(answer, b.Answered[0]):
			brokenf("answer %d tells of other jobs than the first: %q, %q", i+1, answer, b.Answered[0])
		case !slices.Equal(slices.Sorted(slices.Values(answer)), made):
			brokenf("a client was told of %q, the record has %q", answer, made)
		}
	}
	return violations
}

// CheckRetries returns each violation of jobs that were made anew, by the records of all jobs. Told are pairs of jobs that clients were
// told of: a job, and the one that does it again.
func CheckRetries(jobs map[string]*Job, told map[string]string) (violations []Violation) {
	brokenf := func(job, format string, args ...any) {
		violations = append(violations, Violation{Promise: RetriedOnce, Job: job, What: fmt.Sprintf(format, args...)})
	}
	retries := map[string][]string{}
	for id, j := range jobs {
		if j.Record == nil {
			continue
		}
		if of := j.Record.RetryOf; of != "" {
			retries[of] = append(retries[of], id)
		}
		if as := j.Record.RetriedAs; as != "" && (jobs[as] == nil || jobs[as].Record == nil || jobs[as].Record.RetryOf != id) {
			brokenf(id, "it says that it was retried as %s, which does not say so", as)
		}
	}
	for of, made := range retries {
		slices.Sort(made)
		old := jobs[of]
		switch {
		case len(made) > 1:
			brokenf(of, "it was retried as %q", made)
		case old == nil || old.Record == nil:
			brokenf(of, "it was retried as %s, and is gone", made[0])
		case old.Record.RetriedAs != made[0]:
			brokenf(of, "it was retried as %s, and says %q", made[0], old.Record.RetriedAs)
		case old.Record.Status != events.StatusFailed && old.Record.Status != events.StatusCancelled:
			brokenf(of, "it was retried as %s, and is %s", made[0], old.Record.Status)
		case old.Record.Dead:
			brokenf(of, "it was retried as %s, and is dead still", made[0])
		}
	}
	for old, made := range told {
		if jobs[made] == nil || jobs[made].Record == nil || jobs[made].Record.RetryOf != old {
			brokenf(old, "a client was told that it was retried as %s, which the record does not know", made)
		}
	}
	slices.SortFunc(violations, func(a, b Violation) int { return strings.Compare(a.Job+a.What, b.Job+b.What) })
	return violations
}

// checker goes through one job.
type checker struct {
	job *Job
	// claims are the changes that gave the job to somebody, by the epoch they began.
	claims     map[int64]Change
	violations []Violation
	tally      Tally
}

func (c *checker) brokenf(p Promise, format string, args ...any) {
	c.violations = append(c.violations, Violation{
		Promise: p, Job: c.job.ID, Of: strings.TrimSpace(string(c.job.Kind) + " " + c.job.Mark), What: fmt.Sprintf(format, args...),
	})
}

// end checks that the job has ended, and as it must.
func (c *checker) end() {
	r, wanted := c.job.Record, c.job.Wanted
	switch {
	case !r.Status.Terminal():
		c.brokenf(Kept, "it is still %s in attempt %d", r.Status, r.Attempt)
	case wanted.Cancelled && r.Status != events.StatusCancelled:
		c.brokenf(EndsRight, "a client was told that it is cancelled, and it is %s", r.Status)
	case wanted.Status != "" && !wanted.Cancelled && r.Status != wanted.Status && !c.job.died():
		c.brokenf(EndsRight, "it is %s, want %s%s", r.Status, wanted.Status, c.lastFailure())
	}
}

// begin checks that nobody has begun the job before its time.
func (c *checker) begin() {
	for _, change := range c.job.Changes {
		if change.Claims() && change.At.Before(c.job.RunAt) {
			c.brokenf(InTime, "%s claims it %s before its time", change.Writer, c.job.RunAt.Sub(change.At))
		}
	}
}

// died reports whether the job has used up its attempts, whatever was decided about it later.
func (j *Job) died() bool {
	if j.Record.Dead {
		return true
	}
	for _, e := range slices.Backward(j.Log) {
		if state, ok := stateOf(e); ok {
			return state.Dead
		}
	}
	return false
}

// lastFailure quotes the failure that the log tells of last.
func (c *checker) lastFailure() string {
	for _, e := range slices.Backward(c.job.Log) {
		if state, ok := stateOf(e); ok && state.Error != nil {
			return fmt.Sprintf(" (%s: %s)", state.Error.Code, state.Error.Message)
		}
	}
	return ""
}

// changes checks each change against the state machine.
func (c *checker) changes() {
	for i, change := range c.job.Changes {
		switch {
		case i == 0 && (change.From != "" || change.To != events.StatusQueued):
			c.brokenf(Legal, "its first change is from %q to %q, want it made as queued", change.From, change.To)
		case change.From == "":
		case change.From.Terminal():
			c.brokenf(EndsOnce, "it goes from %s to %s, by %s", change.From, change.To, change.Writer)
		case change.From != change.To && !change.From.CanBecome(change.To):
			c.brokenf(Legal, "it goes from %s to %s, by %s", change.From, change.To, change.Writer)
		case change.Epoch < change.EpochBefore:
			c.brokenf(Legal, "its epoch falls from %d to %d, by %s", change.EpochBefore, change.Epoch, change.Writer)
		case change.To == events.StatusRunning && change.From != change.To && !change.Claims():
			c.brokenf(Legal, "%s claims it and stays at epoch %d", change.Writer, change.Epoch)
		}
	}
}

// log checks the job's log.
func (c *checker) log() {
	var ends, last int64
	status := events.Status("")
	for i, e := range c.job.Log {
		if e.Seq != int64(i)+1 {
			c.brokenf(LogWhole, "event %d is the %dth", e.Seq, i+1)
			break
		}
		if ends > 0 {
			c.brokenf(EndsOnce, "event %d, %s %s, comes after its end, by %s", e.Seq, e.Type, e.Data, e.Writer)
		}
		last = e.Seq
		state, ok := stateOf(e)
		if !ok {
			continue
		}
		if status != "" && state.Status != status && !status.CanBecome(state.Status) && !status.Terminal() {
			c.brokenf(Legal, "event %d tells that it is %s, after %s", e.Seq, state.Status, status)
		}
		if status = state.Status; status.Terminal() {
			ends++
		}
	}
	r := c.job.Record
	if last != r.LastSeq {
		c.brokenf(LogWhole, "the log goes to event %d, the job says %d", last, r.LastSeq)
	}
	if r.Status.Terminal() && (ends == 0 || status != r.Status) {
		c.brokenf(LogWhole, "the log ends with the job %q, which is %s", status, r.Status)
	}
}

// stateOf reads a change of status from the log.
func stateOf(e Entry) (state events.JobState, ok bool) {
	return state, e.Type == events.TypeJobState && json.Unmarshal(e.Data, &state) == nil
}

// fences checks that only the holder of the lease has written what a run writes.
func (c *checker) fences() {
	for _, e := range c.job.Log {
		switch e.Type {
		case events.TypeStepStarted, events.TypeStepFinished, events.TypeTextDelta, events.TypeUsage:
			c.fenced(fmt.Sprintf("event %d, %s", e.Seq, e.Type), e.Written)
		case events.TypeJobState, events.TypeJobProgress: // parts of a job and the sweeper tell of these, too
		}
	}
	for _, s := range c.job.Steps {
		c.fenced(fmt.Sprintf("the journal of step %d", s.No), s.Written)
		if claim, ok := c.claims[s.Epoch]; ok && claim.Attempt != s.Attempt {
			c.brokenf(Fenced, "step %d was journalled by attempt %d during attempt %d", s.No, s.Attempt, claim.Attempt)
		}
	}
	for _, change := range c.job.Changes {
		if change.From != events.StatusRunning || change.Epoch != change.EpochBefore {
			continue // taking the job away raises the epoch
		}
		swept := change.LeaseLeft <= 0 && (change.To == events.StatusQueued || change.To == events.StatusFailed)
		holder := c.claims[change.Epoch].Writer
		switch {
		case holder == change.Writer:
		case swept:
			c.tally.LeasesLost++
		default:
			c.brokenf(Fenced, "%s makes it %s while %s holds it for another %s", change.Writer, change.To, holder, change.LeaseLeft)
		}
	}
}

// fenced checks one write of a run.
func (c *checker) fenced(what string, w Written) {
	claim, ok := c.claims[w.Epoch]
	switch {
	case !ok:
		c.brokenf(Fenced, "%s writes %s at epoch %d, which nobody has claimed", w.Writer, what, w.Epoch)
	case claim.Writer != w.Writer:
		c.brokenf(Fenced, "%s writes %s at epoch %d, which is %s's", w.Writer, what, w.Epoch, claim.Writer)
	case w.Status != events.StatusRunning && !slices.ContainsFunc(c.job.Changes, func(change Change) bool {
		return change.Tx == w.Tx && change.From == events.StatusRunning // it is the run's last word
	}):
		c.brokenf(Fenced, "%s writes %s when the job is %s", w.Writer, what, w.Status)
	}
}

// steps checks the journal against the log.
func (c *checker) steps() {
	finished := map[int]bool{}
	for _, e := range c.job.Log {
		switch e.Type {
		case events.TypeStepStarted:
			var s events.StepStarted
			if json.Unmarshal(e.Data, &s) == nil && finished[s.Step] {
				c.brokenf(StepsOnce, "step %d begins again with event %d", s.Step, e.Seq)
			}
		case events.TypeStepFinished:
			var s events.StepFinished
			if json.Unmarshal(e.Data, &s) != nil {
				continue
			}
			if finished[s.Step] {
				c.brokenf(StepsOnce, "step %d is finished again with event %d", s.Step, e.Seq)
			}
			finished[s.Step] = true
		default:
		}
	}
	for _, s := range c.job.Steps {
		if !finished[s.No] {
			c.brokenf(StepsOnce, "step %d is journalled, and the log does not tell of it", s.No)
		}
		delete(finished, s.No)
	}
	for no := range finished {
		c.brokenf(StepsOnce, "step %d is finished, and not journalled", no)
	}
}

// calls checks the model calls against the journal.
func (c *checker) calls() {
	var journal []Step // of model calls: the first is that of turn 0
	for _, s := range c.job.Steps {
		if s.Kind == events.StepModelCall {
			journal = append(journal, s)
		}
	}
	answered := map[int]int{}
	for _, call := range c.job.Calls {
		c.tally.Calls++
		mine, now := c.epochs(call.Worker, call.Began)
		if call.Answered {
			if answered[call.Turn]++; answered[call.Turn] > 1 {
				c.tally.Unjournalled++
			}
		}
		switch {
		case mine < now:
			c.tally.Zombie++
		case call.Turn < len(journal) && call.Began.After(journal[call.Turn].At) && mine >= journal[call.Turn].Epoch:
			c.brokenf(StepsOnce, "%s makes model call %d at %s, %s after it was journalled as step %d", call.Worker, call.Turn+1,
				call.Began.Format(time.StampMilli), call.Began.Sub(journal[call.Turn].At), journal[call.Turn].No)
		}
	}
}

// epochs returns the epoch that a worker knows of at a time, and the one that the job has then.
func (c *checker) epochs(worker string, at time.Time) (mine, now int64) {
	for _, change := range c.job.Changes {
		if change.At.After(at) {
			break
		}
		now = change.Epoch
		if change.Claims() && change.Writer == worker {
			mine = change.Epoch
		}
	}
	return mine, now
}
