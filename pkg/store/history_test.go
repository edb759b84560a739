package store_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// deed is something that somebody does to a job. Its numbers say to which one in any history, so that a history from which some deeds
// were taken away is one, too.
type deed struct {
	op op
	// n picks the job or the lease, arg what there is to choose beside.
	n, arg int
	// beside says that it is done at the same moment as the next one.
	beside bool
}

type op string

// What workers, clients, the dispatcher and time do.
const (
	submit         op = "submit"
	claim          op = "claim"
	write          op = "write"
	journal        op = "journal"
	finish         op = "finish"
	finishTogether op = "finishTogether"
	renew          op = "renew"
	cancel         op = "cancel"
	sweep          op = "sweep"
	bury           op = "bury"
	expire         op = "expire"
	release        op = "release"
	retry          op = "retry"
	redrive        op = "redrive"
	discard        op = "discard"
	leaseRunsOut   op = "leaseRunsOut"
	timeComes      op = "timeComes"
	deadlinePasses op = "deadlinePasses"
)

// often is how often each is done, of a hundred times.
func often() map[op]int {
	return map[op]int{
		submit: 9, claim: 24, write: 5, journal: 6, finish: 17, finishTogether: 7, renew: 3, cancel: 4, sweep: 6, bury: 3, expire: 3,
		release: 2, retry: 5, redrive: 2, discard: 3, leaseRunsOut: 6, timeComes: 3, deadlinePasses: 2,
	}
}

func (d deed) String() string {
	s := fmt.Sprintf("{op: %s, n: %d, arg: %d", d.op, d.n, d.arg)
	if d.beside {
		s += ", beside: true"
	}
	return s + "}"
}

// invent makes a history up.
func invent(random *rand.Rand, length int) []deed {
	var choices []op
	for _, o := range slices.Sorted(maps.Keys(often())) {
		choices = append(choices, slices.Repeat([]op{o}, often()[o])...)
	}
	history := make([]deed, length)
	for i := range history {
		history[i] = deed{choices[random.IntN(len(choices))], random.IntN(1000), random.IntN(1000), random.IntN(4) == 0}
	}
	return history
}

// ending is how a claim ends.
type ending int

const (
	succeed ending = iota
	fail
	die
	again
	againNow
	snooze
	snoozeNow
	wait
)

// action is a deed with whom it is done to.
type action struct {
	op     op
	job    int
	id     uuid.UUID
	lease  *store.Job
	ending ending
	arg    int
}

func (a action) String() string {
	if a.lease == nil {
		return fmt.Sprintf("%s of job %d", a.op, a.job)
	}
	return fmt.Sprintf("%s(%d, %d) of job %d in epoch %d", a.op, a.ending, a.arg, a.job, a.lease.LeaseEpoch)
}

// aim finds out whom a deed is done to. There may be nobody yet.
func (d deed) aim(o *oracle) (a action, ok bool) {
	a = action{op: d.op, arg: d.arg}
	switch d.op {
	case submit:
		return a, true
	case write, journal, finish, finishTogether, renew, bury:
		if len(o.leases) == 0 {
			return a, false
		}
		// Mostly one of the last: the others are those of zombies.
		recent := min(len(o.leases), 1+d.n%7)
		a.lease = o.leases[len(o.leases)-1-(d.n/7)%recent]
		a.job = o.of(a.lease.ID)
	case claim, cancel, sweep, expire, release, retry, redrive, discard, leaseRunsOut, timeComes, deadlinePasses:
		candidates := d.candidates(o)
		if len(candidates) == 0 {
			return a, false
		}
		a.job = candidates[d.n/4%len(candidates)]
	}
	k := o.jobs[a.job]
	a.id = k.id
	switch d.op { //nolint:exhaustive // the others have nothing to choose
	case write:
		a.arg = 1 + d.arg%3
	case journal:
		a.arg = d.arg % 3
	case redrive:
		a.arg = 1 + d.arg%3
	case finish, finishTogether:
		a.ending = ending(d.arg % 8)
		tried := a.lease.Attempt >= a.lease.MaxAttempts
		switch {
		case d.op == finishTogether:
			a.ending = ending(d.arg % 3)
			if k.parent >= 0 {
				a.op = finish
			}
		case a.ending == wait && k.parent >= 0:
			a.ending = succeed
		case tried && (a.ending == again || a.ending == againNow):
			a.ending = die
		}
		a.arg = 1 + d.arg/8%3
	}
	return a, true
}

