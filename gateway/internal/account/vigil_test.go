package account

import (
	"context"
	"errors"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/tarento/copilot/pkg/fault"
)

// watched is somebody whom a vigil is over.
type watched struct {
	*Watch

	asked, refused atomic.Int32
	// answer is what admit says, if it is set.
	answer atomic.Pointer[error]
}

func (w *watched) says(err error) { w.answer.Store(&err) }

func (w *watched) admit(context.Context) error {
	w.asked.Add(1)
	if err := w.answer.Load(); err != nil {
		return *err
	}
	return nil
}

func TestAVigilAsksAboutAllOfATenantWhenSomethingChanges(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Service{Options: Options{Access: &Access{recent: newMemory(0)}}}
		org, other := newTenant(), newTenant()
		people := make([]*watched, 40)
		for i := range people {
			p := &watched{}
			in := org
			if i == 0 {
				in = other
			}
			p.Watch = s.Watch(in, p.admit, func(error) { p.refused.Add(1) })
			people[i] = p
		}
		elsewhere, ada, bob, eve := people[0], people[1], people[2], people[3]
		expect := func(when string, p *watched, asked, refused int32) {
			t.Helper()
			synctest.Wait()
			if p.asked.Load() != asked || p.refused.Load() != refused {
				t.Errorf("%s: asked %d times, refused %d times, want %d and %d", when, p.asked.Load(), p.refused.Load(), asked, refused)
			}
		}
		for _, p := range people {
			expect("at first", p, 1, 0)
		}
		ada.says(fault.New(fault.Unauthenticated, "token.refused", "gone"))
		bob.says(errors.New("the database is away"))
		eve.Stop()
		eve.says(fault.New(fault.Forbidden, "permission.missing", "gone"))
		s.Access.recent.forget(org)
		expect("another organization", elsewhere, 1, 0)
		expect("refused", ada, 2, 1)
		expect("an error that may pass", bob, 2, 0)
		expect("one who has left", eve, 1, 0)
		for _, p := range people[4:] {
			expect("still admitted", p, 2, 0)
		}

		bob.says(fault.New(fault.Forbidden, "permission.missing", "gone"))
		time.Sleep(lookAgain) //nolint:forbidigo // the bubble's clock
		expect("although nobody told", bob, 3, 1)
		expect("refused before", ada, 2, 1)
		s.Access.recent.forget(other)
		expect("a change elsewhere", elsewhere, 3, 0)

		for _, p := range people {
			p.Stop() // the goroutines end with the last, or the bubble never does
		}
	})
}

func TestAVigilBeginsAnewAfterTheLastHasLeft(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Service{Options: Options{Access: &Access{recent: newMemory(0)}}}
		org := newTenant()
		for range 3 {
			refusal := fault.New(fault.Unauthenticated, "token.refused", "gone")
			ctx, done := s.While(t.Context(), org, func(context.Context) error { return refusal })
			<-ctx.Done()
			if cause := context.Cause(ctx); !errors.Is(cause, refusal) {
				t.Errorf("ended with %v", cause)
			}
			done()
		}
	})
}

func TestWhatIsWatchedDoesNotEndWithWhoCameFirst(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		s := &Service{Options: Options{Access: &Access{recent: newMemory(0)}}}
		org := newTenant()
		first, leave := context.WithCancel(t.Context())
		_, doneFirst := s.While(first, org, func(context.Context) error { return nil })
		var gone atomic.Bool
		second, doneSecond := s.While(t.Context(), org, func(context.Context) error {
			if gone.Load() {
				return fault.New(fault.Forbidden, "permission.missing", "gone")
			}
			return nil
		})
		synctest.Wait()
		leave()
		doneFirst()
		gone.Store(true)
		s.Access.recent.forget(org)
		<-second.Done()
		doneSecond()
	})
}
