package store

import (
	"encoding/json"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
)

// DeliveryStatus says what became of a delivery.
type DeliveryStatus string

// The statuses of deliveries. A delivery that has failed can be sent again, and one that was delivered, too.
const (
	DeliveryPending   DeliveryStatus = "pending"
	DeliveryDelivered DeliveryStatus = "delivered"
	DeliveryFailed    DeliveryStatus = "failed"
)

// WebhookDelivery is a message to one webhook, and how sending it went.
type WebhookDelivery struct {
	ID             uuid.UUID `gorm:"column:id;primaryKey"`
	OrganizationID uuid.UUID `gorm:"column:organization_id"`
	WebhookID      uuid.UUID `gorm:"column:webhook_id"`
	// MessageID tells messages apart; it is the same for all attempts and all webhooks that get the message.
	MessageID string `gorm:"column:message_id"`
	EventType string `gorm:"column:event_type"`
	// Payload is what is sent, to the byte.
	Payload json.RawMessage `gorm:"column:payload"`
	// JobID is the webhook.deliver job that sends it, or did last.
	JobID  uuid.UUID      `gorm:"column:job_id"`
	Status DeliveryStatus `gorm:"column:status"`
	// AttemptCount counts all attempts; Attempts holds the newest MaxAttemptsKept of them, the oldest first.
	AttemptCount int                   `gorm:"column:attempt_count"`
	Attempts     List[DeliveryAttempt] `gorm:"column:attempts"`
	// NextAttemptAt is when it is tried again; nil when it is not, or at once.
	NextAttemptAt *time.Time `gorm:"column:next_attempt_at"`
	FinishedAt    *time.Time `gorm:"column:finished_at"`
	CreatedAt     time.Time  `gorm:"column:created_at"`
	UpdatedAt     time.Time  `gorm:"column:updated_at"`
}

// TableName implements GORM's Tabler.
func (WebhookDelivery) TableName() string { return "webhook_deliveries" }

// DeliveryAttempt is one try to send a message.
type DeliveryAttempt struct {
	At time.Time `json:"at"`
	// StatusCode is what the receiver answered; 0 when it did not answer.
	StatusCode int   `json:"status_code,omitempty"`
	DurationMS int64 `json:"duration_ms"`
	// Response is the beginning of the answer, as text.
	Response string `json:"response,omitempty"`
	// Error is why it failed, for people; empty when it did not.
	Error string `json:"error,omitempty"`
}

// MaxAttemptsKept is how many attempts a delivery remembers.
const MaxAttemptsKept = 30

// WebhookDeliveries is the repository of deliveries within a tenant.
type WebhookDeliveries struct{ tx *Tx }

// WebhookDeliveries returns the deliveries of the transaction's tenant.
func (tx *Tx) WebhookDeliveries() WebhookDeliveries { return WebhookDeliveries{tx} }

const nounWebhookDelivery = "webhook_delivery"

// WebhookMessage is what a webhook is to be told.
type WebhookMessage struct {
	Webhook uuid.UUID
	// ID is the message's; Type what happened.
	ID, Type string
	Payload  json.RawMessage
}

// Send writes deliveries and submits the jobs that send them, each of which is tried so often at most.
func (r WebhookDeliveries) Send(messages []WebhookMessage, attempts int) ([]*WebhookDelivery, error) {
	if len(messages) == 0 {
		return nil, nil
	}
	rows, work := make([]*WebhookDelivery, len(messages)), make([]NewJob, len(messages))
	for i, m := range messages {
		d := &WebhookDelivery{WebhookID: m.Webhook, MessageID: m.ID, EventType: m.Type, Payload: m.Payload, Status: DeliveryPending}
		if err := r.tx.own(&d.ID, &d.OrganizationID); err != nil {
			return nil, err
		}
		rows[i], work[i] = d, delivering(d.ID, attempts)
	}
	jobs, err := r.tx.Jobs().SubmitAll(work)
	if err != nil {
		return nil, err
	}
	for i, job := range jobs {
		rows[i].JobID = job.ID
	}
	return rows, explain(r.tx.db.CreateInBatches(rows, 200).Error, "insert webhook deliveries")
}

func delivering(delivery uuid.UUID, attempts int) NewJob {
	return NewJob{
		Kind: events.KindWebhookDeliver, Class: events.ClassBulk, MaxAttempts: attempts,
		Input: events.WebhookDeliverInput{DeliveryID: delivery.String()},
	}
}

// Get returns a delivery to the webhook, or fault.NotFound "webhook_delivery.not_found".
func (r WebhookDeliveries) Get(webhook, id uuid.UUID) (*WebhookDelivery, error) {
	return take[WebhookDelivery](within[WebhookDelivery](r.tx).Where("webhook_id = ? AND id = ?", webhook, id), nounWebhookDelivery)
}

// ByID returns a delivery, or fault.NotFound, for the job that knows no more of it.
func (r WebhookDeliveries) ByID(id uuid.UUID) (*WebhookDelivery, error) {
	return take[WebhookDelivery](within[WebhookDelivery](r.tx).Where("id = ?", id), nounWebhookDelivery)
}

