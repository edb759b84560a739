package stream

import (
	"context"
	"encoding/json"
	"fmt"
	"sync"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Entry is one event of a feed, ready to be sent. It is shared by all who read the feed and must not be changed.
type Entry struct {
	// ID is where a reader stands after it.
	ID   string
	Type events.Type
	// Data is a FeedEvent as JSON.
	Data []byte

	// frame is the entry as it is sent.
	frame          []byte
	at             store.FeedPosition
	kind           events.Kind
	owner, project *uuid.UUID
}

// FeedEvent is what a feed tells about an event: which job it is of, and the event.
type FeedEvent struct {
	JobID string          `json:"job_id"`
	Kind  events.Kind     `json:"kind"`
	Seq   int64           `json:"seq"`
	Type  events.Type     `json:"type"`
	Time  time.Time       `json:"time"`
	Data  json.RawMessage `json:"data"`
}

// tail is the end of a tenant's feed, read once for all its readers on this gateway. It is a list: whoever reads holds the batch that
// was read last and follows it, so batches that all readers have passed go by themselves.
type tail struct {
	hub    *Hub
	tenant tenant.ID
	// awake is signaled when there may be more to read.
	awake chan struct{}
	stop  context.CancelFunc
	// over is closed when the line has ended on which the tail reads.
	over chan struct{}
	// readers is guarded by the hub's lock.
	readers int

	mu   sync.Mutex
	last *batch
	// lines are told when the tail has grown, or is over.
	lines map[*Line]struct{}
}

// batch is what one read of the log has found.
type batch struct {
	entries []*Entry
	// at is the position after it, count how many entries the tail had read by then.
	at    store.FeedPosition
	count int
	// next is the batch after it, once grown is closed.
	next  *batch
	grown chan struct{}
}

// breath is the least time between two reads of a tail: what is written meanwhile is read at once.
const breath = 10 * time.Millisecond

// firstRetry and lastRetry are the pauses before the tail looks again at events that an open transaction holds up.
const (
	firstRetry = 5 * time.Millisecond
	lastRetry  = 500 * time.Millisecond
)

// feedPage is how many events one read of the feed takes.
const feedPage = 500

func newTail(h *Hub, t tenant.ID, at store.FeedPosition) *tail {
	return &tail{
		hub: h, tenant: t, awake: make(chan struct{}, 1), over: make(chan struct{}),
		last: &batch{at: at, grown: make(chan struct{})}, lines: map[*Line]struct{}{},
	}
}

func (t *tail) wake() {
	select {
	case t.awake <- struct{}{}:
	default: // it is awake already
	}
}

// newest returns the batch that was read last.
func (t *tail) newest() *batch {
	t.mu.Lock()
	defer t.mu.Unlock()
	return t.last
}

func (t *tail) add(entries []*Entry, at store.FeedPosition) {
	t.mu.Lock()
	defer t.mu.Unlock()
	b := &batch{entries: entries, at: at, count: t.last.count + len(entries), grown: make(chan struct{})}
	t.last.next = b
	close(t.last.grown)
	t.last = b
	t.tell()
}

// end says that the line has ended on which the tail reads. It may be called twice.
func (t *tail) end() {
	t.mu.Lock()
	defer t.mu.Unlock()
	select {
	case <-t.over:
	default:
		close(t.over)
		t.tell()
	}
}

// tell is called with the lock.
func (t *tail) tell() {
	for l := range t.lines {
		l.wake()
	}
}

// wakes has a line told from now on, until leave.
func (t *tail) wakes(l *Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines[l] = struct{}{}
}

func (t *tail) leaves(l *Line) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.lines, l)
}

// run reads whenever it is woken, until ctx ends.
func (t *tail) run(ctx context.Context) {
	again := time.NewTimer(0) // whoever made the tail read its position before it could be woken
	defer again.Stop()
	pause := firstRetry
	for {
		select {
		case <-ctx.Done():
			return
		case <-t.awake:
			pause = firstRetry
		case <-again.C:
		}
		held, err := t.read(ctx)
		switch {
		case ctx.Err() != nil:
			return
		case err != nil:
			t.hub.log.WarnContext(ctx, "a feed was not read", "tenant_id", t.tenant.String(), "error", err)
			again.Reset(lastRetry)
		case held:
			again.Reset(pause)
			pause = min(2*pause, lastRetry)
		default:
		}
		select {
		case <-ctx.Done():
			return
		case <-t.over:
			return
		case <-time.After(breath):
		}
	}
}

