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
	early []*told
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
			if err := s.takeIn(); err != nil {
				return Item{}, err
			}
		}
	}
}

// takeIn takes what the bus has delivered.
func (s *Subscription) takeIn() error {
	list, behind := s.w.take()
	for _, t := range list {
		if s.ended { // what comes late belongs to nobody
			break
		}
		if err := s.receive(t); err != nil {
			return err
		}
	}
	s.stale = s.stale || behind
	return nil
}

// Take implements Source.
func (s *Subscription) Take(frames []byte) (_ []byte, more bool, err error) {
	if !s.ended && !s.stale {
		err = s.takeIn()
	}
	return s.shown(frames, err)
}

// Read implements Source.
func (s *Subscription) Read(ctx context.Context, frames []byte) ([]byte, error) {
	frames, _, err := s.shown(frames, s.catchUp(ctx))
	return frames, err
}

// shown encodes what is to be shown; err is what came after it.
func (s *Subscription) shown(frames []byte, err error) ([]byte, bool, error) {
	for i := range s.out {
		frames = s.out[i].appendTo(frames)
	}
	s.out = nil
	if err == nil && s.ended {
		err = io.EOF
	}
	return frames, s.stale, err
}

// Beat implements Source.
func (*Subscription) Beat(frames []byte) []byte { return append(frames, stillHere...) }

func (s *Subscription) wakes(l *Line) { s.w.wakes(l) }

// catchUp shows the next page of the log.
func (s *Subscription) catchUp(ctx context.Context) error {
	var log []events.Event
	late, err := s.hub.view(ctx, s.tenant, func(tx *store.Tx) (err error) {
		log, err = tx.Jobs().Events(s.job, s.seq, page)
		return err
	})
	if err != nil || late {
		return err
	}
	s.stale = len(log) == page
	for _, e := range log {
		t, err := newTold(e)
		if err == nil {
			err = s.show(t)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// receive takes what the bus delivered.
func (s *Subscription) receive(t *told) error {
	switch {
	case t.Seq == 0:
		return s.live(t)
	case t.Seq <= s.seq:
		return nil
	case t.Seq == s.seq+1:
		return s.show(t)
	default:
		// Something in between did not come; it was committed before this one, so the log has it.
		s.stale = true
		return nil
	}
}

// show takes the next event of the log.
func (s *Subscription) show(t *told) error {
	s.seq = t.Seq
	switch t.Type {
	case events.TypeTextDelta:
		if err := s.text(t); err != nil {
			return err
		}
	case events.TypeStepStarted:
		var started events.StepStarted
		if err := json.Unmarshal(t.Data, &started); err != nil {
			return fmt.Errorf("stream: decode step %d: %w", t.Seq, err)
		}
		if started.Kind == events.StepModelCall {
			s.start, s.offset = t.Seq, 0
		}
		s.emit(t)
	case events.TypeJobState, events.TypeJobProgress, events.TypeStepFinished, events.TypeUsage:
		s.emit(t)
		s.ended = t.Terminal()
	default:
		s.emit(t)
	}
	return s.retryEarly()
}

// live takes a delta that may not be in the log yet.
func (s *Subscription) live(t *told) error {
	switch d := &t.delta; {
	case d.Start < s.start:
		// The text of an attempt that was given up.
		return nil
	case d.Start > s.start, d.Offset > s.offset:
		if len(s.early) < earlyMax {
			s.early = append(s.early, t)
		}
		return nil
	default:
		return s.text(t)
	}
}

func (s *Subscription) retryEarly() error {
	early := s.early
	s.early = nil
	for _, t := range early {
		if err := s.live(t); err != nil {
			return err
		}
	}
	return nil
}

// text shows the part of a delta that was not shown yet.
func (s *Subscription) text(t *told) error {
	d := t.delta
	if d.Start != s.start {
		s.start, s.offset = d.Start, 0
	}
	rest, some := d.After(s.offset)
	if !some {
		return nil
	}
	s.offset = rest.End()
	if rest == d {
		s.emit(t)
		return nil
	}
	data, err := json.Marshal(rest)
	if err != nil {
		return fmt.Errorf("stream: encode text delta: %w", err)
	}
	cut := t.Event
	cut.Data = data
	s.out = append(s.out, Item{Position: s.position(), Event: cut})
	return nil
}

func (s *Subscription) emit(t *told) {
	s.out = append(s.out, Item{Position: s.position(), Event: t.Event, told: t})
}

func (s *Subscription) position() events.Position {
	return events.Position{Seq: s.seq, Offset: s.offset}
}
