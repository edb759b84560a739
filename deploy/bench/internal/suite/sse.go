package suite

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"

	"github.com/tarento/copilot/deploy/bench/internal/floor"
	"github.com/tarento/copilot/deploy/bench/internal/load"
	"github.com/tarento/copilot/deploy/bench/internal/queues"
	"github.com/tarento/copilot/deploy/bench/internal/stat"
	"github.com/tarento/copilot/deploy/bench/internal/system"
	"github.com/tarento/copilot/events"
)

const (
	sseRound = 10 * time.Second
	// topicRate is how many events a second come, each for another follower.
	topicRate = 500
	// talks is how many answers are written at once, talkRate how many tokens of each a second.
	talks, talkRate = 200, 50
	// arrival is how long an event may take at the most; what is lost counts as much.
	arrival = 10 * time.Second
	// memoryGoal is how much more memory a follower may take than at the floor.
	memoryGoal = 1.1
)

// SSE is what followers of jobs cost, and how soon they see what happens.
type SSE struct {
	// Memory is what an idle follower takes.
	Memory FollowerMemory `json:"memory"`
	// Topics are events, each of another job, with one follower each.
	Topics Comparison `json:"topics"`
	// Relay is a few jobs that write many tokens.
	Relay Comparison `json:"relay"`
}

// FollowerMemory is the resident memory of a program for each follower that does nothing but listen, in bytes, round by round.
type FollowerMemory struct {
	Followers int        `json:"followers"`
	Gateway   []float64  `json:"gateway"`
	Floor     []float64  `json:"floor"`
	Ratio     stat.Ratio `json:"ratio"`
}

func (s *SSE) print(out io.Writer) {
	m := s.Memory
	fmt.Fprintf(out, "\nResident memory for each of %d idle followers, medians of %d rounds\n", m.Followers, len(m.Gateway))
	fmt.Fprintf(out, "gateway\t%.1f KiB\t\nbare net/http hub\t%.1f KiB\t\n", stat.Median(m.Gateway)/(1<<10), stat.Median(m.Floor)/(1<<10))
	fmt.Fprintf(out, "ratio\t%.2f\t\nof the rounds\t%.2f-%.2f\t\n", m.Ratio.Median, m.Ratio.Least, m.Ratio.Most)
	fmt.Fprintf(out, "goal, %s\t%s\t\n", verdict(m.Ratio.Median <= memoryGoal), bound("<=", memoryGoal))
	s.Topics.print(out)
	s.Relay.print(out)
}

// followed are jobs that run for ever, and who publishes for them.
type followed struct {
	*system.System

	nats     *nats.Conn
	subjects events.Subjects
	floor    string // its address
	jobs     []string
}

// audience is one side: a program and how its followers are reached.
type audience struct {
	program string
	address string
	path    func(job string) string
	subject func(job string) string
}

// sse measures followers of jobs that write text, at the gateway and at handlers that do nothing else.
func (m *measurement) sse(ctx context.Context, report *Report) error {
	return m.on(ctx, []string{system.Gateway}, func(s *system.System) error {
		f := &followed{System: s, subjects: events.NewSubjects(s.Namespace())}
		var err error
		if f.jobs, err = running(ctx, s, m.options.Followers); err != nil {
			return err
		}
		if f.floor, err = s.StartFloor(ctx); err != nil {
			return err
		}
		if f.nats, err = nats.Connect(s.NATS()); err != nil {
			return fmt.Errorf("connect to publish: %w", err)
		}
		defer f.nats.Close()
		measured := &SSE{}
		if err := m.topics(ctx, f, measured); err != nil {
			return err
		}
		lasting := m.options.lasting(sseRound)
		jobs := f.jobs[:min(talks, len(f.jobs))]
		gateway, bare := f.sides(floor.PathRelay)
		relay, err := m.compared(ctx, Comparison{
			Name: fmt.Sprintf("Token relay, %d streams of %d a second", len(jobs), talkRate),
			Of:   system.Gateway, To: "bare relay of core NATS",
			Seconds: lasting.Seconds(), Goal: Goal{P50: 1.2, P99: 1.5},
		}, f.relay(gateway, jobs), f.relay(bare, jobs))
		if err != nil {
			return err
		}
		measured.Relay = *relay
		report.SSE = measured
		return nil
	})
}

