package store

import (
	"context"
	"time"

	"github.com/google/uuid"
	"gorm.io/gorm"
)

// The plans an organization can be on.
const (
	PlanStarter      = "starter"
	PlanProfessional = "professional"
	PlanEnterprise   = "enterprise"
)

// Plans returns every plan, the smallest first.
func Plans() []string { return []string{PlanStarter, PlanProfessional, PlanEnterprise} }

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
	return take[Organization](within[Organization](r.tx).Where("id = ?", id), nounOrganization)
}

const nounOrganization = "organization"

// Update changes the organization; every id but the tenant's own is fault.NotFound. The verb names the change in the audit log. When
// it is deactivated nobody of it may do anything any more, and its refresh tokens are good again when it is brought back.
func (r Organizations) Update(id uuid.UUID, verb string, match Match, change func(*Organization) error) (*Organization, error) {
	return edit(r.tx, nounOrganization, verb, id, match, func(o *Organization) error {
		active := o.IsActive
		if err := change(o); err != nil {
			return err
		}
		r.tx.accessChanged = r.tx.accessChanged || o.IsActive != active
		return nil
	})
}

// OrganizationFilter narrows a list of organizations. Zero fields do not.
type OrganizationFilter struct {
	// ID keeps one organization.
	ID *uuid.UUID
	// Search is looked for in name, domain and description.
	Search string
	Plan   string
	Active *bool
	Page   Page
}

// OrganizationSorts are the columns that organizations can be sorted by.
func OrganizationSorts() []string {
	return []string{columnName, columnCreatedAt, columnUpdatedAt, "subscription_plan"}
}

// List returns the organization, if the filter keeps it.
func (r Organizations) List(f OrganizationFilter) (Listed[Organization], error) {
	return f.list(within[Organization](r.tx))
}

// Organizations returns one page of all organizations. It is for the platform's superuser, reads only, and is the one look that the
// Store takes beyond a tenant.
func (s *Store) Organizations(ctx context.Context, f OrganizationFilter) (Listed[Organization], error) {
	db := s.db.WithContext(ctx)
	db.Statement.ConnPool = newSurvey(s.pool)
	return f.list(db.Model(&Organization{}))
}

func (f OrganizationFilter) list(q *gorm.DB) (Listed[Organization], error) {
	if f.ID != nil {
		q = q.Where("id = ?", *f.ID)
	}
	q = holding(q, f.Search, columnName, "domain", columnDescription)
	if f.Plan != "" {
		q = q.Where("subscription_plan = ?", f.Plan)
	}
	if f.Active != nil {
		q = q.Where("is_active = ?", *f.Active)
	}
	return list[Organization](q, f.Page, nounOrganization, OrganizationSorts())
}
