package store

import (
	"encoding/json"
	"errors"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm/clause"

	"github.com/tarento/copilot/events"
)

// RunStep is the journal entry of a finished step. A step that has one is never done again.
type RunStep struct {
	JobID          uuid.UUID       `gorm:"column:job_id;primaryKey"`
	OrganizationID uuid.UUID       `gorm:"column:organization_id"`
	StepNo         int             `gorm:"column:step_no;primaryKey"`
	Kind           events.StepKind `gorm:"column:kind"`
	Name           string          `gorm:"column:name"`
	// InputHash is the SHA-256 of what the step was given, so that a resumed run notices when it would do something else.
	InputHash  string          `gorm:"column:input_hash"`
	Output     json.RawMessage `gorm:"column:output"`
	Usage      json.RawMessage `gorm:"column:usage"`
	Attempt    int             `gorm:"column:attempt"`
	StartedAt  time.Time       `gorm:"column:started_at"`
	FinishedAt time.Time       `gorm:"column:finished_at"`
}

// TableName implements GORM's Tabler.
func (RunStep) TableName() string { return "run_steps" }

// ErrJournalled means that the step is in the journal already: an earlier try committed although it seemed to fail.
var ErrJournalled = errors.New("store: step is journalled already")

// Journal writes a finished step and the facts that go with it, under the lease. ErrJournalled must undo the transaction.
func (r Jobs) Journal(l Lease, step RunStep, facts ...events.Fact) (last int64, err error) {
	if last, err = r.Append(l, facts...); err != nil {
		return 0, err
	}
	step.JobID, step.OrganizationID = l.JobID, r.tx.tenant.UUID()
	written := r.tx.db.Clauses(clause.OnConflict{DoNothing: true}).Create(&step)
	if written.Error != nil {
		return 0, explain(written.Error, "journal a step")
	}
	if written.RowsAffected == 0 {
		return 0, ErrJournalled
	}
	return last, nil
}

// Steps returns the journal of a job, in order.
func (r Jobs) Steps(job uuid.UUID) ([]RunStep, error) {
	var steps []RunStep
	err := r.tx.db.Where("organization_id = ? AND job_id = ?", r.tx.tenant.UUID(), job).Order("step_no").Find(&steps).Error
	if err != nil {
		return nil, explain(err, "read journal")
	}
	return steps, nil
}
