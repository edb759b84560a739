package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/cron"
	"github.com/tarento/copilot/gateway/internal/jobs"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// AgentSchedule has an agent run by itself.
type AgentSchedule struct {
	ID             uuid.UUID      `json:"id" format:"uuid"`
	AgentConfigID  uuid.UUID      `json:"agent_config_id" format:"uuid" doc:"The agent that runs"`
	UserID         uuid.UUID      `json:"user_id" format:"uuid" doc:"Whose runs they are: they read what this user may read, and go on as long as this user may run the agent"`
	Scopes         []string       `json:"scopes" nullable:"false" example:"[\"agents:execute\"]" doc:"What the runs may at most, where an API key has made or changed the schedule; empty: what the user may"`
	Name           string         `json:"name" example:"Morning report" doc:"What it is called"`
	Cron           string         `json:"cron" example:"0 7 * * mon-fri" doc:"When it runs: minute, hour, date, month, weekday"`
	Timezone       string         `json:"timezone" example:"Europe/Berlin" doc:"Where the clock hangs that the expression goes by"`
	Overlap        string         `json:"overlap" enum:"skip,allow" example:"skip" doc:"Whether a time is left out at which the run before is still under way, or both run"`
	UserInput      string         `json:"user_input" example:"What has changed in the travel policy since yesterday?" doc:"The task, in words"`
	Input          map[string]any `json:"input" doc:"What the agent's type takes; empty when there are words only"`
	SystemPrompt   string         `json:"system_prompt" example:"Answer in one sentence." doc:"Instead of the agent's own; empty when there is none"`
	MaxIterations  int            `json:"max_iterations" example:"8" doc:"How often the model may be called; 0 is the default"`
	Class          events.Class   `json:"class" enum:"interactive,bulk" example:"bulk" doc:"Bulk runs let the organization's interactive work go first"`
	Priority       int16          `json:"priority" example:"5" doc:"Which of the organization's jobs of its class go first: 1 before 9"`
	TimeoutSeconds int            `json:"timeout_seconds" example:"3600" doc:"How long after it was submitted a run fails if it has not ended; 0 is never"`
	IsActive       bool           `json:"is_active" doc:"Whether it runs"`
	DisabledReason string         `json:"disabled_reason" example:"The agent of this schedule is deactivated." doc:"Why the service turned it off; empty where it did not"`
	NextRunAt      *time.Time     `json:"next_run_at" example:"2030-01-01T06:00:00Z" doc:"When it runs next; null while it is not active"`
	NextRuns       []time.Time    `json:"next_runs" nullable:"false" example:"[\"2030-01-01T07:00:00+01:00\"]" doc:"The next five times of the expression, as the clock there shows them, whether it is active or not"`
	LastRunAt      *time.Time     `json:"last_run_at" example:"2029-12-31T06:00:00.214Z" doc:"When its last run was submitted; null before the first"`
	LastJobID      *uuid.UUID     `json:"last_job_id" format:"uuid" doc:"The job of its last run, which may be deleted by now"`
	LastSkippedAt  *time.Time     `json:"last_skipped_at" example:"2029-12-30T06:00:00.187Z" doc:"When it was left out last, because the run before was under way; null if it never was"`
	CreatedAt      time.Time      `json:"created_at"`
	UpdatedAt      time.Time      `json:"updated_at" doc:"When somebody changed it last, or the service turned it off; its runs do not change it"`
}

func (a AgentSchedule) changedAt() time.Time { return a.UpdatedAt }

// shownRuns is how many times of a schedule are told ahead.
const shownRuns = 5

func showAgentSchedule(s *store.AgentSchedule) AgentSchedule {
	shown := AgentSchedule{
		ID: s.ID, AgentConfigID: s.AgentConfigID, UserID: s.UserID, Scopes: append([]string{}, s.Scopes...), Name: s.Name, Cron: s.Cron,
		Timezone: s.Timezone, Overlap: s.Overlap, UserInput: s.UserInput, Input: object(s.Input), SystemPrompt: s.SystemPrompt,
		MaxIterations: s.MaxIterations, Class: s.Class, Priority: s.Priority, TimeoutSeconds: s.TimeoutSeconds, IsActive: s.IsActive,
		DisabledReason: s.DisabledReason, NextRunAt: utc(s.NextRunAt), NextRuns: []time.Time{}, LastRunAt: utc(s.LastRunAt),
		LastJobID: s.LastJobID, LastSkippedAt: utc(s.LastSkippedAt), CreatedAt: s.CreatedAt.UTC(), UpdatedAt: s.UpdatedAt.UTC(),
	}
	if expression, zone, err := timesOf(s); err == nil {
		shown.NextRuns = expression.Following(time.Now(), zone, shownRuns)
	}
	return shown
}

