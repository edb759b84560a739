package store

import (
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"

	"github.com/tarento/copilot/events"
)

// JobEvent is one line of a job's log.
type JobEvent struct {
	JobID          uuid.UUID       `gorm:"column:job_id;primaryKey"`
	OrganizationID uuid.UUID       `gorm:"column:organization_id"`
	Seq            int64           `gorm:"column:seq;primaryKey"`
	Type           events.Type     `gorm:"column:type"`
	Data           json.RawMessage `gorm:"column:data"`
	CreatedAt      time.Time       `gorm:"column:created_at"`
}

// TableName implements GORM's Tabler.
func (JobEvent) TableName() string { return "job_events" }

// Event returns the wire form.
func (e JobEvent) Event() events.Event {
	return events.Event{
		JobID: e.JobID.String(), TenantID: e.OrganizationID.String(), Seq: e.Seq, Type: e.Type,
		Time: events.Time(e.CreatedAt), Data: e.Data,
	}
}

func newEvent(job, org uuid.UUID, seq int64, now time.Time, fact events.Fact) (JobEvent, error) {
	data, err := json.Marshal(fact)
	if err != nil {
		return JobEvent{}, fmt.Errorf("store: encode %s: %w", fact.EventType(), err)
	}
	return JobEvent{JobID: job, OrganizationID: org, Seq: seq, Type: fact.EventType(), Data: data, CreatedAt: now}, nil
}

// appendEvents writes facts, as of a moment, as the last events of a job whose last_seq was just raised to last under the row lock.
func (tx *Tx) appendEvents(job uuid.UUID, last int64, at time.Time, facts ...events.Fact) error {
	if len(facts) == 0 {
		return nil
	}
	at, first := events.Time(at), last-int64(len(facts)-1)
	types, data := make([]string, len(facts)), make([]string, len(facts))
	for i, fact := range facts {
		row, err := newEvent(job, tx.tenant.UUID(), first+int64(i), at, fact)
		if err != nil {
			return err
		}
		types[i], data[i] = string(row.Type), string(row.Data)
		tx.told.Events = append(tx.told.Events, row.Event())
	}
	_, err := tx.exec(`INSERT INTO job_events (job_id, organization_id, seq, type, data, created_at, xid)
		SELECT $1, $2, $3 + e.n - 1, e.type, e.data::json, $4, `+inTurn("$1", "$3")+`
		FROM unnest($5::text[], $6::text[]) WITH ORDINALITY AS e(type, data, n)`, job, tx.tenant.UUID(), first, at, types, data)
	return explain(err, "insert events")
}

// inTurn is the place in the feed of an event that follows on another of its job: that of its transaction, or that of the event before,
// whichever is later. A transaction that has written something else first, and then waited for the job, is older than the one that it
// has waited for. That one is over, so its place may be shared; the statement must have begun after the job's row was locked.
func inTurn(job, seq string) string {
	return "greatest(pg_current_xact_id(), (SELECT xid FROM job_events WHERE job_id = " + job + " AND seq = " + seq + "::bigint - 1))"
}

func (tx *Tx) insertEvents(rows []JobEvent) error {
	if len(rows) == 0 {
		return nil
	}
	if err := tx.db.CreateInBatches(rows, 500).Error; err != nil {
		return explain(err, "insert events")
	}
	for _, row := range rows {
		tx.told.Events = append(tx.told.Events, row.Event())
	}
	return nil
}

// Events returns a job's log after seq, at most limit events, in order. Of a log that has been deleted since the job ended, its last
// event is left, which says how the job ended.
func (r Jobs) Events(job uuid.UUID, after int64, limit int) ([]events.Event, error) {
	var rows []JobEvent
	err := r.events(job).Where("seq > ?", after).Order("seq").Limit(limit).Find(&rows).Error
	if err != nil {
		return nil, explain(err, "read events")
	}
	if len(rows) == 0 {
		return r.lastEvent(job, after)
	}
	log := make([]events.Event, len(rows))
	for i, row := range rows {
		log[i] = row.Event()
	}
	return log, nil
}

// lastEvent returns the last event after seq of a job that has ended and has no log any more, as its row tells it. One statement sees
// both: a log that grew since it was read is there.
func (r Jobs) lastEvent(id uuid.UUID, after int64) ([]events.Event, error) {
	var jobs []*Job
	err := r.scoped().Where("id = ? AND last_seq > ? AND finished_at IS NOT NULL", id, after).
		Where("NOT EXISTS (SELECT FROM job_events e WHERE e.job_id = jobs.id AND e.seq > ?)", after).Find(&jobs).Error
	if err != nil {
		return nil, explain(err, "read the last event")
	}
	if len(jobs) == 0 {
		return nil, nil
	}
	job := jobs[0]
	state := events.JobState{Status: job.Status, Attempt: job.Attempt, Dead: job.Dead}
	if job.Status == events.StatusFailed && job.ErrorCode != nil && job.ErrorMessage != nil {
		state.Error = &events.Failure{Code: *job.ErrorCode, Message: *job.ErrorMessage}
	}
	last, err := newEvent(job.ID, job.OrganizationID, job.LastSeq, *job.FinishedAt, state)
	if err != nil {
		return nil, err
	}
	return []events.Event{last.Event()}, nil
}

// TextAt returns which text was being written as of seq, and how much of it the log held then. Both are zero before the
// first.
func (r Jobs) TextAt(job uuid.UUID, seq int64) (start int64, end int, err error) {
	var row JobEvent
	err = r.events(job).Where("seq <= ? AND (type = ? OR type = ? AND data->>'kind' = ?)",
		seq, events.TypeTextDelta, events.TypeStepStarted, events.StepModelCall).Order("seq DESC").Take(&row).Error
	if errors.Is(err, gorm.ErrRecordNotFound) {
		return 0, 0, nil
	}
	if err != nil {
		return 0, 0, explain(err, "read text position")
	}
	if row.Type == events.TypeStepStarted {
		return row.Seq, 0, nil
	}
	var d events.TextDelta
	if err := json.Unmarshal(row.Data, &d); err != nil {
		return 0, 0, fmt.Errorf("store: decode text delta %d: %w", row.Seq, err)
	}
	return d.Start, d.End(), nil
}

func (r Jobs) events(job uuid.UUID) *gorm.DB {
	return r.tx.db.Model(&JobEvent{}).Where("organization_id = ? AND job_id = ?", r.tx.tenant.UUID(), job)
}
