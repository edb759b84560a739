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

// Webhook is an address that is told what becomes of jobs and documents.
type Webhook struct {
	ID              uuid.UUID  `json:"id" format:"uuid"`
	OrganizationID  uuid.UUID  `json:"organization_id" format:"uuid"`
	URL             string     `json:"url" example:"https://example.com/hooks/copilot" doc:"Where messages are sent"`
	Description     string     `json:"description" example:"Tells the ticket system" doc:"What it is for"`
	EventTypes      []string   `json:"event_types" nullable:"false" enum:"job.succeeded,job.failed,job.cancelled,job.dead,document.completed,document.failed,document.deleted" doc:"What it is told of"`
	JobKinds        []string   `json:"job_kinds" nullable:"false" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create" doc:"Of which kinds of jobs; empty is all. It narrows events of jobs only"`
	IsActive        bool       `json:"is_active" doc:"Whether it is told anything"`
	DisabledReason  string     `json:"disabled_reason,omitempty" enum:"gone,failing" doc:"Why the service turned it off: the receiver answered 410, or nothing was delivered for days"`
	FailingSince    *time.Time `json:"failing_since" doc:"The first failure since the last success; null while messages are delivered"`
	PreviousUntil   *time.Time `json:"previous_secret_until" doc:"Until when the secret before signs, too; null when there is none"`
	CreatedByUserID *uuid.UUID `json:"created_by" format:"uuid"`
	CreatedAt       time.Time  `json:"created_at"`
	UpdatedAt       time.Time  `json:"updated_at"`
}

func (w Webhook) changedAt() time.Time { return w.UpdatedAt }

func showWebhook(w *store.Webhook) Webhook {
	return Webhook{
		ID: w.ID, OrganizationID: w.OrganizationID, URL: w.URL, Description: w.Description,
		EventTypes: append([]string{}, w.EventTypes...), JobKinds: append([]string{}, w.JobKinds...), IsActive: w.IsActive,
		DisabledReason: w.DisabledReason, FailingSince: utc(w.FailingSince), PreviousUntil: utc(w.PreviousUntil),
		CreatedByUserID: w.CreatedBy, CreatedAt: w.CreatedAt.UTC(), UpdatedAt: w.UpdatedAt.UTC(),
	}
}

// MadeWebhook is a webhook with its secret.
type MadeWebhook struct {
	Webhook

	Secret string `json:"secret" example:"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw" doc:"Signs the messages. It is shown this once, so keep it now"`
}

// NewWebhook is a webhook to be.
type NewWebhook struct {
	URL         string   `json:"url" minLength:"1" maxLength:"2048" example:"https://example.com/hooks/copilot" doc:"Where messages are sent: http or https, to a public address, without a user name"`
	Description string   `json:"description,omitempty" maxLength:"5000" example:"Tells the ticket system" doc:"What it is for"`
	EventTypes  []string `json:"event_types" nullable:"false" minItems:"1" maxItems:"20" enum:"job.succeeded,job.failed,job.cancelled,job.dead,document.completed,document.failed,document.deleted" doc:"What it is told of"`
	JobKinds    []string `json:"job_kinds,omitempty" maxItems:"20" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create" doc:"Of which kinds of jobs; empty is all. It narrows events of jobs only"`
}

// WebhookChange is what becomes different about a webhook. Fields that are left out or null stay as they are.
type WebhookChange struct {
	URL         *string   `json:"url,omitempty" minLength:"1" maxLength:"2048" example:"https://example.com/hooks/copilot" doc:"Where messages are sent"`
	Description *string   `json:"description,omitempty" maxLength:"5000" example:"Tells the ticket system" doc:"What it is for"`
	EventTypes  *[]string `json:"event_types,omitempty" minItems:"1" maxItems:"20" enum:"job.succeeded,job.failed,job.cancelled,job.dead,document.completed,document.failed,document.deleted" doc:"What it is told of"`
	JobKinds    *[]string `json:"job_kinds,omitempty" maxItems:"20" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create" doc:"Of which kinds of jobs; empty is all"`
	IsActive    *bool     `json:"is_active,omitempty" doc:"Whether it is told anything. One that is turned on is told what happens from then on"`
}

func (c *WebhookChange) apply(w *store.Webhook) error {
	set(&w.URL, c.URL)
	set(&w.Description, c.Description)
	if c.EventTypes != nil {
		w.EventTypes = *c.EventTypes
	}
	if c.JobKinds != nil {
		w.JobKinds = *c.JobKinds
	}
	set(&w.IsActive, c.IsActive)
	return nil
}

