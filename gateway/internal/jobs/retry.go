package jobs

import (
	"context"
	"errors"
	"slices"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Retry makes a job within the caller's reach anew that failed or was cancelled. The new job belongs to whom the old one belongs to, and
// reads no more than that person may read now.
func (s *Service) Retry(ctx context.Context, p *rbac.Principal, once Once, id uuid.UUID) (Submission, error) {
	return s.submitMade(ctx, p, once, func(tx *store.Tx) (*store.Job, error) {
		if _, err := get(tx, p, id); err != nil {
			return nil, err
		}
		made, err := tx.Jobs().Again(id, prepareAgain(tx))
		if err == nil {
			tx.Audit("job", "retry", id, nil, map[string]any{"retried_as": made.ID})
		}
		return made, err
	})
}

// Discard takes a dead job within the caller's reach off the list of the dead.
func (s *Service) Discard(ctx context.Context, p *rbac.Principal, id uuid.UUID) (job *store.Job, err error) {
	err = s.store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		if _, err := get(tx, p, id); err != nil {
			return err
		}
		job, err = tx.Jobs().Discard(id)
		return err
	})
	return job, err
}

// Redriven is what a redrive came to.
type Redriven struct {
	// Found are the dead jobs that were meant, the oldest first; More says that there are others.
	Found []*store.Job
	More  bool
	// Made are the new jobs, by the ids of those that they do again. A dry run makes none.
	Made map[uuid.UUID]uuid.UUID
	// Skipped says of each job that cannot be done again why.
	Skipped map[uuid.UUID]*fault.Error
}

// Redrive makes the dead jobs anew that the filter names within the caller's reach, the oldest first. Those that cannot be done again
// are left as they are. A dry run changes nothing. What was asked for stands in the audit log.
func Redrive(tx *store.Tx, p *rbac.Principal, f store.JobFilter, dry bool) (r Redriven, err error) {
	dead := true
	f = within(p, f)
	f.Dead, f.TopLevel, f.Ascending = &dead, true, true
	if r.Found, r.More, err = tx.Jobs().List(f); err != nil || dry {
		return r, err
	}
	r.Made, r.Skipped = map[uuid.UUID]uuid.UUID{}, map[uuid.UUID]*fault.Error{}
	ids := make(map[string]uuid.UUID, len(r.Found))
	for _, job := range r.Found {
		made, err := tx.Jobs().Redrive(job.ID, prepareAgain(tx))
		refusal, refused := errors.AsType[*fault.Error](err)
		switch {
		case err == nil:
			r.Made[job.ID], ids[job.ID.String()] = made.ID, made.ID
		case refused && (refusal.Kind == fault.Conflict || refusal.Kind == fault.NotFound):
			r.Skipped[job.ID] = refusal
		default:
			return r, err
		}
	}
	if len(ids) > 0 {
		tx.Audit("job", "redrive", uuid.Nil, nil, map[string]any{"retried_as": ids})
	}
	return r, nil
}

// prepareAgain makes anew what belongs to a job that is made anew.
func prepareAgain(tx *store.Tx) func(old *store.Job, n *store.NewJob) error {
	return func(old *store.Job, n *store.NewJob) error {
		switch old.Kind {
		case events.KindDocumentIngest:
			return reviveDocument(tx, old)
		case events.KindAgentRun:
			return renewRun(tx, old, n)
		case events.KindWebhookDeliver:
			return fault.New(fault.Conflict, "job.delivery", "This job sends a message to a webhook. Send the delivery again instead.")
		default:
			// The others read the record when they run, or need nothing beside their input.
			return nil
		}
	}
}

func reviveDocument(tx *store.Tx, old *store.Job) error {
	if old.DocumentID == nil {
		return fault.New(fault.Conflict, "document.deleted", "The document of this job has been deleted.")
	}
	_, err := tx.Documents().Revive(*old.DocumentID)
	return err
}

// renewRun checks that a run may be done again: its agent is active, the message that it answers is there, and the person whose run it is
// may still run the agent. What the run may read is what that person may read now, and could read then.
func renewRun(tx *store.Tx, old *store.Job, n *store.NewJob) error {
	if old.AgentConfigID == nil || old.CreatedBy == nil {
		return fault.New(fault.Conflict, "job.orphaned", "The agent or the person of this run is gone.")
	}
	in, err := old.AgentRun()
	if err != nil {
		return err
	}
	agent, err := tx.AgentConfigs().Get(*old.AgentConfigID)
	if err != nil {
		return err
	}
	if !agent.IsActive {
		return fault.New(fault.Conflict, "agent.inactive", "The agent of this run is deactivated. Have it activated first.")
	}
	if err := answerable(tx, old, in); err != nil {
		return err
	}
	owner, err := Owner(tx, *old.CreatedBy)
	if err != nil {
		return err
	}
	if !owner.RunsAgent(agent.ProjectID) {
		return fault.New(fault.Conflict, "job.owner_refused", "The person whose run this is may not run the agent any more.")
	}
	in.Scope = common(in.Scope, owner.Documents())
	n.Input, n.AgentLimit = in, agent.MaxConcurrentRuns
	return nil
}

// answerable refuses a run that would answer a message that is gone.
func answerable(tx *store.Tx, old *store.Job, in events.AgentRunInput) error {
	if in.MessageID == "" {
		return nil
	}
	gone := fault.New(fault.Conflict, "message.deleted", "The message that this run answers has been deleted.")
	message, err := uuid.Parse(in.MessageID)
	if err != nil || old.ConversationID == nil {
		return gone
	}
	if _, err := tx.Messages().Get(*old.ConversationID, message); fault.Is(err, fault.NotFound) {
		return gone
	} else if err != nil {
		return err
	}
	return nil
}

// Owner returns the person whose a job is, or is going to be, as what it may do now. One who is deactivated is fault.Conflict
// "job.owner_inactive".
func Owner(tx *store.Tx, id uuid.UUID) (*rbac.Principal, error) {
	known, err := tx.Users().Principal(id)
	if err != nil {
		return nil, err
	}
	if !known.User.IsActive || !known.OrganizationActive {
		return nil, fault.New(fault.Conflict, "job.owner_inactive", "The person whose job this is, is deactivated.")
	}
	owner := &rbac.Principal{
		UserID: id, Tenant: tenant.FromUUID(known.User.OrganizationID), Role: known.RoleName, Superuser: known.User.IsSuperuser,
	}
	for _, name := range known.Permissions {
		owner.Permissions = append(owner.Permissions, access.Permission(name))
	}
	for _, text := range known.Projects {
		if project, err := uuid.Parse(text); err == nil {
			owner.Projects = append(owner.Projects, project)
		}
	}
	return owner, nil
}

// common is what both scopes reach.
func common(a, b events.Scope) events.Scope {
	switch {
	case a.All:
		return b
	case b.All:
		return a
	}
	both := events.Scope{Projects: []string{}}
	for _, project := range a.Projects {
		if slices.Contains(b.Projects, project) {
			both.Projects = append(both.Projects, project)
		}
	}
	return both
}
