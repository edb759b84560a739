package store_test

import (
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// oracle knows what the store should make of every deed. It is as simple as the rules are: one job after the other, no database, no
// clock but what deeds say of it.
type oracle struct {
	jobs   []known
	leases []*store.Job // as claims returned them; most have lost their job
}

// known is a job as it should be.
type known struct {
	id               uuid.UUID
	kind             events.Kind
	parent           int // -1 is none
	children         []int
	status           events.Status
	waitingOn        events.WaitingOn
	attempt, most    int
	epoch, seq       int64
	open, done, all  int // children, and progress
	dead             bool
	steps            int // a set, bit by bit
	held, due, overd bool
	retryOf          int // -1 is none
	retriedAs        int // likewise
	discarded        bool
}

func (o *oracle) clone() *oracle {
	c := &oracle{jobs: slices.Clone(o.jobs), leases: slices.Clone(o.leases)}
	for i := range c.jobs {
		c.jobs[i].children = slices.Clone(c.jobs[i].children)
	}
	return c
}

func (o *oracle) of(id uuid.UUID) int {
	return slices.IndexFunc(o.jobs, func(k known) bool { return k.id == id })
}

// id is that of a job; nil where there is none.
func (o *oracle) id(i int) *uuid.UUID {
	if i < 0 {
		return nil
	}
	return &o.jobs[i].id
}

// answer is what came of a deed.
type answer struct {
	err     error
	claimed *store.Job              // or submitted
	made    map[uuid.UUID]uuid.UUID // what does dead jobs again, by those
	ids     []uuid.UUID             // of what was submitted
	expired []store.Expired
	renewed bool
	// beside says that something else happened at the same moment, so that what is locked could be passed over.
	beside bool
}

// errWrong is returned when an answer is none that the oracle would give.
var errWrong = errors.New("wrong answer")

func wrong(a action, got, want any) error {
	return fmt.Errorf("%w: %s gave %v, want %v", errWrong, a, got, want)
}

// lost reports whether the lease of an action has no power any more.
func (o *oracle) lost(a action) bool {
	k := o.jobs[a.job]
	return k.status != events.StatusRunning || k.epoch != a.lease.LeaseEpoch
}

// apply does what an action should do, and compares.
func (o *oracle) apply(a action, got answer) error {
	if a.op == submit {
		return o.submit(a, got)
	}
	k := &o.jobs[a.job]
	switch a.op {
	case claim:
		return o.claim(a, got)
	case sweep:
		return o.sweep(a, got)
	case cancel:
		return o.cancel(a, got)
	case retry:
		return o.retry(a, got)
	case redrive:
		return o.redrive(a, got)
	case discard:
		return o.discard(a, got)
	case renew:
		if got.renewed == o.lost(a) || got.err != nil {
			return wrong(a, got.renewed, !o.lost(a))
		}
		k.held = k.held || got.renewed
		return nil
	case expire:
		if got.err != nil {
			return wrong(a, got.err, nil)
		}
		if k.overd && (k.status == events.StatusQueued || k.status == events.StatusWaiting) {
			return o.end(a.job, events.StatusFailed, false)
		}
		return nil
	case leaseRunsOut:
		k.held = false
		return nil
	case timeComes:
		k.due = true
		return nil
	case deadlinePasses:
		k.overd = true
		return nil
	case release:
		for i := range o.jobs {
			if k := &o.jobs[i]; k.status == events.StatusQueued && k.due {
				k.waitingOn = events.WaitingDispatch
			}
		}
		return nil
	default:
		return o.underLease(a, got)
	}
}

// underLease applies what only the holder of a job's lease may do.
func (o *oracle) underLease(a action, got answer) error {
	k := &o.jobs[a.job]
	if lost := o.lost(a) || a.op == bury && k.held; lost || errors.Is(got.err, store.ErrLeaseLost) {
		if !lost || !errors.Is(got.err, store.ErrLeaseLost) {
			return wrong(a, got.err, map[bool]string{true: "a lost lease", false: "no lost lease"}[lost])
		}
		return nil
	}
	if a.op == journal && k.steps&(1<<a.arg) != 0 {
		if !errors.Is(got.err, store.ErrJournalled) {
			return wrong(a, got.err, store.ErrJournalled)
		}
		return nil
	}
	if got.err != nil {
		return wrong(a, got.err, nil)
	}
	switch a.op {
	case write:
		k.seq += int64(a.arg)
	case journal:
		k.seq++
		k.steps |= 1 << a.arg
	case bury:
		return o.end(a.job, events.StatusFailed, true)
	default:
		return o.finish(a, got)
	}
	return nil
}

func (o *oracle) submit(a action, got answer) error {
	if got.err != nil {
		return wrong(a, got.err, nil)
	}
	k := submitted(got.claimed.ID, got.claimed.Kind, got.claimed.MaxAttempts)
	if got.claimed.RunAt.After(time.Now()) {
		k.waitingOn, k.due = events.WaitingSchedule, false
	}
	o.jobs = append(o.jobs, k)
	return nil
}

func (o *oracle) claim(a action, got answer) error {
	k := &o.jobs[a.job]
	free := k.status == events.StatusQueued && k.due || k.status == events.StatusRunning && !k.held
	can := free && k.attempt < k.most && !k.overd
	if got.err != nil || got.claimed != nil && !can || got.claimed == nil && can && !got.beside {
		return wrong(a, got, fmt.Sprintf("a claim: %t", can))
	}
	if got.claimed == nil {
		return nil
	}
	k.epoch, k.attempt, k.held, k.waitingOn = k.epoch+1, k.attempt+1, true, events.WaitingNothing
	k.seq++
	if c := got.claimed; c.LeaseEpoch != k.epoch || c.Attempt != k.attempt || c.LastSeq != k.seq {
		return wrong(a, fmt.Sprint(c.LeaseEpoch, c.Attempt, c.LastSeq), fmt.Sprint(k.epoch, k.attempt, k.seq))
	}
	o.leases = append(o.leases, got.claimed)
	return k.become(events.StatusRunning)
}

func (o *oracle) sweep(a action, got answer) error {
	if got.err != nil {
		return wrong(a, got.err, nil)
	}
	found := map[uuid.UUID]store.Expired{}
	for _, x := range got.expired {
		found[x.Lease.JobID] = x
	}
	for i := range o.jobs {
		k := &o.jobs[i]
		x, is := found[k.id]
		delete(found, k.id)
		should := k.status == events.StatusRunning && !k.held
		if is && !should || !is && should && !got.beside {
			return wrong(a, fmt.Sprintf("job %d: %t", i, is), should)
		}
		if !is {
			continue
		}
		if x.Exhausted != (k.attempt >= k.most) || x.Lease.Epoch != k.epoch {
			return wrong(a, x, *k)
		}
		if !x.Exhausted {
			k.seq++
			k.waitingOn, k.due = events.WaitingDispatch, true
			if err := k.become(events.StatusQueued); err != nil {
				return err
			}
		}
	}
	if len(found) > 0 {
		return wrong(a, found, "jobs that are known")
	}
	return nil
}

func (o *oracle) cancel(a action, got answer) error {
	k := o.jobs[a.job]
	switch {
	case k.status == events.StatusCancelled:
		if got.err != nil {
			return wrong(a, got.err, nil)
		}
	case k.status.Terminal(), k.kind == events.KindDocumentDelete:
		if !fault.Is(got.err, fault.Conflict) {
			return wrong(a, got.err, fault.Conflict)
		}
	case got.err != nil:
		return wrong(a, got.err, nil)
	default:
		return o.end(a.job, events.StatusCancelled, false)
	}
	return nil
}

// refused says whether a job cannot be done again.
func (k *known) refused() bool {
	return k.parent >= 0 || k.retriedAs >= 0 || !k.status.Terminal() || k.status == events.StatusSucceeded
}

func (o *oracle) retry(a action, got answer) error {
	if o.jobs[a.job].refused() {
		if !fault.Is(got.err, fault.Conflict) {
			return wrong(a, got.err, fault.Conflict)
		}
		return nil
	}
	if got.err != nil {
		return wrong(a, got.err, nil)
	}
	o.again(a.job, got.claimed.ID)
	return nil
}

// again lets a job be done again by another one.
func (o *oracle) again(i int, id uuid.UUID) {
	made := submitted(id, o.jobs[i].kind, o.jobs[i].most)
	made.retryOf = i
	o.jobs[i].retriedAs, o.jobs[i].dead = len(o.jobs), false
	o.jobs = append(o.jobs, made)
}

// redrive lets the dead be done again, those that have no parent, as many as it may be.
func (o *oracle) redrive(a action, got answer) error {
	if got.err != nil {
		return wrong(a, got.err, nil)
	}
	for i := range o.jobs {
		k := &o.jobs[i]
		made, is := got.made[k.id]
		should := k.dead && k.parent < 0
		if is && !should || !is && should && !got.beside && len(got.made) < a.arg {
			return wrong(a, fmt.Sprintf("job %d: %t", i, is), should)
		}
		if is {
			o.again(i, made)
		}
	}
	if len(got.made) > a.arg {
		return wrong(a, len(got.made), a.arg)
	}
	return nil
}

func (o *oracle) discard(a action, got answer) error {
	k := &o.jobs[a.job]
	switch {
	case k.discarded || k.dead:
		if got.err != nil {
			return wrong(a, got.err, nil)
		}
		k.discarded, k.dead = true, false
	case !fault.Is(got.err, fault.Conflict):
		return wrong(a, got.err, fault.Conflict)
	}
	return nil
}

func (o *oracle) finish(a action, got answer) error {
	k := &o.jobs[a.job]
	switch a.ending {
	case succeed:
		return o.end(a.job, events.StatusSucceeded, false)
	case fail:
		return o.end(a.job, events.StatusFailed, false)
	case die:
		return o.end(a.job, events.StatusFailed, true)
	case again, againNow, snooze, snoozeNow:
		k.seq++
		k.waitingOn, k.due = events.WaitingSchedule, a.ending == againNow || a.ending == snoozeNow
		if a.ending == snooze || a.ending == snoozeNow {
			k.attempt--
		}
		return k.become(events.StatusQueued)
	default:
		return o.wait(a, got)
	}
}

// wait lets a job wait for its children.
func (o *oracle) wait(a action, got answer) error {
	k := &o.jobs[a.job]
	k.seq += 2
	k.waitingOn, k.open, k.done, k.all = events.WaitingChildren, len(got.ids), 0, 0
	if err := k.become(events.StatusWaiting); err != nil {
		return err
	}
	for n, id := range got.ids {
		child := submitted(id, events.KindEmbeddingCreate, childAttempts)
		child.parent, child.all = a.job, weightOf(n)
		o.jobs[a.job].children = append(o.jobs[a.job].children, len(o.jobs))
		o.jobs[a.job].all += child.all
		o.jobs = append(o.jobs, child)
	}
	if len(got.ids) != a.arg {
		return wrong(a, len(got.ids), a.arg)
	}
	return nil
}

// end ends a job for good, and draws the consequences.
func (o *oracle) end(i int, status events.Status, dead bool) error {
	k := &o.jobs[i]
	k.seq++
	if err := k.close(status, dead); err != nil {
		return err
	}
	if status != events.StatusSucceeded {
		for _, c := range k.children {
			if child := &o.jobs[c]; !child.status.Terminal() {
				child.seq++
				if err := child.close(events.StatusCancelled, false); err != nil {
					return err
				}
			}
		}
	}
	if k.parent < 0 || o.jobs[k.parent].status != events.StatusWaiting {
		return nil
	}
	p := &o.jobs[k.parent]
	if status != events.StatusSucceeded {
		return o.end(k.parent, events.StatusFailed, dead)
	}
	p.open, p.done = p.open-1, p.done+k.all
	p.seq++ // its progress
	if p.open == 0 {
		return o.end(k.parent, events.StatusSucceeded, false)
	}
	return nil
}

func (k *known) close(status events.Status, dead bool) error {
	k.waitingOn, k.dead, k.held = events.WaitingNothing, dead, false
	if status == events.StatusCancelled {
		k.epoch++
	}
	if status == events.StatusSucceeded && k.all > 0 {
		k.done = k.all
	}
	return k.become(status)
}

func (k *known) become(status events.Status) error {
	if !k.status.CanBecome(status) {
		return fmt.Errorf("%w: a %s job became %s", errWrong, k.status, status)
	}
	k.status = status
	return nil
}

// submitted is a job as it is at first.
func submitted(id uuid.UUID, kind events.Kind, most int) known {
	return known{
		id: id, kind: kind, parent: -1, status: events.StatusQueued, waitingOn: events.WaitingDispatch, most: most, seq: 1, due: true,
		retryOf: -1, retriedAs: -1,
	}
}

// childAttempts is how often a child is tried, weightOf what the nth stands for.
const childAttempts = 5

func weightOf(n int) int { return n + 1 }