// timesOf reads when a schedule comes.
func timesOf(s *store.AgentSchedule) (expression cron.Expression, zone *time.Location, err error) {
	if expression, err = cron.Parse(s.Cron); err != nil {
		return expression, nil, invalid("body.cron", err.Error())
	}
	if zone, err = cron.Zone(s.Timezone); err != nil {
		return expression, nil, invalid("body.timezone", err.Error())
	}
	return expression, zone, nil
}

// NewAgentSchedule is a schedule to be.
type NewAgentSchedule struct {
	Name           string         `json:"name" minLength:"1" maxLength:"200" example:"Morning report" doc:"What it is called"`
	Cron           string         `json:"cron" minLength:"1" maxLength:"200" example:"0 7 * * mon-fri" doc:"When it runs: minute, hour, date, month, weekday; or @hourly, @daily, @weekly, @monthly, @yearly"`
	Timezone       string         `json:"timezone,omitempty" maxLength:"100" default:"UTC" example:"Europe/Berlin" doc:"Where the clock hangs that the expression goes by, as the IANA database names it"`
	Overlap        string         `json:"overlap,omitempty" enum:"skip,allow" default:"skip" example:"skip" doc:"Whether a time is left out at which the run before is still under way, or both run"`
	UserInput      string         `json:"user_input,omitempty" maxLength:"200000" example:"What has changed in the travel policy since yesterday?" doc:"The task, in words"`
	Input          map[string]any `json:"input,omitempty" doc:"What the agent's type takes, see GET /agent-types; instead of words or beside them"`
	SystemPrompt   string         `json:"system_prompt,omitempty" maxLength:"100000" example:"Answer in one sentence." doc:"Instead of the agent's own"`
	MaxIterations  int            `json:"max_iterations,omitempty" minimum:"1" maximum:"25" example:"8" doc:"How often the model may be called; the default suits most tasks"`
	Class          events.Class   `json:"class,omitempty" enum:"interactive,bulk" default:"bulk" example:"bulk" doc:"Bulk runs let the organization's interactive work go first"`
	Priority       int16          `json:"priority,omitempty" minimum:"1" maximum:"9" default:"5" example:"5" doc:"Which of the organization's jobs of its class go first: 1 before 9"`
	TimeoutSeconds int            `json:"timeout_seconds,omitempty" minimum:"1" maximum:"31536000" example:"3600" doc:"How long after it was submitted a run fails if it has not ended; never when it is left out"`
	IsActive       *bool          `json:"is_active,omitempty" nullable:"true" default:"true" example:"true" doc:"Whether it runs"`
}

func (n *NewAgentSchedule) row(p *rbac.Principal, agent uuid.UUID) *store.AgentSchedule {
	row := &store.AgentSchedule{
		AgentConfigID: agent, UserID: p.UserID, Name: n.Name, Cron: n.Cron, Timezone: n.Timezone, Overlap: n.Overlap,
		UserInput: n.UserInput, Input: n.Input, SystemPrompt: n.SystemPrompt, MaxIterations: n.MaxIterations, Class: n.Class,
		Priority: n.Priority, TimeoutSeconds: n.TimeoutSeconds, IsActive: n.IsActive == nil || *n.IsActive,
	}
	bound(row, p)
	return row
}

