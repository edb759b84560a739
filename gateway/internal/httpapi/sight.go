package httpapi

import (
	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/fault"
)

// The ends of what lasts, when what its caller may see does.
const (
	// reasonRevoked: the caller is not served any more, or not with this.
	reasonRevoked = "access.revoked"
	// reasonChanged: the caller may still be served, but with something else.
	reasonChanged = "access.changed"
)

// sight is what is shown for as long as its readers may see it: it refuses who no longer does, of the reach that is his now.
type sight func(rbac.Reach) error

// seesJob refuses who does not see a job of this owner and project.
func seesJob(owner, project *uuid.UUID) sight {
	return func(now rbac.Reach) error {
		if now.Sees(owner, project) {
			return nil
		}
		return fault.New(fault.Forbidden, reasonRevoked, "You may no longer read this job.")
	}
}

// seesTheSame refuses who sees other jobs than before.
func seesTheSame(before rbac.Reach) sight {
	return func(now rbac.Reach) error {
		if now.Equal(before) {
			return nil
		}
		return fault.New(fault.Forbidden, reasonChanged, "What you may see has changed. Follow it again to go on.")
	}
}
