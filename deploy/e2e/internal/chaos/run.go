package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgxpool"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
)

// Options say how a run goes. Jobs, For, Settle, Lease, Root, Logs and Out are required.
type Options struct {
	// Seed decides what the clients do and which faults come in which order.
	Seed uint64
	// Jobs is how many jobs clients submit, For how long they and the faults have.
	Jobs int
	For  time.Duration
	// Settle is how long the system may go without ending a job, when everything is healed, before it counts as stuck.
	Settle time.Duration
	// Lease is how long a job stays with a worker that shows no sign of life.
	Lease time.Duration
	// Only names the faults that may be drawn; empty means all.
	Only []string
	// Root is the repository, Bin the folder of its programs; when that is empty, they are built.
	Root, Bin string
	// Cache is the folder of what the ingest worker has compiled; empty has it compiled anew.
	Cache string
	// Logs is the folder for what everything prints.
	Logs     string
	LogLevel string
	// Out is told every few seconds how it goes.
	Out io.Writer
}

// errSettle is the cause of the end of a run that does not come to rest.
var errSettle = errors.New("the system does not come to rest")

// Result is what a run came to.
type Result struct {
	Seed uint64        `json:"seed"`
	Took time.Duration `json:"took"`
	Logs string        `json:"logs"`
	// Submitted counts clients that began, Accepted those that got a job, Retried the submits that were repeated.
	Submitted int64 `json:"submitted"`
	Accepted  int64 `json:"accepted"`
	Retried   int64 `json:"retried"`
	// Jobs counts all jobs, parts of others too, Ended how each status was reached.
	Jobs  int            `json:"jobs"`
	Ended map[string]int `json:"ended"`
	// Settled is how long the system took to come to rest, negative when it did not.
	Settled time.Duration       `json:"settled"`
	Tally   history.Tally       `json:"tally"`
	Faults  []history.Fault     `json:"faults"`
	Recover []history.Recovered `json:"recover"`
	// Waited are the jobs that stood in the queue for longest.
	Waited []history.Standstill `json:"waited"`
	// EmbeddingCalls counts calls of the embedding model.
	EmbeddingCalls int `json:"embedding_calls"`
	// Deaths counts, by program, ends that nobody asked for; Late names programs that did not end in order in time.
	Deaths map[string]int `json:"deaths"`
	Late   []string       `json:"late"`
	// Refused are answers that no client should have got.
	Refused    []string            `json:"refused"`
	Violations []history.Violation `json:"violations"`
}

// OK tells whether every promise was kept.
func (r *Result) OK() bool { return len(r.Violations) == 0 && len(r.Refused) == 0 && r.Settled >= 0 }

// Run does a run. The error says why it could not be done; what was found is in the result.
func Run(ctx context.Context, o Options) (result *Result, err error) {
	if err := os.MkdirAll(o.Logs, 0o700); err != nil {
		return nil, fmt.Errorf("make the folder of the logs: %w", err)
	}
	began := time.Now()
	say := func(format string, args ...any) {
		_, _ = fmt.Fprintf(o.Out, "chaos: %4.0f s  %s\n", time.Since(began).Seconds(), fmt.Sprintf(format, args...))
	}
	say("seed %d: starting", o.Seed)
	s, err := startSystem(ctx, o)
	defer func() { err = errors.Join(err, s.stop()) }()
	if err != nil {
		return nil, err
	}
	pool, err := pgxpool.New(ctx, s.engines.owner())
	if err != nil {
		return nil, fmt.Errorf("connect to Postgres: %w", err)
	}
	defer pool.Close()
	rec := &record{pool}
	l, err := newLoad(ctx, o, s)
	if err != nil {
		return nil, err
	}
	defer l.http.CloseIdleConnections()
	faultLog, err := os.Create(filepath.Join(o.Logs, "faults.log"))
	if err != nil {
		return nil, fmt.Errorf("write the faults: %w", err)
	}
	defer func() { _ = faultLog.Close() }()
	m := newMischief(o, s, func(line string) { _, _ = fmt.Fprintln(faultLog, line) })

	say("ready: %d jobs, faults for %s", o.Jobs, o.For)
	clients, giveUp := context.WithCancel(ctx)
	defer giveUp()
	stopTelling := tell(ctx, say, l, m, rec)
	var both sync.WaitGroup
	both.Go(func() { l.run(clients) })
	m.run(ctx, o.For, len(o.Only) == 0 || slices.Contains(o.Only, faultStore))
	both.Wait()
	say("healed, settling")
	settled := settle(ctx, o, s, l, rec)
	giveUp()
	l.work.Wait()
	stopTelling()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	result = &Result{Seed: o.Seed, Logs: o.Logs, Settled: settled, Late: m.late, Deaths: map[string]int{}, Faults: m.done()}
	if settled < 0 {
		say("%v", errSettle)
	}
	say("stopping, checking")
	s.stopNodes() // so that nothing changes while it is read
	if err := judge(ctx, result, s, l, rec); err != nil {
		return nil, err
	}
	result.Took = time.Since(began)
	return result, nil
}

