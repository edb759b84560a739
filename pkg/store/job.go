package store

import (
	"encoding/json"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
	"gorm.io/gorm/clause"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

// Job is one accepted piece of work: the record, and the command outbox.
type Job struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID  `gorm:"column:organization_id"`
	CreatedBy      *uuid.UUID `gorm:"column:created_by"`
	ProjectID      *uuid.UUID `gorm:"column:project_id"`
	AgentConfigID  *uuid.UUID `gorm:"column:agent_config_id"`
	ConversationID *uuid.UUID `gorm:"column:conversation_id"`
	DocumentID     *uuid.UUID `gorm:"column:document_id"`
	ParentID       *uuid.UUID `gorm:"column:parent_id"`

	Kind      events.Kind      `gorm:"column:kind"`
	Class     events.Class     `gorm:"column:class"`
	Priority  int16            `gorm:"column:priority"`
	Status    events.Status    `gorm:"column:status"`
	WaitingOn events.WaitingOn `gorm:"column:waiting_on"`

	Input        json.RawMessage `gorm:"column:input"`
	Result       json.RawMessage `gorm:"column:result"`
	ErrorCode    *string         `gorm:"column:error_code"`
	ErrorMessage *string         `gorm:"column:error_message"`
	// Dead jobs ran out of attempts, and nobody has retried or discarded them yet.
	Dead bool `gorm:"column:dead"`
	// RetryOf is the job that this one does again, RetriedAs the one that does this one again.
	RetryOf     *uuid.UUID `gorm:"column:retry_of"`
	RetriedAs   *uuid.UUID `gorm:"column:retried_as"`
	DiscardedAt *time.Time `gorm:"column:discarded_at"`

	Attempt        int        `gorm:"column:attempt"`
	MaxAttempts    int        `gorm:"column:max_attempts"`
	LeaseEpoch     int64      `gorm:"column:lease_epoch"`
	LeaseExpiresAt *time.Time `gorm:"column:lease_expires_at"`
	LeasedBy       *string    `gorm:"column:leased_by"`
	LastSeq        int64      `gorm:"column:last_seq"`
	RunAt          time.Time  `gorm:"column:run_at;default:now()"`
	DeadlineAt     *time.Time `gorm:"column:deadline_at"`
	AgentLimit     int        `gorm:"column:agent_limit"`

	ChildrenOpen  int    `gorm:"column:children_open"`
	ProgressStage string `gorm:"column:progress_stage"`
	ProgressDone  int    `gorm:"column:progress_done"`
	ProgressTotal int    `gorm:"column:progress_total"`
	Traceparent   string `gorm:"column:traceparent"`

	CreatedAt  time.Time  `gorm:"column:created_at"`
	UpdatedAt  time.Time  `gorm:"column:updated_at"`
	StartedAt  *time.Time `gorm:"column:started_at"`
	FinishedAt *time.Time `gorm:"column:finished_at"`

	// ClaimedAt is when the lease began, by the database's clock; Engine.Claim sets it.
	ClaimedAt time.Time `gorm:"-"`
}

// TableName implements GORM's Tabler.
func (*Job) TableName() string { return "jobs" }

// Tenant returns the tenant that the job belongs to.
func (j *Job) Tenant() tenant.ID { return tenant.FromUUID(j.OrganizationID) }

// Lease returns the right to write for this job, as of the claim that returned it.
func (j *Job) Lease() Lease { return Lease{JobID: j.ID, Epoch: j.LeaseEpoch} }

// Ready reports whether the job is in the queue and waits for nothing but its turn.
func (j *Job) Ready() bool {
	return j.Status == events.StatusQueued && j.WaitingOn == events.WaitingDispatch
}

// NewJob is what a submit hands in. Zero values mean: bulk class, priority 5, five attempts, at once.
type NewJob struct {
	Kind          events.Kind
	Class         events.Class
	Input         any
	CreatedBy     *uuid.UUID
	ProjectID     *uuid.UUID
	AgentConfigID *uuid.UUID
	// AgentLimit is how many runs of the agent may be under way at once; 0 is no limit.
	AgentLimit     int
	ConversationID *uuid.UUID
	DocumentID     *uuid.UUID
	Priority       int16
	MaxAttempts    int
	RunAt          time.Time
	// DeadlineAt is when the job fails if it has not ended; zero is never.
	DeadlineAt time.Time
	// Weight is how much of its parent's progress the job stands for.
	Weight int
	// RetryOf is the job that this one does again; nil for most. Engine.Submit does not take it.
	RetryOf *uuid.UUID
	// Traceparent is the W3C trace context of the request.
	Traceparent string
}

