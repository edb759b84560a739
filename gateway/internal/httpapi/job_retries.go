package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/jobs"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// JobAttempt is one time that a worker took a job.
type JobAttempt struct {
	Attempt    int          `json:"attempt" example:"1" doc:"What counted it; one that was postponed gives its number back"`
	Worker     string       `json:"worker,omitempty" example:"agent-worker-7f3a" doc:"Which process took it"`
	Outcome    jobs.Outcome `json:"outcome" enum:"running,succeeded,failed,cancelled,again,postponed" doc:"How it went: again means that it failed and the job was tried again, postponed that it had to wait and was not counted"`
	Error      *JobError    `json:"error,omitempty" doc:"Why it failed"`
	StartedAt  time.Time    `json:"started_at" doc:"When the worker took it"`
	FinishedAt *time.Time   `json:"finished_at,omitempty" nullable:"false" doc:"When it was over"`
	NextAt     *time.Time   `json:"next_at,omitempty" nullable:"false" doc:"When the next attempt was due"`
}

func showAttempt(a *jobs.Attempt) JobAttempt {
	attempt := JobAttempt{
		Attempt: a.Number, Worker: a.Worker, Outcome: a.Outcome, StartedAt: a.Started.UTC(), FinishedAt: utc(a.Finished),
		NextAt: utc(a.Next),
	}
	if a.Error != nil {
		attempt.Error = &JobError{Code: a.Error.Code, Message: a.Error.Message}
	}
	return attempt
}

type attemptsOutput struct {
	Body struct {
		Data []JobAttempt `json:"data" nullable:"false" doc:"The attempts, in order"`
	} `nameHint:"JobAttempts"`
}

// JobRedrive says which dead jobs to try again. Fields that are left out do not narrow.
type JobRedrive struct {
	Kind      events.Kind `json:"kind,omitempty" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create" doc:"Only jobs of this kind"`
	AgentID   *uuid.UUID  `json:"agent_id,omitempty" nullable:"true" format:"uuid" doc:"Only runs of this agent"`
	ErrorCode string      `json:"error_code,omitempty" maxLength:"200" example:"worker.lost" doc:"Only jobs that failed for this reason"`
	Since     *time.Time  `json:"since,omitempty" nullable:"true" example:"2030-01-01T06:00:00Z" doc:"Only jobs that ended from then on"`
	Until     *time.Time  `json:"until,omitempty" nullable:"true" example:"2030-01-01T07:00:00Z" doc:"Only jobs that ended before then"`
	Limit     int         `json:"limit,omitempty" minimum:"1" maximum:"500" default:"100" doc:"How many jobs to try again at most, the oldest first"`
	DryRun    bool        `json:"dry_run,omitempty" doc:"Only say which jobs are meant"`
}

// RedrivenJob is what became of a dead job.
type RedrivenJob struct {
	JobID     uuid.UUID  `json:"job_id" format:"uuid" doc:"The dead job"`
	RetriedAs *uuid.UUID `json:"retried_as,omitempty" nullable:"false" format:"uuid" doc:"The job that does it again"`
	Skipped   *JobError  `json:"skipped,omitempty" doc:"Why it cannot be tried again; it stays dead"`
}

// RedrivenJobs are what a redrive came to.
type RedrivenJobs struct {
	Data    []RedrivenJob `json:"data" nullable:"false" doc:"The dead jobs that were meant, the oldest first"`
	Retried int           `json:"retried" example:"2" doc:"How many are tried again"`
	HasMore bool          `json:"has_more" doc:"Whether there are others beyond the limit"`
	DryRun  bool          `json:"dry_run" doc:"Whether nothing was done"`
}

func showRedriven(r jobs.Redriven, dry bool) RedrivenJobs {
	body := RedrivenJobs{Data: make([]RedrivenJob, len(r.Found)), Retried: len(r.Made), HasMore: r.More, DryRun: dry}
	for i, job := range r.Found {
		shown := RedrivenJob{JobID: job.ID}
		if made, ok := r.Made[job.ID]; ok {
			shown.RetriedAs = &made
		}
		if why, ok := r.Skipped[job.ID]; ok {
			shown.Skipped = &JobError{Code: why.Code, Message: why.Message}
		}
		body.Data[i] = shown
	}
	return body
}

