package suite

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/queues"
	"github.com/tarento/copilot/deploy/bench/internal/stat"
	"github.com/tarento/copilot/deploy/bench/internal/system"
	"github.com/tarento/copilot/events"
)

const (
	// burst is how many jobs somebody submits at once, bursts how often in a round.
	burst, bursts = 10, 10
	// fewSlots is as many as a worker has by itself: a burst needs several turns, also when nobody else is there.
	fewSlots = 4
	// takes is how long each job takes.
	takes = 25 * time.Millisecond
	// waitGoal is how much longer the 95th percentile of waits may be beside a flood.
	waitGoal = 2
	// flooder is an organization that submits very many jobs.
	flooder = "01900000-0000-7000-8000-00000000f100"
	// waitLimit bounds the wait for a burst: long enough for all that stands before it.
	waitLimit = 5 * time.Minute
)

// Fairness is how long a burst of jobs waits for its start beside a flood, against the same burst alone.
type Fairness struct {
	Name   string     `json:"name"`
	Flood  int        `json:"flood"`
	Rounds int        `json:"rounds"`
	Beside []Waits    `json:"beside"`
	Alone  []Waits    `json:"alone"`
	Ratio  stat.Ratio `json:"p95_ratio"`
}

// Waits are those of one round, in milliseconds.
type Waits struct {
	P50 float64 `json:"p50_ms"`
	P95 float64 `json:"p95_ms"`
}

func (f *Fairness) print(out io.Writer) {
	fmt.Fprintf(out, "\n%s: waits of %d bursts of %d jobs of %s on %d slots, medians of %d rounds\n",
		f.Name, bursts, burst, takes, fewSlots, f.Rounds)
	fmt.Fprintln(out, "\tp50\tp95\t")
	for _, side := range []struct {
		name  string
		waits []Waits
	}{{fmt.Sprintf("beside %d jobs", f.Flood), f.Beside}, {"alone", f.Alone}} {
		p50, p95 := stat.Median(halves(side.waits)), stat.Median(tails(side.waits))
		fmt.Fprintf(out, "%s\t%.1f ms\t%.1f ms\t\n", side.name, p50, p95)
	}
	fmt.Fprintf(out, "ratio\t\t%.2f\t\nof the rounds\t\t%.2f-%.2f\t\n", f.Ratio.Median, f.Ratio.Least, f.Ratio.Most)
	fmt.Fprintf(out, "goal, %s\t\t%s\t\n", verdict(f.Ratio.Median <= waitGoal), bound("<=", waitGoal))
}

func halves(waits []Waits) []float64 { return column(waits, func(w Waits) float64 { return w.P50 }) }

func tails(waits []Waits) []float64 { return column(waits, func(w Waits) float64 { return w.P95 }) }

// whose is who submits jobs, and of which class.
type whose struct {
	organization string
	class        events.Class
}

