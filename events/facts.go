package events

import "time"

// JobState is written with every change of a job's status, in the transaction that changes it.
type JobState struct {
	Status    Status    `json:"status"`
	WaitingOn WaitingOn `json:"waiting_on,omitempty"`
	// Attempt counts claims that were charged; zero before the first.
	Attempt int `json:"attempt,omitempty"`
	// Worker names the process that has taken the job; set when it begins to run.
	Worker string `json:"worker,omitempty"`
	// RunAt is set while the job waits for its time.
	RunAt *time.Time `json:"run_at,omitempty"`
	// Error is set when the job failed, and when an attempt failed that will be tried again.
	Error *Failure `json:"error,omitempty"`
	// Dead marks a failure that ran out of attempts and can be redriven.
	Dead bool `json:"dead,omitempty"`
}

// EventType implements Fact.
func (JobState) EventType() Type { return TypeJobState }

// JobProgress tells how far a job is. Done never passes Total; Total zero means that it is not known yet.
type JobProgress struct {
	// Stage is what is being done: "parse", "chunk", "embed".
	Stage string `json:"stage"`
	Done  int    `json:"done"`
	Total int    `json:"total"`
}

// EventType implements Fact.
func (JobProgress) EventType() Type { return TypeJobProgress }

// StepKind names what a step of an agent run did.
type StepKind string

// The step kinds.
const (
	StepModelCall StepKind = "model_call"
	StepToolCall  StepKind = "tool_call"
	StepRetrieval StepKind = "retrieval"
)

// StepStarted is written before a step is tried. A second one for the same step means that the first try was lost with its
// worker; the text streamed since the first is void, and the step's text starts over.
type StepStarted struct {
	Step    int      `json:"step"`
	Kind    StepKind `json:"kind"`
	Name    string   `json:"name"`
	Attempt int      `json:"attempt"`
}

// EventType implements Fact.
func (StepStarted) EventType() Type { return TypeStepStarted }

// StepFinished is written with the step's journal entry. From here on the step is never done again.
type StepFinished struct {
	Step       int      `json:"step"`
	Kind       StepKind `json:"kind"`
	Name       string   `json:"name"`
	DurationMS int64    `json:"duration_ms"`
}

// EventType implements Fact.
func (StepFinished) EventType() Type { return TypeStepFinished }

// TextDelta is a piece of the text that a model call writes. Pieces are cut between characters.
type TextDelta struct {
	// Start is the Seq of the StepStarted event that opened this text; it tells one text from another.
	Start int64 `json:"start"`
	// Offset is where the piece begins in the text, in bytes of UTF-8.
	Offset int    `json:"offset"`
	Text   string `json:"text"`
}

// EventType implements Fact.
func (TextDelta) EventType() Type { return TypeTextDelta }

// End is the offset of the first byte after the piece.
func (d TextDelta) End() int { return d.Offset + len(d.Text) }

// After returns the part of the piece that begins at offset, and whether anything is left.
func (d TextDelta) After(offset int) (TextDelta, bool) {
	if offset <= d.Offset {
		return d, d.Text != ""
	}
	if offset >= d.End() {
		return TextDelta{}, false
	}
	return TextDelta{Start: d.Start, Offset: offset, Text: d.Text[offset-d.Offset:]}, true
}

// Usage is what a call to a model cost, in tokens.
type Usage struct {
	Model        string `json:"model"`
	InputTokens  int    `json:"input_tokens"`
	OutputTokens int    `json:"output_tokens"`
}

// EventType implements Fact.
func (Usage) EventType() Type { return TypeUsage }
