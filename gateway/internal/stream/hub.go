package stream

import (
	"context"
	"encoding/json"
	"log/slog"
	"slices"
	"sync"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// Config tunes the hub. Zero values mean the defaults named below.
type Config struct {
	// Queue is how many messages may wait for one subscriber before it is sent back to the log; 128 by default.
	Queue int
	// Compare is how often the hub looks for events that the bus did not deliver; 3 s by default.
	Compare time.Duration
	// CursorKeys seal the ids of feeds' entries: the first those that are given out, and all of them open what comes back. All
	// gateways have the same.
	CursorKeys [][]byte
	// FeedLag is how many entries of a feed may wait for a reader before it reads the log by itself; 4096 by default. They are
	// kept once for all readers.
	FeedLag int
	// SlowAfter is how long a reader of a feed may take to catch up before it is sent away; a minute by default.
	SlowAfter time.Duration
	// Heartbeat is how often a client is shown a sign of life while there is nothing else to show; 15 s by default.
	Heartbeat time.Duration
	// Within is how long a client may take to read what is written to it; 10 s by default.
	Within time.Duration
	// ReadWithin is how long one read of the log may take before it is tried again, with another connection; 10 s by default.
	// Without it, a host that vanishes would be waited for until TCP gives up.
	ReadWithin time.Duration
}

func (c Config) withDefaults() Config {
	if c.Queue <= 0 {
		c.Queue = 128
	}
	if c.Compare <= 0 {
		c.Compare = 3 * time.Second
	}
	if c.FeedLag <= 0 {
		c.FeedLag = 4096
	}
	if c.SlowAfter <= 0 {
		c.SlowAfter = time.Minute
	}
	if c.Heartbeat <= 0 {
		c.Heartbeat = 15 * time.Second
	}
	if c.Within <= 0 {
		c.Within = 10 * time.Second
	}
	if c.ReadWithin <= 0 {
		c.ReadWithin = 10 * time.Second
	}
	return c
}

// Hub fans job events out to subscribers. It is safe for concurrent use. Without a running Run, subscribers see only the log.
type Hub struct {
	cfg         Config
	store       *store.Store
	engine      *store.Engine
	bus         *bus.Bus
	log         *slog.Logger
	cursors     cursors
	subscribers prometheus.Gauge
	feeds       prometheus.Gauge
	lines       *lines

	mu       sync.Mutex
	topics   map[uuid.UUID]*topic // by job id
	tenants  map[tenant.ID]int    // how many topics each has
	tails    map[tenant.ID]*tail  // of the feeds that are read
	draining chan struct{}
	drain    sync.Once
}

// topic is one watched job.
type topic struct {
	tenant   tenant.ID
	watchers []*watcher
	// seen is the highest sequence number that the bus delivered.
	seen int64
}

// New builds a hub. Metrics are registered with reg.
func New(cfg Config, s *store.Store, e *store.Engine, b *bus.Bus, log *slog.Logger, reg prometheus.Registerer) *Hub {
	h := &Hub{
		cfg: cfg.withDefaults(), store: s, engine: e, bus: b, log: log, cursors: cursors{cfg.CursorKeys},
		topics: map[uuid.UUID]*topic{}, tenants: map[tenant.ID]int{}, tails: map[tenant.ID]*tail{}, draining: make(chan struct{}),
		subscribers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "copilot_stream_subscribers", Help: "Clients that follow a job on this gateway.",
		}),
		feeds: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "copilot_feed_subscribers", Help: "Clients that follow all jobs of their organization on this gateway.",
		}),
	}
	h.lines = newLines(h.cfg, h.draining, log)
	reg.MustRegister(h.subscribers, h.feeds)
	return h
}

// Run listens until ctx ends, and shows what it hears. It returns nil when every line has ended after that.
func (h *Hub) Run(ctx context.Context) error {
	var showing sync.WaitGroup
	shows, stop := context.WithCancel(ctx)
	showing.Go(func() { h.lines.run(shows) })
	defer func() {
		h.Drain()
		stop()
		showing.Wait()
	}()
	subjects := h.bus.Subjects()
	if err := h.bus.Subscribe(ctx, subjects.AllEvents(), h.deliver); err != nil {
		return err
	}
	if err := h.bus.Subscribe(ctx, subjects.AllLive(), h.deliverLive); err != nil {
		return err
	}
	tick := time.NewTicker(h.cfg.Compare)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return nil
		case <-tick.C:
			h.compare(ctx)
			h.compareFeeds(ctx)
		}
	}
}

// Drain ends every subscription politely, and those to come at once: Next returns a fault that asks to come back, and lines end with
// it.
func (h *Hub) Drain() {
	h.drain.Do(func() {
		close(h.draining)
		h.lines.drain()
	})
}

// deliver takes the events of a commit. It runs on the bus's goroutine, so it must never wait.
func (h *Hub) deliver(subject string, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id, err := tenant.Parse(h.bus.Subjects().TenantOf(subject))
	if err != nil {
		h.log.Error("events of nobody ignored", "subject", subject, "error", err)
		return
	}
	if t, read := h.tails[id]; read {
		t.wake()
	}
	if h.tenants[id] == 0 {
		return
	}
	var list []events.Event
	if err := json.Unmarshal(data, &list); err != nil {
		h.log.Error("unreadable events ignored", "subject", subject, "error", err)
		return
	}
	for _, e := range list {
		t, watched := h.topicOf(e.JobID)
		if !watched {
			continue
		}
		told, err := newTold(e)
		if err != nil {
			h.log.Error("unreadable event left to the log", "subject", subject, "error", err)
			t.fallBehind(e.Seq)
			continue
		}
		t.deliver(told)
	}
}