// running makes jobs of the administrator's organization that a worker seems to hold.
func running(ctx context.Context, s *system.System, n int) (ids []string, err error) {
	err = s.Database(ctx, func(conn *pgx.Conn) error {
		rows, err := conn.Query(ctx, `INSERT INTO jobs (id, organization_id, kind, class, status, input, attempt, lease_epoch,
				lease_expires_at, leased_by, started_at)
			SELECT gen_random_uuid(), $1, 'agent.run', 'interactive', 'running', '{}', 1, 1, now() + interval '1 day', 'bench', now()
			FROM generate_series(1, $2::int) RETURNING id::text`, queues.Seeded, n)
		if err != nil {
			return err
		}
		ids, err = pgx.CollectRows(rows, pgx.RowTo[string])
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("make jobs to follow: %w", err)
	}
	return ids, nil
}

// sides are the gateway and the floor's handler below a path.
func (f *followed) sides(below string) (gateway, bare audience) {
	gateway = audience{
		program: system.Gateway, address: f.Address,
		path:    system.PathEvents,
		subject: func(job string) string { return f.subjects.Live(queues.Seeded, job) },
	}
	bare = audience{
		program: system.Floor, address: f.floor, path: func(job string) string { return below + job }, subject: f.FloorLive,
	}
	return gateway, bare
}

// topics measures the memory of many idle followers, and then how soon each sees an event of its own job. Each round is of a fresh
// process, whose memory no earlier round has stretched.
func (m *measurement) topics(ctx context.Context, f *followed, measured *SSE) error {
	lasting := m.options.lasting(sseRound)
	gateway, bare := f.sides(floor.PathHub)
	var memory [2][]float64
	var rounds [2][]Round
	for n := range m.options.Rounds {
		for i, side := range []audience{gateway, bare} {
			each, r, err := f.round(ctx, side, lasting)
			if err != nil {
				return fmt.Errorf("%s, round %d: %w", side.program, n+1, err)
			}
			memory[i], rounds[i] = append(memory[i], each), append(rounds[i], r)
			m.sayf("round %d of %d, %s: %.1f KiB for each of %d followers; %.0f events/s, p50 %.2f ms, p99 %.2f ms",
				n+1, m.options.Rounds, side.program, each/(1<<10), len(f.jobs), r.PerSecond, r.P50, r.P99)
		}
	}
	measured.Memory = FollowerMemory{
		Followers: len(f.jobs), Gateway: memory[0], Floor: memory[1], Ratio: stat.Compare(memory[0], memory[1]),
	}
	c := Comparison{
		Name: fmt.Sprintf("%d events/s, each for another of %d followers", topicRate, len(f.jobs)),
		Of:   system.Gateway, To: "bare net/http hub",
		Rounds: m.options.Rounds, Seconds: lasting.Seconds(), Side: side(rounds[0]), Floor: side(rounds[1]), Goal: Goal{P99: 1.3},
	}
	c.Against = against(c.Side, c.Floor)
	measured.Topics = c
	return nil
}

// round measures one side once: the bytes for each follower, and the events.
func (f *followed) round(ctx context.Context, side audience, lasting time.Duration) (each float64, r Round, err error) {
	if err := f.Restart(ctx, side.program); err != nil {
		return 0, r, err
	}
	before, err := f.settled(ctx, side.program)
	if err != nil {
		return 0, r, err
	}
	listeners, err := f.listen(ctx, side, f.jobs)
	if err != nil {
		return 0, r, err
	}
	defer listeners.Close()
	after, err := f.settled(ctx, side.program)
	if err != nil {
		return 0, r, err
	}
	each = float64(after-before) / float64(len(f.jobs))
	r, err = f.publish(ctx, listeners, side, f.jobs, topicRate, lasting)
	return each, r, err
}

// settled is the resident memory of a program that has nothing to do.
func (f *followed) settled(ctx context.Context, program string) (int64, error) {
	if err := f.AwaitQuiet(ctx); err != nil {
		return 0, err
	}
	memory, err := f.Memory(program)
	return memory.Resident, err
}

// listen follows jobs, with a token that is new enough for a round.
func (f *followed) listen(ctx context.Context, side audience, jobs []string) (*load.Listeners, error) {
	reader, err := f.As(ctx, system.Admin)
	if err != nil {
		return nil, err
	}
	paths := make([]string, len(jobs))
	for i, job := range jobs {
		paths[i] = side.path(job)
	}
	return load.Listen(ctx, side.address, reader.Token, paths)
}

// relay follows jobs and has each write tokens.
func (f *followed) relay(side audience, jobs []string) loading {
	return func(ctx context.Context, lasting time.Duration) (Round, error) {
		listeners, err := f.listen(ctx, side, jobs)
		if err != nil {
			return Round{}, err
		}
		defer listeners.Close()
		return f.publish(ctx, listeners, side, jobs, talkRate*len(jobs), lasting)
	}
}

// publish has jobs write text by turns, so many pieces a second in all, and measures how long each takes to its follower. Time counts
// from the moment of publishing.
func (f *followed) publish(
	ctx context.Context, listeners *load.Listeners, side audience, jobs []string, perSecond int, lasting time.Duration,
) (Round, error) {
	start, pieces := time.Now(), int(lasting.Seconds()*float64(perSecond))
	offsets := make([]int, len(jobs))
	for n := range pieces {
		if err := load.Until(ctx, start.Add(time.Duration(n)*time.Second/time.Duration(perSecond))); err != nil {
			return Round{}, err
		}
		i := n % len(jobs)
		now := time.Now()
		piece, err := delta(jobs[i], offsets[i], load.Mark(now), now)
		if err != nil {
			return Round{}, err
		}
		offsets[i] += len(load.Mark(now))
		if err := f.nats.Publish(side.subject(jobs[i]), piece); err != nil {
			return Round{}, fmt.Errorf("publish: %w", err)
		}
	}
	took, err := listeners.Arrived(ctx, pieces, arrival)
	return round(load.Result{Latencies: took, Took: time.Since(start)}, err)
}

// delta is a piece of text as a worker publishes it.
func delta(job string, offset int, text string, now time.Time) ([]byte, error) {
	data, err := json.Marshal(events.TextDelta{Offset: offset, Text: text})
	if err != nil {
		return nil, fmt.Errorf("encode a delta: %w", err)
	}
	piece, err := json.Marshal(events.Event{
		JobID: job, TenantID: queues.Seeded, Type: events.TypeTextDelta, Time: events.Time(now), Data: data,
	})
	if err != nil {
		return nil, fmt.Errorf("encode an event: %w", err)
	}
	return piece, nil
}
