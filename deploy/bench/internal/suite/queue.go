package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/queues"
	"github.com/tarento/copilot/deploy/bench/internal/rows"
	"github.com/tarento/copilot/deploy/bench/internal/stat"
	"github.com/tarento/copilot/deploy/bench/internal/system"
)

const (
	queueRound = time.Second
	// tenfold is how much longer the table of jobs is than other tables: every piece of work is a row.
	tenfold = 10
	// fewTenants own what has ended, manyTenants what is queued.
	fewTenants, manyTenants = 16, 1000
	// fewQueued is how many jobs are queued where there are few, and how many a round dispatches.
	fewQueued = 1000
)

// Queue is what a long table of jobs, and a long queue, cost.
type Queue struct {
	Few        int        `json:"few"`
	Many       int        `json:"many"`
	Rounds     int        `json:"rounds"`
	Loaded     float64    `json:"many_loaded_seconds"`
	Statements []Growth   `json:"statements"`
	Dispatch   Comparison `json:"dispatch"`
}

func (q *Queue) print(out io.Writer) {
	fmt.Fprintf(out, "\nJobs, p50 on one connection, with %d and with %d rows in their table (loaded in %.0f s), medians of %d rounds\n",
		q.Few, q.Many, q.Loaded, q.Rounds)
	fmt.Fprintf(out, "\t%d\t%d\tratio\tgoal <=%.1f\t\n", q.Few, q.Many, growthGoal)
	for i := range q.Statements {
		g := &q.Statements[i]
		fmt.Fprintf(out, "%s\t%.2f ms\t%.2f ms\t%.2f\t%s\t\n", g.List, g.Few, g.Many, g.Ratio.Median, verdict(g.met()))
	}
	q.Dispatch.print(out)
}

// queue measures single statements, and then the dispatch.
func (m *measurement) queue(ctx context.Context, report *Report) error {
	measured := &Queue{Few: m.options.Few, Many: tenfold * m.options.Many, Rounds: m.options.Rounds}
	if err := m.statements(ctx, measured); err != nil {
		return err
	}
	if err := m.dispatch(ctx, measured); err != nil {
		return err
	}
	report.Queue = measured
	return nil
}

// desk is a database with jobs.
type desk struct {
	*queues.Desk

	ids []string // some of those that have ended
}

// close closes a desk that was opened.
func (d desk) close() error {
	if d.Desk == nil {
		return nil
	}
	return d.Close()
}

// statements measures statements on two databases with different numbers of rows, by turns. There is no gateway, which would dispatch.
func (m *measurement) statements(ctx context.Context, measured *Queue) error {
	return m.on(ctx, nil, func(small *system.System) error {
		return m.on(ctx, nil, func(large *system.System) (err error) {
			var desks [2]desk
			defer func() {
				for _, d := range desks {
					err = errors.Join(err, d.close())
				}
			}()
			for i, side := range []struct {
				*system.System

				rows int
			}{{small, measured.Few}, {large, measured.Many}} {
				begun := time.Now()
				jobs := rows.Jobs{Ended: side.rows, Queued: min(fewQueued, side.rows), Tenants: fewTenants}
				if err := m.jobsInto(ctx, side.System, jobs); err != nil {
					return err
				}
				measured.Loaded = time.Since(begun).Seconds()
				if desks[i], err = openDesk(ctx, side.System, side.rows); err != nil {
					return err
				}
			}
			measured.Statements, err = m.growths(ctx, desks)
			return err
		})
	})
}

// jobsInto loads jobs and tells of it.
func (m *measurement) jobsInto(ctx context.Context, s *system.System, j rows.Jobs) error {
	begun := time.Now()
	err := rows.LoadJobs(ctx, s.Database, j, func(written int) {
		m.sayf("%d jobs written in %.0f s", written, time.Since(begun).Seconds())
	})
	if err == nil {
		m.sayf("loaded %d jobs that have ended and %d that are queued in %.0f s", j.Ended, j.Queued, time.Since(begun).Seconds())
	}
	return err
}

