package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"sync"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
)

// Config says where NATS is.
type Config struct {
	// URL may list several servers, separated by commas.
	URL string
	// Namespace separates environments that share a NATS; empty means "copilot".
	Namespace string
	// Name shows up in the server's connection list.
	Name string
	// Log is told of connection changes; nil means slog.Default.
	Log *slog.Logger
}

// Bus is one connection to NATS. It is safe for concurrent use. It reconnects for ever; while it is away, publishing events
// is buffered by the client up to its limit and then fails, and Ready says so.
type Bus struct {
	nc       *nats.Conn
	js       jetstream.JetStream
	subjects events.Subjects
	log      *slog.Logger
}

// writeWithin is how long NATS may take to read what is written to it before the connection counts as lost.
const writeWithin = 2 * time.Second

// Connect starts connecting and returns at once: a server that is not there yet is retried in the background.
func Connect(cfg Config) (*Bus, error) {
	log := cfg.Log
	if log == nil {
		log = slog.Default()
	}
	nc, err := nats.Connect(cfg.URL,
		nats.Name(cfg.Name),
		nats.RetryOnFailedConnect(true),
		nats.MaxReconnects(-1),
		nats.ReconnectWait(250*time.Millisecond),
		nats.ReconnectJitter(100*time.Millisecond, time.Second),
		nats.Timeout(2*time.Second),
		nats.PingInterval(10*time.Second),
		// The client writes under a lock that everybody who publishes takes: a NATS that reads no more must not hold up commits for long.
		nats.FlusherTimeout(writeWithin),
		nats.ReconnectOnFlusherError(),
		nats.DrainTimeout(5*time.Second),
		nats.DisconnectErrHandler(func(_ *nats.Conn, err error) {
			if err != nil {
				log.Warn("nats connection lost", "error", err)
			}
		}),
		nats.ReconnectHandler(func(c *nats.Conn) { log.Info("nats connected again", "server", c.ConnectedServerName()) }),
		nats.ErrorHandler(func(_ *nats.Conn, sub *nats.Subscription, err error) {
			subject := ""
			if sub != nil {
				subject = sub.Subject
			}
			log.Warn("nats reports an error", "subject", subject, "error", err)
		}),
	)
	if err != nil {
		return nil, fmt.Errorf("bus: connect to NATS: %w", err)
	}
	js, err := jetstream.New(nc)
	if err != nil {
		nc.Close()
		return nil, fmt.Errorf("bus: open JetStream: %w", err)
	}
	if cfg.Namespace == "" {
		cfg.Namespace = "copilot"
	}
	return &Bus{nc: nc, js: js, subjects: events.NewSubjects(cfg.Namespace), log: log}, nil
}

// Close delivers what was published, lets running handlers finish and closes the connection.
func (b *Bus) Close() error {
	closed := b.nc.StatusChanged(nats.CLOSED)
	if err := b.nc.Drain(); err != nil {
		b.nc.Close()
		if errors.Is(err, nats.ErrConnectionReconnecting) || errors.Is(err, nats.ErrConnectionClosed) {
			return nil
		}
		return fmt.Errorf("bus: drain: %w", err)
	}
	<-closed
	return nil
}

// Ready returns nil while the connection is up.
func (b *Bus) Ready(context.Context) error {
	if !b.nc.IsConnected() {
		return fmt.Errorf("bus: NATS is %s", b.nc.Status())
	}
	return nil
}

// Subjects returns the names this bus uses.
func (b *Bus) Subjects() events.Subjects { return b.subjects }

// Committed publishes what a transaction has committed: the jobs that it made ready, and its events, those of each tenant in one
// message. It fits store.Config.Committed. A publish that fails is only logged: the log in Postgres is the record, and readers fill gaps
// from it.
func (b *Bus) Committed(c events.Commit) {
	// First, because a job waits for it.
	if len(c.Ready) > 0 || c.DueIn > 0 {
		nudge := events.Nudge{Ready: foremost(c.Ready)}
		if c.DueIn > 0 {
			nudge.DueInMS = max(1, c.DueIn.Milliseconds())
		}
		b.publish(b.subjects.Nudge(), nudge)
	}
	for _, list := range byTenant(c.Events) {
		b.publish(b.subjects.Events(list[0].TenantID), list)
	}
}

// Lists stay well below the size that the broker takes, whatever is in their events.
const (
	listEvents = 500
	listBytes  = 256 << 10
)

// byTenant parts events into lists of one tenant each, and keeps their order.
func byTenant(all []events.Event) (lists [][]events.Event) {
	if len(all) == 1 {
		return [][]events.Event{all}
	}
	type open struct{ at, bytes int }
	last := make(map[string]open)
	for _, e := range all {
		o, ok := last[e.TenantID]
		if !ok || len(lists[o.at]) == listEvents || o.bytes+len(e.Data) > listBytes {
			o = open{at: len(lists)}
			lists = append(lists, nil)
		}
		lists[o.at] = append(lists[o.at], e)
		o.bytes += len(e.Data)
		last[e.TenantID] = o
	}
	return lists
}

// nudgeJobs is how many jobs a nudge names at most. Of more the dispatcher reads the first.
const nudgeJobs = 64

// foremost leaves of each tenant's ready jobs of a kind what comes first, except jobs that are named and few.
func foremost(all []events.Ready) []events.Ready {
	if len(all) <= 1 {
		return all
	}
	type queue struct {
		tenant string
		kind   events.Kind
	}
	first := make(map[queue]int)
	var out []events.Ready
	for _, r := range all {
		if r.Job != nil && len(all) <= nudgeJobs {
			out = append(out, r)
			continue
		}
		r.Job = nil
		q := queue{r.TenantID, r.Kind}
		i, ok := first[q]
		switch {
		case !ok:
			first[q] = len(out)
			out = append(out, r)
		case r.Before(out[i]):
			out[i] = r
		}
	}
	return out
}

