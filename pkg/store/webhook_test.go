package store_test

import (
	"encoding/json"
	"errors"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

func (w *engineWorld) webhook(id tenant.ID) *store.Webhook {
	w.t.Helper()
	hook := &store.Webhook{URL: "https://example.com", EventTypes: store.StringArray{"job.succeeded"}, Secret: []byte("sealed")}
	w.in(id, func(tx *store.Tx) error { return tx.Webhooks().Create(hook) })
	return hook
}

// fed reads a tenant's feed until there were so many ends for its webhooks, and moves it on. Transactions of other tests, in other databases, hold
// the feed up, too.
func (w *engineWorld) fed(id tenant.ID, want int) (ends []store.JobEnd, who []store.Subscriber) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		w.in(id, func(tx *store.Tx) error {
			more, now, _, err := tx.WebhookFeeds().Next(100)
			who = now
			for _, end := range more {
				// A new feed may begin before its webhook does.
				if slices.ContainsFunc(who, end.Reaches) {
					ends = append(ends, end)
				}
			}
			return err
		})
		if len(ends) >= want {
			return ends, who
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("the feed tells %d ends, want %d", len(ends), want)
		}
		runtime.Gosched()
	}
}

// untilFed waits until the tenants with something new are these.
func (w *engineWorld) untilFed(want ...tenant.ID) {
	w.t.Helper()
	for deadline := time.Now().Add(time.Minute); ; {
		got := w.feeds()
		if slices.Equal(got, want) {
			return
		}
		if time.Now().After(deadline) {
			w.t.Fatalf("feeds with something new are %v, want %v", got, want)
		}
		runtime.Gosched()
	}
}

func (w *engineWorld) feeds() []tenant.ID {
	w.t.Helper()
	waiting, err := w.engine.WebhookFeeds(w.t.Context())
	if err != nil {
		w.t.Fatal(err)
	}
	return waiting
}

func (w *engineWorld) ended(id tenant.ID) *store.Job {
	w.t.Helper()
	job := w.claim(w.submit(id, store.NewJob{}).ID)
	if err := w.end(job, store.Succeed(nil)); err != nil {
		w.t.Fatal(err)
	}
	return job
}

func TestAFeedTellsEachEndOnceAndOnlyFromTheWebhookOn(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	w.ended(w.acme)
	if got := w.feeds(); len(got) != 0 {
		t.Errorf("there are feeds without webhooks: %v", got)
	}
	hook := w.webhook(w.acme)
	job := w.ended(w.acme)
	w.ended(w.startup)
	w.untilFed(w.acme)

	// What is made of it may fail: then it is there again.
	broken := errors.New("broken")
	err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
		if _, _, _, err := tx.WebhookFeeds().Next(100); err != nil {
			return err
		}
		return broken
	})
	if !errors.Is(err, broken) {
		t.Fatal(err)
	}
	ends, who := w.fed(w.acme, 1)
	if len(ends) != 1 || ends[0].Job.ID != job.ID || ends[0].State.Status != events.StatusSucceeded || ends[0].Seq != 3 ||
		len(who) != 1 || who[0].ID != hook.ID || !ends[0].Reaches(who[0]) {
		t.Fatalf("fed %+v to %+v", ends, who)
	}
	if again, _ := w.fed(w.acme, 0); len(again) != 0 {
		t.Errorf("fed again: %+v", again)
	}
	if got := w.feeds(); len(got) != 0 {
		t.Errorf("still something new: %v", got)
	}

	// A webhook that is made later is not told of what was before.
	before := w.ended(w.acme)
	later := w.webhook(w.acme)
	ends, who = w.fed(w.acme, 1)
	if len(ends) != 1 || ends[0].Job.ID != before.ID || len(who) != 2 || !ends[0].Reaches(who[0]) || who[1].ID != later.ID || ends[0].Reaches(who[1]) {
		t.Errorf("fed %+v to %+v", ends, who)
	}

	// Without active webhooks there is no feed.
	for _, id := range []uuid.UUID{hook.ID, later.ID} {
		w.in(w.acme, func(tx *store.Tx) error { return tx.Webhooks().Disable(id, "gone") })
	}
	w.ended(w.acme)
	w.fed(w.acme, 0)
	w.ended(w.acme)
	if got := w.feeds(); len(got) != 0 {
		t.Errorf("feeds of webhooks that are off: %v", got)
	}
	w.in(w.acme, func(tx *store.Tx) error {
		_, err := tx.Webhooks().Update(hook.ID, nil, func(h *store.Webhook) error { h.IsActive = true; return nil })
		return err
	})
	on := w.ended(w.acme)
	if ends, who = w.fed(w.acme, 1); len(ends) != 1 || ends[0].Job.ID != on.ID || len(who) != 1 || !ends[0].Reaches(who[0]) {
		t.Errorf("after it was turned on: %+v to %+v", ends, who)
	}
}