// settle heals everything and waits until all clients are done and no job is open, for as long as jobs go on ending. It returns how
// long that took, or a negative number.
func settle(ctx context.Context, o Options, s *system, l *load, rec *record) time.Duration {
	began := time.Now()
	if err := s.heal(ctx); err != nil {
		return -1
	}
	done := make(chan struct{})
	go func() { l.work.Wait(); close(done) }()
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	least, moved := math.MaxInt, began
	for time.Since(moved) < o.Settle {
		c, err := rec.counts(ctx)
		if err == nil && c.Open < least {
			least, moved = c.Open, time.Now()
		}
		select {
		case <-done:
			if err == nil && c.Open == 0 {
				return time.Since(began)
			}
		default:
		}
		select {
		case <-ctx.Done():
			return -1
		case <-tick.C:
		}
	}
	return -1
}

// tellEvery is how often a run says how it goes.
const tellEvery = 3 * time.Second

// tell says how it goes until the function that it returns is called.
func tell(ctx context.Context, say func(string, ...any), l *load, m *mischief, rec *record) (stop func()) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		for pause(ctx, tellEvery) {
			var jobs string
			asking, done := context.WithTimeout(ctx, time.Second)
			if c, err := rec.counts(asking); err == nil {
				jobs = fmt.Sprintf("%d jobs, %d open", c.All, c.Open)
			} else {
				jobs = "Postgres does not answer"
			}
			done()
			say("%d submitted, %d accepted, %d done; %s; %d faults, now: %s", l.submitted.Load(), l.accepted.Load(), l.ended.Load(),
				jobs, len(m.done()), m.now())
		}
	}()
	return func() { cancel(); <-over }
}

// judge reads what happened and holds it against the promises.
func judge(ctx context.Context, result *Result, s *system, l *load, rec *record) error {
	result.Submitted, result.Accepted, result.Retried = l.submitted.Load(), l.accepted.Load(), l.retried.Load()
	result.EmbeddingCalls, result.Ended = s.model.embeddings(), map[string]int{}
	for _, n := range s.nodes {
		if deaths := n.deaths(); deaths > 0 {
			result.Deaths[n.name] = deaths
		}
	}
	for _, e := range s.engines.all {
		if deaths := e.deaths(); deaths > 0 {
			result.Deaths[e.name] = deaths
		}
	}
	all, err := rec.jobs(ctx)
	if err != nil {
		return err
	}
	jobs, order, byMark := map[string]*history.Job{}, make([]string, 0, len(all)), map[string][]string{}
	for _, row := range all {
		jobs[row.ID] = &history.Job{ID: row.ID, Kind: row.Kind, Mark: row.Mark, Record: &history.Record{
			Status: row.Status, Attempt: row.Attempt, Epoch: row.Epoch, LastSeq: row.LastSeq, Dead: row.Dead,
		}}
		order = append(order, row.ID)
		if row.Mark != "" {
			byMark[row.Mark] = append(byMark[row.Mark], row.ID)
		}
		result.Ended[string(row.Status)]++
	}
	result.Jobs = len(all)
	for _, c := range l.clients {
		if c.refused != "" {
			result.Refused = append(result.Refused, c.mark+": "+c.refused)
		}
		told := c.told()
		result.Violations = append(result.Violations,
			history.CheckSubmit(history.Submit{Key: c.mark, Answered: told, Made: byMark[c.mark]})...)
		for _, id := range told {
			if jobs[id] == nil {
				jobs[id] = &history.Job{ID: id, Kind: c.kind, Mark: c.mark}
				order = append(order, id)
			}
			jobs[id].Accepted = true
			jobs[id].Calls = s.model.of(c.mark)
			if id != c.job() {
				continue // it should not be there; what the client did, it did to the first
			}
			jobs[id].Wanted = c.wanted()
			if c.reader != nil {
				jobs[id].Readers = append(jobs[id].Readers, *c.reader)
			}
		}
	}
	if err := check(ctx, result, rec, jobs, order); err != nil {
		return err
	}
	return recovery(ctx, result, rec, jobs)
}

// batch is how many histories are read at once.
const batch = 500

func check(ctx context.Context, result *Result, rec *record, jobs map[string]*history.Job, order []string) error {
	for ids := range slices.Chunk(order, batch) {
		some := map[string]*history.Job{}
		for _, id := range ids {
			some[id] = jobs[id]
		}
		if err := rec.fill(ctx, some); err != nil {
			return err
		}
		for _, id := range ids {
			violations, tally := history.Check(jobs[id])
			result.Violations = append(result.Violations, violations...)
			result.Tally.Add(tally)
			jobs[id].Log, jobs[id].Readers = nil, nil // that was most of it
		}
	}
	return nil
}

func recovery(ctx context.Context, result *Result, rec *record, jobs map[string]*history.Job) error {
	progress, err := rec.progress(ctx)
	if err != nil {
		return err
	}
	all := make([]*history.Job, 0, len(jobs))
	var claims []time.Time
	for _, j := range jobs {
		all = append(all, j)
		for _, c := range j.Changes {
			if c.Claims() {
				claims = append(claims, c.At)
			}
		}
	}
	slices.SortFunc(claims, time.Time.Compare)
	result.Recover = history.Recovery(result.Faults, progress, claims)
	kill := choice{kind: faultKill, of: ofWorker}
	result.Recover = append(result.Recover, history.Orphans(all, kill.name(), result.Faults))
	result.Waited = history.Standstills(all, longestShown)
	return nil
}

// longestShown is how many of the jobs that waited longest are told of.
const longestShown = 5
