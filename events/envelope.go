package events

import (
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Type names a fact in a job's log.
type Type string

// The facts. Each has a struct of its name that says what Data holds.
const (
	TypeJobState     Type = "job.state"
	TypeJobProgress  Type = "job.progress"
	TypeStepStarted  Type = "step.started"
	TypeStepFinished Type = "step.finished"
	TypeTextDelta    Type = "text.delta"
	TypeUsage        Type = "usage"
)

// Types returns every fact type, in a stable order.
func Types() []Type {
	return []Type{TypeJobState, TypeJobProgress, TypeStepStarted, TypeStepFinished, TypeTextDelta, TypeUsage}
}

// Event is one fact about one job.
type Event struct {
	JobID    string `json:"job_id"`
	TenantID string `json:"tenant_id"`
	// Seq orders the log of one job: 1, 2, 3 without gaps. Zero marks a live text delta, which is not in the log.
	Seq  int64           `json:"seq"`
	Type Type            `json:"type"`
	Time time.Time       `json:"time"`
	Data json.RawMessage `json:"data"`
}

// Terminal reports whether the event ends its job's log.
func (e Event) Terminal() bool {
	if e.Type != TypeJobState {
		return false
	}
	var s struct {
		Status Status `json:"status"`
	}
	return json.Unmarshal(e.Data, &s) == nil && s.Status.Terminal()
}

// Fact is what can stand in an event's Data.
type Fact interface{ EventType() Type }

// Position is how far a reader has come in one job's stream: every event up to Seq, and of the text that was being written then
// the first Offset bytes. Its text form is the SSE event id. The zero Position is the beginning.
type Position struct {
	Seq    int64
	Offset int
}

// ErrPosition is returned for a text that is no position.
var ErrPosition = errors.New("events: malformed position")

// String returns "seq", or "seq.offset" inside a text.
func (p Position) String() string {
	if p.Offset == 0 {
		return itoa(p.Seq)
	}
	return itoa(p.Seq) + "." + itoa(int64(p.Offset))
}

// ParsePosition reads what String wrote; the empty string is the beginning.
func ParsePosition(s string) (Position, error) {
	if s == "" {
		return Position{}, nil
	}
	seq, offset, inText := strings.Cut(s, ".")
	var p Position
	var err error
	if p.Seq, err = strconv.ParseInt(seq, 10, 64); err != nil || p.Seq < 0 {
		return Position{}, fmt.Errorf("%w: %q", ErrPosition, s)
	}
	if inText {
		if p.Offset, err = strconv.Atoi(offset); err != nil || p.Offset < 0 {
			return Position{}, fmt.Errorf("%w: %q", ErrPosition, s)
		}
	}
	return p, nil
}

func itoa(n int64) string { return strconv.FormatInt(n, 10) }
