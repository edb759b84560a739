package account

import (
	"context"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/tenant"
)

const (
	// lookAgain is how often a vigil asks about each although nobody told it of a change; it does so in rounds, which are spread over
	// that time.
	lookAgain = 15 * time.Second
	rounds    = 15
	// askAtOnce is how many of those whom it watches a vigil asks about at the same time.
	askAtOnce = 16
)

// vigils are kept over those who have something that lasts, such as a stream: one for each tenant, however many there are of it.
type vigils struct {
	mu   sync.Mutex
	kept map[tenant.ID]*vigil
}

// vigil asks about all whom it watches whenever somebody of the tenant may do more or less.
type vigil struct {
	tenant tenant.ID
	end    context.CancelFunc
	// came is signaled when there is somebody who was not asked about yet.
	came chan struct{}

	// Guarded by the lock of all.
	watched []*Watch
	fresh   []*Watch
	// next is whom the next round begins with; it asks about every fifteenth.
	next int
}

// Watch is over somebody who has something that lasts.
type Watch struct {
	of      *vigils
	vigil   *vigil
	at      int // among those that it watches; -1 if it does no longer
	admit   func(context.Context) error
	refused func(error)
}

// Watch has refused called once, with admit's error, when admit refuses later on. Admit is asked soon, then whenever somebody of
// the tenant may do more or less, and now and then in case nobody said so. An error that may pass refuses nobody. Refused must not wait.
// Stop must be called.
func (s *Service) Watch(t tenant.ID, admit func(context.Context) error, refused func(error)) *Watch {
	w := &Watch{of: &s.vigils, admit: admit, refused: refused}
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	v, kept := w.of.kept[t]
	if !kept {
		v = &vigil{tenant: t, came: make(chan struct{}, 1)}
		if w.of.kept == nil {
			w.of.kept = map[tenant.ID]*vigil{}
		}
		w.of.kept[t] = v
		var keeping context.Context
		//nolint:forbidigo // it is nobody's: what a request holds would stay for as long as anybody of the tenant is watched
		keeping, v.end = context.WithCancel(context.Background())
		go s.keep(keeping, v)
	}
	w.vigil, w.at = v, len(v.watched)
	v.watched = append(v.watched, w)
	v.fresh = append(v.fresh, w)
	select {
	case v.came <- struct{}{}:
	default: // it was told already
	}
	return w
}

// Stop ends the watch. It may be called twice, and from refused.
func (w *Watch) Stop() {
	w.of.mu.Lock()
	defer w.of.mu.Unlock()
	if w.at < 0 {
		return
	}
	v, last := w.vigil, len(w.vigil.watched)-1
	v.watched[w.at], v.watched[last].at = v.watched[last], w.at
	v.watched[last], w.at = nil, -1
	if v.watched = v.watched[:last]; last == 0 {
		delete(w.of.kept, v.tenant)
		v.end()
	}
}

// keep asks until ctx ends.
func (s *Service) keep(ctx context.Context, v *vigil) {
	tick := time.NewTicker(lookAgain / rounds)
	defer tick.Stop()
	// The channel is always from before somebody is asked about, so that no change falls between asking and waiting.
	changed := s.Access.recent.changed(v.tenant)
	for {
		select {
		case <-ctx.Done():
			return
		case <-v.came:
			ask(ctx, s.vigils.newcomers(v))
		case <-changed:
			changed = s.Access.recent.changed(v.tenant)
			ask(ctx, s.vigils.all(v))
		case <-tick.C:
			goRound(ctx, s.vigils.round(v), changed)
		}
	}
}

func (o *vigils) newcomers(v *vigil) []*Watch {
	o.mu.Lock()
	defer o.mu.Unlock()
	list := v.fresh
	v.fresh = nil
	return list
}

func (o *vigils) all(v *vigil) []*Watch {
	o.mu.Lock()
	defer o.mu.Unlock()
	v.fresh = nil
	return slices.Clone(v.watched)
}

func (o *vigils) round(v *vigil) []*Watch {
	o.mu.Lock()
	defer o.mu.Unlock()
	var list []*Watch
	for i := v.next; i < len(v.watched); i += rounds {
		list = append(list, v.watched[i])
	}
	v.next = (v.next + 1) % rounds
	return list
}

// goRound asks about one after the other, because nothing is known to have changed; it stops when something has.
func goRound(ctx context.Context, list []*Watch, changed <-chan struct{}) {
	for _, w := range list {
		select {
		case <-ctx.Done():
			return
		case <-changed:
			return
		default:
			w.ask(ctx)
		}
	}
}

// ask asks about several at once, because an answer may have to come from Postgres.
func ask(ctx context.Context, list []*Watch) {
	var asking sync.WaitGroup
	var next atomic.Int64
	for range min(askAtOnce, len(list)) {
		asking.Go(func() {
			for i := next.Add(1) - 1; i < int64(len(list)) && ctx.Err() == nil; i = next.Add(1) - 1 {
				list[i].ask(ctx)
			}
		})
	}
	asking.Wait()
}

func (w *Watch) ask(ctx context.Context) {
	asking, cancel := context.WithTimeout(ctx, lookupWithin)
	defer cancel()
	err := w.admit(asking)
	if !fault.Is(err, fault.Unauthenticated) && !fault.Is(err, fault.Forbidden) {
		return
	}
	w.of.mu.Lock()
	watched := w.at >= 0
	w.of.mu.Unlock()
	if watched {
		w.Stop()
		w.refused(err)
	}
}

// While returns a context for what lasts, such as a stream: it also ends, with admit's error as its cause, when admit refuses the
// caller later on, as Watch finds out. Admit gets the context that While was given.
func (s *Service) While(ctx context.Context, t tenant.ID, admit func(context.Context) error) (context.Context, context.CancelFunc) {
	lasting, cancel := context.WithCancelCause(ctx)
	watch := s.Watch(t, func(context.Context) error { return admit(lasting) }, cancel)
	return lasting, func() {
		watch.Stop()
		cancel(nil)
	}
}
