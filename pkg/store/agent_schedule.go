package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// What becomes of a time of a schedule at which the run before is still under way.
const (
	OverlapSkip  = "skip"  // it is left out
	OverlapAllow = "allow" // both run
)

// AgentSchedule has an agent run by itself, in somebody's name.
type AgentSchedule struct {
	ID             uuid.UUID `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID `gorm:"column:organization_id"`
	AgentConfigID  uuid.UUID `gorm:"column:agent_config_id"`
	// UserID is whose runs they are.
	UserID uuid.UUID `gorm:"column:user_id"`
	// Scopes are what its runs may at most, where an API key has made or changed it. Empty bounds nothing.
	Scopes StringArray `gorm:"column:scopes"`
	Name   string      `gorm:"column:name"`
	// Cron and Timezone say when.
	Cron     string `gorm:"column:cron"`
	Timezone string `gorm:"column:timezone"`
	// Overlap is OverlapSkip or OverlapAllow.
	Overlap string `gorm:"column:overlap"`
	// UserInput, Input, SystemPrompt and MaxIterations are what a run takes.
	UserInput     string `gorm:"column:user_input" audit:"-"`
	Input         Object `gorm:"column:input" audit:"-"`
	SystemPrompt  string `gorm:"column:system_prompt"`
	MaxIterations int    `gorm:"column:max_iterations"`
	// Class and Priority are those of its runs, TimeoutSeconds how long after its time a run fails; 0 is never.
	Class          events.Class `gorm:"column:class"`
	Priority       int16        `gorm:"column:priority"`
	TimeoutSeconds int          `gorm:"column:timeout_seconds"`
	IsActive       bool         `gorm:"column:is_active"`
	// DisabledReason is why the service turned it off; empty where it did not.
	DisabledReason string `gorm:"column:disabled_reason"`
	// NextRunAt is when its time comes; nil while it is not active.
	NextRunAt *time.Time `gorm:"column:next_run_at"`
	// LastRunAt is when its last run was submitted, as the job LastJobID, which may have been deleted since.
	LastRunAt *time.Time `gorm:"column:last_run_at"`
	LastJobID *uuid.UUID `gorm:"column:last_job_id"`
	// LastSkippedAt is when a time was left out last.
	LastSkippedAt *time.Time `gorm:"column:last_skipped_at"`
	CreatedAt     time.Time  `gorm:"column:created_at"`
	// UpdatedAt is when somebody changed it last, or the service turned it off. Its runs do not change it.
	UpdatedAt time.Time `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (AgentSchedule) TableName() string { return "agent_schedules" }

// MaxAgentSchedules is how many schedules an agent can have.
const MaxAgentSchedules = 100

// AgentSchedules is the repository of schedules within a tenant.
type AgentSchedules struct{ tx *Tx }

// AgentSchedules returns the schedules of the transaction's tenant.
func (tx *Tx) AgentSchedules() AgentSchedules { return AgentSchedules{tx} }

const nounAgentSchedule = "agent_schedule"

// Create writes a schedule. One more than MaxAgentSchedules of its agent is fault.Conflict "agent_schedule.too_many".
func (r AgentSchedules) Create(s *AgentSchedule) error {
	// Of two that are made at once, the second counts the first.
	agent := within[AgentConfig](r.tx).Where("id = ?", s.AgentConfigID).Clauses(forUpdate())
	if _, err := take[AgentConfig](agent, nounAgentConfig); err != nil {
		return err
	}
	var n int64
	if err := within[AgentSchedule](r.tx).Where("agent_config_id = ?", s.AgentConfigID).Count(&n).Error; err != nil {
		return explain(err, "count the schedules of an agent")
	}
	if n >= MaxAgentSchedules {
		return fault.New(fault.Conflict, "agent_schedule.too_many",
			"An agent can have %d schedules at most. Delete one that is not needed.", MaxAgentSchedules)
	}
	return create(r.tx, nounAgentSchedule, s, &s.ID, &s.OrganizationID)
}

// Get returns a schedule of an agent, or fault.NotFound "agent_schedule.not_found".
func (r AgentSchedules) Get(agent, id uuid.UUID) (*AgentSchedule, error) {
	return take[AgentSchedule](within[AgentSchedule](r.tx).Where("id = ? AND agent_config_id = ?", id, agent), nounAgentSchedule)
}

// Update changes a schedule. One that is active afterwards has no reason to be off. A row at another revision is fault.Precondition.
func (r AgentSchedules) Update(id uuid.UUID, match Match, change func(*AgentSchedule) error) (*AgentSchedule, error) {
	return edit(r.tx, nounAgentSchedule, "update", id, match, func(s *AgentSchedule) error {
		if err := change(s); err != nil {
			return err
		}
		if s.IsActive {
			s.DisabledReason = ""
		}
		return nil
	})
}

// Disable turns a schedule off that cannot go on, and says why.
func (r AgentSchedules) Disable(id uuid.UUID, reason string) error {
	_, err := edit(r.tx, nounAgentSchedule, "disable", id, nil, func(s *AgentSchedule) error {
		s.IsActive, s.NextRunAt, s.DisabledReason = false, nil, reason
		return nil
	})
	return err
}

// Delete removes a schedule. Runs that it has made go on.
func (r AgentSchedules) Delete(id uuid.UUID, match Match) error {
	one := within[AgentSchedule](r.tx).Where("id = ?", id)
	s, err := take[AgentSchedule](one.Clauses(forUpdate()), nounAgentSchedule)
	if err != nil {
		return err
	}
	if !match.admits(RevisionAt(s.UpdatedAt)) {
		return outdated(nounAgentSchedule)
	}
	before, err := snapshot(r.tx.db, s)
	if err != nil {
		return err
	}
	gone := within[AgentSchedule](r.tx).Where("id = ?", id).Delete(&AgentSchedule{})
	if err := touched(gone, "delete agent schedule", nounAgentSchedule); err != nil {
		return err
	}
	r.tx.Audit(nounAgentSchedule, "delete", id, before.told(nil), nil)
	return nil
}

// AgentScheduleFilter narrows a list of schedules. Zero fields do not.
type AgentScheduleFilter struct {
	Agent  uuid.UUID
	UserID *uuid.UUID
	// Search is looked for in the name.
	Search string
	Active *bool
	Page   Page
}

// AgentScheduleSorts are the columns that schedules can be sorted by.
func AgentScheduleSorts() []string { return []string{columnName, columnCreatedAt, columnUpdatedAt} }

// List returns one page of an agent's schedules.
func (r AgentSchedules) List(f AgentScheduleFilter) (Listed[AgentSchedule], error) {
	q := holding(within[AgentSchedule](r.tx).Where("agent_config_id = ?", f.Agent), f.Search, columnName)
	if f.UserID != nil {
		q = q.Where("user_id = ?", *f.UserID)
	}
	if f.Active != nil {
		q = q.Where("is_active = ?", *f.Active)
	}
	return list[AgentSchedule](q, f.Page, nounAgentSchedule, AgentScheduleSorts())
}

// Due returns a schedule whose time has come, by the clock of the database, and what that shows. The schedule stays locked until the
// transaction ends; nil is one whose time has not come, which somebody else has just seen to, or that is gone.
func (r AgentSchedules) Due(id uuid.UUID) (*AgentSchedule, time.Time, error) {
	columns, err := columnsOf[AgentSchedule](r.tx, "s")
	if err != nil {
		return nil, time.Time{}, err
	}
	var rows []struct {
		AgentSchedule

		Now time.Time `gorm:"column:now"`
	}
	err = r.tx.db.Raw("SELECT "+columns+", now() AS now FROM agent_schedules s "+
		"WHERE organization_id = ? AND id = ? AND next_run_at <= now() FOR UPDATE", r.tx.tenant.UUID(), id).Scan(&rows).Error
	if err != nil || len(rows) == 0 {
		return nil, time.Time{}, explain(err, "read a schedule that is due")
	}
	return &rows[0].AgentSchedule, rows[0].Now, nil
}

// Ran notes that a schedule has made a job, and when its next time comes. It is no change of the schedule: nothing is audited, and
// its revision stays.
func (r AgentSchedules) Ran(id, job uuid.UUID, at, next time.Time) error {
	return r.passed(id, map[string]any{"last_run_at": at, "last_job_id": job, "next_run_at": next})
}

// Skipped notes that a time of a schedule was left out, likewise.
func (r AgentSchedules) Skipped(id uuid.UUID, at, next time.Time) error {
	return r.passed(id, map[string]any{"last_skipped_at": at, "next_run_at": next})
}

func (r AgentSchedules) passed(id uuid.UUID, columns map[string]any) error {
	return touched(within[AgentSchedule](r.tx).Where("id = ?", id).UpdateColumns(columns), "move a schedule on", nounAgentSchedule)
}

// DueSchedule is a schedule whose time has come.
type DueSchedule struct {
	ID     uuid.UUID
	Tenant tenant.ID
	// At is that time.
	At time.Time
}

// DueSchedules returns up to limit schedules of all tenants whose time has come, the longest ago first, from after the given one on; the
// zero one stands before all. When no others have come, next is how long it is until the next one does, at most an hour.
func (e *Engine) DueSchedules(ctx context.Context, after DueSchedule, limit int) (due []DueSchedule, next time.Duration, err error) {
	rows, err := e.pool.Query(ctx, `SELECT id, organization_id, next_run_at, extract(epoch FROM next_run_at - now())::float8
		FROM agent_schedules WHERE next_run_at IS NOT NULL AND (next_run_at, id) > ($1, $2)
		ORDER BY next_run_at, id LIMIT $3`, after.At, after.ID, limit+1)
	if err != nil {
		return nil, 0, explain(err, "find schedules that are due")
	}
	next = time.Hour
	var d DueSchedule
	var org uuid.UUID
	var ahead float64
	_, err = pgx.ForEachRow(rows, []any{&d.ID, &org, &d.At, &ahead}, func() error {
		switch {
		case ahead > 0:
			next = min(next, time.Duration(ahead*float64(time.Second)))
		case len(due) < limit:
			d.Tenant = tenant.FromUUID(org)
			due = append(due, d)
		default:
			next = 0
		}
		return nil
	})
	return due, next, explain(err, "find schedules that are due")
}
