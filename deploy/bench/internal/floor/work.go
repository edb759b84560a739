package floor

import (
	"context"
	"fmt"
	"io"
	"sync"

	"github.com/nats-io/nats.go/jetstream"
)

// slots is how many jobs the worker does at once, as many as the system's embedding worker.
const slots = 32

// Work does jobs until ctx ends. It writes a line to out for every job that failed, which JetStream delivers again.
func Work(ctx context.Context, c Config, out io.Writer) error {
	e, err := c.open(ctx)
	if err != nil {
		return err
	}
	defer e.close()
	consumer, err := e.jetstream.CreateOrUpdateConsumer(ctx, c.Stream(), jetstream.ConsumerConfig{
		Durable: c.consumer(), AckPolicy: jetstream.AckExplicitPolicy, MaxAckPending: slots,
	})
	if err != nil {
		return fmt.Errorf("floor: make the consumer: %w", err)
	}
	var (
		running sync.WaitGroup
		mu      sync.Mutex // of out
	)
	defer running.Wait()
	consuming, err := consumer.Consume(func(m jetstream.Msg) {
		// MaxAckPending bounds how many there are.
		running.Go(func() {
			if err := e.work(ctx, c, m); err != nil && ctx.Err() == nil {
				mu.Lock()
				defer mu.Unlock()
				fmt.Fprintln(out, err)
			}
		})
	}, jetstream.PullMaxMessages(slots))
	if err != nil {
		return fmt.Errorf("floor: consume: %w", err)
	}
	defer func() { <-consuming.Closed() }()
	defer consuming.Stop()
	<-ctx.Done()
	return nil
}

// work is one job: two updates, as a system that tells a running job from a queued one needs at the least.
func (e *engines) work(ctx context.Context, c Config, m jetstream.Msg) error {
	id := string(m.Data())
	for _, status := range []string{"running", "succeeded"} {
		if _, err := e.pool.Exec(ctx, "UPDATE floor.jobs SET status = $2, updated_at = now() WHERE id = $1", id, status); err != nil {
			return fmt.Errorf("floor: set job %s %s: %w", id, status, err)
		}
	}
	if err := e.nats.Publish(c.done(id), nil); err != nil {
		return fmt.Errorf("floor: say that job %s is done: %w", id, err)
	}
	if err := m.Ack(); err != nil {
		return fmt.Errorf("floor: acknowledge job %s: %w", id, err)
	}
	return nil
}
