package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"io"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Item is one thing to show to the client. Position is where the client stands after it.
type Item struct {
	Position events.Position
	Event    events.Event
}

// Subscription is one client's view of one job. It belongs to one goroutine.
type Subscription struct {
	hub    *Hub
	tenant tenant.ID
	job    uuid.UUID
	w      *watcher

	seq    int64 // of the last logged event that was shown
	start  int64 // of the text that is being written
	offset int   // of the first byte of it that was not shown yet
	// early holds live deltas that came before what they follow on.
	early []events.Event
	out   []Item
	// stale says that the log knows more than the queue will tell.
	stale bool
	ended bool
}

// page is how many events one read of the log takes.
const page = 500

// earlyMax bounds the live deltas that wait for a gap to close; beyond, they come from the log.
const earlyMax = 256

// Subscribe follows a job from a position on; the zero position is its beginning, and one that the job has not reached is
// fault.Invalid. The caller has checked that the job may be seen. Close must be called.
func (h *Hub) Subscribe(ctx context.Context, t tenant.ID, job uuid.UUID, from events.Position) (*Subscription, error) {
	// Listen before reading, so that nothing falls between the two.
	s := &Subscription{hub: h, tenant: t, job: job, w: h.watch(t, job), seq: from.Seq, stale: true}
	err := h.store.InTenant(ctx, t, func(tx *store.Tx) error {
		record, err := tx.Jobs().Get(job)
		if err != nil {
			return err
		}
		if from.Seq > record.LastSeq {
			return fault.New(fault.Invalid, "stream.position", "The job has no event %s. Leave Last-Event-ID out to start over.", from)
		}
		s.ended = record.Status.Terminal() && from.Seq == record.LastSeq
		s.start, s.offset, err = tx.Jobs().TextAt(job, from.Seq)
		return err
	})
	if err != nil {
		s.Close()
		return nil, err
	}
	s.offset = max(s.offset, from.Offset)
	return s, nil
}

// Close stops following. It may be called twice.
func (s *Subscription) Close() { s.hub.unwatch(s.job, s.w) }

// Next waits for the next item. It returns io.EOF after the job's last event, ctx's error, or fault.Unavailable when the
// gateway is shutting down.
func (s *Subscription) Next(ctx context.Context) (Item, error) {
	for {
		if len(s.out) > 0 {
			item := s.out[0]
			s.out = s.out[1:]
			return item, nil
		}
		if s.ended {
			return Item{}, io.EOF
		}
		if s.stale {
			if err := s.catchUp(ctx); err != nil {
				return Item{}, err
			}
			continue
		}
		select {
		case <-ctx.Done():
			return Item{}, ctx.Err()
		case <-s.hub.draining:
			return Item{}, errDraining()
		case <-s.w.stirred:
			list, behind := s.w.take()
			for _, e := range list {
				if s.ended { // what comes late belongs to nobody
					break
				}
				if err := s.receive(e); err != nil {
					return Item{}, err
				}
			}
			s.stale = s.stale || behind
		}
	}
}

// catchUp shows the next page of the log.
func (s *Subscription) catchUp(ctx context.Context) error {
	var log []events.Event
	err := s.hub.store.InTenant(ctx, s.tenant, func(tx *store.Tx) (err error) {
		log, err = tx.Jobs().Events(s.job, s.seq, page)
		return err
	})
	if err != nil {
		return err
	}
	s.stale = len(log) == page
	for _, e := range log {
		if err := s.show(e); err != nil {
			return err
		}
	}
	return nil
}

// receive takes what the bus delivered.
func (s *Subscription) receive(e events.Event) error {
	switch {
	case e.Seq == 0:
		return s.live(e)
	case e.Seq <= s.seq:
		return nil
	case e.Seq == s.seq+1:
		return s.show(e)
	default:
		// Something in between did not come; it was committed before this one, so the log has it.
		s.stale = true
		return nil
	}
}

// show takes the next event of the log.
func (s *Subscription) show(e events.Event) error {
	s.seq = e.Seq
	switch e.Type {
	case events.TypeTextDelta:
		var d events.TextDelta
		if err := json.Unmarshal(e.Data, &d); err != nil {
			return fmt.Errorf("stream: decode text delta %d: %w", e.Seq, err)
		}
		if err := s.text(e, d); err != nil {
			return err
		}
	case events.TypeStepStarted:
		var started events.StepStarted
		if err := json.Unmarshal(e.Data, &started); err != nil {
			return fmt.Errorf("stream: decode step %d: %w", e.Seq, err)
		}
		if started.Kind == events.StepModelCall {
			s.start, s.offset = e.Seq, 0
		}
		s.emit(e)
	case events.TypeJobState, events.TypeJobProgress, events.TypeStepFinished, events.TypeUsage:
		s.emit(e)
		s.ended = e.Terminal()
	default:
		s.emit(e)
	}
	return s.retryEarly()
}

// live takes a delta that may not be in the log yet.
func (s *Subscription) live(e events.Event) error {
	var d events.TextDelta
	if err := json.Unmarshal(e.Data, &d); err != nil {
		return fmt.Errorf("stream: decode live delta: %w", err)
	}
	switch {
	case d.Start < s.start:
		// The text of an attempt that was given up.
		return nil
	case d.Start > s.start, d.Offset > s.offset:
		if len(s.early) < earlyMax {
			s.early = append(s.early, e)
		}
		return nil
	default:
		return s.text(e, d)
	}
}

func (s *Subscription) retryEarly() error {
	early := s.early
	s.early = nil
	for _, e := range early {
		if err := s.live(e); err != nil {
			return err
		}
	}
	return nil
}

// text shows the part of a delta that was not shown yet.
func (s *Subscription) text(e events.Event, d events.TextDelta) error {
	if d.Start != s.start {
		s.start, s.offset = d.Start, 0
	}
	rest, some := d.After(s.offset)
	if !some {
		return nil
	}
	if rest != d {
		data, err := json.Marshal(rest)
		if err != nil {
			return fmt.Errorf("stream: encode text delta: %w", err)
		}
		e.Data = data
	}
	s.offset = rest.End()
	s.emit(e)
	return nil
}

func (s *Subscription) emit(e events.Event) {
	s.out = append(s.out, Item{Position: events.Position{Seq: s.seq, Offset: s.offset}, Event: e})
}