// fairness measures bursts beside another tenant's flood, and interactive ones beside the own tenant's bulk.
func (m *measurement) fairness(ctx context.Context, report *Report) error {
	return m.on(ctx, []string{system.Gateway}, func(s *system.System) (err error) {
		err = s.Database(ctx, func(conn *pgx.Conn) error {
			_, err := conn.Exec(ctx, "INSERT INTO organizations (id, name) VALUES ($1, 'Flooder')", flooder)
			return err
		})
		if err != nil {
			return fmt.Errorf("make an organization: %w", err)
		}
		ours, err := m.openOurs(ctx, s, queues.Options{Slots: fewSlots, Takes: takes})
		if err != nil {
			return err
		}
		defer func() { err = errors.Join(err, ours.Close(context.WithoutCancel(ctx))) }()
		for _, c := range []struct {
			name         string
			burst, flood whose
		}{
			{"A tenant beside another", whose{queues.Seeded, events.ClassBulk}, whose{flooder, events.ClassBulk}},
			{"Interactive beside bulk", whose{queues.Seeded, events.ClassInteractive}, whose{queues.Seeded, events.ClassBulk}},
		} {
			f := Fairness{Name: c.name, Flood: m.options.Jobs, Rounds: m.options.Rounds}
			for n := range 1 + m.options.Rounds {
				alone, err := measureWaits(ctx, ours, c.burst)
				if err != nil {
					return fmt.Errorf("alone: %w", err)
				}
				beside, err := m.flooded(ctx, s, ours, c.burst, c.flood)
				if err != nil {
					return fmt.Errorf("beside a flood: %w", err)
				}
				m.sayf("round %d of %d, %s: p95 %.1f ms, alone %.1f ms", n, m.options.Rounds, c.name, beside.P95, alone.P95)
				if n > 0 { // the first warms up
					f.Alone, f.Beside = append(f.Alone, alone), append(f.Beside, beside)
				}
			}
			f.Ratio = stat.Compare(tails(f.Beside), tails(f.Alone))
			report.Fairness = append(report.Fairness, f)
		}
		return nil
	})
}

// flooded measures waits while very many jobs stand in the queue, which it takes away afterwards.
func (m *measurement) flooded(ctx context.Context, s *system.System, ours *queues.Ours, burst, flood whose) (Waits, error) {
	for left := m.options.Jobs; left > 0; left -= batch {
		if _, err := ours.SubmitFor(ctx, flood.organization, flood.class, min(left, batch)); err != nil {
			return Waits{}, err
		}
	}
	measured, err := measureWaits(ctx, ours, burst)
	if err != nil {
		return Waits{}, err
	}
	return measured, s.Database(ctx, func(conn *pgx.Conn) error { return clearQueue(ctx, conn) })
}

// measureWaits has bursts submitted one after the other. A job's wait counts from the submit of its burst.
func measureWaits(ctx context.Context, ours *queues.Ours, of whose) (Waits, error) {
	ctx, cancel := context.WithTimeoutCause(ctx, waitLimit, fmt.Errorf("the bursts did not end within %s", waitLimit))
	defer cancel()
	var took []time.Duration
	for range bursts {
		start := time.Now()
		ids, err := ours.SubmitFor(ctx, of.organization, of.class, burst)
		if err != nil {
			return Waits{}, err
		}
		started := make([]time.Duration, len(ids))
		err = together(ids, func(i int, id string) error {
			err := ours.AwaitStart(ctx, id)
			started[i] = time.Since(start)
			return errors.Join(err, ours.AwaitEnd(ctx, id))
		})
		if err != nil {
			return Waits{}, err
		}
		took = append(took, started...)
	}
	return Waits{P50: milliseconds(stat.Percentile(took, 0.5)), P95: milliseconds(stat.Percentile(took, 0.95))}, nil
}

// together does something with each at the same time, and returns what went wrong.
func together[T any](all []T, do func(i int, one T) error) error {
	var wg sync.WaitGroup
	problems := make([]error, len(all))
	for i, one := range all {
		wg.Go(func() { problems[i] = do(i, one) })
	}
	wg.Wait()
	return errors.Join(problems...)
}

// clearQueue cancels what is queued and waits for what runs.
func clearQueue(ctx context.Context, conn *pgx.Conn) error {
	for {
		if _, err := conn.Exec(ctx, `UPDATE jobs SET status = 'cancelled', finished_at = now(), waiting_on = ''
			WHERE id IN (SELECT id FROM jobs WHERE status = 'queued' ORDER BY id FOR UPDATE)`); err != nil {
			return fmt.Errorf("clear the queue: %w", err)
		}
		var open int
		err := conn.QueryRow(ctx, "SELECT count(*) FROM jobs WHERE status IN ('queued', 'running')").Scan(&open)
		if err != nil || open == 0 {
			return err
		}
		if err := load.Until(ctx, time.Now().Add(takes)); err != nil {
			return err
		}
	}
}
