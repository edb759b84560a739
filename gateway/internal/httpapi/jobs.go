package httpapi

import (
	"context"
	"encoding/json"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// Job is accepted work.
type Job struct {
	ID             uuid.UUID        `json:"id" format:"uuid" doc:"The job's id"`
	Kind           events.Kind      `json:"kind" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create,webhook.deliver" doc:"What it does"`
	Class          events.Class     `json:"class" enum:"interactive,bulk" doc:"Interactive work goes before bulk work"`
	Priority       int16            `json:"priority" example:"5" doc:"Which of the organization's jobs of its class go first: 1 before 9"`
	Status         events.Status    `json:"status" enum:"queued,running,waiting,succeeded,failed,cancelled" doc:"Where it is; the last three are final"`
	WaitingOn      events.WaitingOn `json:"waiting_on,omitempty" enum:"schedule,fairness,quota,provider,approval,worker,children" doc:"Why it does not run right now: its time has not come (schedule), it is the turn of other jobs (fairness), its organization or agent has as much under way as it may (quota), the model provider asked for a pause (provider), a person must agree (approval), all workers are busy or none is alive (worker), the jobs it was parted into are open (children)"`
	QueuePosition  *int             `json:"queue_position,omitempty" nullable:"false" minimum:"1" maximum:"1000" example:"3" doc:"Its place among the jobs of its kind and organization that wait for their turn, interactive ones first, then by priority and age; 1000 stands for all places from there on. Only while it waits for its turn, and only where one job is read"`
	ETASeconds     *float64         `json:"eta_seconds,omitempty" nullable:"false" minimum:"0" example:"12.5" doc:"After how many seconds a worker will presumably take it, if all goes on as of late. It is left out where that cannot be said: no worker is alive, nobody knows yet how long such jobs take, too many go before it, it does not wait for its turn; and where queue_position is"`
	Progress       JobProgress      `json:"progress" doc:"How far it is"`
	Attempt        int              `json:"attempt" doc:"How often it was tried"`
	MaxAttempts    int              `json:"max_attempts" example:"5" doc:"How often it may be tried"`
	Error          *JobError        `json:"error,omitempty" doc:"Why it failed, or why the last attempt did"`
	Dead           bool             `json:"dead" doc:"It ran out of attempts, and nobody has tried it again or discarded it yet"`
	RetryOf        *uuid.UUID       `json:"retry_of,omitempty" nullable:"false" format:"uuid" doc:"The job that this one does again"`
	RetriedAs      *uuid.UUID       `json:"retried_as,omitempty" nullable:"false" format:"uuid" doc:"The job that does this one again"`
	DiscardedAt    *time.Time       `json:"discarded_at,omitempty" nullable:"false" doc:"When it was taken off the list of the dead"`
	Result         json.RawMessage  `json:"result,omitempty" doc:"What it came to, by its kind"`
	DocumentID     *uuid.UUID       `json:"document_id,omitempty" nullable:"false" format:"uuid" doc:"The document it is about"`
	ConversationID *uuid.UUID       `json:"conversation_id,omitempty" nullable:"false" format:"uuid" doc:"The conversation it answers in"`
	MessageID      string           `json:"message_id,omitempty" format:"uuid" doc:"The message it answers"`
	AgentID        *uuid.UUID       `json:"agent_id,omitempty" nullable:"false" format:"uuid" doc:"The agent that runs"`
	ProjectID      *uuid.UUID       `json:"project_id,omitempty" nullable:"false" format:"uuid" doc:"The project it belongs to"`
	ParentID       *uuid.UUID       `json:"parent_id,omitempty" nullable:"false" format:"uuid" doc:"The job it is a part of"`
	CreatedBy      *uuid.UUID       `json:"created_by,omitempty" nullable:"false" format:"uuid" doc:"Who submitted it"`
	CreatedAt      time.Time        `json:"created_at" doc:"When it was accepted"`
	RunAt          *time.Time       `json:"run_at,omitempty" nullable:"false" doc:"When it may begin, or be tried again; only while it waits for that"`
	DeadlineAt     *time.Time       `json:"deadline_at,omitempty" nullable:"false" doc:"When it fails if it has not ended"`
	StartedAt      *time.Time       `json:"started_at,omitempty" nullable:"false" doc:"When it was first taken by a worker"`
	FinishedAt     *time.Time       `json:"finished_at,omitempty" nullable:"false" doc:"When it ended"`
	UpdatedAt      time.Time        `json:"updated_at" doc:"When it last changed"`
	Links          JobLinks         `json:"links" doc:"Where to go on"`
}

// JobProgress is how far a job is.
type JobProgress struct {
	Stage string `json:"stage" example:"embed" doc:"What is being done; empty before the start"`
	Done  int    `json:"done" example:"120" doc:"How much is done"`
	Total int    `json:"total" example:"400" doc:"How much there is to do; 0 when that is not known"`
}

// JobError is why a job failed.
type JobError struct {
	Code    string `json:"code" example:"document.encrypted" doc:"For programs; stable"`
	Message string `json:"message" doc:"For people"`
}

// JobLinks are the paths of what can be done with a job.
type JobLinks struct {
	Self     string `json:"self" example:"/api/v1/jobs/0190f4a0-0000-7000-8000-000000000000" doc:"The job itself"`
	Attempts string `json:"attempts" example:"/api/v1/jobs/0190f4a0-0000-7000-8000-000000000000/attempts" doc:"How often it was tried, and how that went"`
	Events   string `json:"events" example:"/api/v1/jobs/0190f4a0-0000-7000-8000-000000000000/events" doc:"Follow it as server-sent events"`
	Cancel   string `json:"cancel" example:"/api/v1/jobs/0190f4a0-0000-7000-8000-000000000000/cancel" doc:"POST ends it"`
}

func jobPath(id uuid.UUID) string { return base + "/jobs/" + id.String() }

func showJob(j *store.Job) Job {
	self := jobPath(j.ID)
	shown := Job{
		ID: j.ID, Kind: j.Kind, Class: j.Class, Priority: j.Priority, Status: j.Status, WaitingOn: j.WaitingOn,
		Progress: JobProgress{Stage: j.ProgressStage, Done: j.ProgressDone, Total: j.ProgressTotal},
		Attempt:  j.Attempt, MaxAttempts: j.MaxAttempts, Dead: j.Dead, Result: j.Result,
		DocumentID: j.DocumentID, ConversationID: j.ConversationID, AgentID: j.AgentConfigID, ProjectID: j.ProjectID,
		ParentID: j.ParentID, CreatedBy: j.CreatedBy, CreatedAt: j.CreatedAt.UTC(), UpdatedAt: j.UpdatedAt.UTC(),
		StartedAt: utc(j.StartedAt), FinishedAt: utc(j.FinishedAt), DeadlineAt: utc(j.DeadlineAt),
		RetryOf: j.RetryOf, RetriedAs: j.RetriedAs, DiscardedAt: utc(j.DiscardedAt),
		Links: JobLinks{Self: self, Attempts: self + "/attempts", Events: self + "/events", Cancel: self + "/cancel"},
	}
	if j.Status == events.StatusQueued && j.WaitingOn != events.WaitingDispatch {
		shown.RunAt = utc(&j.RunAt)
	}
	if j.ErrorCode != nil {
		shown.Error = &JobError{Code: *j.ErrorCode}
		if j.ErrorMessage != nil {
			shown.Error.Message = *j.ErrorMessage
		}
	}
	if j.Kind == events.KindAgentRun && j.ConversationID != nil {
		if in, err := j.AgentRun(); err == nil {
			shown.MessageID = in.MessageID
		}
	}
	return shown
}

// showJob is showJob with why a job does not run at this moment, as far as the queues show it.
func (s *Server) showJob(j *store.Job) Job {
	shown := showJob(j)
	shown.WaitingOn = s.Queues.WaitingOn(j)
	return shown
}

// placed is showJob with the job's place in the queue, if it has one, behind so many of its tenant's.
func (s *Server) placed(j *store.Job, ahead int) Job {
	shown := showJob(j)
	if !j.Ready() {
		return shown
	}
	f := s.Queues.Forecast(j, ahead)
	shown.WaitingOn, shown.QueuePosition = f.WaitingOn, new(min(ahead+1, store.AheadCounted))
	if f.Known {
		shown.ETASeconds = new(f.ETA.Round(time.Millisecond).Seconds())
	}
	return shown
}

func utc(t *time.Time) *time.Time {
	if t == nil {
		return nil
	}
	u := t.UTC()
	return &u
}

// JobInput names a job.
type JobInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The job's id"`
}

