package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tarento/copilot/events"
)

// ErrLeaseLost means that the job is no longer this worker's: it was cancelled, it ended, or its lease ran out and somebody else
// has claimed it. Nothing of the transaction was written.
var ErrLeaseLost = errors.New("store: lease lost")

// Lease is a worker's right to write for a job, until the job's epoch moves on. See Gray and Cheriton, "Leases: an efficient
// fault-tolerant mechanism for distributed file cache consistency"; the epoch is the fencing token.
type Lease struct {
	JobID uuid.UUID
	Epoch int64
}

// Append adds facts to the log of a leased job and returns the sequence number of the last. A JobProgress among them also
// updates the job's progress.
func (r Jobs) Append(l Lease, facts ...events.Fact) (last int64, err error) {
	set := "last_seq = last_seq + ?, updated_at = ?"
	args := []any{len(facts), events.Time(time.Now())}
	if p, ok := lastProgress(facts); ok {
		set += ", progress_stage = ?, progress_done = ?, progress_total = ?"
		args = append(args, p.Stage, p.Done, p.Total)
	}
	args = append(args, r.tx.tenant.UUID(), l.JobID, l.Epoch)
	var seqs []int64
	err = r.tx.db.Raw("UPDATE jobs SET "+set+
		" WHERE organization_id = ? AND id = ? AND lease_epoch = ? AND status = 'running' RETURNING last_seq", args...).
		Scan(&seqs).Error
	if err != nil {
		return 0, explain(err, "append to job log")
	}
	if len(seqs) == 0 {
		return 0, ErrLeaseLost
	}
	return seqs[0], r.tx.appendEvents(l.JobID, seqs[0], time.Now(), facts...)
}

// TextEnd returns up to which byte the log of a leased job has the text that the event with the number start has opened; 0 is none of it.
// It waits for every write of the lease that is under way, also one of which nobody knows any more what became of it.
func (r Jobs) TextEnd(l Lease, start int64) (int, error) {
	if _, err := r.Append(l); err != nil { // has the row locked
		return 0, err
	}
	var last []JobEvent
	err := r.events(l.JobID).Where("seq > ? AND type = ?", start, events.TypeTextDelta).Order("seq DESC").Limit(1).Find(&last).Error
	if err != nil || len(last) == 0 {
		return 0, explain(err, "read the end of a text")
	}
	var d events.TextDelta
	if err := json.Unmarshal(last[0].Data, &d); err != nil {
		return 0, fmt.Errorf("store: read event %d of job %s: %w", last[0].Seq, l.JobID, err)
	}
	if d.Start != start {
		return 0, nil
	}
	return d.End(), nil
}

func lastProgress(facts []events.Fact) (last events.JobProgress, ok bool) {
	for _, fact := range facts {
		if p, is := fact.(events.JobProgress); is {
			last, ok = p, true
		}
	}
	return last, ok
}

// Ending is how a claim of a job ends. Exactly one of the constructors below makes a valid one.
type Ending struct {
	status    events.Status
	waitingOn events.WaitingOn
	result    any
	failure   *events.Failure
	dead      bool
	runAt     time.Time
	uncharged bool
	children  []NewJob
	// expired demands that the lease has run out, so that a sweeper cannot end a job that came back to life.
	expired bool
}

// Succeed ends the job with a result.
func Succeed(result any) Ending { return Ending{status: events.StatusSucceeded, result: result} }

// Fail ends the job for good. Dead says that it ran out of attempts, so that an operator can redrive it.
func Fail(f events.Failure, dead bool) Ending {
	return Ending{status: events.StatusFailed, failure: &f, dead: dead}
}

// Again puts the job back in the queue. The attempt stays charged; failure tells why it did not succeed.
func Again(at time.Time, on events.WaitingOn, failure events.Failure) Ending {
	return Ending{status: events.StatusQueued, waitingOn: until(on), runAt: at, failure: &failure}
}

// Snooze puts the job back in the queue without charging the attempt.
func Snooze(at time.Time, on events.WaitingOn) Ending {
	return Ending{status: events.StatusQueued, waitingOn: until(on), runAt: at, uncharged: true}
}

// until is what a job waits for until its time comes. Its turn it waits for after that, when the dispatcher says so.
func until(on events.WaitingOn) events.WaitingOn {
	if on == events.WaitingNothing || on == events.WaitingDispatch {
		return events.WaitingSchedule
	}
	return on
}

// WaitFor submits children and lets the job wait for them without holding a slot. The last of them to succeed ends it with the
// result; the first to fail fails it.
func WaitFor(children []NewJob, result any) Ending {
	return Ending{status: events.StatusWaiting, waitingOn: events.WaitingChildren, children: children, result: result}
}

// Status returns the status that the job will have.
func (e Ending) Status() events.Status { return e.status }

// Outcome returns what came of the claim.
func (e Ending) Outcome() events.Outcome {
	switch {
	case e.dead:
		return events.OutcomeDead
	case e.status == events.StatusSucceeded:
		return events.OutcomeSucceeded
	case e.status == events.StatusWaiting:
		return events.OutcomeWaiting
	case e.status == events.StatusQueued && e.uncharged:
		return events.OutcomeSnoozed
	case e.status == events.StatusQueued:
		return events.OutcomeRetried
	default:
		return events.OutcomeFailed
	}
}

