package events

import "strings"

// Subjects builds every subject and stream name under one namespace, so that several environments can live on one NATS. It is
// the only place with subject strings.
//
//	<ns>.jobs.<kind>.<class>        JOBS stream, work queue: Dispatch
//	<ns>.events.<tenant>            EVENTS stream: a list of Events with a Seq, those of one commit
//	<ns>.live.<tenant>.<job>        core: Event without a Seq (text deltas)
//	<ns>.control.cancel             core: Cancel
//	<ns>.control.dispatch           core: Nudge
//	<ns>.control.flow               core: Flow
//	<ns>.control.worker             core: WorkerBeat
//	<ns>.control.roll               core: empty call for all workers to beat
//	<ns>.control.resize             core: Resize
//	<ns>.control.queue              core: QueueSnapshot
//	<ns>.control.access             core: AccessChanged
//	<ns>.rpc.search                 core, queue group: SearchRequest, SearchReply
type Subjects struct{ namespace string }

// NewSubjects returns the subjects of a namespace. It must be a single NATS token: letters, digits, '-' and '_'.
func NewSubjects(namespace string) Subjects { return Subjects{namespace} }

// JobsStream is the name of the work queue stream.
func (s Subjects) JobsStream() string { return s.stream("JOBS") }

// EventsStream is the name of the stream that keeps recent events for consumers outside the gateway.
func (s Subjects) EventsStream() string { return s.stream("EVENTS") }

// WorkerConsumer is the durable consumer that all workers of a kind share.
func (s Subjects) WorkerConsumer(k Kind) string {
	return strings.ReplaceAll(string(k), ".", "-") + "-workers"
}

// Job is where a job of this kind and class is dispatched.
func (s Subjects) Job(k Kind, c Class) string {
	return s.namespace + ".jobs." + string(k) + "." + string(c)
}

// JobsOf matches every dispatch of a kind.
func (s Subjects) JobsOf(k Kind) string { return s.namespace + ".jobs." + string(k) + ".>" }

// AllJobs matches every dispatch.
func (s Subjects) AllJobs() string { return s.namespace + ".jobs.>" }

// Events is where the logged events of a tenant's jobs are published, as lists.
func (s Subjects) Events(tenantID string) string { return s.namespace + ".events." + tenantID }

// TenantOf returns the tenant's id of a subject that Events made.
func (s Subjects) TenantOf(subject string) string {
	return subject[strings.LastIndexByte(subject, '.')+1:]
}

// AllEvents matches the logged events of all jobs of all tenants.
func (s Subjects) AllEvents() string { return s.namespace + ".events.>" }

// Live is where a job's text deltas are published at once.
func (s Subjects) Live(tenantID, jobID string) string {
	return s.namespace + ".live." + tenantID + "." + jobID
}

// AllLive matches the live deltas of all jobs of all tenants.
func (s Subjects) AllLive() string { return s.namespace + ".live.>" }

// JobOf returns the job's id of a subject that Live made.
func (s Subjects) JobOf(subject string) string {
	return subject[strings.LastIndexByte(subject, '.')+1:]
}

// Cancel is where cancellations are broadcast to the workers.
func (s Subjects) Cancel() string { return s.namespace + ".control.cancel" }

// Nudge wakes the dispatcher, wherever it runs.
func (s Subjects) Nudge() string { return s.namespace + ".control.dispatch" }

// Flow is where workers tell the dispatcher what became of the jobs that it handed out.
func (s Subjects) Flow() string { return s.namespace + ".control.flow" }

// Worker is where workers say that they are alive.
func (s Subjects) Worker() string { return s.namespace + ".control.worker" }

// Roll is where a gateway that has just started asks all workers to beat.
func (s Subjects) Roll() string { return s.namespace + ".control.roll" }

// Resize is where workers are told how many jobs to run at once.
func (s Subjects) Resize() string { return s.namespace + ".control.resize" }

// Queue is where the gateway that leads the dispatch tells how the queues stand.
func (s Subjects) Queue() string { return s.namespace + ".control.queue" }

// Access is where gateways tell each other that somebody may do more or less than before.
func (s Subjects) Access() string { return s.namespace + ".control.access" }

// Search is the request-reply subject of retrieval, answered by the embedding workers as one queue group.
func (s Subjects) Search() string { return s.namespace + ".rpc.search" }

func (s Subjects) stream(name string) string { return strings.ToUpper(s.namespace) + "_" + name }