// AgentScheduleChange is what becomes different about a schedule. Fields that are left out or null stay as they are.
type AgentScheduleChange struct {
	Name           *string         `json:"name,omitempty" minLength:"1" maxLength:"200" example:"Morning report" doc:"What it is called"`
	Cron           *string         `json:"cron,omitempty" minLength:"1" maxLength:"200" example:"0 7 * * mon-fri" doc:"When it runs: minute, hour, date, month, weekday; or @hourly, @daily, @weekly, @monthly, @yearly"`
	Timezone       *string         `json:"timezone,omitempty" minLength:"1" maxLength:"100" example:"Europe/Berlin" doc:"Where the clock hangs that the expression goes by, as the IANA database names it"`
	Overlap        *string         `json:"overlap,omitempty" enum:"skip,allow" example:"allow" doc:"Whether a time is left out at which the run before is still under way, or both run"`
	UserInput      *string         `json:"user_input,omitempty" maxLength:"200000" example:"What is new in the travel policy?" doc:"The task, in words"`
	Input          *map[string]any `json:"input,omitempty" doc:"Replaces the whole"`
	SystemPrompt   *string         `json:"system_prompt,omitempty" maxLength:"100000" example:"Answer in one sentence." doc:"Instead of the agent's own; empty takes that again"`
	MaxIterations  *int            `json:"max_iterations,omitempty" minimum:"0" maximum:"25" example:"8" doc:"How often the model may be called; 0 is the default"`
	Class          *events.Class   `json:"class,omitempty" enum:"interactive,bulk" example:"bulk" doc:"Bulk runs let the organization's interactive work go first"`
	Priority       *int16          `json:"priority,omitempty" minimum:"1" maximum:"9" example:"5" doc:"Which of the organization's jobs of its class go first: 1 before 9"`
	TimeoutSeconds *int            `json:"timeout_seconds,omitempty" minimum:"0" maximum:"31536000" example:"3600" doc:"How long after it was submitted a run fails if it has not ended; 0 is never"`
	IsActive       *bool           `json:"is_active,omitempty" example:"true" doc:"Turns it on or off; what was missed meanwhile is not made up for"`
}

func (c *AgentScheduleChange) apply(row *store.AgentSchedule) {
	set(&row.Name, c.Name)
	set(&row.Cron, c.Cron)
	set(&row.Timezone, c.Timezone)
	set(&row.Overlap, c.Overlap)
	set(&row.UserInput, c.UserInput)
	set((*map[string]any)(&row.Input), c.Input)
	set(&row.SystemPrompt, c.SystemPrompt)
	set(&row.MaxIterations, c.MaxIterations)
	set(&row.Class, c.Class)
	set(&row.Priority, c.Priority)
	set(&row.TimeoutSeconds, c.TimeoutSeconds)
	set(&row.IsActive, c.IsActive)
}

// bound narrows what the runs of a schedule may to what the key may that makes or changes it: what a key sets up does no more than the
// key, also when it is used no more.
func bound(row *store.AgentSchedule, p *rbac.Principal) {
	if p.Scopes == nil {
		return
	}
	var scopes store.StringArray
	for _, scope := range p.Scopes {
		if len(row.Scopes) == 0 || slices.Contains(row.Scopes, string(scope)) {
			scopes = append(scopes, string(scope))
		}
	}
	row.Scopes = scopes
}

type createAgentScheduleInput struct {
	AgentConfigInput
	Repeatable

	Body NewAgentSchedule
}

// AgentScheduleInput names a schedule of an agent.
type AgentScheduleInput struct {
	AgentConfigInput

	ScheduleID uuid.UUID `path:"schedule_id" format:"uuid" doc:"The schedule's id"`
}

type changeAgentScheduleInput struct {
	AgentScheduleInput
	Conditional

	Body AgentScheduleChange
}

type deleteAgentScheduleInput struct {
	AgentScheduleInput
	Conditional
}

type listAgentSchedulesInput struct {
	AgentConfigInput
	Listing

	Sort     string    `query:"sort" enum:"name,-name,created_at,-created_at,updated_at,-updated_at" doc:"The order; a dash puts the largest first. Without it newest first"`
	Search   string    `query:"search" maxLength:"200" doc:"Only schedules with this in the name"`
	UserID   uuid.UUID `query:"user_id" format:"uuid" doc:"Only this user's schedules, for who sees others'"`
	IsActive string    `query:"is_active" enum:"true,false" doc:"Only active schedules, or only the others"`
}

