package client

import (
	"encoding/json"
	"time"
)

// EventType says what happened to a job. Others may come with a later server: leave out what you do not know.
type EventType string

// What happens to a job, and the type of an event's data.
const (
	EventJobState     EventType = "job.state"     // [JobState]
	EventJobProgress  EventType = "job.progress"  // [JobProgress]
	EventStepStarted  EventType = "step.started"  // [StepStarted]
	EventStepFinished EventType = "step.finished" // [StepFinished]
	EventTextDelta    EventType = "text.delta"    // [TextDelta]
	EventUsage        EventType = "usage"         // [TokenUsage]

	// EventFeedRestarted begins a feed that goes on after the server's database was restored, or has failed over: events of the time
	// before may come again. It has no data.
	EventFeedRestarted EventType = "feed.restarted"

	// These are about the connection, and are dealt with before anybody sees them.
	eventTokenExpired  EventType = "token.expired"
	eventAccessChanged EventType = "access.changed"
	eventAccessRevoked EventType = "access.revoked"
	eventReaderSlow    EventType = "reader.slow"
	eventError         EventType = "error"
)

// FeedEvent is the data of every event that tells of one job among all, as those of [Client.FollowEvents] do.
type FeedEvent struct {
	JobID string  `json:"job_id"`
	Kind  JobKind `json:"kind"`
	// Seq counts the events of a job from 1.
	Seq  int64     `json:"seq"`
	Type EventType `json:"type"`
	Time time.Time `json:"time"`
	// Data is what the event's type says.
	Data json.RawMessage `json:"data"`
}

// JobState tells that a job has another status.
type JobState struct {
	Status JobStatus `json:"status"`
	// WaitingOn is why a queued or waiting job does not run.
	WaitingOn string `json:"waiting_on"`
	// Attempt counts from 1.
	Attempt int `json:"attempt"`
	// Worker names the process that took the job, when it begins to run.
	Worker string `json:"worker"`
	// RunAt is when the next attempt begins, as far as that is known.
	RunAt *time.Time `json:"run_at"`
	// Error is why an attempt failed; also when another follows.
	Error *JobError `json:"error"`
	Dead  bool      `json:"dead"`
}

// StepStarted tells that a run begins a step.
type StepStarted struct {
	Step    int      `json:"step"`
	Kind    StepKind `json:"kind"`
	Name    string   `json:"name"`
	Attempt int      `json:"attempt"`
}

// StepFinished tells that a run has finished a step.
type StepFinished struct {
	Step       int      `json:"step"`
	Kind       StepKind `json:"kind"`
	Name       string   `json:"name"`
	DurationMS int64    `json:"duration_ms"`
}

// TextDelta is a piece of the text that a model writes. [Transcript] puts the pieces together.
type TextDelta struct {
	// Start tells the texts of a run from each other; a larger one replaces the text before.
	Start int64 `json:"start"`
	// Offset is where the piece begins in its text, in bytes.
	Offset int    `json:"offset"`
	Text   string `json:"text"`
}

// TokenUsage is what a run has cost so far, in tokens.
type TokenUsage struct {
	Model        string `json:"model"`
	InputTokens  int    `json:"input_tokens"`
	OutputTokens int    `json:"output_tokens"`
}

// Transcript puts the pieces of a run together to the text that its last model call wrote. The zero value is empty.
type Transcript struct {
	start int64
	text  []byte
	end   int // offset of the byte that comes next
}

// Add returns the part of the piece that is new, and whether it opens another text, which replaces the one so far. A piece of a
// text that was replaced already yields nothing.
func (t *Transcript) Add(d TextDelta) (piece string, restarted bool) {
	if d.Start < t.start {
		return "", false
	}
	if d.Start > t.start {
		restarted = len(t.text) > 0
		t.start, t.end, t.text = d.Start, 0, nil
	}
	known := max(0, t.end-d.Offset)
	if known >= len(d.Text) {
		return "", restarted
	}
	piece = d.Text[known:]
	t.end = d.Offset + len(d.Text)
	t.text = append(t.text, piece...)
	return piece, restarted
}

// String is the text so far.
func (t *Transcript) String() string { return string(t.text) }