// PublishFlow tells the dispatcher what became of the jobs that a worker was handed.
func (b *Bus) PublishFlow(f events.Flow) { b.publish(b.subjects.Flow(), f) }

// CallRoll asks all workers to beat.
func (b *Bus) CallRoll() {
	if err := b.nc.Publish(b.subjects.Roll(), nil); err != nil {
		b.log.Warn("not published", "subject", b.subjects.Roll(), "error", err)
	}
}

// PublishBeat says that a worker is alive.
func (b *Bus) PublishBeat(w events.WorkerBeat) { b.publish(b.subjects.Worker(), w) }

// PublishResize tells a worker how many jobs to run at once.
func (b *Bus) PublishResize(r events.Resize) { b.publish(b.subjects.Resize(), r) }

// PublishQueue tells all gateways how the queues stand.
func (b *Bus) PublishQueue(q events.QueueSnapshot) { b.publish(b.subjects.Queue(), q) }

// PublishLive sends a text delta to whoever watches right now.
func (b *Bus) PublishLive(e events.Event) { b.publish(b.subjects.Live(e.TenantID, e.JobID), e) }

// PublishCancel tells all workers that a job was cancelled.
func (b *Bus) PublishCancel(jobID string) {
	b.publish(b.subjects.Cancel(), events.Cancel{JobID: jobID})
}

// PublishAccessChanged tells all gateways that somebody of a tenant may do more or less than before.
func (b *Bus) PublishAccessChanged(e events.AccessChanged) { b.publish(b.subjects.Access(), e) }

func (b *Bus) publish(subject string, v any) {
	data, err := json.Marshal(v)
	if err == nil {
		err = b.nc.Publish(subject, data)
	}
	if err != nil {
		b.log.Warn("not published", "subject", subject, "error", err)
	}
}

// Subscribe calls handle for every message on a subject, which may have wildcards, one at a time, until ctx ends. Nothing is
// lost in between unless the handler falls far behind, which the log then shows.
func (b *Bus) Subscribe(ctx context.Context, subject string, handle func(subject string, data []byte)) error {
	sub, err := b.nc.Subscribe(subject, func(m *nats.Msg) { handle(m.Subject, m.Data) })
	if err != nil {
		return fmt.Errorf("bus: subscribe to %s: %w", subject, err)
	}
	if err := sub.SetPendingLimits(1<<20, 256<<20); err != nil {
		return fmt.Errorf("bus: size the queue of %s: %w", subject, err)
	}
	context.AfterFunc(ctx, func() { _ = sub.Unsubscribe() })
	return nil
}

// Request asks and waits for one reply until ctx ends. No responder gives fault.Unavailable.
func (b *Bus) Request(ctx context.Context, subject string, request, reply any) error {
	data, err := json.Marshal(request)
	if err != nil {
		return fmt.Errorf("bus: encode request: %w", err)
	}
	msg, err := b.nc.RequestWithContext(ctx, subject, data)
	switch {
	case errors.Is(err, nats.ErrNoResponders):
		return fault.Wrap(err, fault.Unavailable, "search.no_worker", "No worker is there to answer. Try again shortly.").
			After(2 * time.Second)
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, nats.ErrTimeout):
		return fault.Wrap(err, fault.Timeout, "search.timeout", "The workers did not answer in time. Try again.")
	case err != nil:
		return fmt.Errorf("bus: request %s: %w", subject, err)
	}
	if err := json.Unmarshal(msg.Data, reply); err != nil {
		return fmt.Errorf("bus: decode reply of %s: %w", subject, err)
	}
	return nil
}

// Respond answers requests on a subject, sharing the work with every other responder of the same queue group, until ctx ends.
// At most parallel requests are worked on at once, and four times as many wait; others are answered with busy at once. Those that it
// holds when ctx ends are answered yet, because nobody else will: a handler's context does not end with ctx, so it must bound its work
// itself. It returns after the last handler did.
func (b *Bus) Respond(ctx context.Context, subject, queue string, parallel int, busy any,
	handle func(ctx context.Context, request []byte) any,
) error {
	inbox := make(chan *nats.Msg, 4*parallel)
	sub, err := b.nc.QueueSubscribe(subject, queue, func(m *nats.Msg) {
		select {
		case inbox <- m:
		default:
			b.reply(m, busy)
		}
	})
	if err != nil {
		return fmt.Errorf("bus: answer %s: %w", subject, err)
	}
	work := context.WithoutCancel(ctx)
	left := make(chan struct{})
	var workers sync.WaitGroup
	for range parallel {
		workers.Go(func() {
			for {
				select {
				case m := <-inbox:
					b.reply(m, handle(work, m.Data))
					continue
				case <-left:
				}
				select {
				case m := <-inbox:
					b.reply(m, handle(work, m.Data))
				default:
					return
				}
			}
		})
	}
	<-ctx.Done()
	_ = sub.Unsubscribe()
	close(left)
	workers.Wait()
	return nil
}

func (b *Bus) reply(m *nats.Msg, v any) {
	data, err := json.Marshal(v)
	if err == nil {
		err = m.Respond(data)
	}
	if err != nil {
		b.log.Warn("request not answered", "subject", m.Subject, "error", err)
	}
}