// candidates are the jobs to which a deed could do something, and now and then the others.
func (d deed) candidates(o *oracle) (jobs []int) {
	for i, k := range o.jobs {
		switch {
		case d.op == retry || d.op == discard:
			if d.n%4 == 0 || k.dead || k.status == events.StatusFailed || k.status == events.StatusCancelled {
				jobs = append(jobs, i)
			}
		case d.op == leaseRunsOut && k.status != events.StatusRunning, d.op == timeComes && k.status != events.StatusQueued:
		case d.n%4 > 0 && k.status.Terminal():
		default:
			jobs = append(jobs, i)
		}
	}
	return jobs
}

// besides reports whether a deed may be done at the same moment as others: time passes for all alike, and a job is there before
// something is done to it.
func (a action) besides() bool {
	return !slices.Contains([]op{submit, release, leaseRunsOut, timeComes, deadlinePasses}, a.op)
}

// stage is where histories are played.
type stage struct {
	*engineWorld

	owner *pgx.Conn
}

func newStage(t *testing.T) *stage {
	t.Helper()
	w := newEngineWorld(t)
	return &stage{w, w.db.Conn(t, w.db.OwnerURL)}
}

// play does everything of a history, and returns what is wrong as soon as something is.
func (s *stage) play(history []deed) (err error) {
	if _, err := s.owner.Exec(s.t.Context(), "DELETE FROM jobs"); err != nil {
		return err
	}
	o := &oracle{}
	for i := 0; i < len(history); i++ {
		first, ok := history[i].aim(o)
		if !ok {
			continue
		}
		if history[i].beside && i+1 < len(history) {
			if second, ok := history[i+1].aim(o); ok && first.besides() && second.besides() {
				i++
				if o, err = s.both(o, first, second); err != nil {
					return fmt.Errorf("deeds %d and %d, %s beside %s: %w", i, i+1, first, second, err)
				}
				continue
			}
		}
		if err := o.apply(first, s.do(first)); err != nil {
			return fmt.Errorf("deed %d: %w", i+1, err)
		}
		if err := s.compare(o); err != nil {
			return fmt.Errorf("deed %d, %s: %w", i+1, first, err)
		}
	}
	return nil
}

// both does two things at once: what comes of it must be what comes of one after the other.
func (s *stage) both(o *oracle, first, second action) (*oracle, error) {
	var answers [2]answer
	var doing sync.WaitGroup
	for i, a := range []action{first, second} {
		doing.Go(func() {
			answers[i] = s.do(a)
			answers[i].beside = true
		})
	}
	doing.Wait()
	var failed [2]error
	for i, order := range [][2]int{{0, 1}, {1, 0}} {
		c := o.clone()
		for _, n := range order {
			if failed[i] == nil {
				failed[i] = c.apply([]action{first, second}[n], answers[n])
			}
		}
		if failed[i] == nil {
			failed[i] = s.compare(c)
		}
		if failed[i] == nil {
			return c, nil
		}
	}
	return o, errors.Join(failed[0], failed[1])
}