// Jobs is the repository of jobs within a tenant.
type Jobs struct{ tx *Tx }

// Jobs returns the jobs of the transaction's tenant.
func (tx *Tx) Jobs() Jobs { return Jobs{tx} }

// Submit writes the job and its first event.
func (r Jobs) Submit(n NewJob) (*Job, error) {
	jobs, err := r.insert(nil, []NewJob{n})
	if err != nil {
		return nil, err
	}
	return jobs[0], nil
}

// SubmitAll writes jobs and their first events, and returns them in their order.
func (r Jobs) SubmitAll(news []NewJob) ([]*Job, error) { return r.insert(nil, news) }

func (r Jobs) insert(parent *uuid.UUID, news []NewJob) ([]*Job, error) {
	jobs := make([]*Job, len(news))
	now := events.Time(time.Now())
	for i, n := range news {
		job, err := n.job(r.tx.tenant, parent, now)
		if err != nil {
			return nil, err
		}
		jobs[i] = job
	}
	if err := r.tx.db.CreateInBatches(jobs, 200).Error; err != nil {
		return nil, explain(err, "insert jobs")
	}
	rows := make([]JobEvent, len(jobs))
	for i, job := range jobs {
		row, err := newEvent(job.ID, job.OrganizationID, 1, now, job.firstState())
		if err != nil {
			return nil, err
		}
		rows[i] = row
		r.tx.told.Add(job.told(now))
	}
	return jobs, r.tx.insertEvents(rows)
}

func (n NewJob) job(t tenant.ID, parent *uuid.UUID, now time.Time) (*Job, error) {
	input, err := json.Marshal(n.Input)
	if err != nil {
		return nil, fmt.Errorf("store: encode %s input: %w", n.Kind, err)
	}
	id, err := uuid.NewV7()
	if err != nil {
		return nil, explain(err, "make job id")
	}
	job := &Job{
		ID: id, OrganizationID: t.UUID(), CreatedBy: n.CreatedBy, ProjectID: n.ProjectID, AgentConfigID: n.AgentConfigID,
		ConversationID: n.ConversationID, DocumentID: n.DocumentID, ParentID: parent,
		Kind: n.Kind, Class: n.Class, Priority: n.Priority, Status: events.StatusQueued, WaitingOn: events.WaitingDispatch,
		Input: input, AgentLimit: n.AgentLimit, MaxAttempts: n.MaxAttempts, LastSeq: 1, RunAt: n.RunAt, ProgressTotal: n.Weight,
		RetryOf: n.RetryOf, Traceparent: n.Traceparent, CreatedAt: now, UpdatedAt: now,
	}
	if job.Class == "" {
		job.Class = events.ClassBulk
	}
	if job.Priority == 0 {
		job.Priority = 5
	}
	if job.MaxAttempts == 0 {
		job.MaxAttempts = 5
	}
	if !n.DeadlineAt.IsZero() {
		job.DeadlineAt = new(events.Time(n.DeadlineAt))
	}
	// At once means as of now on the database's clock, which decides what is due.
	if job.RunAt.After(now) {
		job.WaitingOn = events.WaitingSchedule
	}
	return job, nil
}

// told is what the dispatcher is told about a job that has just been queued.
func (j *Job) told(now time.Time) (c events.Commit) {
	if j.WaitingOn == events.WaitingDispatch {
		told := &events.ReadyJob{ID: j.ID.String(), AgentLimit: j.AgentLimit}
		if j.AgentConfigID != nil {
			told.AgentID = j.AgentConfigID.String()
		}
		c.Ready = []events.Ready{{
			TenantID: j.OrganizationID.String(), Kind: j.Kind, Class: j.Class, Priority: j.Priority, Job: told,
		}}
	} else {
		c.Due(j.RunAt.Sub(now))
	}
	return c
}

// Get returns a job, or fault.NotFound.
func (r Jobs) Get(id uuid.UUID) (*Job, error) {
	return r.take(r.scoped().Where("id = ?", id))
}

// lock returns a job with its row locked until the transaction ends. A parent is always locked before its children.
func (r Jobs) lock(id uuid.UUID) (*Job, error) {
	return r.take(r.scoped().Where("id = ?", id).Clauses(forUpdate()))
}