// openDesk also picks jobs to ask for.
func openDesk(ctx context.Context, s *system.System, n int) (d desk, err error) {
	const some = 1000
	err = s.Database(ctx, func(conn *pgx.Conn) error {
		found, err := conn.Query(ctx, `SELECT id::text FROM jobs TABLESAMPLE BERNOULLI (least(100, 400.0 * $1 / $2))
			WHERE organization_id = $3 AND status = 'succeeded' LIMIT $1`, some, n, queues.Seeded)
		if err != nil {
			return err
		}
		d.ids, err = pgx.CollectRows(found, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return d, fmt.Errorf("pick jobs to ask for: %w", err)
	}
	if len(d.ids) == 0 {
		return d, errors.New("pick jobs to ask for: there are none")
	}
	app, engine, err := s.Roles()
	if err != nil {
		return d, err
	}
	d.Desk, err = queues.OpenDesk(ctx, queues.Place{App: app, Engine: engine})
	return d, err
}

// growths measures each statement on both sides by turns.
func (m *measurement) growths(ctx context.Context, sides [2]desk) ([]Growth, error) {
	lasting := m.options.lasting(queueRound)
	statements := []string{"insert", "claim", "get", "newest 20"}
	var took [4][2][]float64
	for n := range 1 + m.options.Rounds {
		for i, side := range sides {
			var made []string
			for s, do := range []func(n int) error{
				func(int) error {
					id, err := side.Insert(ctx)
					made = append(made, id)
					return err
				},
				func(n int) error {
					if n >= len(made) {
						return errAllDone
					}
					return side.Claim(ctx, made[n])
				},
				func(n int) error { return side.Get(ctx, side.ids[n%len(side.ids)]) },
				func(int) error { return side.Newest(ctx) },
			} {
				p50, err := again(ctx, lasting, do)
				if err != nil {
					return nil, fmt.Errorf("%s: %w", statements[s], err)
				}
				if n > 0 { // the first makes plans and caches
					took[s][i] = append(took[s][i], milliseconds(p50))
				}
			}
		}
	}
	growths := make([]Growth, len(statements))
	for s, name := range statements {
		few, many := took[s][0], took[s][1]
		growths[s] = Growth{List: name, Few: stat.Median(few), Many: stat.Median(many), Ratio: stat.Compare(many, few)}
		m.sayf("%s: %.2f and %.2f ms", name, growths[s].Few, growths[s].Many)
	}
	return growths, nil
}

// errAllDone says that there is nothing left to do before the time is over.
var errAllDone = errors.New("all done")

// again does something one time after the other for that long, at least once, and returns the median of how long it takes.
func again(ctx context.Context, lasting time.Duration, do func(n int) error) (time.Duration, error) {
	var took []time.Duration
	for n, start := 0, time.Now(); n == 0 || time.Since(start) < lasting; n++ {
		begun := time.Now()
		err := do(n)
		if errors.Is(err, errAllDone) {
			break
		}
		if err != nil {
			return 0, err
		}
		took = append(took, time.Since(begun))
	}
	return stat.Percentile(took, 0.5), context.Cause(ctx)
}

// dispatch measures how fast jobs get from the queue through a worker that does nothing, with few and with many of them queued.
func (m *measurement) dispatch(ctx context.Context, measured *Queue) error {
	return m.on(ctx, []string{system.Gateway}, func(small *system.System) error {
		return m.on(ctx, []string{system.Gateway}, func(large *system.System) error {
			queued := rows.Jobs{Queued: m.options.Many, Tenants: manyTenants}
			if err := m.jobsInto(ctx, large, queued); err != nil {
				return err
			}
			few := max(2, min(fewQueued, m.options.Many/(4+4*m.options.Rounds))) // the many must last for all rounds
			compared, err := m.compared(ctx, Comparison{
				Name: fmt.Sprintf("Dispatch of %d jobs of %d tenants to a worker that does nothing", few, manyTenants),
				Of:   fmt.Sprintf("of %d queued", m.options.Many), To: fmt.Sprintf("of %d queued", few),
				Goal: Goal{PerSecond: 0.5},
			}, m.worked(large, few), func(ctx context.Context, lasting time.Duration) (Round, error) {
				if err := m.jobsInto(ctx, small, rows.Jobs{Queued: few, Tenants: manyTenants}); err != nil {
					return Round{}, err
				}
				return m.worked(small, few)(ctx, lasting)
			})
			if err != nil {
				return err
			}
			measured.Dispatch = *compared
			return nil
		})
	})
}

// worked starts a worker and stops it when so many jobs have ended. Time counts from the first end: how soon a dispatcher notices jobs
// that nobody told it of is not measured.
func (m *measurement) worked(s *system.System, jobs int) loading {
	return func(ctx context.Context, _ time.Duration) (r Round, err error) {
		return priced(ctx, s, system.Gateway, func() (result load.Result, err error) {
			ours, err := m.openOurs(ctx, s, queues.Options{Slots: slots})
			if err != nil {
				return result, err
			}
			defer func() { err = errors.Join(err, ours.Close(context.WithoutCancel(ctx))) }()
			if err := ours.Worked(ctx, 1); err != nil {
				return result, err
			}
			start := time.Now()
			err = ours.Worked(ctx, jobs)
			result.Took = time.Since(start)
			for range jobs - 1 { // each took its share
				result.Latencies = append(result.Latencies, result.Took/time.Duration(jobs-1))
			}
			return result, err
		})
	}
}