type retryJobInput struct {
	JobInput
	Submitting
}

type redriveJobsInput struct {
	Repeatable

	Body JobRedrive
}

// redrivenOutput is the answer to a redrive.
type redrivenOutput struct {
	Replayed string `header:"Idempotency-Replayed" doc:"true when an earlier request with the same key did it"`
	Body     RedrivenJobs
}

func (s *Server) jobRetryOperations() {
	secured(s, access.JobsRead, operation{
		id: "list-job-attempts", method: http.MethodGet, path: "/jobs/{id}/attempts", tag: tagJobs, summary: "Read the attempts of a job",
		about:  "Each time that a worker took it, with how that went. Of more than about 500 the oldest are left out.",
		errors: []int{http.StatusNotFound},
	}, s.listAttempts)
	secured(s, access.JobsRedrive, operation{
		id: "retry-job", method: http.MethodPost, path: "/jobs/{id}/retry", tag: tagJobs, accepts: true, summary: "Try a job again",
		about: "For a job that failed or was cancelled. A new job does the same again, for the person whose job it was; the two name " +
			"each other in retry_of and retried_as. A job is tried again once; after that, its retry is.",
		errors: []int{http.StatusNotFound},
	}, s.retryJob)
	secured(s, access.JobsRedrive, operation{
		id: "redrive-jobs", method: http.MethodPost, path: "/jobs/redrive", tag: tagJobs, summary: "Try dead jobs again",
		about: "Every dead job that the filter names, the oldest first, each as POST /jobs/{id}/retry does. Those that cannot be tried " +
			"again are skipped, and the answer says why.",
		errors: []int{http.StatusConflict},
	}, s.redriveJobs)
	secured(s, access.JobsRedrive, operation{
		id: "discard-job", method: http.MethodPost, path: "/jobs/{id}/discard", tag: tagJobs, summary: "Discard a dead job",
		about:  "Takes it off the list of the dead. It can be read on. Discarding twice is no error.",
		errors: []int{http.StatusNotFound, http.StatusConflict},
	}, s.discardJob)
}

func (s *Server) listAttempts(ctx context.Context, p *rbac.Principal, in *JobInput) (*attemptsOutput, error) {
	list, err := s.Jobs.Attempts(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	out := &attemptsOutput{}
	out.Body.Data = shown(list, showAttempt)
	return out, nil
}

func (s *Server) retryJob(ctx context.Context, p *rbac.Principal, in *retryJobInput) (*acceptedOutput, error) {
	once, err := in.once("POST /jobs/"+in.ID.String()+"/retry", nil)
	if err != nil {
		return nil, err
	}
	sub, err := s.Jobs.Retry(ctx, p, once, in.ID)
	if err != nil {
		return nil, err
	}
	return s.accept(ctx, p, sub, in.Prefer)
}

func (s *Server) redriveJobs(ctx context.Context, p *rbac.Principal, in *redriveJobsInput) (*redrivenOutput, error) {
	b := in.Body
	filter := store.JobFilter{Kind: b.Kind, AgentConfigID: b.AgentID, ErrorCode: b.ErrorCode, Limit: b.Limit}
	set(&filter.Since, b.Since)
	set(&filter.Until, b.Until)
	if b.DryRun {
		found, err := view(ctx, s, p.Tenant, func(tx *store.Tx) (jobs.Redriven, error) { return jobs.Redrive(tx, p, filter, true) })
		return &redrivenOutput{Body: showRedriven(found, true)}, err
	}
	once, err := in.once("POST /jobs/redrive", b)
	if err != nil {
		return nil, err
	}
	done, err := makes(ctx, s, p, once, func(tx *store.Tx) (*made[RedrivenJobs], error) {
		r, err := jobs.Redrive(tx, p, filter, false)
		return &made[RedrivenJobs]{Body: showRedriven(r, false)}, err
	})
	if err != nil {
		return nil, err
	}
	return &redrivenOutput{Replayed: done.Replayed, Body: done.Body}, nil
}

func (s *Server) discardJob(ctx context.Context, p *rbac.Principal, in *JobInput) (*jobOutput, error) {
	job, err := s.Jobs.Discard(ctx, p, in.ID)
	if err != nil {
		return nil, err
	}
	return &jobOutput{Body: showJob(job)}, nil
}
