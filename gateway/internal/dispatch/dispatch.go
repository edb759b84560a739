package dispatch

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"sync"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/pkg/store"
)

// Config tunes the dispatcher. Zero values mean the defaults named below.
type Config struct {
	// Depth is how many jobs of one kind may lie with the broker, unclaimed, whatever the workers could take; 4096 by default.
	Depth int
	// Tick is how often the dispatcher looks after its queue and the leases, and compares what it believes with the record: less often,
	// every fifth time at least, when thousands of jobs run; 1 s by default.
	Tick time.Duration
	// Lost is after what time a dispatched job that nobody claimed counts as lost by the broker; 15 s by default. Only
	// needed when a message vanished without its stream: a stream that was deleted is noticed at once.
	Lost time.Duration
}

func (c Config) withDefaults() Config {
	if c.Depth <= 0 {
		c.Depth = 4096
	}
	if c.Tick <= 0 {
		c.Tick = time.Second
	}
	if c.Lost <= 0 {
		c.Lost = 15 * time.Second
	}
	return c
}

// Dispatcher takes part in leading; build it with New and call Run once.
type Dispatcher struct {
	cfg     Config
	engine  *store.Engine
	store   *store.Store
	bus     *bus.Bus
	log     *slog.Logger
	metrics *metrics

	crews   crews
	board   board
	signals chan signal
	// missed says that signals were dropped.
	missed atomic.Bool
}

// signal is what the bus has told: one of the two.
type signal struct {
	flow  *events.Flow
	nudge *events.Nudge
}

// backlog is how many signals may wait for the leader. What comes beyond is found in the record.
const backlog = 4096

// New builds a dispatcher. Metrics are registered with reg.
func New(cfg Config, e *store.Engine, s *store.Store, b *bus.Bus, log *slog.Logger, reg prometheus.Registerer) *Dispatcher {
	return &Dispatcher{
		cfg: cfg.withDefaults(), engine: e, store: s, bus: b, log: log, metrics: newMetrics(reg),
		crews: newCrews(), signals: make(chan signal, backlog),
	}
}

// Run leads whenever it can, until ctx ends. It returns nil then: what goes wrong in between is logged and tried again.
func (d *Dispatcher) Run(ctx context.Context) error {
	subjects := d.bus.Subjects()
	for subject, hear := range map[string]func(string, []byte){
		subjects.Nudge(): hearing(d, func(n *events.Nudge) { d.signal(signal{nudge: n}) }),
		subjects.Flow(): hearing(d, func(f *events.Flow) {
			d.crews.flow(f)
			d.signal(signal{flow: f})
		}),
		subjects.Worker(): hearing(d, func(w *events.WorkerBeat) {
			d.crews.beat(w, time.Now())
			d.signal(signal{})
		}),
		subjects.Queue(): hearing(d, func(q *events.QueueSnapshot) { d.board.post(q, time.Now()) }),
	} {
		if err := d.bus.Subscribe(ctx, subject, hear); err != nil {
			return err
		}
	}
	d.bus.CallRoll()
	for pause := time.Duration(0); lifecycle.Pause(ctx, pause); pause = d.cfg.Tick {
		_, err := d.engine.Lead(ctx, store.Dispatching, d.lead)
		if err != nil && ctx.Err() == nil {
			d.log.WarnContext(ctx, "dispatching interrupted", "error", err)
		}
	}
	return nil
}

// hearing decodes what comes in over the bus.
func hearing[T any](d *Dispatcher, take func(*T)) func(subject string, data []byte) {
	return func(subject string, data []byte) {
		message := new(T)
		if err := json.Unmarshal(data, message); err != nil {
			d.log.Error("unreadable message ignored", "subject", subject, "error", err)
			return
		}
		take(message)
	}
}

// signal never waits. While another gateway leads the signals pile up to the backlog, and mean nothing: who begins to lead forgets them.
func (d *Dispatcher) signal(s signal) {
	select {
	case d.signals <- s:
	default:
		d.missed.Store(true)
	}
}

// forget drops the signals that came before this gateway led. What they tell has been committed before, so the first round reads it in
// the record; taken for news, jobs that have ended would be handed out and counted again.
func (d *Dispatcher) forget() {
	for range len(d.signals) {
		<-d.signals
	}
	d.missed.Store(false) // a signal that was dropped until now is older than that round, too
}

// lead dispatches until leadership ends.
func (d *Dispatcher) lead(ctx context.Context) error {
	d.forget()
	d.log.InfoContext(ctx, "this gateway leads the dispatch")
	d.metrics.leading.Set(1)
	defer d.metrics.leading.Set(0)
	defer d.metrics.standing.forget() // who follows tells of it
	l := newLeader(d)
	var beside sync.WaitGroup
	defer beside.Wait()
	counting, stop := context.WithCancel(ctx)
	defer stop()
	beside.Go(func() { l.count(counting) })
	for {
		if err := l.round(ctx); err != nil {
			return err
		}
		if !l.wait(ctx) {
			if cause := context.Cause(ctx); !errors.Is(cause, context.Canceled) {
				return cause
			}
			return nil
		}
	}
}