// jobOutput is the answer with a job.
type jobOutput struct {
	RetryAfter string `header:"Retry-After" doc:"When to ask again, in seconds; only while the job has not ended"`
	Applied    string `header:"Preference-Applied" doc:"The preference that was honored"`
	Body       Job
}

type getJobInput struct {
	JobInput

	Wait   int    `query:"wait" minimum:"0" maximum:"30" doc:"Hold the answer for up to so many seconds until the job has ended"`
	Prefer string `header:"Prefer" maxLength:"255" example:"wait=10" doc:"wait=N does the same as ?wait=N"`
}

type listJobsInput struct {
	Cursored

	Kind       events.Kind   `query:"kind" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create,webhook.deliver" doc:"Only jobs of this kind; without it those of webhooks are left out"`
	Status     events.Status `query:"status" enum:"queued,running,waiting,succeeded,failed,cancelled" doc:"Only jobs in this status"`
	ProjectID  uuid.UUID     `query:"project_id" format:"uuid" doc:"Only jobs of this project"`
	AgentID    uuid.UUID     `query:"agent_id" format:"uuid" doc:"Only runs of this agent"`
	DocumentID uuid.UUID     `query:"document_id" format:"uuid" doc:"Only jobs about this document"`
	ParentID   uuid.UUID     `query:"parent_id" format:"uuid" doc:"Only the parts of this job; without it, parts are left out"`
	Dead       string        `query:"dead" enum:"true,false" doc:"Only jobs that ran out of attempts and were not tried again or discarded, or only the others"`
	Sort       string        `query:"sort" enum:"created_at,-created_at" default:"-created_at" doc:"The order; without the dash the oldest first"`
}

