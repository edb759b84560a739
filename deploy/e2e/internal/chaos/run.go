package chaos

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
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
	// Logs is the folder for what everything prints. Tidy says that the logs of the programs go when every promise was kept.
	Logs     string
	Tidy     bool
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
	// Scheduled is how long after its time a job began that had one.
	Scheduled history.Recovered `json:"scheduled"`
	// Batches counts submits of several jobs, Retries the jobs that do others again, Redriven and Discarded what the operator was told.
	Batches   int   `json:"batches"`
	Retries   int   `json:"retries"`
	Redriven  int64 `json:"redriven"`
	Discarded int64 `json:"discarded"`
	// Hooks is what receivers of webhooks got; Fed counts the events that readers of feeds saw, FedOver their connections.
	Hooks   history.HookTally `json:"hooks"`
	Fed     int               `json:"fed"`
	FedOver int               `json:"fed_over"`
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
	// Again is the command that does the same once more.
	Again string `json:"again"`
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
	var readers, both sync.WaitGroup
	readers.Go(func() { l.follow(clients) })
	op := newOperator(l)
	leave := op.begin(clients)
	both.Go(func() { l.run(clients) })
	m.run(ctx, o.For, len(o.Only) == 0 || slices.Contains(o.Only, faultStore))
	both.Wait()
	leave()
	say("healed, settling")
	settled := settle(ctx, o, s, l, rec)
	giveUp()
	l.work.Wait()
	readers.Wait()
	stopTelling()
	if ctx.Err() != nil {
		return nil, context.Cause(ctx)
	}
	result = &Result{
		Seed: o.Seed, Logs: o.Logs, Settled: settled, Late: m.late, Deaths: map[string]int{}, Faults: m.done(), Again: o.command(),
		Redriven: op.redriven.Load(), Discarded: op.discarded.Load(),
	}
	if settled < 0 {
		say("%v", errSettle)
	}
	say("stopping, checking")
	s.stopNodes() // so that nothing changes while it is read
	if err := judge(ctx, o, result, s, l, rec); err != nil {
		return nil, err
	}
	result.Took = time.Since(began)
	if result.OK() && o.Tidy {
		tidy(o.Logs, s)
	}
	return result, nil
}

// tidy removes what the programs have printed, of which a run that found nothing has no need.
func tidy(logs string, s *system) {
	for _, n := range s.nodes {
		_ = os.Remove(filepath.Join(logs, n.name+".log"))
	}
	for _, e := range s.engines.all {
		_ = os.Remove(filepath.Join(logs, e.name+".log"))
	}
}

// command is what does the same once more.
func (o Options) command() string {
	args := make([]string, 0, 1+len(o.Only))
	args = append(args, fmt.Sprintf("-seed %d -jobs %d -for %s", o.Seed, o.Jobs, o.For))
	for _, name := range o.Only {
		args = append(args, "-only '"+name+"'")
	}
	return fmt.Sprintf("make chaos ARGS=%q", strings.Join(args, " "))
}

// settle heals everything and waits until all clients are done, no job is open, webhooks were told and feeds have shown all, for as long
// as jobs go on ending. It returns how long that took, or a negative number.
func settle(ctx context.Context, o Options, s *system, l *load, rec *record) time.Duration {
	began := time.Now()
	if err := s.heal(ctx); err != nil {
		return -1
	}
	done := make(chan struct{})
	go func() { l.work.Wait(); close(done) }()
	tick := time.NewTicker(200 * time.Millisecond)
	defer tick.Stop()
	most, moved := -1, began
	for time.Since(moved) < o.Settle {
		c, err := rec.counts(ctx)
		if ended := c.All - c.Open; err == nil && ended > most {
			most, moved = ended, time.Now()
		}
		select {
		case <-done:
			if err == nil && c.Open == 0 && c.Untold == 0 && l.fed(ctx, rec) {
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

// fed tells whether all readers of feeds have been shown as much as there is.
func (l *load) fed(ctx context.Context, rec *record) bool {
	all := map[string]int{}
	for _, f := range l.feeds {
		want, known := all[f.feed.Tenant]
		if !known {
			var err error
			if want, err = rec.feed(ctx, f.feed.Tenant); err != nil {
				return false
			}
			all[f.feed.Tenant] = want
		}
		if f.shown() < want {
			return false
		}
	}
	return true
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
				jobs = fmt.Sprintf("%d jobs with those of webhooks, %d open", c.All, c.Open)
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
