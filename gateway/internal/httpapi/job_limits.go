package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// JobLimits are an organization's share of the workers.
type JobLimits struct {
	OrganizationID uuid.UUID  `json:"organization_id" format:"uuid"`
	Weight         int        `json:"weight" example:"1" doc:"How much of what there is to share goes to the organization, in relation to others; 1 is usual"`
	MaxRunning     int        `json:"max_running" example:"0" doc:"How many of its jobs of each kind may be under way at once; 0 is no limit"`
	UpdatedAt      *time.Time `json:"updated_at" doc:"When they were last changed; null if they never were"`
}

func (l JobLimits) changedAt() time.Time {
	if l.UpdatedAt == nil {
		return time.Time{}
	}
	return *l.UpdatedAt
}

func showJobLimits(l *store.JobLimit) JobLimits {
	shown := JobLimits{OrganizationID: l.OrganizationID, Weight: l.Weight, MaxRunning: l.MaxRunning}
	if !l.UpdatedAt.IsZero() {
		shown.UpdatedAt = utc(&l.UpdatedAt)
	}
	return shown
}

// JobLimitsChange is what becomes different about them. Fields that are left out or null stay as they are.
type JobLimitsChange struct {
	Weight     *int `json:"weight,omitempty" minimum:"1" maximum:"1000" example:"2" doc:"How much of what there is to share goes to the organization, in relation to others"`
	MaxRunning *int `json:"max_running,omitempty" minimum:"0" maximum:"1000000" example:"50" doc:"How many of its jobs of each kind may be under way at once; 0 is no limit"`
}

type changeJobLimitsInput struct {
	OrganizationInput
	Conditional

	Body JobLimitsChange
}

func (s *Server) jobLimitOperations() {
	op := func(id, method, summary string) operation {
		return operation{
			id: id, method: method, path: "/organizations/{id}/job-limits", tag: tagOrganizations, summary: summary,
			errors: []int{http.StatusNotFound},
		}
	}
	secured(s, access.JobsReadAll, op("get-job-limits", http.MethodGet, "Read an organization's share of the workers"), s.getJobLimits)
	change := op("update-job-limits", "", "Change an organization's share of the workers")
	change.about = "For superusers. The dispatcher keeps to it within seconds; what runs already goes on."
	changes(s, rbac.Platform, change, s.changeJobLimits)
}

func (s *Server) getJobLimits(ctx context.Context, p *rbac.Principal, in *getOrganizationInput) (*one[JobLimits], error) {
	t, err := p.Organization(in.ID)
	if err != nil {
		return nil, err
	}
	row, err := view(ctx, s, t, func(tx *store.Tx) (*store.JobLimit, error) {
		if _, err := tx.Organizations().Get(in.ID); err != nil {
			return nil, err
		}
		return tx.JobLimits().Get()
	})
	if err != nil {
		return nil, err
	}
	return fresh(in.Cached, showJobLimits(row)), nil
}

func (s *Server) changeJobLimits(ctx context.Context, p *rbac.Principal, in *changeJobLimitsInput) (*one[JobLimits], error) {
	t, err := p.Organization(in.ID)
	if err != nil {
		return nil, err
	}
	row, err := changedIn(ctx, s, t, in.Conditional, func(tx *store.Tx, match store.Match) (*store.JobLimit, error) {
		if _, err := tx.Organizations().Get(in.ID); err != nil {
			return nil, err
		}
		return tx.JobLimits().Update(match, func(l *store.JobLimit) {
			set(&l.Weight, in.Body.Weight)
			set(&l.MaxRunning, in.Body.MaxRunning)
		})
	})
	if err != nil {
		return nil, err
	}
	return show(showJobLimits(row)), nil
}