func (s *Server) agentScheduleOperations() {
	op := func(id, method, path, summary string, errors ...int) operation {
		return operation{
			id: id, method: method, path: "/agent-configs/{id}/schedules" + path, tag: tagAgentConfigs, summary: summary,
			errors: append(errors, http.StatusNotFound),
		}
	}
	const may = access.AgentsExecute
	create := op("create-agent-schedule", http.MethodPost, "", "Have an agent run by itself", http.StatusConflict)
	create.status = http.StatusCreated
	create.about = "In the caller's name, at the times of a cron expression in a time zone. Each time makes one job, as " +
		"POST /agents/{id}/runs does at that moment; after an outage one run makes up for all that were missed. `next_runs` shows what " +
		"the expression means. A schedule whose agent is deactivated, or whose user may not run it any more, is turned off."
	secured(s, may, create, s.createAgentSchedule)
	list := op("list-agent-schedules", http.MethodGet, "", "List the schedules of an agent")
	list.about = "One's own; everybody's for who manages agents and reads all jobs."
	secured(s, may, list, s.listAgentSchedules)
	secured(s, may, op("get-agent-schedule", http.MethodGet, "/{schedule_id}", "Read a schedule of an agent"), s.getAgentSchedule)
	changes(s, may, op("update-agent-schedule", "", "/{schedule_id}", "Change a schedule of an agent", http.StatusConflict),
		s.changeAgentSchedule)
	remove := op("delete-agent-schedule", http.MethodDelete, "/{schedule_id}", "Delete a schedule of an agent",
		http.StatusPreconditionFailed)
	remove.status, remove.about = http.StatusNoContent, "Runs that it has made go on."
	secured(s, may, remove, s.deleteAgentSchedule)
}

func (s *Server) createAgentSchedule(
	ctx context.Context, p *rbac.Principal, in *createAgentScheduleInput,
) (*made[AgentSchedule], error) {
	path := "/agent-configs/" + in.ID.String() + "/schedules"
	once, err := in.once("POST "+path, in.Body)
	if err != nil {
		return nil, err
	}
	return makes(ctx, s, p, once, func(tx *store.Tx) (*made[AgentSchedule], error) {
		agent, err := s.runnable(tx, p, in.ID)
		if err != nil {
			return nil, err
		}
		row := in.Body.row(p, in.ID)
		if err := s.plan(row, agent, time.Now()); err != nil {
			return nil, err
		}
		if err := tx.AgentSchedules().Create(row); err != nil {
			return nil, err
		}
		return &made[AgentSchedule]{
			Location: base + path + "/" + row.ID.String(), ETag: etag(row.UpdatedAt), Body: showAgentSchedule(row),
		}, nil
	})
}

// plan checks when a schedule comes and what its runs are asked to do, and writes its next time.
func (s *Server) plan(row *store.AgentSchedule, agent *store.AgentConfig, now time.Time) error {
	expression, zone, err := timesOf(row)
	if err != nil {
		return err
	}
	task := taskOf(row)
	if err := s.presets.fill(agent.AgentType, &task); err != nil {
		return err
	}
	row.NextRunAt = nil
	if row.IsActive {
		row.NextRunAt = new(expression.Next(now, zone))
	}
	return nil
}

// taskOf is what each run of a schedule is asked to do.
func taskOf(row *store.AgentSchedule) NewRun {
	return NewRun{
		Scheduling: Scheduling{Priority: row.Priority, TimeoutSeconds: row.TimeoutSeconds},
		UserInput:  row.UserInput, Input: row.Input, SystemPrompt: row.SystemPrompt, MaxIterations: row.MaxIterations,
	}
}

func (s *Server) listAgentSchedules(
	ctx context.Context, p *rbac.Principal, in *listAgentSchedulesInput,
) (*pageOutput[AgentSchedule], error) {
	c := collection{name: "schedules of " + in.ID.String(), listing: in.Listing, sort: in.Sort, counted: true}
	filter := store.AgentScheduleFilter{
		Agent: in.ID, UserID: given(in.UserID), Search: in.Search, Active: givenBool(in.IsActive),
	}
	if !p.Schedules().All {
		filter.UserID = &p.UserID
	}
	return listed(ctx, s, p, c, showAgentSchedule, func(tx *store.Tx, page store.Page) (store.Listed[store.AgentSchedule], error) {
		if _, err := visibleAgent(tx, p, in.ID); err != nil {
			return store.Listed[store.AgentSchedule]{}, err
		}
		filter.Page = page
		return tx.AgentSchedules().List(filter)
	})
}

func (s *Server) getAgentSchedule(ctx context.Context, p *rbac.Principal, in *AgentScheduleInput) (*one[AgentSchedule], error) {
	// There is no 304: the times ahead change by themselves.
	row, err := view(ctx, s, p.Tenant, func(tx *store.Tx) (*store.AgentSchedule, error) {
		_, row, err := in.visible(tx, p)
		return row, err
	})
	if err != nil {
		return nil, err
	}
	return show(showAgentSchedule(row)), nil
}

