package history

import (
	"encoding/json"
	"time"

	"github.com/tarento/copilot/events"
)

// Job is all that was seen of one job.
type Job struct {
	ID   string
	Kind events.Kind
	// Mark is what the plan knows the job by; empty for parts of others.
	Mark string
	// Accepted says that a client was told of the job, which promises that it ends.
	Accepted bool
	// RunAt is when it may begin, as its client wished; the zero time is at once.
	RunAt time.Time
	// Wanted is what must become of it.
	Wanted Wanted
	// Record is the job's row after everything; nil when there is none.
	Record *Record
	// Changes are the changes of its row in the order of commits, the first of which made it.
	Changes []Change
	// Log is its log in the order of sequence numbers.
	Log []Entry
	// Steps is its journal in the order of step numbers.
	Steps []Step
	// Calls are the model calls made for it, in the order of their arrival at the provider.
	Calls []Call
	// Readers followed its stream from the beginning to its end.
	Readers []Reader
}

// Wanted is what must become of a job. The zero value only wants it to end.
type Wanted struct {
	// Status is how the job ends, unless it has used up its attempts; empty leaves it open.
	Status events.Status
	// Cancelled says that a client was told that the job is cancelled, which is final.
	Cancelled bool
	// Text is what the last model call wrote, if the job succeeds; empty leaves it open.
	Text string
}

// Record is a job's row after everything.
type Record struct {
	Status         events.Status
	Attempt        int
	Epoch, LastSeq int64
	// Dead says that the job has used up its attempts, and that nobody has decided about it since.
	Dead bool
	// Part says that the job is a part of another.
	Part bool
	// Tenant is the organization that it belongs to.
	Tenant string
	// RetryOf is the job that it does again, RetriedAs the one that does it again; empty when there is none.
	RetryOf, RetriedAs string
}

// Change is one change of a job's status, epoch or attempt.
type Change struct {
	At time.Time
	// Writer is the process that made it.
	Writer string
	// From is empty for the change that made the job.
	From, To events.Status
	// EpochBefore and Epoch are the lease's epoch before and after it.
	EpochBefore, Epoch int64
	Attempt            int
	// LeaseLeft is how long the lease would have held on; negative when it had run out.
	LeaseLeft time.Duration
	// Tx tells transactions apart.
	Tx int64
}

// Claims tells whether the change gave the job to its writer.
func (c Change) Claims() bool { return c.To == events.StatusRunning && c.Epoch > c.EpochBefore }

// Written says when and by whom something was written about a job.
type Written struct {
	At     time.Time
	Writer string
	// Epoch and Status are those of the job in the transaction that wrote it.
	Epoch  int64
	Status events.Status
	// Tx tells transactions apart.
	Tx int64
}

// Entry is one event of a job's log.
type Entry struct {
	Seq  int64
	Type events.Type
	Data json.RawMessage
	Written
}

// Step is one entry of a job's journal.
type Step struct {
	No      int
	Kind    events.StepKind
	Attempt int
	Written
}

// Call is one model call.
type Call struct {
	// Worker is the process that made it.
	Worker string
	// Turn is how many turns of the model the call already knew: 0 is the first call of a run.
	Turn  int
	Began time.Time
	// Answered says that the whole answer was delivered.
	Answered bool
}

// Reader is a client that followed a job's stream, however often it had to connect.
type Reader struct {
	Name  string
	Shown []Shown
	// Connections counts how often it connected.
	Connections int
	// Ended says that it saw the job's end.
	Ended bool
}

// Shown is one event as a reader was shown it.
type Shown struct {
	// ID is the position that the reader would have resumed at.
	ID   string
	Type events.Type
	Data json.RawMessage
}

// Promise is what must hold for each job.
type Promise string

