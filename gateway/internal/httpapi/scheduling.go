package httpapi

import (
	"time"

	"github.com/tarento/copilot/pkg/store"
)

// Scheduling says when a job may begin, which others of the organization it goes before, and by when it must have ended.
type Scheduling struct {
	RunAt          *time.Time `json:"run_at,omitempty" nullable:"true" example:"2030-01-01T06:00:00Z" doc:"When it may begin, at most a year ahead; at once when it is left out or past"`
	Priority       int16      `json:"priority,omitempty" minimum:"1" maximum:"9" example:"5" doc:"Which of the organization's jobs of its class go first: 1 before 9; 5 when it is left out"`
	TimeoutSeconds int        `json:"timeout_seconds,omitempty" minimum:"1" maximum:"31536000" example:"3600" doc:"How long after run_at, or after now, it fails if it has not ended; instead of deadline_at"`
	DeadlineAt     *time.Time `json:"deadline_at,omitempty" nullable:"true" example:"2030-01-01T07:00:00Z" doc:"When it fails if it has not ended; never when it is left out"`
}

// schedule writes it into a job that is submitted now.
func (c Scheduling) schedule(job *store.NewJob, now time.Time) error {
	job.Priority = c.Priority
	begin := now
	if c.RunAt != nil && c.RunAt.After(now) {
		if c.RunAt.After(now.AddDate(1, 0, 0)) {
			return invalid("body.run_at", "expected a moment at most a year ahead")
		}
		begin, job.RunAt = *c.RunAt, *c.RunAt
	}
	switch {
	case c.DeadlineAt != nil && c.TimeoutSeconds > 0:
		return invalid("body.deadline_at", "expected none beside timeout_seconds")
	case c.DeadlineAt != nil && !c.DeadlineAt.After(begin):
		return invalid("body.deadline_at", "expected a moment after now and after run_at")
	case c.DeadlineAt != nil:
		job.DeadlineAt = *c.DeadlineAt
	case c.TimeoutSeconds > 0:
		job.DeadlineAt = begin.Add(time.Duration(c.TimeoutSeconds) * time.Second)
	default:
	}
	return nil
}