// WebhookDelivery is a message to a webhook.
type WebhookDelivery struct {
	ID            uuid.UUID            `json:"id" format:"uuid"`
	WebhookID     uuid.UUID            `json:"webhook_id" format:"uuid" doc:"The webhook"`
	MessageID     string               `json:"message_id" example:"msg_2b1f0d5e-4a64-5a0a-9f5e-0c9d8f2a7e11" doc:"The webhook-id header: the same for every attempt, and for all webhooks that get the message"`
	EventType     string               `json:"event_type" example:"job.succeeded" doc:"What it tells of; ping is a test"`
	Status        store.DeliveryStatus `json:"status" enum:"pending,delivered,failed" doc:"What became of it"`
	AttemptCount  int                  `json:"attempt_count" example:"2" doc:"How often it was tried"`
	NextAttemptAt *time.Time           `json:"next_attempt_at" doc:"When it is tried again; null when it is not, or at once"`
	FinishedAt    *time.Time           `json:"finished_at" doc:"When it was delivered or given up"`
	CreatedAt     time.Time            `json:"created_at"`
	UpdatedAt     time.Time            `json:"updated_at"`
}

func showDelivery(d *store.WebhookDelivery) WebhookDelivery {
	return WebhookDelivery{
		ID: d.ID, WebhookID: d.WebhookID, MessageID: d.MessageID, EventType: d.EventType, Status: d.Status, AttemptCount: d.AttemptCount,
		NextAttemptAt: utc(d.NextAttemptAt), FinishedAt: utc(d.FinishedAt), CreatedAt: d.CreatedAt.UTC(), UpdatedAt: d.UpdatedAt.UTC(),
	}
}

// WebhookAttempt is one try to send a message.
type WebhookAttempt struct {
	At         time.Time `json:"at" doc:"When it was made"`
	StatusCode int       `json:"status_code,omitempty" example:"503" doc:"What the receiver answered; left out when it did not answer"`
	DurationMS int64     `json:"duration_ms" example:"87" doc:"How long it took, in milliseconds"`
	Response   string    `json:"response,omitempty" example:"Service Unavailable" doc:"The first 1024 bytes of the answer"`
	Error      string    `json:"error,omitempty" example:"The receiver answered with status 503." doc:"Why it failed; left out when it did not"`
}

// WebhookDeliveryDetail is a message to a webhook with what is sent and how that went.
type WebhookDeliveryDetail struct {
	WebhookDelivery

	Payload  OpenObject       `json:"payload" doc:"What is sent"`
	Attempts []WebhookAttempt `json:"attempts" nullable:"false" doc:"The newest 30 attempts, the oldest first"`
}

func (d WebhookDeliveryDetail) changedAt() time.Time { return d.UpdatedAt }

func showDeliveryDetail(d *store.WebhookDelivery) WebhookDeliveryDetail {
	detail := WebhookDeliveryDetail{
		WebhookDelivery: showDelivery(d), Payload: OpenObject{store.JSON(d.Payload)}, Attempts: make([]WebhookAttempt, len(d.Attempts)),
	}
	for i, a := range d.Attempts {
		detail.Attempts[i] = WebhookAttempt(a)
		detail.Attempts[i].At = a.At.UTC()
	}
	return detail
}

type createWebhookInput struct{ Body NewWebhook }

// madeWebhookOutput is the answer with a webhook and its new secret.
type madeWebhookOutput struct {
	Location     string `header:"Location" doc:"Where it is"`
	ETag         string `header:"ETag" doc:"Tells this state of the resource from others"`
	CacheControl string `header:"Cache-Control" doc:"no-store: the answer holds a secret"`
	Body         MadeWebhook
}

// WebhookInput names a webhook.
type WebhookInput struct {
	ID uuid.UUID `path:"id" format:"uuid" doc:"The webhook's id"`
}

type getWebhookInput struct {
	WebhookInput
	Cached
}

type changeWebhookInput struct {
	WebhookInput
	Conditional

	Body WebhookChange
}

type deleteWebhookInput struct {
	WebhookInput
	Conditional
}

// WebhookRotation says how a secret is replaced.
type WebhookRotation struct {
	OverlapSeconds *int `json:"overlap_seconds,omitempty" nullable:"true" minimum:"0" maximum:"604800" default:"86400" example:"86400" doc:"For how long the secret before signs, too; 0 ends it at once"`
}

// defaultOverlap is for how long a replaced secret signs, where the request does not say.
const defaultOverlap = 24 * time.Hour

type rotateWebhookInput struct {
	WebhookInput
	Conditional

	Body WebhookRotation
}

type listWebhooksInput struct {
	Listing

	Sort      string `query:"sort" enum:"created_at,-created_at,updated_at,-updated_at" doc:"The order; a dash puts the largest first. Without it newest first"`
	Search    string `query:"search" maxLength:"200" doc:"Only webhooks with this in address or description"`
	EventType string `query:"event_type" enum:"job.succeeded,job.failed,job.cancelled,job.dead,document.completed,document.failed,document.deleted" doc:"Only webhooks that are told of this"`
	IsActive  string `query:"is_active" enum:"true,false" doc:"Only active webhooks, or only the others"`
}

