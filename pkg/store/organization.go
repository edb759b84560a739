package store

import (
	"time"

	"github.com/google/uuid"
)

// The plans an organization can be on.
const (
	PlanStarter      = "starter"
	PlanProfessional = "professional"
	PlanEnterprise   = "enterprise"
)

// Organization is a tenant.
type Organization struct {
	ID               uuid.UUID `gorm:"column:id;primaryKey"`
	Name             string    `gorm:"column:name"`
	Domain           *string   `gorm:"column:domain"` // unique whatever its case
	Description      string    `gorm:"column:description"`
	LogoURL          string    `gorm:"column:logo_url"`
	SubscriptionPlan string    `gorm:"column:subscription_plan"`
	Settings         Object    `gorm:"column:settings"`
	OrgMetadata      Object    `gorm:"column:org_metadata"`
	// AllowsSelfRegistration lets strangers who know the id join as members.
	AllowsSelfRegistration bool      `gorm:"column:allows_self_registration"`
	IsActive               bool      `gorm:"column:is_active"`
	CreatedAt              time.Time `gorm:"column:created_at"`
	UpdatedAt              time.Time `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (Organization) TableName() string { return "organizations" }

// Organizations is the repository of the one organization that a transaction can see: its own.
type Organizations struct{ tx *Tx }

// Organizations returns the organization of the transaction's tenant.
func (tx *Tx) Organizations() Organizations { return Organizations{tx} }

// Create founds the organization of the transaction's tenant, active: its id is set to the tenant's, an empty plan to starter. A new
// tenant is a new id: InTenant(ctx, tenant.FromUUID(id), ...) with Create as the first statement. A taken domain is
// fault.Conflict "organization.domain_taken".
func (r Organizations) Create(o *Organization) error {
	o.ID = r.tx.tenant.UUID()
	if o.SubscriptionPlan == "" {
		o.SubscriptionPlan = PlanStarter
	}
	o.IsActive = true
	if err := explain(r.tx.db.Create(o).Error, "create organization"); err != nil {
		return err
	}
	after, err := snapshot(r.tx.db, o)
	if err != nil {
		return err
	}
	r.tx.Audit("organization", "create", o.ID, nil, after.told(nil))
	return nil
}

// Get returns the organization. Every id but the tenant's own is fault.NotFound.
func (r Organizations) Get(id uuid.UUID) (*Organization, error) {
	return take[Organization](r.tx.db.Where("id = ? AND id = ?", id, r.tx.tenant.UUID()), "organization")
}
