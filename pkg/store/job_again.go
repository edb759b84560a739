package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
)

// Again makes a job anew that failed or was cancelled: another job with the same input, which has its own attempts and no deadline.
// The two name each other, the old one is dead no longer, and it is not made anew a second time. Prepare changes what is to be done, or
// refuses it; it runs while the old job is locked. Parts of other jobs are made anew with those, and not by themselves.
func (r Jobs) Again(id uuid.UUID, prepare func(old *Job, n *NewJob) error) (*Job, error) {
	old, err := r.lock(id)
	if err != nil {
		return nil, err
	}
	switch {
	case old.ParentID != nil:
		return nil, fault.New(fault.Conflict, "job.part", "This job is a part of %s. Retry that one.", old.ParentID)
	case old.RetriedAs != nil:
		return nil, fault.New(fault.Conflict, "job.retried", "This job was tried again before, as %s.", old.RetriedAs)
	case !old.Status.Terminal():
		return nil, fault.New(fault.Conflict, "job.open", "The job has not ended yet.")
	case old.Status == events.StatusSucceeded:
		return nil, fault.New(fault.Conflict, "job.succeeded", "The job has succeeded; there is nothing to try again.")
	}
	n := NewJob{
		Kind: old.Kind, Class: old.Class, Input: old.Input, CreatedBy: old.CreatedBy, ProjectID: old.ProjectID,
		AgentConfigID: old.AgentConfigID, AgentLimit: old.AgentLimit, ConversationID: old.ConversationID, DocumentID: old.DocumentID,
		Priority: old.Priority, MaxAttempts: old.MaxAttempts, RetryOf: &old.ID, Traceparent: old.Traceparent,
	}
	if err := prepare(old, &n); err != nil {
		return nil, err
	}
	made, err := r.Submit(n)
	if err != nil {
		return nil, err
	}
	return made, r.decide(old, map[string]any{"retried_as": made.ID})
}

// Redrive is Again for a job that is dead. One that is not any more, because somebody has discarded it since it was found, is a conflict.
func (r Jobs) Redrive(id uuid.UUID, prepare func(old *Job, n *NewJob) error) (*Job, error) {
	return r.Again(id, func(old *Job, n *NewJob) error {
		if !old.Dead {
			return fault.New(fault.Conflict, codeNotDead, "This job is not dead any more.")
		}
		return prepare(old, n)
	})
}

// codeNotDead is the code of refusals to decide about a job that needs no decision.
const codeNotDead = "job.not_dead"

// Discard takes a job off the list of the dead: nobody wants it any more. Discarding twice changes nothing; a job that is not dead is
// a conflict.
func (r Jobs) Discard(id uuid.UUID) (*Job, error) {
	job, err := r.lock(id)
	switch {
	case err != nil || job.DiscardedAt != nil:
		return job, err
	case !job.Dead:
		return nil, fault.New(fault.Conflict, codeNotDead,
			"Only a job that ran out of attempts, and was not tried again, can be discarded.")
	}
	job.Dead, job.DiscardedAt = false, new(events.Time(time.Now()))
	r.tx.Audit("job", "discard", id, map[string]any{"dead": true}, map[string]any{"dead": false})
	return job, r.decide(job, map[string]any{"discarded_at": job.DiscardedAt})
}

// decide writes what somebody has decided about a job that has ended. Nothing is added to its log, which is over.
func (r Jobs) decide(job *Job, change map[string]any) error {
	job.UpdatedAt = r.tx.later(job.UpdatedAt)
	change["dead"], change["updated_at"] = false, job.UpdatedAt
	return explain(r.scoped().Where("id = ?", job.ID).Updates(change).Error, "decide about a job")
}

// States returns the newest changes of a job's status, at most limit, the oldest of them first.
func (r Jobs) States(job uuid.UUID, limit int) ([]events.Event, error) {
	var rows []JobEvent
	err := r.events(job).Where("type = ?", events.TypeJobState).Order("seq DESC").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, explain(err, "read the states of a job")
	}
	log := make([]events.Event, len(rows))
	for i, row := range rows {
		log[i] = row.Event()
	}
	slices.Reverse(log)
	return log, nil
}

// GetAll returns jobs in the order of their ids, in one statement, with their inputs as List has them. One that is missing is
// fault.NotFound.
func (r Jobs) GetAll(ids []uuid.UUID) ([]*Job, error) {
	var rows []*Job
	if err := r.listed().Where("id IN ?", ids).Find(&rows).Error; err != nil {
		return nil, explain(err, "read jobs")
	}
	byID := make(map[uuid.UUID]*Job, len(rows))
	for _, job := range rows {
		byID[job.ID] = job
	}
	jobs := make([]*Job, len(ids))
	for i, id := range ids {
		if jobs[i] = byID[id]; jobs[i] == nil {
			return nil, fault.New(fault.NotFound, "job.not_found", "There is no such job.")
		}
	}
	return jobs, nil
}

// firstState is the first line of a new job's log.
func (j *Job) firstState() events.JobState {
	state := events.JobState{Status: j.Status, WaitingOn: j.WaitingOn}
	if j.WaitingOn == events.WaitingSchedule {
		state.RunAt = new(events.Time(j.RunAt))
	}
	return state
}

// AgentRun decodes the input of an agent.run job.
func (j *Job) AgentRun() (in events.AgentRunInput, err error) {
	if err := json.Unmarshal(j.Input, &in); err != nil {
		return in, fmt.Errorf("store: decode the input of job %s: %w", j.ID, err)
	}
	return in, nil
}