type listDeliveriesInput struct {
	WebhookInput
	Cursored

	Status    store.DeliveryStatus `query:"status" enum:"pending,delivered,failed" doc:"Only deliveries of which this became"`
	EventType string               `query:"event_type" maxLength:"100" example:"job.failed" doc:"Only deliveries that tell of this"`
	Sort      string               `query:"sort" enum:"created_at,-created_at" default:"-created_at" doc:"The order; without the dash the oldest first"`
}

// DeliveryInput names a delivery to a webhook.
type DeliveryInput struct {
	WebhookInput

	DeliveryID uuid.UUID `path:"delivery_id" format:"uuid" doc:"The delivery's id"`
}

type getDeliveryInput struct {
	DeliveryInput
	Cached
}

// acceptedDelivery is the answer with a delivery that is on its way.
type acceptedDelivery struct {
	Location string `header:"Location" doc:"Where the delivery is"`
	Body     WebhookDelivery
}

func (s *Server) webhookOperations() {
	op := func(id, method, path, summary string, errors ...int) operation {
		return operation{id: id, method: method, path: "/webhooks" + path, tag: tagWebhooks, summary: summary, errors: errors}
	}
	const may = access.WebhooksManage
	create := op("create-webhook", http.MethodPost, "", "Make a webhook", http.StatusConflict)
	create.status = http.StatusCreated
	create.about = "It is told what happens from then on, in messages by the Standard Webhooks specification: `webhook-id`, " +
		"`webhook-timestamp` and `webhook-signature` over both and the body. The secret that signs is in this answer and nowhere else. " +
		"There is no `Idempotency-Key`, because the answer, a secret, is not kept."
	secured(s, may, create, s.createWebhook)
	secured(s, may, op("list-webhooks", http.MethodGet, "", "List webhooks"), s.listWebhooks)
	secured(s, may, op("get-webhook", http.MethodGet, "/{id}", "Read a webhook", http.StatusNotFound), s.getWebhook)
	changes(s, may, op("update-webhook", "", "/{id}", "Change a webhook"), s.changeWebhook)
	remove := op("delete-webhook", http.MethodDelete, "/{id}", "Delete a webhook", http.StatusNotFound, http.StatusPreconditionFailed)
	remove.about, remove.status = "Its deliveries go with it.", http.StatusNoContent
	secured(s, may, remove, s.deleteWebhook)

	rotate := op("rotate-webhook-secret", http.MethodPost, "/{id}/rotate-secret", "Replace the secret of a webhook",
		http.StatusNotFound, http.StatusPreconditionFailed)
	rotate.about = "The new secret is in this answer and nowhere else. For some time messages carry two signatures, one of each secret."
	secured(s, may, rotate, s.rotateWebhook)
	test := op("test-webhook", http.MethodPost, "/{id}/test", "Send a webhook a test", http.StatusNotFound)
	test.status, test.about = http.StatusAccepted, "A message of the type `ping`, which is tried once. Its delivery says how it went."
	secured(s, may, test, s.testWebhook)

	secured(s, may, op("list-webhook-deliveries", http.MethodGet, "/{id}/deliveries", "List what was sent to a webhook",
		http.StatusNotFound), s.listDeliveries)
	secured(s, may, op("get-webhook-delivery", http.MethodGet, "/{id}/deliveries/{delivery_id}", "Read a delivery with its attempts",
		http.StatusNotFound), s.getDelivery)
	again := op("redeliver-webhook-delivery", http.MethodPost, "/{id}/deliveries/{delivery_id}/redeliver", "Send a delivery again",
		http.StatusNotFound, http.StatusConflict)
	again.status = http.StatusAccepted
	again.about = "With the same `webhook-id`, whether it failed or was delivered. One that is under way is a conflict."
	secured(s, may, again, s.redeliver)
}

func (s *Server) createWebhook(ctx context.Context, p *rbac.Principal, in *createWebhookInput) (out *madeWebhookOutput, err error) {
	row := &store.Webhook{
		URL: in.Body.URL, Description: in.Body.Description, EventTypes: in.Body.EventTypes, JobKinds: in.Body.JobKinds,
		CreatedBy: &p.UserID,
	}
	err = s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		made, err := s.Webhooks.Create(tx, row)
		out = madeWebhook(row, made.Reveal())
		return err
	})
	return out, err
}

func madeWebhook(row *store.Webhook, text string) *madeWebhookOutput {
	return &madeWebhookOutput{
		Location: webhookPath(row.ID), ETag: etag(row.UpdatedAt), CacheControl: "no-store", Body: MadeWebhook{showWebhook(row), text},
	}
}

func webhookPath(id uuid.UUID) string { return base + "/webhooks/" + id.String() }