// Redeliver sends a delivery again that is not under way; one that is, is fault.Conflict "webhook_delivery.pending".
func (r WebhookDeliveries) Redeliver(webhook, id uuid.UUID, attempts int) (*WebhookDelivery, error) {
	d, err := take[WebhookDelivery](within[WebhookDelivery](r.tx).Where("webhook_id = ? AND id = ?", webhook, id).
		Clauses(forUpdate()), nounWebhookDelivery)
	if err != nil {
		return nil, err
	}
	if d.Status == DeliveryPending {
		return nil, fault.New(fault.Conflict, "webhook_delivery.pending", "This delivery is under way.")
	}
	job, err := r.tx.Jobs().Submit(delivering(id, attempts))
	if err != nil {
		return nil, err
	}
	d.Status, d.JobID, d.NextAttemptAt, d.FinishedAt = DeliveryPending, job.ID, nil, nil
	d.UpdatedAt = r.tx.later(d.UpdatedAt)
	write := within[WebhookDelivery](r.tx).Where("id = ?", id).
		Select("status", "job_id", "next_attempt_at", "finished_at", columnUpdatedAt).UpdateColumns(d)
	if err := touched(write, "redeliver", nounWebhookDelivery); err != nil {
		return nil, err
	}
	r.tx.Audit(nounWebhookDelivery, "redeliver", id, nil, map[string]any{"webhook_id": webhook, "event_type": d.EventType})
	return d, nil
}

// Attempted adds an attempt and what it made of the delivery. Next is when it is tried again; the zero time is never. A delivery that
// is gone is left gone.
func (r WebhookDeliveries) Attempted(id uuid.UUID, a DeliveryAttempt, status DeliveryStatus, next time.Time) error {
	a.Response, a.Error = storable(a.Response), storable(a.Error)
	text, err := encode([]DeliveryAttempt{a})
	if err != nil {
		return err
	}
	var at, finished *time.Time
	if !next.IsZero() {
		at = &next
	}
	if now := r.tx.db.NowFunc(); status != DeliveryPending {
		finished = &now
	}
	_, err = r.tx.exec(`UPDATE webhook_deliveries SET status = $3, next_attempt_at = $4, finished_at = $5,
			attempt_count = attempt_count + 1,
			attempts = CASE WHEN jsonb_array_length(attempts) < $7 THEN attempts ELSE attempts - 0 END || $6::text::jsonb,
			updated_at = greatest(now(), updated_at + interval '1 microsecond')
		WHERE organization_id = $1 AND id = $2`, r.tx.tenant.UUID(), id, string(status), at, finished, text, MaxAttemptsKept)
	return explain(err, "log an attempt")
}

// abandon marks the delivery of a job that has ended without success, unless another job sends it by now.
func (r WebhookDeliveries) abandon(job *Job) error {
	var in events.WebhookDeliverInput
	if err := json.Unmarshal(job.Input, &in); err != nil {
		return nil //nolint:nilerr // a job that names no delivery has none to mark
	}
	id, err := uuid.Parse(in.DeliveryID)
	if err != nil {
		return nil //nolint:nilerr // likewise
	}
	_, err = r.tx.exec(`UPDATE webhook_deliveries SET status = 'failed', next_attempt_at = NULL, finished_at = now(),
			updated_at = greatest(now(), updated_at + interval '1 microsecond')
		WHERE organization_id = $1 AND id = $2 AND job_id = $3 AND status = 'pending'`,
		r.tx.tenant.UUID(), id, job.ID)
	return explain(err, "mark a delivery as failed")
}

// Prune deletes up to limit deliveries that were finished so long ago, the oldest first, and returns how many.
func (r WebhookDeliveries) Prune(finished time.Duration, limit int) (int64, error) {
	n, err := r.tx.exec(`DELETE FROM webhook_deliveries WHERE organization_id = $1 AND id IN (
			SELECT id FROM webhook_deliveries WHERE organization_id = $1 AND finished_at < now() - make_interval(secs => $2)
			ORDER BY finished_at LIMIT $3 FOR UPDATE SKIP LOCKED)`, r.tx.tenant.UUID(), finished.Seconds(), limit)
	return n, explain(err, "prune webhook deliveries")
}

// DeliveryFilter narrows a list of deliveries. Zero fields do not.
type DeliveryFilter struct {
	Webhook   uuid.UUID
	Status    DeliveryStatus
	EventType string
	Page      Page
}

// List returns one page of a webhook's deliveries, without payloads and attempts.
func (r WebhookDeliveries) List(f DeliveryFilter) (Listed[WebhookDelivery], error) {
	q := within[WebhookDelivery](r.tx).Where("webhook_id = ?", f.Webhook)
	if f.Status != "" {
		q = q.Where("status = ?", f.Status)
	}
	if f.EventType != "" {
		q = q.Where("event_type = ?", f.EventType)
	}
	return list[WebhookDelivery](q, f.Page, nounWebhookDelivery, nil, "payload", "attempts")
}
