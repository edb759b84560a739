package suite

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/queues"
	"github.com/tarento/copilot/deploy/bench/internal/system"
)

const (
	// slots is how many jobs the worker of each system runs at once.
	slots = 64
	// batch is how many jobs a batch submit holds at the most.
	batch = 1000
	// soon is how soon asynq looks again at an empty queue where only latency counts; seldom, where it would take processor time
	// from others.
	soon, seldom = time.Millisecond, 20 * time.Millisecond
)

// The systems in the tables.
const (
	nameOurs  = "copilot"
	nameRiver = "river, 1 ms cooldown"
	nameAsynq = "asynq"
)

// jobs measures jobs that do nothing on our system and on others.
func (m *measurement) jobs(ctx context.Context, report *Report) error {
	return m.on(ctx, []string{system.Gateway}, func(s *system.System) (err error) {
		ours, err := m.openOurs(ctx, s, queues.Options{Slots: slots})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ours.Close(context.WithoutCancel(ctx))) }()
		database, err := s.EmptyDatabase(ctx)
		if err != nil {
			return err
		}
		river, err := queues.OpenRiver(ctx, database, slots)
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, river.Close(context.WithoutCancel(ctx))) }()
		redis := s.Redis()
		for _, c := range []struct {
			name      string
			producers int
			batch     int
			goal      Goal
		}{
			{"in batches", 16, batch, Goal{PerSecond: 1.25}},
			{"one by one, 16 producers", 16, 1, Goal{}},
			{"one by one, 64 producers", 64, 1, Goal{PerSecond: 1.5}},
		} {
			through := func(q queues.Queue) loading { return m.through(q, c.producers, c.batch) }
			contest := Contest{
				Name: fmt.Sprintf("%d jobs that do nothing, from submit to committed end, %s (latency of the submit)",
					m.options.Jobs, c.name),
				Of: nameOurs, Rivals: []Rival{{Name: nameRiver, Goal: c.goal}},
			}
			loads := []loading{through(river)}
			if c.batch == 1 { // asynq has no batches
				contest.Rivals, loads = append(contest.Rivals, Rival{Name: nameAsynq}), append(loads, on(redis, seldom, through))
			}
			if err := m.entered(ctx, report, contest, 0, through(ours), loads...); err != nil {
				return err
			}
		}
		lasting := m.options.lasting(latencyRound)
		started := func(q queues.Queue) loading { return m.paced(q, q.AwaitStart) }
		err = m.entered(ctx, report, Contest{
			Name: fmt.Sprintf("Submit to start, %d jobs/s that do nothing", m.options.Rate), Of: nameOurs, Seconds: lasting.Seconds(),
			Rivals: []Rival{{Name: nameRiver, Goal: Goal{P50: 1, P99: 1}}, {Name: nameAsynq}},
		}, lasting, started(ours), started(river), on(redis, soon, started))
		if err != nil {
			return err
		}
		ended := func(q queues.Queue) loading { return m.paced(q, q.AwaitEnd) } // which asynq does not tell
		return m.entered(ctx, report, Contest{
			Name: fmt.Sprintf("Submit to committed end, %d jobs/s that do nothing", m.options.Rate), Of: nameOurs,
			Seconds: lasting.Seconds(), Rivals: []Rival{{Name: nameRiver}},
		}, lasting, ended(ours), ended(river))
	})
}

// entered measures a contest and enters it into the report.
func (m *measurement) entered(ctx context.Context, report *Report, c Contest, lasting time.Duration, ours loading, loads ...loading) error {
	measured, err := m.contest(ctx, c, lasting, ours, loads...)
	if err == nil {
		report.Jobs = append(report.Jobs, *measured)
	}
	return err
}

// openOurs starts a worker of ours beside a system with a gateway.
func (m *measurement) openOurs(ctx context.Context, s *system.System, o queues.Options) (*queues.Ours, error) {
	app, engine, err := s.Roles()
	if err != nil {
		return nil, err
	}
	return queues.OpenOurs(ctx, queues.Place{App: app, Engine: engine, NATS: s.NATS(), Namespace: s.Namespace()}, o)
}

// on opens asynq for each round, because it keeps a processor busy while it has nothing to do.
func on(redis string, pause time.Duration, measured func(queues.Queue) loading) loading {
	return func(ctx context.Context, lasting time.Duration) (r Round, err error) {
		q, err := queues.OpenAsynq(redis, slots, pause)
		if err != nil {
			return Round{}, err
		}
		defer func() { err = errors.Join(err, q.Close(context.WithoutCancel(ctx))) }()
		return measured(q)(ctx, lasting)
	}
}

// through submits as many jobs as a round has, as fast as the system takes them, and waits for the last to end.
func (m *measurement) through(q queues.Queue, producers, batch int) loading {
	return func(ctx context.Context, _ time.Duration) (Round, error) {
		ctx, fail := context.WithCancelCause(ctx)
		defer fail(nil)
		var (
			wg     sync.WaitGroup
			mu     sync.Mutex
			left   atomic.Int64
			result load.Result
		)
		left.Store(int64(m.options.Jobs))
		start := time.Now()
		for range producers {
			wg.Go(func() {
				for {
					n := min(batch, batch+int(left.Add(-int64(batch))))
					if n <= 0 || ctx.Err() != nil {
						return
					}
					begun := time.Now()
					if _, err := q.Submit(ctx, n); err != nil {
						fail(err)
						return
					}
					took := time.Since(begun)
					mu.Lock()
					result.Latencies = append(result.Latencies, took)
					mu.Unlock()
				}
			})
		}
		wg.Wait()
		if err := context.Cause(ctx); err != nil {
			return Round{}, err
		}
		if err := q.Drain(ctx); err != nil {
			return Round{}, fmt.Errorf("wait for the jobs to end: %w", err)
		}
		result.Took = time.Since(start)
		r, err := round(result, nil)
		r.PerSecond = float64(m.options.Jobs) / result.Took.Seconds()
		return r, err
	}
}

// paced submits jobs at a fixed rate and waits for something to happen to each.
func (m *measurement) paced(q queues.Queue, until func(ctx context.Context, id string) error) loading {
	return func(ctx context.Context, lasting time.Duration) (Round, error) {
		r, err := round(load.Open(ctx, m.options.Rate, lasting, func(ctx context.Context) error {
			ids, err := q.Submit(ctx, 1)
			if err != nil {
				return err
			}
			return until(ctx, ids[0])
		}))
		return r, errors.Join(err, q.Drain(ctx))
	}
}
