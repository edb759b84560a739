package webhook

import (
	"log/slog"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/seal"
	"github.com/tarento/copilot/pkg/egress"
	"github.com/tarento/copilot/pkg/secret"
	"github.com/tarento/copilot/pkg/store"
)

// Options are what a Service works with.
type Options struct {
	Store  *store.Store
	Engine *store.Engine
	// Egress makes the calls; its timeout is how long a receiver may take.
	Egress *egress.Client
	Seal   *seal.Sealer
	// Retries are the pauses between attempts: there is one attempt more.
	Retries []time.Duration
	// DisableAfter is for how long no delivery may succeed before a webhook is turned off.
	DisableAfter time.Duration
	// Version is the release, as receivers see it.
	Version string
	// ShowJob is a job as the API shows it, which must be JSON.
	ShowJob func(*store.Job) any
	Log     *slog.Logger
	// Every is how often the relay looks for ended jobs; half a second.
	Every time.Duration
}

// Service is all about webhooks but their storage. It is safe for concurrent use.
type Service struct {
	store        *store.Store
	engine       *store.Engine
	egress       *egress.Client
	seal         *seal.Sealer
	retries      []time.Duration
	disableAfter time.Duration
	agent        string
	showJob      func(*store.Job) any
	log          *slog.Logger
	every        time.Duration
}

// New builds a service.
func New(o Options) *Service {
	if o.Every <= 0 {
		o.Every = 500 * time.Millisecond
	}
	return &Service{
		store: o.Store, engine: o.Engine, egress: o.Egress, seal: o.Seal, retries: o.Retries, disableAfter: o.DisableAfter,
		agent: "Co-Pilot-Webhooks/" + o.Version, showJob: o.ShowJob, log: o.Log, every: o.Every,
	}
}

// Create writes a webhook and returns its secret, which cannot be read again. An address that cannot be called is fault.Invalid.
func (s *Service) Create(tx *store.Tx, w *store.Webhook) (secret.Text, error) {
	if err := s.egress.Check(w.URL); err != nil {
		return secret.Text{}, err
	}
	w.ID = uuid.Must(uuid.NewV7())
	made := newSecret()
	w.Secret = s.seal.Seal(made, w.ID[:])
	return made, tx.Webhooks().Create(w)
}

// Update changes a webhook. An address that cannot be called is fault.Invalid.
func (s *Service) Update(tx *store.Tx, id uuid.UUID, match store.Match, change func(*store.Webhook) error) (*store.Webhook, error) {
	return tx.Webhooks().Update(id, match, func(w *store.Webhook) error {
		if err := change(w); err != nil {
			return err
		}
		return s.egress.Check(w.URL)
	})
}

// Rotate gives a webhook a new secret and returns it. The one before signs, too, for as long as overlap says.
func (s *Service) Rotate(tx *store.Tx, id uuid.UUID, match store.Match, overlap time.Duration) (*store.Webhook, secret.Text, error) {
	made := newSecret()
	var until time.Time
	if overlap > 0 {
		until = events.Time(time.Now().Add(overlap))
	}
	w, err := tx.Webhooks().Rotate(id, match, s.seal.Seal(made, id[:]), until)
	return w, made, err
}

// Test sends a webhook a ping, once, whether or not it is active.
func (s *Service) Test(tx *store.Tx, id uuid.UUID) (*store.WebhookDelivery, error) {
	if _, err := tx.Webhooks().Get(id); err != nil {
		return nil, err
	}
	body, err := encode(payload{Ping, events.Time(time.Now()), data{WebhookID: &id}})
	if err != nil {
		return nil, err
	}
	sent, err := tx.WebhookDeliveries().Send([]store.WebhookMessage{
		{Webhook: id, ID: "msg_" + uuid.NewString(), Type: Ping, Payload: body},
	}, 1)
	if err != nil {
		return nil, err
	}
	return sent[0], nil
}

// Redeliver sends a delivery again that is not under way, with all attempts.
func (s *Service) Redeliver(tx *store.Tx, webhook, id uuid.UUID) (*store.WebhookDelivery, error) {
	return tx.WebhookDeliveries().Redeliver(webhook, id, s.attempts())
}

func (s *Service) attempts() int { return len(s.retries) + 1 }

// secrets are those that sign a webhook's messages at a time, the newest first.
func (s *Service) secrets(w *store.Webhook, at time.Time) ([]secret.Text, error) {
	current, err := s.seal.Open(w.Secret, w.ID[:])
	if err != nil {
		return nil, err
	}
	if w.PreviousUntil == nil || !at.Before(*w.PreviousUntil) {
		return []secret.Text{current}, nil
	}
	previous, err := s.seal.Open(w.PreviousSecret, w.ID[:])
	if err != nil {
		return nil, err
	}
	return []secret.Text{current, previous}, nil
}
