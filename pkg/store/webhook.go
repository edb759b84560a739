package store

import (
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/pkg/fault"
)

// Webhook is an address that wants to be told what becomes of a tenant's jobs and documents.
type Webhook struct {
	ID             uuid.UUID  `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID  `gorm:"column:organization_id"`
	CreatedBy      *uuid.UUID `gorm:"column:created_by"`
	URL            string     `gorm:"column:url"`
	Description    string     `gorm:"column:description"`
	// EventTypes are what it wants to be told of.
	EventTypes StringArray `gorm:"column:event_types"`
	// JobKinds are of which kinds of jobs; empty is all.
	JobKinds StringArray `gorm:"column:job_kinds"`
	IsActive bool        `gorm:"column:is_active"`
	// DisabledReason is why the service turned it off; empty where it did not.
	DisabledReason string `gorm:"column:disabled_reason"`
	// FailingSince is the first failure since the last success; nil while deliveries succeed.
	FailingSince *time.Time `gorm:"column:failing_since"`
	// Secret and PreviousSecret are sealed: what opens them is not in the database. PreviousSecret signs, too, before PreviousUntil.
	Secret         []byte     `gorm:"column:secret" json:"-" audit:"-"`
	PreviousSecret []byte     `gorm:"column:previous_secret" json:"-" audit:"-"`
	PreviousUntil  *time.Time `gorm:"column:previous_until"`
	CreatedAt      time.Time  `gorm:"column:created_at"`
	UpdatedAt      time.Time  `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (Webhook) TableName() string { return "webhooks" }

// MaxWebhooks is how many webhooks a tenant can have: each event costs as many deliveries.
const MaxWebhooks = 50

// Webhooks is the repository of webhooks within a tenant.
type Webhooks struct{ tx *Tx }

// Webhooks returns the webhooks of the transaction's tenant.
func (tx *Tx) Webhooks() Webhooks { return Webhooks{tx} }

const nounWebhook = "webhook"

// Create writes an active webhook, which is told what happens from then on. One more than MaxWebhooks is fault.Conflict
// "webhook.too_many".
func (r Webhooks) Create(w *Webhook) error {
	w.IsActive, w.PreviousSecret = true, []byte{}
	if err := create(r.tx, nounWebhook, w, &w.ID, &w.OrganizationID); err != nil {
		return err
	}
	// The feed stays locked until the commit: of two that are made at once, the second counts the first.
	if err := r.tx.WebhookFeeds().open(); err != nil {
		return err
	}
	var n int64
	if err := within[Webhook](r.tx).Count(&n).Error; err != nil {
		return explain(err, "count webhooks")
	}
	if n > MaxWebhooks {
		return fault.New(fault.Conflict, "webhook.too_many",
			"There can be %d webhooks at most. Delete one that is not needed.", MaxWebhooks)
	}
	return nil
}

// Get returns a webhook, or fault.NotFound "webhook.not_found".
func (r Webhooks) Get(id uuid.UUID) (*Webhook, error) {
	return take[Webhook](within[Webhook](r.tx).Where("id = ?", id), nounWebhook)
}

// Update changes a webhook. One that is turned on is told what happens from then on, and owes nobody its failures. A row at another
// revision is fault.Precondition.
func (r Webhooks) Update(id uuid.UUID, match Match, change func(*Webhook) error) (*Webhook, error) {
	// The feed is locked before the webhook, as a relay does it. One that nobody needs, the relay closes.
	if err := r.tx.WebhookFeeds().open(); err != nil {
		return nil, err
	}
	turnedOn := false
	w, err := edit(r.tx, nounWebhook, "update", id, match, func(w *Webhook) error {
		was := w.IsActive
		if err := change(w); err != nil {
			return err
		}
		if turnedOn = w.IsActive && !was; turnedOn {
			w.DisabledReason, w.FailingSince = "", nil
		}
		return nil
	})
	if err != nil || !turnedOn {
		return w, err
	}
	_, err = r.tx.exec("UPDATE webhooks SET since = DEFAULT WHERE organization_id = $1 AND id = $2", r.tx.tenant.UUID(), id)
	return w, explain(err, "turn a webhook on")
}

// Rotate gives a webhook a new sealed secret. The one before signs, too, until the given time; the zero time ends it at once.
func (r Webhooks) Rotate(id uuid.UUID, match Match, sealed []byte, until time.Time) (*Webhook, error) {
	return edit(r.tx, nounWebhook, "rotate_secret", id, match, func(w *Webhook) error {
		w.PreviousSecret, w.PreviousUntil = []byte{}, nil
		if !until.IsZero() {
			w.PreviousSecret, w.PreviousUntil = w.Secret, &until
		}
		w.Secret = sealed
		return nil
	})
}

// Disable turns a webhook off that its receiver does not want or does not answer, and says why. One that is off stays as it is.
func (r Webhooks) Disable(id uuid.UUID, reason string) error {
	_, err := edit(r.tx, nounWebhook, "disable", id, nil, func(w *Webhook) error {
		if w.IsActive {
			w.IsActive, w.DisabledReason = false, reason
		}
		return nil
	})
	return err
}

// Failed notes that a delivery to the webhook failed, unless one did before and none has succeeded since. It is no change of the
// webhook: nothing is audited, and its revision stays.
func (r Webhooks) Failed(id uuid.UUID, at time.Time) error {
	noted := within[Webhook](r.tx).Where("id = ? AND failing_since IS NULL", id).UpdateColumn("failing_since", at)
	return explain(noted.Error, "note the failure of a webhook")
}

// Succeeded notes that a delivery to the webhook succeeded, likewise.
func (r Webhooks) Succeeded(id uuid.UUID) error {
	noted := within[Webhook](r.tx).Where("id = ? AND failing_since IS NOT NULL", id).UpdateColumn("failing_since", nil)
	return explain(noted.Error, "note the success of a webhook")
}

// Delete removes a webhook with its deliveries. What is under way to it may still arrive.
func (r Webhooks) Delete(id uuid.UUID, match Match) error {
	w, err := take[Webhook](within[Webhook](r.tx).Where("id = ?", id).Clauses(forUpdate()), nounWebhook)
	if err != nil {
		return err
	}
	if !match.admits(RevisionAt(w.UpdatedAt)) {
		return outdated(nounWebhook)
	}
	before, err := snapshot(r.tx.db, w)
	if err != nil {
		return err
	}
	if err := touched(within[Webhook](r.tx).Where("id = ?", id).Delete(&Webhook{}), "delete webhook", nounWebhook); err != nil {
		return err
	}
	r.tx.Audit(nounWebhook, "delete", id, before.told(nil), nil)
	return nil
}

// WebhookFilter narrows a list of webhooks. Zero fields do not.
type WebhookFilter struct {
	// Search is looked for in address and description.
	Search string
	// EventType leaves those that want to be told of it.
	EventType string
	Active    *bool
	Page      Page
}

// WebhookSorts are the columns that webhooks can be sorted by.
func WebhookSorts() []string { return []string{columnCreatedAt, columnUpdatedAt} }

// List returns one page of the webhooks.
func (r Webhooks) List(f WebhookFilter) (Listed[Webhook], error) {
	q := holding(within[Webhook](r.tx), f.Search, "url", columnDescription)
	if f.EventType != "" {
		q = q.Where("? = ANY(event_types)", f.EventType)
	}
	if f.Active != nil {
		q = q.Where("is_active = ?", *f.Active)
	}
	return list[Webhook](q, f.Page, nounWebhook, WebhookSorts())
}