// do does it.
func (s *stage) do(a action) (got answer) {
	ctx := s.t.Context()
	switch a.op {
	case submit:
		got.claimed, got.err = s.submitOne(ctx, a.arg)
	case claim:
		got.claimed, got.err = s.engine.Claim(ctx, a.id, "somebody", leaseTTL)
	case write:
		got.err = s.jobs(ctx, func(jobs store.Jobs) error {
			_, err := jobs.Append(a.lease.Lease(), slices.Repeat([]events.Fact{events.Usage{Model: "m"}}, a.arg)...)
			return err
		})
	case journal:
		got.err = s.jobs(ctx, func(jobs store.Jobs) error {
			_, err := jobs.Journal(a.lease.Lease(), store.RunStep{
				StepNo: a.arg, Kind: events.StepToolCall, StartedAt: time.Now(), FinishedAt: time.Now(),
			}, events.StepFinished{Step: a.arg, Kind: events.StepToolCall})
			return err
		})
	case finish:
		got.err = s.jobs(ctx, func(jobs store.Jobs) error { return jobs.End(a.lease.Lease(), a.end()) })
		if got.err == nil && a.ending == wait {
			got.ids, got.err = s.children(ctx, a.id)
		}
	case finishTogether:
		got.err = s.engine.End(ctx, a.lease, a.end())
	case bury:
		lost := store.Fail(events.Failure{Code: "worker.lost", Message: "Lost."}, true).IfExpired()
		got.err = s.jobs(ctx, func(jobs store.Jobs) error { return jobs.End(a.lease.Lease(), lost) })
	case renew:
		var held map[uuid.UUID]bool
		held, got.err = s.engine.Renew(ctx, []store.Lease{a.lease.Lease()}, leaseTTL)
		got.renewed = held[a.id]
	case cancel:
		got.err = s.jobs(ctx, func(jobs store.Jobs) error { _, err := jobs.Cancel(a.id); return err })
	case expire:
		got.err = s.jobs(ctx, func(jobs store.Jobs) error { return jobs.Expire(a.id) })
	case retry:
		got.err = s.jobs(ctx, func(jobs store.Jobs) (err error) {
			got.claimed, err = jobs.Again(a.id, func(*store.Job, *store.NewJob) error { return nil })
			return err
		})
	case redrive:
		got.made, got.err = s.redrive(ctx, a.arg)
	case discard:
		got.err = s.jobs(ctx, func(jobs store.Jobs) error { _, err := jobs.Discard(a.id); return err })
	case sweep:
		got.expired, got.err = s.engine.Sweep(ctx, 1000)
	case release:
		_, got.err = s.engine.Release(ctx, 1000)
	case leaseRunsOut:
		_, got.err = s.owner.Exec(ctx, "UPDATE jobs SET lease_expires_at = now() - interval '1 s' WHERE id = $1 AND status = 'running'", a.id)
	case timeComes:
		_, got.err = s.owner.Exec(ctx, "UPDATE jobs SET run_at = now() - interval '1 s' WHERE id = $1", a.id)
	case deadlinePasses:
		_, got.err = s.owner.Exec(ctx, "UPDATE jobs SET deadline_at = now() - interval '1 s' WHERE id = $1", a.id)
	}
	return got
}

func (s *stage) jobs(ctx context.Context, fn func(store.Jobs) error) error {
	return s.InTenant(ctx, s.acme, func(tx *store.Tx) error { return fn(tx.Jobs()) })
}

// redrive has dead jobs done again, as the gateway does.
func (s *stage) redrive(ctx context.Context, limit int) (made map[uuid.UUID]uuid.UUID, err error) {
	dead := true
	err = s.jobs(ctx, func(jobs store.Jobs) error {
		made = map[uuid.UUID]uuid.UUID{}
		found, _, err := jobs.List(store.JobFilter{Dead: &dead, TopLevel: true, Ascending: true, Limit: limit})
		if err != nil {
			return err
		}
		for _, old := range found {
			again, err := jobs.Redrive(old.ID, func(*store.Job, *store.NewJob) error { return nil })
			switch {
			case err == nil:
				made[old.ID] = again.ID
			case !fault.Is(err, fault.Conflict):
				return err
			}
		}
		return nil
	})
	return made, err
}