// topicOf finds the topic of a job. The caller holds the lock.
func (h *Hub) topicOf(job string) (*topic, bool) {
	id, err := uuid.Parse(job)
	if err != nil {
		return nil, false
	}
	t, watched := h.topics[id]
	return t, watched
}

// deliverLive takes a piece of text, likewise. Many come, so they are read without the lock.
func (h *Hub) deliverLive(subject string, data []byte) {
	job := h.bus.Subjects().JobOf(subject)
	if !h.watched(job) {
		return
	}
	piece, err := readLive(data)
	if err != nil {
		h.log.Error("unreadable event ignored", "subject", subject, "error", err)
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	if t, watched := h.topicOf(job); watched {
		t.deliver(piece)
	}
}

func (h *Hub) watched(job string) bool {
	h.mu.Lock()
	defer h.mu.Unlock()
	_, watched := h.topicOf(job)
	return watched
}

func (t *topic) deliver(e *told) {
	t.seen = max(t.seen, e.Seq)
	e.shared = len(t.watchers) > 1
	for _, w := range t.watchers {
		w.put(e)
	}
}

// fallBehind has all read the record, which is known to reach up to seq.
func (t *topic) fallBehind(seq int64) {
	t.seen = max(t.seen, seq)
	for _, w := range t.watchers {
		w.fallBehind()
	}
}

// compare finds watched jobs whose log is ahead of what the bus delivered.
func (h *Hub) compare(ctx context.Context) {
	h.mu.Lock()
	ids := make([]uuid.UUID, 0, len(h.topics))
	for id := range h.topics {
		ids = append(ids, id)
	}
	h.mu.Unlock()
	// A few hundred at a time, over the time until the next comparison: all at once would hold up what happens meanwhile.
	pause := h.cfg.Compare / time.Duration(1+len(ids)/compareTogether)
	for i := 0; i < len(ids); i += compareTogether {
		if i > 0 {
			select {
			case <-ctx.Done():
				return
			case <-time.After(pause):
			}
		}
		h.compareSome(ctx, ids[i:min(i+compareTogether, len(ids))])
	}
}

// compareTogether is how many jobs are compared with one query.
const compareTogether = 500

func (h *Hub) compareSome(ctx context.Context, ids []uuid.UUID) {
	reading, cancel := context.WithTimeout(ctx, h.cfg.ReadWithin)
	defer cancel()
	last, err := h.engine.LastSeqs(reading, ids)
	if err != nil {
		if ctx.Err() == nil {
			h.log.WarnContext(ctx, "streams not compared with the log", "error", err)
		}
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, seq := range last {
		if t, ok := h.topics[id]; ok && t.seen < seq {
			t.fallBehind(seq)
		}
	}
}

// view has fn read a tenant's log, and reports with late that this is to be tried again because it took too long.
func (h *Hub) view(ctx context.Context, t tenant.ID, fn func(*store.Tx) error) (late bool, err error) {
	reading, cancel := context.WithTimeout(ctx, h.cfg.ReadWithin)
	defer cancel()
	err = h.store.View(reading, t, fn)
	if err == nil || reading.Err() == nil || ctx.Err() != nil {
		return false, err
	}
	h.log.WarnContext(ctx, "a log was not read in time", "tenant_id", t.String(), "error", err)
	return true, nil
}

func (h *Hub) watch(in tenant.ID, job uuid.UUID) *watcher {
	w := newWatcher(h.cfg.Queue)
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.topics[job]
	if !ok {
		t = &topic{tenant: in}
		h.topics[job] = t
		h.tenants[in]++
	}
	w.at = len(t.watchers)
	t.watchers = append(t.watchers, w)
	h.subscribers.Inc()
	return w
}

func (h *Hub) unwatch(job uuid.UUID, w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.topics[job]
	if !ok || w.at >= len(t.watchers) || t.watchers[w.at] != w {
		return
	}
	last := len(t.watchers) - 1
	t.watchers[w.at], t.watchers[last].at = t.watchers[last], w.at
	t.watchers[last] = nil
	t.watchers = t.watchers[:last]
	h.subscribers.Dec()
	if last > 0 {
		return
	}
	delete(h.topics, job)
	if h.tenants[t.tenant]--; h.tenants[t.tenant] == 0 {
		delete(h.tenants, t.tenant)
	}
}

// Await returns nil when the job has ended, and ctx's error when that comes first.
func (h *Hub) Await(ctx context.Context, t tenant.ID, job uuid.UUID) error {
	w := h.watch(t, job)
	defer h.unwatch(job, w)
	for {
		ended, err := h.ended(ctx, t, job)
		if err != nil || ended {
			return err
		}
		if err := h.awaitEnd(ctx, w); err != nil {
			return err
		}
	}
}

func (h *Hub) awaitEnd(ctx context.Context, w *watcher) error {
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-h.draining:
			return errDraining()
		case <-w.stirred:
			list, behind := w.take()
			if behind || slices.ContainsFunc(list, func(t *told) bool { return t.Terminal() }) {
				return nil
			}
		}
	}
}

func (h *Hub) ended(ctx context.Context, t tenant.ID, id uuid.UUID) (ended bool, err error) {
	err = h.store.InTenant(ctx, t, func(tx *store.Tx) error {
		job, err := tx.Jobs().Get(id)
		if err == nil {
			ended = job.Status.Terminal()
		}
		return err
	})
	return ended, err
}

func errDraining() error {
	return fault.New(fault.Unavailable, "stream.moving", "This gateway is shutting down. Connect again to go on.")
}
