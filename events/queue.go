package events

import "time"

// QueueSnapshot tells every gateway how the queues stand. The one that leads the dispatch sends it about once a second while there is
// work, and once more when there is none any more. What is older than QueueFresh says nothing.
type QueueSnapshot struct {
	// Kinds has one entry for each kind of jobs.
	Kinds []KindQueue `json:"kinds"`
}

// QueueFresh is for how long a snapshot is believed.
const QueueFresh = 5 * time.Second

// QueueTenants is of how many tenants a snapshot tells, and QueueAgents of how many agents, for each kind: a message has room for so many.
const (
	QueueTenants = 500
	QueueAgents  = 500
)

// KindQueue is the queue of a kind.
type KindQueue struct {
	Kind Kind `json:"kind"`
	// Workers is how many processes take jobs, Slots how many jobs they run at once all together, Free how many more they could take.
	Workers int `json:"workers"`
	Slots   int `json:"slots"`
	Free    int `json:"free"`
	// MeanMS is how long a worker had a job of late on average, in milliseconds; zero is not known.
	MeanMS float64 `json:"mean_ms,omitempty"`
	// Tenants are those that have jobs under way or in the queue, those with the most first.
	Tenants []TenantQueue `json:"tenants,omitempty"`
	// FullAgents are the ids of agents that have as many runs under way as they may.
	FullAgents []string `json:"full_agents,omitempty"`
}

// TenantQueue is what a tenant has in the queue of a kind.
type TenantQueue struct {
	TenantID string `json:"tenant_id"`
	// Interactive and Bulk are how many jobs of these classes wait for their turn.
	Interactive int `json:"interactive,omitempty"`
	Bulk        int `json:"bulk,omitempty"`
	UnderWay    int `json:"under_way,omitempty"`
	// Weight is the tenant's share in relation to others; MaxRunning is how many jobs it may have under way, zero is no limit.
	Weight     int `json:"weight"`
	MaxRunning int `json:"max_running,omitempty"`
}

// Full reports whether the tenant has as many jobs under way as it may.
func (t TenantQueue) Full() bool { return t.MaxRunning > 0 && t.UnderWay >= t.MaxRunning }

// Outcome is what came of a claim.
type Outcome string

// The outcomes. Of those that leave the job in the queue, only a retry has used up an attempt.
const (
	OutcomeSucceeded Outcome = "succeeded"
	OutcomeFailed    Outcome = "failed"
	OutcomeDead      Outcome = "dead"    // failed, because no attempt is left
	OutcomeRetried   Outcome = "retried" // failed, and will be tried again
	OutcomeSnoozed   Outcome = "snoozed" // put off
	OutcomeWaiting   Outcome = "waiting" // for the jobs that it was parted into
	OutcomeLost      Outcome = "lost"    // cancelled or taken over
)

// Outcomes returns every outcome, in a stable order.
func Outcomes() []Outcome {
	return []Outcome{
		OutcomeSucceeded, OutcomeFailed, OutcomeDead, OutcomeRetried, OutcomeSnoozed, OutcomeWaiting, OutcomeLost,
	}
}