func TestAFeedWaitsForTransactionsThatAreUnderWay(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	w.webhook(w.acme)
	slow := w.claim(w.submit(w.acme, store.NewJob{}).ID)
	w.fed(w.acme, 0)
	var fast *store.Job
	err := w.InTenant(t.Context(), w.acme, func(tx *store.Tx) error {
		if err := tx.Jobs().End(slow.Lease(), store.Succeed(nil)); err != nil {
			return err
		}
		// Whoever ends now has the later number and is visible before.
		fast = w.ended(w.acme)
		if ends, _ := w.fed(w.acme, 0); len(ends) != 0 {
			t.Errorf("the feed has passed a transaction that is under way: %+v", ends)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	ends, _ := w.fed(w.acme, 2)
	if len(ends) != 2 || ends[0].Job.ID != slow.ID || ends[1].Job.ID != fast.ID {
		t.Errorf("fed %+v", ends)
	}
}

func TestWhatWebhooksAreToldMakesNoMessagesItself(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	hook := w.webhook(w.acme)
	var sent []*store.WebhookDelivery
	send := func(message string) error {
		return w.InTenant(t.Context(), w.acme, func(tx *store.Tx) (err error) {
			sent, err = tx.WebhookDeliveries().Send([]store.WebhookMessage{
				{Webhook: hook.ID, ID: message, Type: "job.succeeded", Payload: json.RawMessage(`{ "a" : 1 }`)},
			}, 3)
			return err
		})
	}
	if err := send("msg_1"); err != nil {
		t.Fatal(err)
	}
	if err := send("msg_1"); !fault.Is(err, fault.Conflict) {
		t.Errorf("one message made two deliveries: %v", err)
	}
	if err := send("msg_2"); err != nil {
		t.Fatal(err)
	}
	d := sent[0]
	job := w.claim(d.JobID)
	if job.Class != events.ClassBulk || job.MaxAttempts != 3 || store.Succeed(nil).CanEnd(job) {
		t.Errorf("the job is %+v", job)
	}
	w.in(w.acme, func(tx *store.Tx) error {
		return tx.WebhookDeliveries().Attempted(d.ID, store.DeliveryAttempt{Error: "No\x00."}, store.DeliveryPending, time.Now().Add(time.Hour))
	})
	if err := w.end(job, store.Fail(events.Failure{Code: "x.bad", Message: "Bad."}, true)); err != nil {
		t.Fatal(err)
	}
	w.in(w.acme, func(tx *store.Tx) error {
		now, err := tx.WebhookDeliveries().Get(hook.ID, d.ID)
		if err != nil {
			return err
		}
		if now.Status != store.DeliveryFailed || now.AttemptCount != 1 || now.NextAttemptAt != nil || now.FinishedAt == nil ||
			now.Attempts[0].Error != "No." || string(now.Payload) != `{ "a" : 1 }` {
			t.Errorf("the delivery of a job that has failed is %+v", now)
		}
		_, err = tx.WebhookDeliveries().Redeliver(hook.ID, d.ID, 3)
		return err
	})
	w.refused(w.acme, fault.Conflict, "webhook_delivery.pending", func(tx *store.Tx) error {
		_, err := tx.WebhookDeliveries().Redeliver(hook.ID, d.ID, 3)
		return err
	})
	if ends, _ := w.fed(w.acme, 0); len(ends) != 0 {
		t.Errorf("webhooks are told of webhooks: %+v", ends)
	}
	w.in(w.acme, func(tx *store.Tx) error {
		listed, _, err := tx.Jobs().List(store.JobFilter{})
		if len(listed) != 0 {
			t.Errorf("the list of jobs has %+v", listed[0])
		}
		if n, err := tx.WebhookDeliveries().Prune(0, 10); err != nil || n != 0 {
			t.Errorf("pruned %d that are under way, %v", n, err)
		}
		return err
	})
}