// The promises, in the order in which a report tells of them.
const (
	// Kept: an accepted job is there and ends.
	Kept Promise = "lost"
	// EndsOnce: no job ends twice or goes on after its end.
	EndsOnce Promise = "ended twice"
	// MadeOnce: an Idempotency-Key stands for one job.
	MadeOnce Promise = "made twice"
	// EndsRight: a job ends as it must, and a confirmed cancel is final.
	EndsRight Promise = "ended wrongly"
	// Legal: each change is one of the state machine's, and the epoch rises with each claim.
	Legal Promise = "illegal transitions"
	// Fenced: who has lost a job writes nothing for it any more.
	Fenced Promise = "stale writes"
	// StepsOnce: what is journalled is never done again.
	StepsOnce Promise = "journalled steps repeated"
	// LogWhole: sequence numbers are 1 to n, and the log ends with the job's end.
	LogWhole Promise = "logs with gaps"
	// ShownOnce: a reader sees each event once, in order, and the exact text.
	ShownOnce Promise = "streams that lie"
	// FedOnce: a reader of an organization's feed sees each event of each of its jobs once and in order, over all its connections.
	FedOnce Promise = "feeds that lie"
	// Whole: a batch is accepted as a whole, or not at all.
	Whole Promise = "batches in part"
	// InTime: a job does not begin before its time.
	InTime Promise = "begun too early"
	// Told: a webhook is told of each end that it asked for at least once, each with one message of one id and one body, and of
	// nothing else.
	Told Promise = "webhooks not told, or wrongly"
	// RetriedOnce: a job that has ended without success is made anew once at most, and the two name each other.
	RetriedOnce Promise = "retried twice, or wrongly"
)

// Promises returns all promises, in their order.
func Promises() []Promise {
	return []Promise{
		Kept, EndsOnce, MadeOnce, EndsRight, Legal, Fenced, StepsOnce, LogWhole, ShownOnce, FedOnce, Whole, InTime, Told, RetriedOnce,
	}
}

// Violation is one broken promise.
type Violation struct {
	Promise Promise `json:"promise"`
	// Job is the job's id, or the Idempotency-Key's marker for MadeOnce and Whole.
	Job string `json:"job"`
	// Of is the job's kind and mark.
	Of string `json:"of,omitempty"`
	// What was seen, for people.
	What string `json:"what"`
}

// Submit is what clients got for one Idempotency-Key.
type Submit struct {
	Key string
	// Answered are the jobs of all answers that accepted it, Made those that the record has for it.
	Answered, Made []string
}

// Batch is what clients got for one Idempotency-Key under which several jobs were submitted together.
type Batch struct {
	Key string
	// Size is how many jobs it is of.
	Size int
	// Answered are the jobs of each answer that accepted it, in its order; Made are those that the record has for it.
	Answered [][]string
	Made     []string
}

// Tally counts what is no violation, and worth knowing.
type Tally struct {
	// Unjournalled counts model calls that were made again because their answer was lost before the journal had it.
	Unjournalled int `json:"unjournalled_calls_repeated"`
	// Zombie counts model calls by a worker that had lost the job without knowing.
	Zombie int `json:"calls_by_zombies"`
	// Calls counts all model calls of runs.
	Calls int `json:"model_calls"`
	// Claims counts how often jobs were claimed, LeasesLost how many claims ended without a word of their worker.
	Claims     int `json:"claims"`
	LeasesLost int `json:"leases_lost"`
	// Dead counts jobs that used up their attempts.
	Dead int `json:"dead"`
	// Shown counts events that readers saw, Connections how often they connected.
	Shown       int `json:"events_shown"`
	Connections int `json:"connections"`
}

// Add adds another tally.
func (t *Tally) Add(o Tally) {
	t.Unjournalled += o.Unjournalled
	t.Zombie += o.Zombie
	t.Calls += o.Calls
	t.Claims += o.Claims
	t.LeasesLost += o.LeasesLost
	t.Dead += o.Dead
	t.Shown += o.Shown
	t.Connections += o.Connections
}
