package queues

import (
	"context"
	"crypto/rand"
	"encoding/json"
	"errors"
	"fmt"
	"time"

	"github.com/hibiken/asynq"
)

// Asynq is hibiken/asynq, which keeps its jobs in Redis. Open it with OpenAsynq; it must be closed.
type Asynq struct {
	tally

	queue     string
	task      []byte
	client    *asynq.Client
	server    *asynq.Server
	inspector *asynq.Inspector
}

// OpenAsynq starts to work on a queue of its own. When the queue is empty, the worker looks again after a pause; asynq's own choice is
// a second.
func OpenAsynq(redis string, slots int, pause time.Duration) (*Asynq, error) {
	at, err := asynq.ParseRedisURI(redis)
	if err != nil {
		return nil, errors.New("queues: the address of Redis cannot be read") // the cause would show the password
	}
	task, err := json.Marshal(work())
	if err != nil {
		return nil, fmt.Errorf("queues: encode a task: %w", err)
	}
	q := &Asynq{queue: "bench-" + rand.Text(), task: task}
	q.server = asynq.NewServer(at, asynq.Config{
		Concurrency: slots, Queues: map[string]int{q.queue: 1}, TaskCheckInterval: pause, LogLevel: asynq.FatalLevel,
	})
	err = q.server.Start(asynq.HandlerFunc(func(_ context.Context, task *asynq.Task) error {
		id := task.ResultWriter().TaskID()
		q.begin(id)
		q.end(id) // asynq tells nobody when Redis has heard of it, which only Drain waits for
		return nil
	}))
	if err != nil {
		return nil, fmt.Errorf("queues: start asynq: %w", err)
	}
	q.client, q.inspector = asynq.NewClient(at), asynq.NewInspector(at)
	return q, nil
}

// Submit implements Queue. Asynq has no call for several tasks.
func (q *Asynq) Submit(ctx context.Context, n int) (ids []string, err error) {
	q.expect(n)
	for range n {
		info, err := q.client.EnqueueContext(ctx, asynq.NewTask("nothing", q.task), asynq.Queue(q.queue))
		if err != nil {
			return nil, fmt.Errorf("queues: enqueue: %w", err)
		}
		ids = append(ids, info.ID)
	}
	return ids, nil
}

// Drain implements Queue: the last handlers have returned and Redis has heard of it.
func (q *Asynq) Drain(ctx context.Context) error {
	if err := q.tally.Drain(ctx); err != nil {
		return err
	}
	for {
		info, err := q.inspector.GetQueueInfo(q.queue)
		if err != nil {
			return fmt.Errorf("queues: ask for the length of the queue: %w", err)
		}
		if info.Size == 0 {
			return nil
		}
		if err := rest(ctx, time.Millisecond); err != nil {
			return err
		}
	}
}

// Close implements Queue.
func (q *Asynq) Close(context.Context) error {
	q.server.Shutdown()
	err := q.inspector.DeleteQueue(q.queue, true)
	if errors.Is(err, asynq.ErrQueueNotFound) {
		err = nil
	}
	return errors.Join(err, q.client.Close(), q.inspector.Close())
}