// visible returns a schedule within the caller's reach with its agent; any other is fault.NotFound.
func (in AgentScheduleInput) visible(tx *store.Tx, p *rbac.Principal) (*store.AgentConfig, *store.AgentSchedule, error) {
	agent, err := visibleAgent(tx, p, in.ID)
	if err != nil {
		return nil, nil, err
	}
	row, err := tx.AgentSchedules().Get(in.ID, in.ScheduleID)
	if err == nil && !p.Schedules().Sees(&row.UserID, nil) {
		err = fault.New(fault.NotFound, "agent_schedule.not_found", "There is no such agent schedule.")
	}
	return agent, row, err
}

func (s *Server) changeAgentSchedule(
	ctx context.Context, p *rbac.Principal, in *changeAgentScheduleInput,
) (*one[AgentSchedule], error) {
	row, err := changed(ctx, s, p, in.Conditional, func(tx *store.Tx, match store.Match) (*store.AgentSchedule, error) {
		agent, _, err := in.visible(tx, p)
		if err != nil {
			return nil, err
		}
		return tx.AgentSchedules().Update(in.ScheduleID, match, func(row *store.AgentSchedule) error {
			return s.changeSchedule(tx, p, agent, row, in.Body)
		})
	})
	if err != nil {
		return nil, err
	}
	return show(showAgentSchedule(row)), nil
}

// changeSchedule makes a change to the record of a schedule. One that is only turned off may be wrong by now, one that is turned on must
// be able to run.
func (s *Server) changeSchedule(
	tx *store.Tx, p *rbac.Principal, agent *store.AgentConfig, row *store.AgentSchedule, change AgentScheduleChange,
) error {
	was := *row
	change.apply(row)
	if off := (AgentScheduleChange{IsActive: change.IsActive}); change == off && !row.IsActive {
		row.NextRunAt = nil
		return nil
	}
	bound(row, p)
	if err := s.plan(row, agent, time.Now()); err != nil {
		return err
	}
	if !row.IsActive {
		return nil
	}
	if !was.IsActive {
		_, err := s.ScheduledRun(tx, row)
		return err
	}
	if was.Cron == row.Cron && was.Timezone == row.Timezone {
		row.NextRunAt = was.NextRunAt
	}
	return nil
}

func (s *Server) deleteAgentSchedule(ctx context.Context, p *rbac.Principal, in *deleteAgentScheduleInput) (*struct{}, error) {
	return changed(ctx, s, p, in.Conditional, func(tx *store.Tx, match store.Match) (*struct{}, error) {
		if _, _, err := in.visible(tx, p); err != nil {
			return nil, err
		}
		return nil, tx.AgentSchedules().Delete(in.ScheduleID, match)
	})
}

// ScheduledRun is the job of a schedule, as of now: with the agent's configuration and with what its user may read. It is refused,
// with a fault that says why, where the user could not run the agent.
func (s *Server) ScheduledRun(tx *store.Tx, row *store.AgentSchedule) (job store.NewJob, err error) {
	agent, err := tx.AgentConfigs().Get(row.AgentConfigID)
	if err != nil {
		return job, err
	}
	if !agent.IsActive {
		return job, fault.New(fault.Conflict, "agent.inactive", "The agent of this schedule is deactivated.")
	}
	owner, err := jobs.Owner(tx, row.UserID)
	if fault.Is(err, fault.Conflict) || fault.Is(err, fault.NotFound) {
		return job, fault.Wrap(err, fault.Conflict, "agent_schedule.owner_inactive", "The user whose schedule this is, is deactivated.")
	} else if err != nil {
		return job, err
	}
	for _, scope := range row.Scopes {
		owner.Scopes = append(owner.Scopes, access.Permission(scope))
	}
	if !owner.RunsAgent(agent.ProjectID) {
		return job, fault.New(fault.Conflict, "agent_schedule.owner_refused", "The user whose schedule this is may not run the agent.")
	}
	if job, err = s.runOf(owner, agent, nil, taskOf(row), time.Now()); err != nil {
		if p := problemOf(err); p.Status < http.StatusInternalServerError {
			return job, fault.Wrap(err, fault.Conflict, "agent_schedule.input_refused",
				"The agent does not take this input: its type has changed.")
		}
		return job, err
	}
	job.Class, job.CreatedBy = row.Class, &row.UserID
	return job, nil
}
