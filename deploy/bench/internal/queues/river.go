package queues

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strconv"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgxpool"
	"github.com/riverqueue/river"
	"github.com/riverqueue/river/riverdriver/riverpgxv5"
	"github.com/riverqueue/river/rivermigrate"
)

// River is riverqueue/river, which keeps its jobs in Postgres. Open it with OpenRiver; it must be closed.
type River struct {
	tally

	pool        *pgxpool.Pool
	client      *river.Client[pgx.Tx]
	unsubscribe func()
	heard       chan struct{} // closed when nothing more is heard of ends
}

// riverCooldown is the pause between two fetches: the shortest that river takes, a hundredth of its own choice. With that its latency
// would be 45 ms.
const riverCooldown = time.Millisecond

// riverEvents is how many ends may wait to be heard of. River drops what does not fit.
const riverEvents = 1 << 17

// OpenRiver makes river's tables in an empty database and starts to work.
func OpenRiver(ctx context.Context, database string, slots int) (opened *River, err error) {
	config, err := pgxpool.ParseConfig(database)
	if err != nil {
		return nil, errors.New("queues: the database of river cannot be read") // the cause would show the password
	}
	config.MaxConns = conns
	pool, err := pgxpool.NewWithConfig(ctx, config)
	if err != nil {
		return nil, fmt.Errorf("queues: open the database of river: %w", err)
	}
	q := &River{pool: pool, heard: make(chan struct{})}
	defer func() {
		if err != nil {
			pool.Close()
		}
	}()
	log := slog.New(slog.DiscardHandler)
	driver := riverpgxv5.New(pool)
	migrator, err := rivermigrate.New(driver, &rivermigrate.Config{Logger: log})
	if err != nil {
		return nil, fmt.Errorf("queues: prepare river: %w", err)
	}
	if _, err := migrator.Migrate(ctx, rivermigrate.DirectionUp, nil); err != nil {
		return nil, fmt.Errorf("queues: migrate river: %w", err)
	}
	workers := river.NewWorkers()
	river.AddWorker(workers, &riverWorker{begin: q.begin})
	q.client, err = river.NewClient(driver, &river.Config{
		Logger: log, Workers: workers, FetchCooldown: riverCooldown,
		Queues: map[string]river.QueueConfig{river.QueueDefault: {MaxWorkers: slots}},
	})
	if err != nil {
		return nil, fmt.Errorf("queues: make a client of river: %w", err)
	}
	completed, unsubscribe := q.client.SubscribeConfig(&river.SubscribeConfig{
		ChanSize: riverEvents, Kinds: []river.EventKind{river.EventKindJobCompleted},
	})
	q.unsubscribe = unsubscribe
	if err := q.client.Start(context.WithoutCancel(ctx)); err != nil {
		unsubscribe()
		return nil, fmt.Errorf("queues: start river: %w", err)
	}
	go func() {
		defer close(q.heard)
		for done := range completed { // it is told of an end after the commit
			q.end(strconv.FormatInt(done.Job.ID, 10))
		}
	}()
	return q, nil
}

// Submit implements Queue.
func (q *River) Submit(ctx context.Context, n int) (ids []string, err error) {
	q.expect(n)
	if n == 1 {
		job, err := q.client.Insert(ctx, riverJob(work()), nil)
		if err != nil {
			return nil, fmt.Errorf("queues: insert into river: %w", err)
		}
		return []string{strconv.FormatInt(job.Job.ID, 10)}, nil
	}
	params := make([]river.InsertManyParams, n)
	for i := range params {
		params[i].Args = riverJob(work())
	}
	jobs, err := q.client.InsertMany(ctx, params)
	if err != nil {
		return nil, fmt.Errorf("queues: insert into river: %w", err)
	}
	ids = make([]string, n)
	for i, job := range jobs {
		ids[i] = strconv.FormatInt(job.Job.ID, 10)
	}
	return ids, nil
}

// Close implements Queue. The database is the caller's to drop.
func (q *River) Close(ctx context.Context) error {
	err := q.client.Stop(ctx)
	q.unsubscribe()
	<-q.heard
	q.pool.Close()
	if err != nil {
		return fmt.Errorf("queues: stop river: %w", err)
	}
	return nil
}

type riverJob payload

// Kind implements river.JobArgs.
func (riverJob) Kind() string { return "nothing" }

type riverWorker struct {
	river.WorkerDefaults[riverJob]

	begin func(id string)
}

// Work implements river.Worker.
func (w *riverWorker) Work(_ context.Context, job *river.Job[riverJob]) error {
	w.begin(strconv.FormatInt(job.ID, 10))
	return nil
}
