package events

import (
	"slices"
	"time"
)

// Kind names what a job does and which worker takes it.
type Kind string

// The job kinds.
const (
	KindAgentRun        Kind = "agent.run"
	KindDocumentIngest  Kind = "document.ingest"
	KindDocumentDelete  Kind = "document.delete"
	KindDocumentSync    Kind = "document.sync"
	KindEmbeddingCreate Kind = "embedding.create"
	// KindWebhookDeliver is the service's own work: lists of jobs leave it out, and no webhook tells of it.
	KindWebhookDeliver Kind = "webhook.deliver"
)

// Kinds returns every kind, in a stable order.
func Kinds() []Kind {
	return []Kind{
		KindAgentRun, KindDocumentIngest, KindDocumentDelete, KindDocumentSync, KindEmbeddingCreate, KindWebhookDeliver,
	}
}

// Valid reports whether the kind is one of Kinds.
func (k Kind) Valid() bool { return slices.Contains(Kinds(), k) }

// Class separates work that a person waits for from work that may take its time. Interactive is dispatched first.
type Class string

// The classes.
const (
	ClassInteractive Class = "interactive"
	ClassBulk        Class = "bulk"
)

// Status is a job's place in the state machine, as clients see it.
type Status string

// The statuses.
const (
	StatusQueued    Status = "queued"
	StatusRunning   Status = "running"
	StatusWaiting   Status = "waiting"
	StatusSucceeded Status = "succeeded"
	StatusFailed    Status = "failed"
	StatusCancelled Status = "cancelled"
)

// Statuses returns every status, in the order of a job's life.
func Statuses() []Status {
	return []Status{StatusQueued, StatusRunning, StatusWaiting, StatusSucceeded, StatusFailed, StatusCancelled}
}

// Terminal reports whether a job in this status will never change again.
func (s Status) Terminal() bool {
	return s == StatusSucceeded || s == StatusFailed || s == StatusCancelled
}

// Transitions holds, for each status, the statuses that may follow it. A terminal status has none.
func Transitions() map[Status][]Status {
	return map[Status][]Status{
		StatusQueued:  {StatusRunning, StatusFailed, StatusCancelled},
		StatusRunning: {StatusRunning, StatusQueued, StatusWaiting, StatusSucceeded, StatusFailed, StatusCancelled},
		StatusWaiting: {StatusSucceeded, StatusFailed, StatusCancelled},
	}
}

// CanBecome reports whether a job may go from s to next.
func (s Status) CanBecome(next Status) bool { return slices.Contains(Transitions()[s], next) }

// WaitingOn says why a queued or waiting job does not run at this moment.
type WaitingOn string

// The reasons. Of a job that is ready the record says fairness; whether it is rather a worker or a quota that it waits for changes from
// moment to moment, and is found out when somebody asks.
const (
	WaitingNothing  WaitingOn = ""         // running or ended
	WaitingDispatch WaitingOn = "fairness" // its turn has not come
	WaitingWorker   WaitingOn = "worker"   // it would be its turn, but no worker is alive or all are busy
	WaitingSchedule WaitingOn = "schedule" // its time has not come: scheduled, or tried again later
	WaitingProvider WaitingOn = "provider" // the model provider asked for a pause
	WaitingQuota    WaitingOn = "quota"    // the tenant or the agent has as much under way as it may
	WaitingApproval WaitingOn = "approval" // a person must agree
	WaitingChildren WaitingOn = "children" // its child jobs are still open
)

// Dispatch is the message on the JOBS stream. It carries no input: the worker claims the job in Postgres and gets it there,
// so a message that is lost, doubled or late can do no harm.
type Dispatch struct {
	JobID    string `json:"job_id"`
	TenantID string `json:"tenant_id"`
	Kind     Kind   `json:"kind"`
	// Number tells the dispatches of one job apart; with JobID it makes the message id.
	Number int64 `json:"number"`
}

// MessageID is the broker's deduplication id: one per job and dispatch, because an id that was used once stays blocked for the
// dedup window even after its message was acknowledged.
func (d Dispatch) MessageID() string { return d.JobID + "." + itoa(d.Number) }

// Cancel is broadcast to all workers when a job was cancelled. Whoever runs it stops; everybody else ignores it.
type Cancel struct {
	JobID string `json:"job_id"`
}

// Failure tells why a job did not succeed, in words that are safe to show.
type Failure struct {
	// Code is stable and machine-readable, such as "document.encrypted".
	Code string `json:"code"`
	// Message says what happened and, where something can be done, what.
	Message string `json:"message"`
}

// Time is the wire form of a moment: RFC 3339 in UTC with microseconds, what Postgres keeps.
func Time(t time.Time) time.Time { return t.UTC().Truncate(time.Microsecond) }