func (s *Server) listWebhooks(ctx context.Context, p *rbac.Principal, in *listWebhooksInput) (*pageOutput[Webhook], error) {
	c := collection{name: "webhooks", listing: in.Listing, sort: in.Sort, counted: true}
	return listed(ctx, s, p, c, showWebhook, func(tx *store.Tx, page store.Page) (store.Listed[store.Webhook], error) {
		return tx.Webhooks().List(store.WebhookFilter{
			Search: in.Search, EventType: in.EventType, Active: givenBool(in.IsActive), Page: page,
		})
	})
}

func (s *Server) getWebhook(ctx context.Context, p *rbac.Principal, in *getWebhookInput) (*one[Webhook], error) {
	return viewed(ctx, s, p, in.Cached, showWebhook, func(tx *store.Tx) (*store.Webhook, error) { return tx.Webhooks().Get(in.ID) })
}

func (s *Server) changeWebhook(ctx context.Context, p *rbac.Principal, in *changeWebhookInput) (*one[Webhook], error) {
	row, err := changed(ctx, s, p, in.Conditional, func(tx *store.Tx, match store.Match) (*store.Webhook, error) {
		return s.Webhooks.Update(tx, in.ID, match, in.Body.apply)
	})
	if err != nil {
		return nil, err
	}
	return show(showWebhook(row)), nil
}

func (s *Server) deleteWebhook(ctx context.Context, p *rbac.Principal, in *deleteWebhookInput) (*struct{}, error) {
	return changed(ctx, s, p, in.Conditional, func(tx *store.Tx, match store.Match) (*struct{}, error) {
		return nil, tx.Webhooks().Delete(in.ID, match)
	})
}

func (s *Server) rotateWebhook(ctx context.Context, p *rbac.Principal, in *rotateWebhookInput) (*madeWebhookOutput, error) {
	overlap := defaultOverlap
	if in.Body.OverlapSeconds != nil {
		overlap = time.Duration(*in.Body.OverlapSeconds) * time.Second
	}
	return changed(ctx, s, p, in.Conditional, func(tx *store.Tx, match store.Match) (*madeWebhookOutput, error) {
		row, made, err := s.Webhooks.Rotate(tx, in.ID, match, overlap)
		if err != nil {
			return nil, err
		}
		return madeWebhook(row, made.Reveal()), nil
	})
}

func (s *Server) testWebhook(ctx context.Context, p *rbac.Principal, in *WebhookInput) (*acceptedDelivery, error) {
	return s.sends(ctx, p, func(tx *store.Tx) (*store.WebhookDelivery, error) { return s.Webhooks.Test(tx, in.ID) })
}

func (s *Server) redeliver(ctx context.Context, p *rbac.Principal, in *DeliveryInput) (*acceptedDelivery, error) {
	return s.sends(ctx, p, func(tx *store.Tx) (*store.WebhookDelivery, error) {
		return s.Webhooks.Redeliver(tx, in.ID, in.DeliveryID)
	})
}

// sends runs what puts a delivery on its way, and answers with it.
func (s *Server) sends(
	ctx context.Context, p *rbac.Principal, send func(*store.Tx) (*store.WebhookDelivery, error),
) (out *acceptedDelivery, err error) {
	err = s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		d, err := send(tx)
		if err != nil {
			return err
		}
		out = &acceptedDelivery{Location: webhookPath(d.WebhookID) + "/deliveries/" + d.ID.String(), Body: showDelivery(d)}
		return nil
	})
	return out, err
}

func (s *Server) listDeliveries(ctx context.Context, p *rbac.Principal, in *listDeliveriesInput) (*pageOutput[WebhookDelivery], error) {
	c := collection{name: "deliveries of " + in.ID.String(), listing: in.listing(), sort: in.Sort, byAge: true}
	return listed(ctx, s, p, c, showDelivery, func(tx *store.Tx, page store.Page) (store.Listed[store.WebhookDelivery], error) {
		if _, err := tx.Webhooks().Get(in.ID); err != nil {
			return store.Listed[store.WebhookDelivery]{}, err
		}
		return tx.WebhookDeliveries().List(store.DeliveryFilter{
			Webhook: in.ID, Status: in.Status, EventType: in.EventType, Page: page,
		})
	})
}

func (s *Server) getDelivery(ctx context.Context, p *rbac.Principal, in *getDeliveryInput) (*one[WebhookDeliveryDetail], error) {
	return viewed(ctx, s, p, in.Cached, showDeliveryDetail, func(tx *store.Tx) (*store.WebhookDelivery, error) {
		return tx.WebhookDeliveries().Get(in.ID, in.DeliveryID)
	})
}

// ShowJob is a job as the API shows it, for messages to webhooks.
func ShowJob(j *store.Job) any { return showJob(j) }