// Step is the journal entry of a finished step of an agent run.
type Step struct {
	Step       int             `json:"step" doc:"Its number, from 0"`
	Kind       events.StepKind `json:"kind" enum:"model_call,tool_call,retrieval" doc:"What it did"`
	Name       string          `json:"name" doc:"Which model or tool"`
	Attempt    int             `json:"attempt" doc:"In which attempt of the job it was done"`
	Output     json.RawMessage `json:"output,omitempty" doc:"What it came to"`
	Usage      json.RawMessage `json:"usage,omitempty" doc:"What it cost, in tokens"`
	StartedAt  time.Time       `json:"started_at"`
	FinishedAt time.Time       `json:"finished_at"`
}

func showStep(s *store.RunStep) Step {
	return Step{
		Step: s.StepNo, Kind: s.Kind, Name: s.Name, Attempt: s.Attempt, Output: s.Output, Usage: s.Usage,
		StartedAt: s.StartedAt.UTC(), FinishedAt: s.FinishedAt.UTC(),
	}
}

type stepsOutput struct {
	Body struct {
		Data []Step `json:"data" nullable:"false" doc:"The finished steps, in order"`
	} `nameHint:"JobSteps"`
}

func (s *Server) jobOperations() {
	secured(s, access.JobsRead, operation{
		id: "list-jobs", method: http.MethodGet, path: "/jobs", tag: tagJobs, summary: "List jobs",
		about: "Newest first: one's own, those of one's projects or all, as the role allows. The parts of a job are left out " +
			"unless parent_id asks for them.",
	}, s.listJobs)
	secured(s, access.JobsRead, operation{
		id: "get-job", method: http.MethodGet, path: "/jobs/{id}", tag: tagJobs, summary: "Read a job",
		about:  "With `?wait=N` or `Prefer: wait=N` the answer is held until the job has ended, for at most N seconds.",
		errors: []int{http.StatusNotFound},
	}, s.getJob)
	secured(s, access.JobsCancel, operation{
		id: "cancel-job", method: http.MethodPost, path: "/jobs/{id}/cancel", tag: tagJobs, summary: "Cancel a job",
		about:  "Ends the job and its parts at once, wherever they are. Cancelling twice is no error.",
		errors: []int{http.StatusNotFound, http.StatusConflict},
	}, s.cancelJob)
	secured(s, access.JobsRead, operation{
		id: "list-job-steps", method: http.MethodGet, path: "/jobs/{id}/steps", tag: tagJobs, summary: "Read the journal of a run",
		about:  "Every finished step of an agent run, in order. A finished step is never done again.",
		errors: []int{http.StatusNotFound},
	}, s.listSteps)
}

