package store

import (
	"time"

	"github.com/google/uuid"
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
