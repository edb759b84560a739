package store

import (
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"
)

// JobLimit is a tenant's share of the workers. A tenant without one is like any other.
type JobLimit struct {
	OrganizationID uuid.UUID `gorm:"column:organization_id;primaryKey"`
	// Weight is how much of what there is to share goes to the tenant, in relation to others; 1 is usual.
	Weight int `gorm:"column:weight"`
	// MaxRunning is how many of its jobs of each kind may be under way at once; 0 is no limit.
	MaxRunning int       `gorm:"column:max_running"`
	CreatedAt  time.Time `gorm:"column:created_at"`
	UpdatedAt  time.Time `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (JobLimit) TableName() string { return "job_limits" }

// JobLimits is the repository of a tenant's share.
type JobLimits struct{ tx *Tx }

// JobLimits returns the share of the transaction's tenant.
func (tx *Tx) JobLimits() JobLimits { return JobLimits{tx} }

// Get returns the tenant's share; without one of its own the usual one, which was never changed.
func (r JobLimits) Get() (*JobLimit, error) { return r.read(within[JobLimit](r.tx)) }

func (r JobLimits) read(q *gorm.DB) (*JobLimit, error) {
	var rows []JobLimit
	if err := q.Limit(1).Find(&rows).Error; err != nil {
		return nil, explain(err, "read job limits")
	}
	if len(rows) == 0 {
		return &JobLimit{OrganizationID: r.tx.tenant.UUID(), Weight: 1}, nil
	}
	return &rows[0], nil
}

// Update changes the tenant's share, and audits what became different. One at another revision is fault.Precondition.
func (r JobLimits) Update(match Match, change func(*JobLimit)) (*JobLimit, error) {
	l, err := r.read(within[JobLimit](r.tx).Clauses(forUpdate()))
	if err != nil {
		return nil, err
	}
	if !match.admits(RevisionAt(l.UpdatedAt)) {
		return nil, outdated("job_limits")
	}
	before := *l
	if change(l); *l == before {
		return l, nil
	}
	l.UpdatedAt = r.tx.later(l.UpdatedAt)
	there := clause.OnConflict{UpdateAll: true}
	if l.CreatedAt.IsZero() {
		// A row that is not there cannot be locked: of two first changes one comes too late.
		l.CreatedAt, there = l.UpdatedAt, clause.OnConflict{DoNothing: true}
	}
	written := r.tx.db.Clauses(there).Create(l)
	if written.Error != nil {
		return nil, explain(written.Error, "change job limits")
	}
	if written.RowsAffected == 0 {
		return nil, outdated("job_limits")
	}
	r.tx.Audit("job_limits", "update", l.OrganizationID, before.told(), l.told())
	return l, nil
}

func (l JobLimit) told() map[string]any {
	return map[string]any{"weight": l.Weight, "max_running": l.MaxRunning}
}
