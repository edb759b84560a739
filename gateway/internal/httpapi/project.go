package httpapi

import (
	"github.com/google/uuid"

	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// usesProject refuses a project that does not exist in the caller's organization, and one that the caller has no part in. No
// project at all is fine.
func usesProject(tx *store.Tx, p *rbac.Principal, project *uuid.UUID) error {
	if project == nil {
		return nil
	}
	if _, err := tx.Projects().Get(*project); err != nil {
		return err
	}
	if !p.UsesProject(*project) {
		return fault.New(fault.Forbidden, "project.not_member", "You are not a member of this project. Ask to be added to it.")
	}
	return nil
}

// givenBool reads an optional filter; nil when it was not sent.
func givenBool(text string) *bool {
	if text == "" {
		return nil
	}
	value := text == yes
	return &value
}
