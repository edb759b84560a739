package stream

import (
	"context"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// FeedOptions are where a reader of a feed starts and what it is shown.
type FeedOptions struct {
	// After is the ID of the last entry that was seen, or a Cursor. Without it, reading starts at the time Since, else at the
	// beginning if FromBeginning is set, else with what happens from now on.
	After         string
	Since         *time.Time
	FromBeginning bool
	// Sees reports whether the reader may see the jobs of an owner and project.
	Sees func(owner, project *uuid.UUID) bool
	// Kinds and Types leave out all others; empty ones leave out nothing but jobs of the kind webhook.deliver, which are nobody's work.
	Kinds []events.Kind
	Types []events.Type
}

// Feed is one reader's view of the log of all jobs of a tenant. It belongs to one goroutine.
type Feed struct {
	hub     *Hub
	tail    *tail
	options FeedOptions
	at      store.FeedPosition
	// live is the batch of the tail that was read last; nil while the reader reads the log by itself.
	live *batch
	// behind is since when a reader who once was live reads by itself.
	behind    time.Time
	restarted bool
	// line is who is told when there is more, if it is one.
	line *Line
}

// together bounds how many entries a reader gets at once.
const together = 256

// Feed follows all jobs of a tenant. An After that no gateway has given out for this tenant is fault.Invalid. Close must be called.
func (h *Hub) Feed(ctx context.Context, t tenant.ID, o FeedOptions) (*Feed, error) {
	f := &Feed{hub: h, options: o}
	if o.After != "" {
		var err error
		if f.at, err = h.cursors.read(t, o.After); err != nil {
			return nil, err
		}
		f.options.Since = nil // it has led to this cursor
	}
	found := h.tailOf(t)
	var until store.FeedHorizon
	err := h.store.View(ctx, t, func(tx *store.Tx) (err error) {
		if until, err = tx.Feed().Horizon(); err != nil {
			return err
		}
		f.at, err = f.start(tx, until)
		return err
	})
	if err != nil {
		return nil, err
	}
	if f.tail, err = h.join(t, until.Position(time.Now()), found); err != nil { //nolint:contextcheck // the tail outlives this reader
		return nil, err
	}
	return f, nil
}

// start returns where the reader begins.
func (f *Feed) start(tx *store.Tx, until store.FeedHorizon) (store.FeedPosition, error) {
	switch {
	case f.options.After != "" && f.at.Line == until.Line && f.at.XID <= until.XID:
		return f.at, nil
	case f.options.After != "":
		// What the cursor counts in has ended with a restore or a failover. Time goes on.
		f.restarted = true
		return tx.Feed().Since(f.at.Time, until)
	case f.options.Since != nil:
		return tx.Feed().Since(*f.options.Since, until)
	case f.options.FromBeginning:
		return store.FeedPosition{Line: until.Line}, nil
	default:
		return until.Position(time.Now()), nil
	}
}

// Close stops following. It must be called once.
func (f *Feed) Close() {
	if f.line != nil {
		f.tail.leaves(f.line)
	}
	f.hub.leave(f.tail)
}

// Restarted reports whether the database was restored, or has failed over, since the reader's cursor was given out. Then the feed
// goes on from a little before that time: some entries may come a second time, under other ids.
func (f *Feed) Restarted() bool { return f.restarted }

// Cursor returns where the reader stands, which is also behind the entries that it was not to see.
func (f *Feed) Cursor() string { return f.hub.cursors.write(f.tail.tenant, f.at) }

// Next waits for the next entries. It returns ctx's error; fault.Unavailable when the reader should come back with its cursor,
// because the gateway is shutting down or the database has failed over; and fault.RateLimited when the reader is too slow, which
// should come back likewise.
func (f *Feed) Next(ctx context.Context) ([]*Entry, error) {
	for {
		step := f.await
		if f.live == nil {
			step = f.readLog
		}
		if found, err := step(ctx); err != nil || len(found) > 0 {
			return found, err
		}
	}
}

// readLog reads a page of the log, and goes over to the tail when that was the last.
func (f *Feed) readLog(ctx context.Context) (found []*Entry, err error) {
	if err := f.ended(ctx); err != nil {
		return nil, err
	}
	if !f.behind.IsZero() && time.Since(f.behind) > f.hub.cfg.SlowAfter {
		return nil, fault.New(fault.RateLimited, "stream.slow",
			"Events come faster than this client reads them. Connect again to go on where it is.")
	}
	// The tail's end first: what it reads later comes behind it, and what lies before is in the log by now.
	end := f.tail.newest()
	var rows []store.FeedEvent
	var until store.FeedHorizon
	late, err := f.hub.view(ctx, f.tail.tenant, func(tx *store.Tx) (err error) {
		if until, err = tx.Feed().Horizon(); err != nil {
			return err
		}
		if until.Line != f.at.Line {
			return errMoved()
		}
		rows, err = tx.Feed().Read(f.at, until, feedPage)
		return err
	})
	if err != nil || late {
		return nil, err
	}
	for i := range rows {
		row := &rows[i]
		f.at = row.At(until.Line)
		if !f.shows(row.Kind, row.Type, row.CreatedAt, row.CreatedBy, row.ProjectID) {
			continue
		}
		e, err := f.hub.entry(f.tail.tenant, row, until.Line)
		if err != nil {
			return nil, err
		}
		found = append(found, e)
	}
	if len(rows) < feedPage {
		f.live, f.behind = end, time.Time{}
	}
	return found, nil
}

// await waits for the tail to grow.
func (f *Feed) await(ctx context.Context) (found []*Entry, err error) {
	select {
	case <-f.live.grown:
	case <-ctx.Done():
		return nil, ctx.Err()
	case <-f.hub.draining:
		return nil, errDraining()
	case <-f.tail.over:
		return nil, errMoved()
	}
	if err := f.ended(ctx); err != nil {
		return nil, err
	}
	return f.follow(), nil
}

// follow returns what the tail has read since. It finds nothing either when that is too much, and the reader is to read by itself.
func (f *Feed) follow() (found []*Entry) {
	if f.tail.newest().count-f.live.count > f.hub.cfg.FeedLag {
		f.live, f.behind = nil, time.Now()
		return nil
	}
	for len(found) < together {
		select {
		case <-f.live.grown:
		default:
			return found
		}
		f.live = f.live.next
		for _, e := range f.live.entries {
			if e.at.Compare(f.at) > 0 && f.shows(e.kind, e.Type, e.at.Time, e.owner, e.project) {
				found = append(found, e)
			}
		}
		if f.live.at.Compare(f.at) > 0 {
			f.at = f.live.at
		}
	}
	return found
}

// Take implements Source.
func (f *Feed) Take(frames []byte) (_ []byte, more bool, err error) {
	if f.live == nil {
		return frames, true, nil
	}
	select {
	case <-f.tail.over:
		return frames, false, errMoved()
	default:
	}
	frames = shown(frames, f.follow())
	if f.live != nil {
		select {
		case <-f.live.grown:
			more = true
		default:
		}
	}
	return frames, more || f.live == nil, nil
}

// Read implements Source.
func (f *Feed) Read(ctx context.Context, frames []byte) ([]byte, error) {
	if f.live != nil {
		return shown(frames, f.follow()), nil
	}
	found, err := f.readLog(ctx)
	return shown(frames, found), err
}

func shown(frames []byte, found []*Entry) []byte {
	for _, e := range found {
		frames = append(frames, e.frame...)
	}
	return frames
}

// Beat implements Source: the sign of life has the id of where the reader stands, which may be behind what it was not to see.
func (f *Feed) Beat(frames []byte) []byte { return append(frames, stillAt(f.Cursor())...) }

func (f *Feed) wakes(l *Line) {
	f.line = l
	f.tail.wakes(l)
}

func (f *Feed) ended(ctx context.Context) error {
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-f.hub.draining:
		return errDraining()
	default:
		return nil
	}
}

func (f *Feed) shows(kind events.Kind, is events.Type, at time.Time, owner, project *uuid.UUID) bool {
	o := &f.options
	return (len(o.Kinds) == 0 && kind != events.KindWebhookDeliver || slices.Contains(o.Kinds, kind)) &&
		(len(o.Types) == 0 || slices.Contains(o.Types, is)) &&
		(o.Since == nil || !at.Before(*o.Since)) && o.Sees(owner, project)
}

func errMoved() error {
	return fault.New(fault.Unavailable, "stream.moving", "The database has moved. Connect again to go on.")
}
