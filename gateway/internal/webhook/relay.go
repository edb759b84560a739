package webhook

import (
	"context"
	"time"

	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// followAfter is how soon another gateway takes the relay up.
const followAfter = time.Second

// relayBatch is how many events are looked at in one transaction.
const relayBatch = 500

// Relay turns the ends of jobs into deliveries, while no other gateway does, until ctx ends. Then it returns nil.
func (s *Service) Relay(ctx context.Context) error {
	for {
		if _, err := s.engine.Lead(ctx, store.Relaying, s.lead); err != nil && ctx.Err() == nil {
			s.log.WarnContext(ctx, "webhooks are not relayed, trying again", "error", err)
		}
		if !lifecycle.Pause(ctx, followAfter) {
			return nil
		}
	}
}

// lead relays for as long as this gateway leads.
func (s *Service) lead(ctx context.Context) error {
	for lifecycle.Pause(ctx, s.every) {
		waiting, err := s.engine.WebhookFeeds(ctx)
		if err != nil {
			return err
		}
		for _, t := range waiting {
			// What goes wrong for one tenant keeps no other's messages from being sent.
			if err := s.relay(ctx, t); err != nil && ctx.Err() == nil {
				s.log.WarnContext(ctx, "a tenant's webhooks are not relayed, trying again", "tenant_id", t.String(), "error", err)
			}
		}
	}
	return nil
}

// batches bounds how long others wait for a tenant of whom there is much to tell.
const batches = 20

// relay makes deliveries of what is new in a tenant's feed.
func (s *Service) relay(ctx context.Context, t tenant.ID) error {
	for range batches {
		more := false
		if err := s.store.InTenant(ctx, t, func(tx *store.Tx) error {
			ends, who, full, err := tx.WebhookFeeds().Next(relayBatch)
			if err != nil {
				return err
			}
			more = full
			var all []store.WebhookMessage
			for i := range ends {
				about, err := s.messages(&ends[i], who)
				if err != nil {
					return err
				}
				all = append(all, about...)
			}
			_, err = tx.WebhookDeliveries().Send(all, s.attempts())
			return err
		}); err != nil || !more {
			return err
		}
	}
	return nil
}