// submitOne submits a job of one sort or another; its parent can be one of the first two kinds.
func (s *stage) submitOne(ctx context.Context, arg int) (job *store.Job, err error) {
	n := store.NewJob{
		Kind:        []events.Kind{events.KindAgentRun, events.KindDocumentDelete, events.KindEmbeddingCreate}[arg%3],
		MaxAttempts: 1 + arg/3%3, Input: struct{}{},
	}
	if arg/9%4 == 0 {
		n.RunAt = time.Now().Add(time.Hour)
	}
	if arg/36%2 == 0 {
		made, _, err := s.engine.Submit(ctx, store.Submission{Tenant: s.acme, Work: []store.NewJob{n}})
		if err != nil {
			return nil, err
		}
		return made[0], nil
	}
	err = s.jobs(ctx, func(jobs store.Jobs) error {
		job, err = jobs.Submit(n)
		return err
	})
	return job, err
}

func (a action) end() store.Ending {
	failure := events.Failure{Code: "x.broken", Message: "It broke."}
	switch a.ending {
	case fail, die:
		return store.Fail(failure, a.ending == die)
	case again:
		return store.Again(time.Now().Add(time.Hour), events.WaitingSchedule, failure)
	case againNow:
		return store.Again(time.Now(), events.WaitingSchedule, failure)
	case snooze:
		return store.Snooze(time.Now().Add(time.Hour), events.WaitingSchedule)
	case snoozeNow:
		return store.Snooze(time.Now(), events.WaitingSchedule)
	case wait:
		children := make([]store.NewJob, a.arg)
		for n := range children {
			children[n] = store.NewJob{Kind: events.KindEmbeddingCreate, Input: struct{}{}, Weight: weightOf(n)}
		}
		return store.WaitFor(children, "parts")
	case succeed:
	}
	return store.Succeed("done")
}

func (s *stage) children(ctx context.Context, parent uuid.UUID) (ids []uuid.UUID, err error) {
	err = s.jobs(ctx, func(jobs store.Jobs) error {
		children, _, err := jobs.List(store.JobFilter{ParentID: &parent, Ascending: true})
		for _, c := range children {
			ids = append(ids, c.ID)
		}
		return err
	})
	return ids, err
}

// truth is what the database says of a job and its log.
type truth struct {
	ID                      uuid.UUID
	Status                  events.Status
	WaitingOn               events.WaitingOn
	Attempt                 int
	Epoch, Seq              int64
	Open, Done, All         int
	Dead, Leased, Finished  bool
	Discarded               bool
	RetryOf, RetriedAs      *uuid.UUID
	Events, Last, LastState int64
	States                  []string
	Steps                   int
}

// compare looks at all jobs and their logs.
func (s *stage) compare(o *oracle) error {
	rows, err := s.owner.Query(s.t.Context(), `SELECT j.id, j.status, j.waiting_on, j.attempt, j.lease_epoch, j.last_seq, j.children_open,
			j.progress_done, j.progress_total, j.dead, j.leased_by IS NOT NULL, j.finished_at IS NOT NULL,
			j.discarded_at IS NOT NULL, j.retry_of, j.retried_as,
			count(*), coalesce(max(e.seq), 0), coalesce(max(e.seq) FILTER (WHERE e.type = 'job.state'), 0),
			array_agg(e.data->>'status' ORDER BY e.seq) FILTER (WHERE e.type = 'job.state'),
			(SELECT coalesce(sum(1 << step_no), 0)::int FROM run_steps r WHERE r.job_id = j.id)
		FROM jobs j JOIN job_events e ON e.job_id = j.id GROUP BY j.id`)
	if err != nil {
		return err
	}
	found, err := pgx.CollectRows(rows, pgx.RowToStructByPos[truth])
	if err != nil {
		return err
	}
	if len(found) != len(o.jobs) {
		return fmt.Errorf("%w: there are %d jobs, want %d", errWrong, len(found), len(o.jobs))
	}
	for _, f := range found {
		i := o.of(f.ID)
		if i < 0 {
			return fmt.Errorf("%w: nobody knows job %s", errWrong, f.ID)
		}
		k := o.jobs[i]
		want := truth{
			ID: k.id, Status: k.status, WaitingOn: k.waitingOn, Attempt: k.attempt, Epoch: k.epoch, Seq: k.seq, Open: k.open, Done: k.done,
			All: k.all, Dead: k.dead, Leased: k.status == events.StatusRunning, Finished: k.status.Terminal(),
			// Without a gap: as many as the last one's number says.
			Events: k.seq, Last: k.seq, LastState: f.LastState, States: f.States, Steps: k.steps, Discarded: k.discarded,
			RetryOf: o.id(k.retryOf), RetriedAs: o.id(k.retriedAs),
		}
		if k.status.Terminal() {
			want.LastState = k.seq
		}
		if !reflect.DeepEqual(f, want) {
			return fmt.Errorf("%w: job %d is %+v, want %+v", errWrong, i, f, want)
		}
		if err := lawful(f); err != nil {
			return fmt.Errorf("job %d: %w", i, err)
		}
	}
	return nil
}

