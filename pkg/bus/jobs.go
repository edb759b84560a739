package bus

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarento/copilot/events"
)

// AckWait is how long a worker may take from delivery to claim before the broker hands the message to another. The claim ends
// the broker's part; from then on the lease decides. It takes milliseconds, and a second delivery does no harm, so the wait is for what a
// worker held that froze or died just then.
const AckWait = 4 * time.Second

// jobsMaxAge is how long a dispatched job lies in the work queue at most.
const jobsMaxAge = 10 * time.Minute

// EnsureTopology creates or updates the streams. It is idempotent and safe to call from every process at once. The answer says
// when the JOBS stream was created: a later moment than last time means that its messages are gone.
func (b *Bus) EnsureTopology(ctx context.Context) (created time.Time, err error) {
	jobs, err := b.ensureStream(ctx, jetstream.StreamConfig{
		Name:        b.subjects.JobsStream(),
		Description: "Work queue of dispatched jobs; Postgres is the record",
		Subjects:    []string{b.subjects.AllJobs()},
		Retention:   jetstream.WorkQueuePolicy,
		// What lies in it was handed out a moment ago, and is handed out again should it be gone: no disk need know of it.
		Storage: jetstream.MemoryStorage,
		// A full queue refuses; it must never drop what it took.
		Discard:  jetstream.DiscardNew,
		MaxBytes: 32 << 20,
		// The dispatcher sends again what nobody has claimed for some seconds, so what is older was sent since: without workers the
		// queue would grow until it is full, and then nothing could be dispatched.
		MaxAge:     jobsMaxAge,
		MaxMsgSize: 64 << 10,
		Duplicates: 2 * time.Minute,
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("bus: ensure stream %s: %w", b.subjects.JobsStream(), err)
	}
	_, err = b.ensureStream(ctx, jetstream.StreamConfig{
		Name:        b.subjects.EventsStream(),
		Description: "Recent job events for consumers outside the gateway; Postgres is the record",
		Subjects:    []string{b.subjects.AllEvents()},
		Retention:   jetstream.LimitsPolicy,
		Storage:     jetstream.FileStorage,
		Discard:     jetstream.DiscardOld,
		MaxAge:      24 * time.Hour,
		MaxBytes:    512 << 20,
	})
	if err != nil {
		return time.Time{}, fmt.Errorf("bus: ensure stream %s: %w", b.subjects.EventsStream(), err)
	}
	info, err := jobs.Info(ctx)
	if err != nil {
		return time.Time{}, fmt.Errorf("bus: inspect stream %s: %w", b.subjects.JobsStream(), err)
	}
	return info.Created, nil
}

// ensureStream creates or updates a stream. One that an earlier release kept elsewhere, in a file or in memory, is replaced: nothing is
// in it that is not in Postgres.
func (b *Bus) ensureStream(ctx context.Context, c jetstream.StreamConfig) (jetstream.Stream, error) {
	s, err := b.js.CreateOrUpdateStream(ctx, c)
	if err == nil {
		return s, nil
	}
	old, missing := b.js.Stream(ctx, c.Name)
	if missing != nil || old.CachedInfo().Config.Storage == c.Storage {
		return nil, err
	}
	if gone := b.js.DeleteStream(ctx, c.Name); gone != nil && !errors.Is(gone, jetstream.ErrStreamNotFound) {
		return nil, errors.Join(err, gone)
	}
	return b.js.CreateOrUpdateStream(ctx, c)
}

// JobsCreated returns when the JOBS stream was created; zero when it does not exist.
func (b *Bus) JobsCreated(ctx context.Context) (time.Time, error) {
	s, err := b.js.Stream(ctx, b.subjects.JobsStream())
	if errors.Is(err, jetstream.ErrStreamNotFound) {
		return time.Time{}, nil
	}
	if err != nil {
		return time.Time{}, fmt.Errorf("bus: inspect stream %s: %w", b.subjects.JobsStream(), err)
	}
	return s.CachedInfo().Created, nil
}

// Dispatch puts jobs on the work queue. They are published together, and the queue says of the first and of the last which place they
// got: when as many places lie between them as there are jobs, it has taken all. An error means that it may have refused some, and
// nobody knows which; of those that it has taken nevertheless a second message does no harm.
func (b *Bus) Dispatch(ctx context.Context, class func(int) events.Class, jobs []events.Dispatch) error {
	var acks []jetstream.PubAckFuture
	for i, job := range jobs {
		data, err := json.Marshal(job)
		if err != nil {
			return fmt.Errorf("bus: encode dispatch: %w", err)
		}
		msg := &nats.Msg{Subject: b.subjects.Job(job.Kind, class(i)), Data: data, Header: nats.Header{}}
		msg.Header.Set(jetstream.MsgIDHeader, job.MessageID())
		if i > 0 && i < len(jobs)-1 {
			err = b.nc.PublishMsg(msg)
		} else {
			var ack jetstream.PubAckFuture
			ack, err = b.js.PublishMsgAsync(msg)
			acks = append(acks, ack)
		}
		if err != nil {
			return fmt.Errorf("bus: dispatch: %w", err)
		}
	}
	var places []uint64
	for _, ack := range acks {
		select {
		case at := <-ack.Ok():
			places = append(places, at.Sequence)
		case err := <-ack.Err():
			return fmt.Errorf("bus: dispatch: %w", err)
		case <-ctx.Done():
			return fmt.Errorf("bus: dispatch: %w", ctx.Err())
		}
	}
	// The first may have been sent twice, and come after the last.
	if n := len(places); n > 1 && places[n-1] < places[0]+uint64(len(jobs)-1) {
		return fmt.Errorf("bus: dispatch: the queue has %d jobs between places %d and %d", len(jobs), places[0], places[n-1])
	}
	return nil
}

// Delivery is one dispatched job in a worker's hand. It must be ended by Done or Later.
type Delivery struct {
	events.Dispatch
	msg jetstream.Msg
}

// Done removes the message: the job's row says everything there is to say.
func (d Delivery) Done() error { return d.msg.Ack() }

// Later gives the message back because the worker could not find out what to do with it.
func (d Delivery) Later(after time.Duration) error { return d.msg.NakWithDelay(after) }

// Waiting returns how many requests for work of a kind are open: those of workers that have a free slot. None are open when all
// are busy, and when no worker runs.
func (b *Bus) Waiting(ctx context.Context, kind events.Kind) (int, error) {
	cons, err := b.js.Consumer(ctx, b.subjects.JobsStream(), b.subjects.WorkerConsumer(kind))
	switch {
	case errors.Is(err, jetstream.ErrConsumerNotFound), errors.Is(err, jetstream.ErrStreamNotFound):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("bus: ask for waiting workers: %w", err)
	default:
		return cons.CachedInfo().NumWaiting, nil
	}
}

// Consumer pulls the dispatched jobs of one kind.
type Consumer struct {
	bus  *Bus
	kind events.Kind
	cons jetstream.Consumer
}

// Consume binds to the consumer that all workers of a kind share, creating it when it is missing.
func (b *Bus) Consume(ctx context.Context, kind events.Kind, maxAckPending int) (*Consumer, error) {
	cons, err := b.js.CreateOrUpdateConsumer(ctx, b.subjects.JobsStream(), jetstream.ConsumerConfig{
		Durable:       b.subjects.WorkerConsumer(kind),
		Description:   "Workers of " + string(kind),
		FilterSubject: b.subjects.JobsOf(kind),
		AckPolicy:     jetstream.AckExplicitPolicy,
		AckWait:       AckWait,
		MaxDeliver:    -1,
		MaxAckPending: maxAckPending,
	})
	if err != nil {
		return nil, fmt.Errorf("bus: bind consumer of %s: %w", kind, err)
	}
	return &Consumer{bus: b, kind: kind, cons: cons}, nil
}

// ErrGone means that the consumer or its stream no longer exists and must be bound again.
var ErrGone = errors.New("bus: consumer is gone")

// Fetch waits up to wait for dispatched jobs and hands each to take as it arrives, at most n. A message that cannot be read is
// removed and reported.
func (c *Consumer) Fetch(ctx context.Context, n int, wait time.Duration, take func(Delivery)) error {
	ctx, cancel := context.WithTimeout(ctx, wait)
	defer cancel()
	batch, err := c.cons.Fetch(n, jetstream.FetchContext(ctx))
	if err != nil {
		return fetchError(c.kind, err)
	}
	for msg := range batch.Messages() {
		var d events.Dispatch
		if err := json.Unmarshal(msg.Data(), &d); err != nil {
			c.bus.log.Error("unreadable dispatch removed", "subject", msg.Subject(), "error", err)
			_ = msg.Term()
			continue
		}
		take(Delivery{Dispatch: d, msg: msg})
	}
	return fetchError(c.kind, batch.Error())
}

func fetchError(kind events.Kind, err error) error {
	switch {
	case err == nil, errors.Is(err, nats.ErrTimeout), errors.Is(err, context.DeadlineExceeded), errors.Is(err, context.Canceled):
		return nil
	case errors.Is(err, jetstream.ErrConsumerDeleted), errors.Is(err, jetstream.ErrConsumerNotFound),
		errors.Is(err, jetstream.ErrStreamNotFound), errors.Is(err, nats.ErrNoResponders),
		errors.Is(err, jetstream.ErrNoHeartbeat):
		return fmt.Errorf("%w: %s: %w", ErrGone, kind, err)
	default:
		return fmt.Errorf("bus: fetch jobs of %s: %w", kind, err)
	}
}
