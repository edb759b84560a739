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

	mu       sync.Mutex
	topics   map[string]*topic // by job id
	tenants  map[string]int    // how many topics each has
	tails    map[string]*tail  // of the feeds that are read, by tenant
	draining chan struct{}
	drain    sync.Once
}

// topic is one watched job.
type topic struct {
	tenant   string
	watchers map[*watcher]struct{}
	// seen is the highest sequence number that the bus delivered.
	seen int64
}

// New builds a hub. Metrics are registered with reg.
func New(cfg Config, s *store.Store, e *store.Engine, b *bus.Bus, log *slog.Logger, reg prometheus.Registerer) *Hub {
	h := &Hub{
		cfg: cfg.withDefaults(), store: s, engine: e, bus: b, log: log, cursors: cursors{cfg.CursorKeys},
		topics: map[string]*topic{}, tenants: map[string]int{}, tails: map[string]*tail{}, draining: make(chan struct{}),
		subscribers: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "copilot_stream_subscribers", Help: "Clients that follow a job on this gateway.",
		}),
		feeds: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "copilot_feed_subscribers", Help: "Clients that follow all jobs of their organization on this gateway.",
		}),
	}
	reg.MustRegister(h.subscribers, h.feeds)
	return h
}

// Run listens until ctx ends and returns nil then.
func (h *Hub) Run(ctx context.Context) error {
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

// Drain ends every subscription politely, and those to come at once: Next returns a fault that asks to come back.
func (h *Hub) Drain() { h.drain.Do(func() { close(h.draining) }) }

// deliver takes the events of a commit. It runs on the bus's goroutine, so it must never wait.
func (h *Hub) deliver(subject string, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	id := h.bus.Subjects().TenantOf(subject)
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
		if t, watched := h.topics[e.JobID]; watched {
			t.deliver(e)
		}
	}
}

// deliverLive takes a piece of text, likewise.
func (h *Hub) deliverLive(subject string, data []byte) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, watched := h.topics[h.bus.Subjects().JobOf(subject)]
	if !watched {
		return
	}
	var e events.Event
	if err := json.Unmarshal(data, &e); err != nil {
		h.log.Error("unreadable event ignored", "subject", subject, "error", err)
		return
	}
	t.deliver(e)
}

func (t *topic) deliver(e events.Event) {
	t.seen = max(t.seen, e.Seq)
	for w := range t.watchers {
		w.put(e)
	}
}

// compare finds watched jobs whose log is ahead of what the bus delivered.
func (h *Hub) compare(ctx context.Context) {
	h.mu.Lock()
	ids := make([]uuid.UUID, 0, len(h.topics))
	for id := range h.topics {
		if parsed, err := uuid.Parse(id); err == nil {
			ids = append(ids, parsed)
		}
	}
	h.mu.Unlock()
	if len(ids) == 0 {
		return
	}
	last, err := h.engine.LastSeqs(ctx, ids)
	if err != nil {
		if ctx.Err() == nil {
			h.log.WarnContext(ctx, "streams not compared with the log", "error", err)
		}
		return
	}
	h.mu.Lock()
	defer h.mu.Unlock()
	for id, seq := range last {
		t, ok := h.topics[id.String()]
		if !ok || t.seen >= seq {
			continue
		}
		t.seen = seq
		for w := range t.watchers {
			w.fallBehind()
		}
	}
}

func (h *Hub) watch(in tenant.ID, job uuid.UUID) *watcher {
	w := newWatcher(h.cfg.Queue)
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.topics[job.String()]
	if !ok {
		t = &topic{tenant: in.String(), watchers: map[*watcher]struct{}{}}
		h.topics[job.String()] = t
		h.tenants[t.tenant]++
	}
	t.watchers[w] = struct{}{}
	h.subscribers.Inc()
	return w
}

func (h *Hub) unwatch(job uuid.UUID, w *watcher) {
	h.mu.Lock()
	defer h.mu.Unlock()
	t, ok := h.topics[job.String()]
	if !ok {
		return
	}
	if _, ok := t.watchers[w]; !ok {
		return
	}
	delete(t.watchers, w)
	h.subscribers.Dec()
	if len(t.watchers) > 0 {
		return
	}
	delete(h.topics, job.String())
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
			if behind || slices.ContainsFunc(list, events.Event.Terminal) {
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
