package fuzz

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// Options say what to try.
type Options struct {
	// URL is the gateway's, without a path. Its database must have the seeded accounts, and its limits of rates be off.
	URL string
	// Seed makes the same cases again.
	Seed uint64
	// Cases is how many are made for each operation; zero means as many as For gives time for.
	Cases int
	// For ends the run even if not all cases were made; zero means no end.
	For time.Duration
	// Workers is how many cases run at the same time; zero means four.
	Workers int
	// Within is how long an answer may take; zero means 15 s.
	Within time.Duration
	// Only is the one operation to try, by its id; empty means all.
	Only string
	// Number is the one case of Only to try; -1 and an empty Only mean all.
	Number int
	// Out gets a line from time to time.
	Out io.Writer
}

const (
	workersDefault = 4
	withinDefault  = 15 * time.Second
	tell           = 5 * time.Second
)

// run is one run of the whole.
type run struct {
	Options
	*client

	doc      *openapi.Document
	judge    *judge
	ledger   *ledger
	neighbor *house
	acme     *house
	// founded counts the houses, so that no name comes twice.
	founded atomic.Int64

	memberMu   sync.Mutex
	member     account
	memberGone atomic.Bool // logged out by a case
}

// Run tries the system out. The error is about what kept it from doing so; what the system did wrong is in the result.
func Run(ctx context.Context, o Options) (Result, error) {
	o.Workers = cmp.Or(o.Workers, workersDefault)
	o.Within = cmp.Or(o.Within, withinDefault)
	r := &run{Options: o, client: newClient(strings.TrimSuffix(o.URL, "/")), ledger: newLedger()}
	defer r.http.CloseIdleConnections()
	if err := r.prepare(ctx); err != nil {
		return Result{}, fmt.Errorf("fuzz: %w", err)
	}
	ops := r.doc.Operations
	if o.Only != "" {
		ops = slices.DeleteFunc(slices.Clone(ops), func(op *openapi.Operation) bool { return op.ID != o.Only })
		if len(ops) == 0 {
			return Result{}, fmt.Errorf("fuzz: there is no operation %q", o.Only)
		}
	}
	if err := r.work(ctx, ops); err != nil {
		return Result{}, fmt.Errorf("fuzz: %w", err)
	}
	if err := r.alive(ctx); err != nil {
		return Result{}, fmt.Errorf("fuzz: the system does not live afterwards: %w", err)
	}
	return r.result(ops), nil
}

// prepare reads the document and makes the neighbor, whose things nobody else may see.
func (r *run) prepare(ctx context.Context) error {
	got, err := r.json(ctx, http.MethodGet, "/openapi.json", "", nil)
	if err != nil {
		return err
	}
	if r.doc, err = openapi.Parse(got.body); err != nil {
		return err
	}
	// Names must differ from those of an earlier run with the same seed.
	run := strconv.FormatInt(time.Now().UnixNano(), 36)
	mark := "zqn" + run
	if r.neighbor, err = found(ctx, r.client, r.doc, "neighbor-"+run, mark); err != nil {
		return err
	}
	r.judge = newJudge(r.Within, []string{mark}, []string{r.neighbor.admin.password, seedPassword})
	r.furnish(ctx, r.neighbor, mark, furnishing)
	admin := account{who: "Acme's Admin", email: seedAdmin, password: seedPassword}
	if err := admin.login(ctx, r.client); err != nil {
		return err
	}
	r.acme = newHouse(r.doc, admin)
	r.furnish(ctx, r.acme, "", furnishing)
	r.member = account{who: memberName, email: seedMember, password: seedPassword}
	return r.member.login(ctx, r.client)
}

// alive asks whether the system still serves.
func (r *run) alive(ctx context.Context) error {
	_, err := r.json(ctx, http.MethodGet, pathHealth, "", nil)
	return errors.Join(err, r.acme.admin.login(ctx, r.client))
}

