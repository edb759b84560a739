package events

import "time"

// Ready says that a tenant has jobs whose turn may come: of a kind, and none before this class and priority.
type Ready struct {
	TenantID string `json:"tenant_id"`
	Kind     Kind   `json:"kind"`
	Class    Class  `json:"class"`
	Priority int16  `json:"priority"`
	// Job is the one that it is about; nil when it is about several, or who tells does not know.
	Job *ReadyJob `json:"job,omitempty" db:"-"`
}

// ReadyJob is what the dispatcher has to know of a job to hand it out.
type ReadyJob struct {
	ID string `json:"id"`
	// AgentID is the agent that runs, if one does, and AgentLimit how many of its runs may be under way at once; 0 is no limit.
	AgentID    string `json:"agent_id,omitempty"`
	AgentLimit int    `json:"agent_limit,omitempty"`
}

// Before reports whether the turn of r comes before that of another one of the same tenant and kind: interactive before bulk, then
// the lower number.
func (r Ready) Before(other Ready) bool {
	if r.Class != other.Class {
		return r.Class == ClassInteractive
	}
	return r.Priority < other.Priority
}

// Nudge wakes the dispatcher after a commit that made jobs ready, or that will by the passing of time.
type Nudge struct {
	Ready []Ready `json:"ready,omitempty"`
	// DueInMS is in how many milliseconds the first of the others gets ready; zero means that there are none.
	DueInMS int64 `json:"due_in_ms,omitempty"`
}

// Commit is what a committed transaction has to tell: the events that it added to the logs of jobs, and the jobs that it made ready.
type Commit struct {
	Events []Event
	Ready  []Ready
	// DueIn is after what time the first of the jobs gets ready that wait for their time; zero means that there are none.
	DueIn time.Duration
}

// Add joins what another transaction, or another part of this one, has to tell.
func (c *Commit) Add(other Commit) {
	c.Events = append(c.Events, other.Events...)
	c.Ready = append(c.Ready, other.Ready...)
	c.Due(other.DueIn)
}

// Due notes that a job gets ready after some time; not above zero is no time.
func (c *Commit) Due(in time.Duration) {
	if in > 0 && (c.DueIn == 0 || in < c.DueIn) {
		c.DueIn = in
	}
}

// Flow is what a worker tells the dispatcher about the jobs that it was handed, so that the dispatcher knows which slots are free
// without asking Postgres. What gets lost is found out from Postgres within seconds.
type Flow struct {
	Worker string `json:"worker"`
	Kind   Kind   `json:"kind"`
	// Claimed jobs run from now on; Missed ones could not be claimed, because they run elsewhere or need not run any more.
	Claimed []string `json:"claimed,omitempty"`
	Missed  []string `json:"missed,omitempty"`
	Ended   []Ended  `json:"ended,omitempty"`
}

// Ended is a claim that is over, whatever became of the job.
type Ended struct {
	JobID string `json:"job_id"`
	// DurationMS is for how long it had a slot, in milliseconds; zero if it never had one.
	DurationMS float64 `json:"duration_ms"`
	// Outcome is what came of it; empty where that is not known.
	Outcome Outcome `json:"outcome,omitempty"`
}

// WorkerBeat says that a worker is alive. It is sent at its start, whenever its slots change, every few seconds, and once with
// Stopped when it leaves.
type WorkerBeat struct {
	// Worker names the process; it differs between processes. A process that takes several kinds beats for each.
	Worker  string `json:"worker"`
	Kind    Kind   `json:"kind"`
	Version string `json:"version"`
	// Slots is how many jobs of the kind it runs at once, Running how many it runs now.
	Slots   int `json:"slots"`
	Running int `json:"running"`
	// Jobs are the ids of those that run, at most BeatJobs of them.
	Jobs      []string  `json:"jobs,omitempty"`
	StartedAt time.Time `json:"started_at"`
	// Draining workers finish what they have and take nothing more.
	Draining bool `json:"draining,omitempty"`
	Stopped  bool `json:"stopped,omitempty"`
}

// Resize tells a worker how many jobs to run at once, until it is started anew. All others ignore it.
type Resize struct {
	// Worker is the process that is meant, Kind which of its kinds; empty is each of them.
	Worker string `json:"worker"`
	Kind   Kind   `json:"kind,omitempty"`
	Slots  int    `json:"slots"`
}

// BeatEvery is how often a worker beats; one that was silent for BeatLost is taken for dead.
const (
	BeatEvery = 2 * time.Second
	BeatLost  = 7 * time.Second
	BeatJobs  = 100
)