// read takes in all there is to read, and reports whether there is more that cannot be read yet.
func (t *tail) read(ctx context.Context) (held bool, err error) {
	at := t.newest().at
	reading, cancel := context.WithTimeout(ctx, t.hub.cfg.ReadWithin)
	defer cancel()
	err = t.hub.store.View(reading, t.tenant, func(tx *store.Tx) error {
		until, err := tx.Feed().Horizon()
		if err != nil {
			return err
		}
		if until.Line != at.Line {
			t.end()
			return nil
		}
		held = until.Held
		for more := true; more; {
			rows, err := tx.Feed().Read(at, until, feedPage)
			if err != nil {
				return err
			}
			if len(rows) == 0 {
				return nil
			}
			entries := make([]*Entry, len(rows))
			for i := range rows {
				if entries[i], err = t.hub.entry(t.tenant, &rows[i], until.Line); err != nil {
					return err
				}
			}
			at = entries[len(entries)-1].at
			t.add(entries, at)
			more = len(rows) == feedPage
		}
		return nil
	})
	return held, err
}

// entry makes an event ready to be sent.
func (h *Hub) entry(t tenant.ID, row *store.FeedEvent, line int32) (*Entry, error) {
	data, err := json.Marshal(FeedEvent{
		JobID: row.JobID.String(), Kind: row.Kind, Seq: row.Seq, Type: row.Type, Time: events.Time(row.CreatedAt), Data: row.Data,
	})
	if err != nil {
		return nil, fmt.Errorf("stream: encode event %d of job %s: %w", row.Seq, row.JobID, err)
	}
	at := row.At(line)
	id := h.cursors.write(t, at)
	frame := appendFrame(nil, id, row.Type, data)
	return &Entry{
		ID: id, Type: row.Type, Data: data, frame: frame,
		at: at, kind: row.Kind, owner: row.CreatedBy, project: row.ProjectID,
	}, nil
}

// join counts a reader of a tenant's feed and makes sure that there is a tail, which leave takes away with the last. At is the end of the
// feed, which the reader found out after it had found that tail, if any: where they are of different lines, the reader's is the later one.
// A tail that came meanwhile may be later than the reader, who is to come back.
func (h *Hub) join(id tenant.ID, at store.FeedPosition, found *tail) (*tail, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.tails[id]
	if ok && t.newest().at.Line != at.Line {
		if t != found {
			return nil, errMoved()
		}
		t.end()
		ok = false
	}
	if !ok {
		t = newTail(h, id, at)
		var reading context.Context
		//nolint:forbidigo // it is nobody's: what a request holds would stay for as long as the feed has readers
		reading, t.stop = context.WithCancel(context.Background())
		h.tails[id] = t
		go t.run(reading)
	}
	t.readers++
	h.feeds.Inc()
	return t, nil
}

// tailOf returns the tail of a tenant's feed that is there; nil without one.
func (h *Hub) tailOf(t tenant.ID) *tail {
	h.mu.Lock()
	defer h.mu.Unlock()
	return h.tails[t]
}

func (h *Hub) leave(t *tail) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.feeds.Dec()
	if t.readers--; t.readers > 0 {
		return
	}
	t.stop()
	if h.tails[t.tenant] == t {
		delete(h.tails, t.tenant)
	}
}

// compareFeeds wakes the tails whose log is ahead of what they have read, because the bus did not say so.
func (h *Hub) compareFeeds(ctx context.Context) {
	h.mu.Lock()
	tails := make(map[uuid.UUID]*tail, len(h.tails))
	ids := make([]uuid.UUID, 0, len(h.tails))
	for _, t := range h.tails {
		tails[t.tenant.UUID()] = t
		ids = append(ids, t.tenant.UUID())
	}
	h.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	reading, cancel := context.WithTimeout(ctx, h.cfg.ReadWithin)
	defer cancel()
	ends, err := h.engine.FeedEnds(reading, ids)
	if err != nil {
		if ctx.Err() == nil {
			h.log.WarnContext(ctx, "feeds not compared with the log", "error", err)
		}
		return
	}
	for id, xid := range ends {
		t := tails[id]
		at := t.newest().at
		// Where the tail has read an event, that one is the newest or something is amiss; before, it stands at a horizon.
		if nothing := at.JobID == uuid.Nil; xid != at.XID && !nothing || xid >= at.XID && nothing {
			t.wake()
		}
	}
}
