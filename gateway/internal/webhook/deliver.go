package webhook

import (
	"context"
	"math/rand/v2"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/egress"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/store"
)

// Within is how long a receiver may take to answer.
const Within = 15 * time.Second

// keptResponse is how much of an answer the log of a delivery keeps, in bytes.
const keptResponse = 1 << 10

// maxRetryAfter bounds for how long a receiver can put a message off.
const maxRetryAfter = 24 * time.Hour

// Why the service turned a webhook off.
const (
	reasonGone    = "gone"
	reasonFailing = "failing"
)

// Kind implements runner.Handler.
func (s *Service) Kind() events.Kind { return events.KindWebhookDeliver }

// Handle implements runner.Handler: it makes one attempt to send a delivery.
func (s *Service) Handle(ctx context.Context, run *runner.Run) (runner.Outcome, error) {
	var in events.WebhookDeliverInput
	if err := run.Input(&in); err != nil {
		return runner.Outcome{}, err
	}
	id, err := runner.ParseID("delivery", in.DeliveryID)
	if err != nil {
		return runner.Outcome{}, err
	}
	var d *store.WebhookDelivery
	var w *store.Webhook
	if err := run.Read(ctx, func(tx *store.Tx) (err error) {
		if d, err = tx.WebhookDeliveries().ByID(id); err != nil {
			return err
		}
		w, err = tx.Webhooks().Get(d.WebhookID)
		return err
	}); err != nil {
		return runner.Outcome{}, err
	}
	if d.Status == store.DeliveryDelivered || d.JobID != run.Job().ID {
		// Another job has sent it, or does.
		return runner.Outcome{Result: events.WebhookDeliverResult{DeliveryID: in.DeliveryID}}, nil
	}
	if !w.IsActive && d.EventType != Ping {
		return s.refused(ctx, run, d, fault.New(fault.Conflict, "webhook.inactive", "The webhook is not active."))
	}
	began := time.Now()
	reply, err := s.send(ctx, w, d, began)
	if ctx.Err() != nil {
		return runner.Outcome{}, context.Cause(ctx)
	}
	a := store.DeliveryAttempt{At: events.Time(began), DurationMS: time.Since(began).Milliseconds()}
	if reply != nil {
		a.StatusCode, a.Response = reply.StatusCode, strings.ToValidUTF8(string(reply.Body), "\uFFFD")
	}
	if err != nil {
		a.Error = fault.Of(err).Message
		return s.failed(ctx, run, w, d, a, retryAfter(reply, time.Now()), err)
	}
	return runner.Outcome{
		Result: events.WebhookDeliverResult{DeliveryID: in.DeliveryID, StatusCode: a.StatusCode},
		Also: func(tx *store.Tx) error {
			if d.EventType != Ping {
				if err := tx.Webhooks().Succeeded(w.ID); err != nil {
					return err
				}
			}
			return tx.WebhookDeliveries().Attempted(d.ID, a, store.DeliveryDelivered, time.Time{})
		},
	}, nil
}

// send makes the call. An answer that is no success is an error, too, beside the reply.
func (s *Service) send(ctx context.Context, w *store.Webhook, d *store.WebhookDelivery, at time.Time) (*egress.Reply, error) {
	secrets, err := s.secrets(w, at)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "webhook.secret", "The secret of the webhook cannot be read. Rotate it.")
	}
	signature, err := sign(d.MessageID, at, d.Payload, secrets...)
	if err != nil {
		return nil, fault.Wrap(err, fault.Internal, "webhook.secret", "The secret of the webhook cannot be read. Rotate it.")
	}
	header := http.Header{}
	header.Set("Content-Type", "application/json")
	header.Set("User-Agent", s.agent)
	header.Set("Webhook-Id", d.MessageID)
	header.Set("Webhook-Timestamp", strconv.FormatInt(at.Unix(), 10))
	header.Set("Webhook-Signature", signature)
	reply, err := s.egress.Post(ctx, w.URL, header, d.Payload, keptResponse)
	if err == nil && (reply.StatusCode < 200 || reply.StatusCode > 299) {
		err = fault.New(fault.Upstream, "webhook.refused", "The receiver answered with status %d.", reply.StatusCode)
	}
	return reply, err
}

// failed logs an attempt that did not succeed, and says when the next one is, if there is one.
func (s *Service) failed(
	ctx context.Context, run *runner.Run, w *store.Webhook, d *store.WebhookDelivery, a store.DeliveryAttempt,
	wait time.Duration, why error,
) (runner.Outcome, error) {
	off := ""
	switch now := time.Now(); {
	case d.EventType == Ping:
	case a.StatusCode == http.StatusGone:
		off = reasonGone
	case w.FailingSince != nil && now.Sub(*w.FailingSince) > s.disableAfter:
		off = reasonFailing
	}
	job := run.Job()
	status, next := store.DeliveryFailed, time.Time{}
	if off == "" && job.Attempt < job.MaxAttempts {
		wait = max(wait, s.pauseAfter(job.Attempt))
		status, next = store.DeliveryPending, events.Time(time.Now().Add(wait))
	}
	err := run.Write(ctx, func(tx *store.Tx) error {
		if d.EventType != Ping {
			if err := tx.Webhooks().Failed(w.ID, a.At); err != nil {
				return err
			}
		}
		if off != "" {
			if err := tx.Webhooks().Disable(w.ID, off); err != nil {
				return err
			}
		}
		return tx.WebhookDeliveries().Attempted(d.ID, a, status, next)
	})
	switch {
	case err != nil:
		return runner.Outcome{}, err
	case off != "":
		return runner.Outcome{}, fault.Wrap(why, fault.Gone, "webhook.disabled", "The webhook was turned off.")
	case status == store.DeliveryFailed:
		// It is the receiver who is dead: no operator can mend that, so the job is not one of the dead.
		return runner.Outcome{}, fault.Wrap(why, fault.Gone, "webhook.undelivered", "The receiver took it at none of the attempts.")
	default:
		return runner.Outcome{}, runner.After(wait, why)
	}
}

// refused logs that nothing was sent, for good.
func (s *Service) refused(ctx context.Context, run *runner.Run, d *store.WebhookDelivery, why *fault.Error) (runner.Outcome, error) {
	a := store.DeliveryAttempt{At: events.Time(time.Now()), Error: why.Message}
	if err := run.Write(ctx, func(tx *store.Tx) error {
		return tx.WebhookDeliveries().Attempted(d.ID, a, store.DeliveryFailed, time.Time{})
	}); err != nil {
		return runner.Outcome{}, err
	}
	return runner.Outcome{}, why
}

// pauseAfter is how long to wait after an attempt, with up to a tenth more, so that what failed together does not come back together.
func (s *Service) pauseAfter(attempt int) time.Duration {
	pause := s.retries[min(attempt, len(s.retries))-1]
	return pause + rand.N(pause/10+1)
}

// retryAfter is for how long the receiver wants to be left alone; zero when it does not say.
func retryAfter(reply *egress.Reply, now time.Time) time.Duration {
	if reply == nil {
		return 0
	}
	text := reply.Header.Get("Retry-After")
	if seconds, err := strconv.Atoi(text); err == nil {
		return time.Duration(max(0, min(seconds, int(maxRetryAfter.Seconds())))) * time.Second
	}
	if at, err := http.ParseTime(text); err == nil {
		return min(max(0, at.Sub(now)), maxRetryAfter)
	}
	return 0
}