func (r Jobs) take(q *gorm.DB) (*Job, error) {
	var jobs []*Job
	if err := q.Limit(1).Find(&jobs).Error; err != nil {
		return nil, explain(err, "read job")
	}
	if len(jobs) == 0 {
		return nil, fault.New(fault.NotFound, "job.not_found", "There is no such job.")
	}
	return jobs[0], nil
}

// JobFilter narrows a list of jobs. Zero fields do not.
type JobFilter struct {
	// Kind is of which kind the jobs are; empty is any but webhook.deliver, which is nobody's work.
	Kind          events.Kind
	Status        events.Status
	CreatedBy     *uuid.UUID
	ProjectIDs    []uuid.UUID
	ProjectID     *uuid.UUID
	AgentConfigID *uuid.UUID
	DocumentID    *uuid.UUID
	ParentID      *uuid.UUID
	Dead          *bool
	ErrorCode     string
	// Since and Until bound when the job ended: from the one on, and before the other.
	Since, Until time.Time
	// TopLevel leaves child jobs out.
	TopLevel bool
	// Ascending puts the oldest first. The zero value puts the newest first.
	Ascending bool
	// After is the last job of the page before; nil starts at the beginning. It is the keyset cursor.
	After *uuid.UUID
	// Limit caps the page; zero means 20.
	Limit int
}

// List returns jobs in the order of their age, and whether there are more. Of their inputs they hold only what a job is shown with.
func (r Jobs) List(f JobFilter) (jobs []*Job, more bool, err error) {
	q := r.listed()
	if f.Kind != "" {
		q = q.Where("kind = ?", f.Kind)
	} else {
		q = q.Where("kind <> ?", events.KindWebhookDeliver)
	}
	if f.Status != "" {
		q = q.Where("status = ?", f.Status)
	}
	for column, id := range map[string]*uuid.UUID{
		"project_id": f.ProjectID, "agent_config_id": f.AgentConfigID, "document_id": f.DocumentID, "parent_id": f.ParentID,
	} {
		if id != nil {
			q = q.Where(column+" = ?", *id)
		}
	}
	if f.CreatedBy != nil {
		if len(f.ProjectIDs) > 0 {
			q = q.Where("(created_by = ? OR project_id IN ?)", *f.CreatedBy, f.ProjectIDs)
		} else {
			q = q.Where("created_by = ?", *f.CreatedBy)
		}
	}
	if f.Dead != nil {
		// Said as the index says it.
		if *f.Dead {
			q = q.Where("dead")
		} else {
			q = q.Where("NOT dead")
		}
	}
	if f.ErrorCode != "" {
		q = q.Where("error_code = ?", f.ErrorCode)
	}
	if !f.Since.IsZero() {
		q = q.Where("finished_at >= ?", f.Since)
	}
	if !f.Until.IsZero() {
		q = q.Where("finished_at < ?", f.Until)
	}
	if f.TopLevel {
		q = q.Where("parent_id IS NULL")
	}
	order, beyond := "id DESC", "id < ?"
	if f.Ascending {
		order, beyond = "id", "id > ?"
	}
	if f.After != nil {
		q = q.Where(beyond, *f.After)
	}
	limit := f.Limit
	if limit <= 0 {
		limit = 20
	}
	if err := q.Order(order).Limit(limit + 1).Find(&jobs).Error; err != nil {
		return nil, false, explain(err, "list jobs")
	}
	if len(jobs) > limit {
		return jobs[:limit], true, nil
	}
	return jobs, false, nil
}

func forUpdate() clause.Locking { return clause.Locking{Strength: clause.LockingStrengthUpdate} }

func (r Jobs) scoped() *gorm.DB {
	return r.tx.db.Model(&Job{}).Where("organization_id = ?", r.tx.tenant.UUID())
}

// listed is scoped for many jobs. Of their inputs, which can be large, it reads only what a job is shown with: the message that it answers.
func (r Jobs) listed() *gorm.DB {
	row := &gorm.Statement{DB: r.tx.db}
	q := r.scoped()
	if err := row.Parse(&Job{}); err != nil {
		_ = q.AddError(err)
		return q
	}
	columns := slices.DeleteFunc(slices.Clone(row.Schema.DBNames), func(name string) bool { return name == "input" })
	return q.Select(append(columns, "jsonb_strip_nulls(jsonb_build_object('message_id', input -> 'message_id')) AS input"))
}