// IfExpired makes the ending hold only when the job's lease has run out; otherwise End returns ErrLeaseLost.
func (e Ending) IfExpired() Ending {
	e.expired = true
	return e
}

// End gives up the lease and moves the job on, with everything that follows from it: the event, the parent's count, the children of a
// failed parent, the document of an ingest. The facts are logged before the state. Content written in the same transaction
// commits with it, or not at all.
func (r Jobs) End(l Lease, e Ending, facts ...events.Fact) error {
	parent, err := r.lockParent(l.JobID, e.status.Terminal() && e.status != events.StatusSucceeded)
	if err != nil {
		return err
	}
	job, err := r.lock(l.JobID)
	if err != nil {
		return err
	}
	if job.LeaseEpoch != l.Epoch || job.Status != events.StatusRunning {
		return ErrLeaseLost
	}
	if e.expired || !e.runAt.IsZero() {
		now, err := r.clock()
		if err != nil {
			return err
		}
		if e.expired && job.LeaseExpiresAt != nil && job.LeaseExpiresAt.After(now) {
			return ErrLeaseLost
		}
		if !e.runAt.IsZero() {
			// What counts is how long the caller wants to wait: its clock may be another.
			wait := time.Until(e.runAt)
			e.runAt = now.Add(wait)
			r.tx.told.Due(max(wait, time.Millisecond))
		}
	}
	change, err := e.columns(job)
	if err != nil {
		return err
	}
	if e.status == events.StatusWaiting {
		children, err := r.insert(&job.ID, e.children)
		if err != nil {
			return err
		}
		weight := 0
		for _, c := range children {
			weight += c.ProgressTotal
		}
		change["children_open"] = len(children)
		change["progress_stage"], change["progress_done"], change["progress_total"] = stageOf(job.Kind), 0, weight
		facts = append(facts, events.JobProgress{Stage: stageOf(job.Kind), Done: 0, Total: weight})
	}
	state := events.JobState{Status: e.status, WaitingOn: e.waitingOn, Attempt: job.Attempt, Error: e.failure, Dead: e.dead}
	if !e.runAt.IsZero() {
		at := events.Time(e.runAt)
		state.RunAt = &at
	}
	if err := r.move(job, change, append(facts, state)...); err != nil {
		return err
	}
	if e.status.Terminal() {
		return r.settle(job, parent, e)
	}
	return nil
}

// clock reads the database's clock, against which leases and waiting jobs are held.
func (r Jobs) clock() (now time.Time, err error) {
	err = r.tx.db.Raw("SELECT clock_timestamp()").Scan(&now).Error
	return now, explain(err, "read the clock")
}

// Progress stages of jobs whose children do the rest.
const (
	StageEmbed   = "embed"   // of document.ingest: passages are embedded
	StageVectors = "vectors" // of document.delete: vectors are removed
)

func stageOf(k events.Kind) string {
	if k == events.KindDocumentDelete {
		return StageVectors
	}
	return StageEmbed
}

func (e Ending) columns(job *Job) (map[string]any, error) {
	change := map[string]any{
		"status": e.status, "waiting_on": e.waitingOn, "dead": e.dead,
		"leased_by": nil, "lease_expires_at": nil,
	}
	if e.result != nil {
		result, err := json.Marshal(e.result)
		if err != nil {
			return nil, fmt.Errorf("store: encode %s result: %w", job.Kind, err)
		}
		change["result"] = json.RawMessage(result)
	}
	if e.failure != nil {
		change["error_code"], change["error_message"] = e.failure.Code, e.failure.Message
	} else if e.status == events.StatusSucceeded {
		change["error_code"], change["error_message"] = nil, nil
	}
	if e.uncharged {
		job.Attempt--
		change["attempt"] = job.Attempt
	}
	if !e.runAt.IsZero() {
		change["run_at"] = events.Time(e.runAt)
	}
	if e.status.Terminal() {
		change["finished_at"] = asOfNow()
	}
	if e.status == events.StatusSucceeded && job.ProgressTotal > 0 {
		change["progress_done"] = job.ProgressTotal
	}
	return change, nil
}

// asOfNow is the moment at which a job ends, by the clock that said when it was started. The transaction may be older than that.
func asOfNow() clause.Expr { return gorm.Expr("clock_timestamp()") }

// move writes the change and the facts of a job whose row is locked. A job that ends does so at the moment of its last event.
func (r Jobs) move(job *Job, change map[string]any, facts ...events.Fact) error {
	job.LastSeq += int64(len(facts))
	change["last_seq"] = job.LastSeq
	at := events.Time(time.Now())
	change["updated_at"] = at
	var moved Job
	written := clause.Returning{Columns: []clause.Column{{Name: "finished_at"}}}
	if err := r.scoped().Model(&moved).Clauses(written).Where("id = ?", job.ID).Updates(change).Error; err != nil {
		return explain(err, "move job")
	}
	if moved.FinishedAt != nil {
		at = *moved.FinishedAt
	}
	return r.tx.appendEvents(job.ID, job.LastSeq, at, facts...)
}