// work makes all cases with several goroutines.
func (r *run) work(ctx context.Context, ops []*openapi.Operation) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	var end <-chan time.Time
	if r.For > 0 {
		timer := time.NewTimer(r.For)
		defer timer.Stop()
		end = timer.C
	}
	tasks := make(chan task)
	var workers sync.WaitGroup
	for range r.Workers {
		workers.Go(func() {
			w := &worker{run: r}
			for t := range tasks {
				if err := w.do(ctx, t); err != nil && ctx.Err() == nil {
					cancel(err)
				}
			}
		})
	}
	done := make(chan struct{})
	workers.Go(func() { r.report(done) })
	r.plan(ctx, ops, tasks, end)
	close(tasks)
	close(done)
	workers.Wait()
	return context.Cause(ctx)
}

// task is one case, or with a negative number a race about an operation.
type task struct {
	op     *openapi.Operation
	number int
}

// races is how often each operation is raced for.
const races = 3

// plan hands the cases out, one of each operation after the other.
func (r *run) plan(ctx context.Context, ops []*openapi.Operation, tasks chan<- task, end <-chan time.Time) {
	give := func(t task) bool {
		select {
		case tasks <- t:
			return true
		case <-end:
			return false
		case <-ctx.Done():
			return false
		}
	}
	if r.Only != "" && r.Number != -1 {
		give(task{ops[0], r.Number})
		return
	}
	for i := 0; r.Cases == 0 || i < r.Cases; i++ {
		for _, op := range ops {
			if i < races && !give(task{op, -2 - i}) || !give(task{op, i}) {
				return
			}
		}
	}
}

// report says from time to time where the run stands.
func (r *run) report(done <-chan struct{}) {
	started := time.Now()
	tick := time.NewTicker(tell)
	defer tick.Stop()
	for {
		select {
		case <-done:
			return
		case <-tick.C:
			cases, failed := r.ledger.progress()
			// Whoever reads along has gone if this fails.
			_, _ = fmt.Fprintf(r.Out, "fuzz-api: %d cases, %d failures, %.0f s\n", cases, failed, time.Since(started).Seconds())
		}
	}
}

func (r *run) result(ops []*openapi.Operation) Result {
	result := Result{Seed: r.Seed, Operations: len(ops), Failures: r.ledger.sorted(), Statuses: r.ledger.statuses}
	result.Cases, result.Failed = r.ledger.progress()
	for _, op := range ops {
		// What goes on in another protocol is only ever refused here: nobody speaks that.
		if !r.ledger.reached(op.ID) && !op.Switches() && r.Number == -1 {
			result.Unreached = append(result.Unreached, fmt.Sprintf("%s (%s)", op.ID, counts(r.ledger.answered[op.ID])))
		}
	}
	return result
}

// furnishing is how often a house is gone through to make what can be made in it: some things need others.
const furnishing = 2

// furnish makes some of everything in a house, and learns what is there. What cannot be made is left out.
func (r *run) furnish(ctx context.Context, h *house, mark string, times int) {
	for i := range times {
		for _, op := range r.doc.Operations {
			if isMaker(r.doc, op) || op.Method == http.MethodGet && !op.Streams() {
				r.attempt(ctx, h, op, mark, i)
			}
		}
	}
}

// isMaker tells whether an operation makes things that have a path of their own, or a job about them.
func isMaker(doc *openapi.Document, op *openapi.Operation) bool {
	if op.Method != http.MethodPost {
		return false
	}
	return slices.Contains(op.Statuses(), "202") || slices.ContainsFunc(doc.Operations, func(other *openapi.Operation) bool {
		collection, last := cut(other.Path)
		return collection == op.Path && strings.HasPrefix(last, "{")
	})
}

// attempt sends a plain request until one succeeds or it seems of no use.
func (r *run) attempt(ctx context.Context, h *house, op *openapi.Operation, mark string, round int) {
	const tries = 4
	for i := range tries {
		c := compose(source(r.Seed, "furnish:"+op.ID, round*tries+i), op, h.admin, h, true, mark)
		if _, complete := h.path(rand.New(rand.NewPCG(r.Seed, 0)), op); !complete {
			return
		}
		if most, ok := op.Parameter(openapi.InQuery, "limit"); ok {
			if limit, ok := most.Schema.Number("maximum"); ok {
				c.query.Set("limit", strconv.Itoa(int(limit)))
			}
		}
		t := c.done()
		got, err := r.client.do(ctx, t.request, false, patience)
		if err != nil {
			return
		}
		h.learn(op, t.request, got)
		if got.success() || got.status == http.StatusForbidden {
			return
		}
	}
}
