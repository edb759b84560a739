package store

import (
	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
)

// Locks are taken parent first, then children in the order of their ids, so that a child's end, a parent's cancel and the renewal of
// several children never wait for each other in a circle.

// lockParent locks the parent of a job, if it has one, and returns it; for an end of the job that is everybody's, with all its open
// children.
func (r Jobs) lockParent(id uuid.UUID, everybodys bool) (*Job, error) {
	job, err := r.Get(id)
	if err != nil || job.ParentID == nil {
		return nil, err
	}
	parent, err := r.lock(*job.ParentID)
	if err == nil && everybodys {
		_, err = r.lockChildren(parent.ID)
	}
	return parent, err
}

// lockChildren locks the open children of a job and returns them.
func (r Jobs) lockChildren(parent uuid.UUID) (children []*Job, err error) {
	err = r.scoped().Where("parent_id = ? AND status IN ?", parent, open()).Order("id").Clauses(forUpdate()).Find(&children).Error
	return children, explain(err, "lock child jobs")
}

// Cancel ends a job at once, wherever it is, and its open children with it. A worker that runs it has lost its lease with the
// commit, so it writes nothing more. Cancelling a cancelled job changes nothing; one that ended otherwise
// is a conflict, and so is one that only follows a change of a document: document.delete and document.sync.
func (r Jobs) Cancel(id uuid.UUID) (*Job, error) {
	parent, err := r.lockParent(id, true)
	if err != nil {
		return nil, err
	}
	job, err := r.lock(id)
	if err != nil {
		return nil, err
	}
	switch {
	case job.Status == events.StatusCancelled:
		return job, nil
	case job.Status.Terminal():
		return nil, fault.New(fault.Conflict, "job.ended", "The job has already %s; it cannot be cancelled.", job.Status)
	case job.Kind == events.KindDocumentDelete, job.Kind == events.KindDocumentSync:
		// Nobody could ask for it again: the document has been deleted or changed.
		return nil, fault.New(fault.Conflict, "job.uncancellable", "The job finishes what was decided; it cannot be cancelled.")
	}
	if err := r.cancel(job); err != nil {
		return nil, err
	}
	if err := r.settle(job, parent, Ending{status: events.StatusCancelled}); err != nil {
		return nil, err
	}
	return r.Get(id)
}

// overdue is how a job fails whose deadline has passed.
func overdue() events.Failure {
	return events.Failure{Code: "job.deadline", Message: "The job was not done by its deadline."}
}

// Expire fails a job that no worker holds and whose deadline has passed, and its open children with it. Any other is left as it is.
func (r Jobs) Expire(id uuid.UUID) error {
	parent, err := r.lockParent(id, true)
	if err != nil {
		return err
	}
	job, err := r.lock(id)
	if err != nil {
		return err
	}
	now, err := r.clock()
	if err != nil {
		return err
	}
	if job.DeadlineAt == nil || now.Before(*job.DeadlineAt) || job.Status.Terminal() || job.Status == events.StatusRunning {
		return nil
	}
	ending := Fail(overdue(), false)
	change, err := ending.columns(job)
	if err != nil {
		return err
	}
	state := events.JobState{Status: ending.status, Attempt: job.Attempt, Error: ending.failure}
	if err := r.move(job, change, state); err != nil {
		return err
	}
	return r.settle(job, parent, ending)
}

func (r Jobs) cancel(job *Job) error {
	return r.move(job, map[string]any{
		"status": events.StatusCancelled, "waiting_on": "", "lease_epoch": job.LeaseEpoch + 1,
		"leased_by": nil, "lease_expires_at": nil, "finished_at": asOfNow(),
	}, events.JobState{Status: events.StatusCancelled, Attempt: job.Attempt})
}

// settle draws the consequences of a job's end, in its transaction: it is the one place where they are.
func (r Jobs) settle(job, parent *Job, e Ending) error {
	if e.status != events.StatusSucceeded {
		if err := r.cancelChildren(job.ID); err != nil {
			return err
		}
	}
	if job.Kind == events.KindDocumentIngest && job.DocumentID != nil {
		if err := r.settleDocument(job, e); err != nil {
			return err
		}
	}
	if job.Kind == events.KindWebhookDeliver && e.status != events.StatusSucceeded {
		if err := r.tx.WebhookDeliveries().abandon(job); err != nil {
			return err
		}
	}
	if parent == nil || parent.Status != events.StatusWaiting {
		return nil
	}
	return r.settleParent(job, parent, e)
}