// lawful follows a log through the state machine: with one end at most, because nothing follows on one.
func lawful(f truth) error {
	for n, state := range f.States[1:] {
		if before := events.Status(f.States[n]); !before.CanBecome(events.Status(state)) {
			return fmt.Errorf("%w: its log goes from %s to %s", errWrong, before, state)
		}
	}
	if last := events.Status(f.States[len(f.States)-1]); events.Status(f.States[0]) != events.StatusQueued || last != f.Status {
		return fmt.Errorf("%w: its log goes from %s to %s, and it is %s", errWrong, f.States[0], last, f.Status)
	}
	return nil
}

// wrong plays a history, three times if need be, because what happens at the same moment does not happen the same way every time.
func (s *stage) wrong(history []deed) (err error) {
	for n := 0; n < 3 && err == nil; n++ {
		err = s.play(history)
	}
	return err
}

// shrink takes away what a wrong history does not need.
func (s *stage) shrink(history []deed, patience time.Duration) []deed {
	until := time.Now().Add(patience)
	alone := slices.Clone(history)
	for i := range alone {
		alone[i].beside = false
	}
	if s.wrong(alone) != nil {
		history = alone
	}
	for size := len(history) / 2; size > 0; size /= 2 {
		for i := 0; i+size <= len(history) && time.Now().Before(until); {
			if less := slices.Delete(slices.Clone(history), i, i+size); s.wrong(less) != nil {
				history = less
			} else {
				i += size
			}
		}
	}
	return history
}

// try plays a history and says which part of it is enough to go wrong.
func (s *stage) try(history []deed) {
	s.t.Helper()
	err := s.play(history)
	if err == nil {
		return
	}
	s.t.Errorf("%d deeds: %v", len(history), err)
	short := s.shrink(history, 20*time.Second)
	var text strings.Builder
	for _, d := range short {
		fmt.Fprintf(&text, "\t%s,\n", d)
	}
	s.t.Fatalf("it takes these %d, with which it says %v:\n%s", len(short), s.wrong(short), &text)
}

// Whatever workers, zombies, clients and time do to jobs in whatever order, or two of them at once: the store does what its rules say.
func TestAnyHistoryOfJobsFollowsTheRules(t *testing.T) {
	t.Parallel()
	const stages, histories, length = 2, 50, 60
	for n := range uint64(stages) {
		t.Run(fmt.Sprint("stage ", n), func(t *testing.T) {
			t.Parallel()
			s := newStage(t)
			for i := range uint64(histories) {
				seed := n*histories + i
				if i%2 == 0 { // the others are the same every time
					seed = rand.Uint64()
				}
				s.try(invent(rand.New(rand.NewPCG(seed, 0)), length))
			}
		})
	}
}