func (s *Server) listJobs(ctx context.Context, p *rbac.Principal, in *listJobsInput) (*pageOutput[Job], error) {
	w, err := s.window(p, collection{name: "jobs", listing: in.listing(), sort: in.Sort})
	if err != nil {
		return nil, err
	}
	filter := store.JobFilter{
		Kind: in.Kind, Status: in.Status, ProjectID: given(in.ProjectID), AgentConfigID: given(in.AgentID),
		DocumentID: given(in.DocumentID), ParentID: given(in.ParentID), TopLevel: in.ParentID == uuid.Nil,
		Ascending: w.Sort.Ascending, After: following(w.Page), Limit: in.Limit,
	}
	if in.Dead != "" {
		dead := in.Dead == yes
		filter.Dead = &dead
	}
	list, more, err := s.Jobs.List(ctx, p, filter)
	if err != nil {
		return nil, err
	}
	rows := listedByID(list, more, func(j **store.Job) uuid.UUID { return (*j).ID })
	return page(w, rows, func(j **store.Job) Job { return s.showJob(*j) }), nil
}

func (s *Server) getJob(ctx context.Context, p *rbac.Principal, in *getJobInput) (*jobOutput, error) {
	job, ahead, err := s.Jobs.Place(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	out := &jobOutput{}
	wait := time.Duration(in.Wait) * time.Second
	if preferred := preferredWait(in.Prefer); wait == 0 && preferred > 0 {
		wait, out.Applied = preferred, "wait="+seconds(preferred)
	}
	if wait > 0 && !job.Status.Terminal() {
		if err := s.Jobs.Await(ctx, p, in.ID, wait); err != nil {
			return nil, err
		}
		if job, ahead, err = s.Jobs.Place(ctx, p, in.ID); err != nil {
			return nil, err
		}
	}
	if !job.Status.Terminal() {
		out.RetryAfter = seconds(pollAfter)
	}
	out.Body = s.placed(job, ahead)
	return out, nil
}

func (s *Server) cancelJob(ctx context.Context, p *rbac.Principal, in *JobInput) (*jobOutput, error) {
	job, err := s.Jobs.Cancel(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &jobOutput{Body: showJob(job)}, nil
}

func (s *Server) listSteps(ctx context.Context, p *rbac.Principal, in *JobInput) (*stepsOutput, error) {
	steps, err := s.Jobs.Steps(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	out := &stepsOutput{}
	out.Body.Data = shown(steps, showStep)
	return out, nil
}