func (r Jobs) cancelChildren(parent uuid.UUID) error {
	children, err := r.lockChildren(parent)
	if err != nil {
		return err
	}
	for _, child := range children {
		if err := r.cancel(child); err != nil {
			return err
		}
	}
	return nil
}

func (r Jobs) settleParent(job, parent *Job, e Ending) error {
	if e.status != events.StatusSucceeded {
		failure := events.Failure{Code: "job.child_cancelled", Message: "A part of the work was cancelled."}
		if e.failure != nil {
			failure = *e.failure
		}
		return r.endParent(parent, Fail(failure, e.dead), 0)
	}
	parent.ChildrenOpen--
	parent.ProgressDone += job.ProgressTotal
	if parent.ChildrenOpen == 0 {
		return r.endParent(parent, Succeed(nil), parent.ProgressDone)
	}
	return r.move(parent, map[string]any{"children_open": parent.ChildrenOpen, "progress_done": parent.ProgressDone},
		events.JobProgress{Stage: stageOf(parent.Kind), Done: parent.ProgressDone, Total: parent.ProgressTotal})
}

func (r Jobs) endParent(parent *Job, e Ending, done int) error {
	change, err := e.columns(parent)
	if err != nil {
		return err
	}
	change["children_open"] = parent.ChildrenOpen
	var facts []events.Fact
	if done > 0 {
		facts = append(facts, events.JobProgress{Stage: stageOf(parent.Kind), Done: done, Total: parent.ProgressTotal})
	}
	facts = append(facts, events.JobState{Status: e.status, Attempt: parent.Attempt, Error: e.failure, Dead: e.dead})
	if err := r.move(parent, change, facts...); err != nil {
		return err
	}
	return r.settle(parent, nil, e)
}

// settleDocument tells the document how its ingest has ended. A deleted one is the concern of its document.delete job.
func (r Jobs) settleDocument(ingest *Job, e Ending) error {
	documents, id := r.tx.Documents(), *ingest.DocumentID
	d, err := documents.GetBrief(id)
	if err != nil || !d.IsActive {
		return err
	}
	switch e.status {
	case events.StatusSucceeded:
		err = documents.SetCompleted(id)
	case events.StatusFailed:
		err = documents.SetFailed(id, e.failure.Message)
	default:
		err = documents.SetFailed(id, "Processing was cancelled.")
	}
	if err != nil {
		return err
	}
	// The vector store keeps what is not searched any more until it is told, be it of the indexing before or of this one.
	stale, err := r.tx.Chunks().Stale(id)
	if err != nil || len(stale) == 0 {
		return err
	}
	sweep := d.Sync(ingest.CreatedBy)
	sweep.Class, sweep.Traceparent = events.ClassBulk, ingest.Traceparent
	_, err = r.Submit(sweep)
	return err
}

// lockIngest locks the open document.ingest job of a document, and with it the ends of its children. There is one at most.
func (r Jobs) lockIngest(document uuid.UUID) (ingest []*Job, err error) {
	err = r.scoped().Where("kind = ? AND document_id = ? AND status IN ?", events.KindDocumentIngest, document, open()).
		Clauses(forUpdate()).Find(&ingest).Error
	return ingest, explain(err, "lock the ingest of a document")
}

// stop cancels locked jobs that have no parent, with their children, and returns all of them.
func (r Jobs) stop(jobs []*Job) (stopped []uuid.UUID, err error) {
	for _, job := range jobs {
		var children []uuid.UUID
		if err := r.scoped().Where("parent_id = ? AND status IN ?", job.ID, open()).Pluck("id", &children).Error; err != nil {
			return nil, explain(err, "list child jobs")
		}
		if err := r.cancel(job); err != nil {
			return nil, err
		}
		if err := r.settle(job, nil, Ending{status: events.StatusCancelled}); err != nil {
			return nil, err
		}
		stopped = append(append(stopped, job.ID), children...)
	}
	return stopped, nil
}

// open are the statuses of jobs that have not ended.
func open() []events.Status {
	return []events.Status{events.StatusQueued, events.StatusRunning, events.StatusWaiting}
}
