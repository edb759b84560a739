package store

import (
	"context"
	"errors"
	"slices"
	"testing"
	"testing/synctest"
	"time"
)

// commits is a gatherer whose commits take so long, and how many each took in.
type commits struct {
	gatherer[int, int]

	sizes []int
}

func committing(takes time.Duration) *commits {
	c := &commits{}
	c.most, c.lanes = 100, 2
	c.do = func(_ context.Context, in []int) []outcome[int] {
		c.mu.Lock()
		c.sizes = append(c.sizes, len(in))
		c.mu.Unlock()
		<-time.After(takes)
		out := make([]outcome[int], len(in))
		for i, n := range in {
			out[i].value = -n
		}
		return out
	}
	return c
}

// hand hands in n at the same moment, and returns when all were answered.
func (c *commits) hand(t *testing.T, n int) {
	t.Helper()
	answered := make(chan bool, n)
	for i := range n {
		go func() {
			got, err := c.run(t.Context(), i)
			answered <- err == nil && got == -i
		}()
	}
	for range n {
		if !<-answered {
			t.Error("somebody got another one's answer")
		}
	}
}

func (c *commits) took() []int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return slices.Clone(c.sizes)
}

func TestGatheredIsWhatComesDuringACommit(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := committing(10 * time.Millisecond)
		first := make(chan struct{})
		go func() {
			c.hand(t, 1)
			close(first)
		}()
		synctest.Wait()
		c.hand(t, 30)
		<-first
		c.hand(t, 1)
		if got := c.took(); !slices.Equal(got, []int{1, 30, 1}) {
			t.Errorf("commits took %v, want 1, then 30, then 1", got)
		}
	})
}

func TestGatheringHasAMost(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := committing(10 * time.Millisecond)
		go c.hand(t, 1)
		synctest.Wait()
		c.hand(t, 250)
		if got := c.took(); !slices.Equal(got, []int{1, 100, 100, 50}) {
			t.Errorf("commits took %v, want at most 100", got)
		}
	})
}

func TestALateCommitKeepsNobodyWaiting(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := committing(time.Second)
		began := time.Now()
		go c.hand(t, 1)
		synctest.Wait()
		c.hand(t, 3)
		if took := time.Since(began); took != late+time.Second {
			t.Errorf("answered after %s, want %s behind the late one", took, late)
		}
		if got := c.took(); !slices.Equal(got, []int{1, 3}) {
			t.Errorf("commits took %v", got)
		}
	})
}

func TestWhoLeavesAGatheringBeforeItsCommitHasNothingDone(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := committing(15 * time.Millisecond)
		began := make(chan struct{})
		go func() {
			c.hand(t, 1)
			close(began)
		}()
		synctest.Wait()
		others := make(chan struct{})
		go func() {
			c.hand(t, 2)
			close(others)
		}()
		ctx, leave := context.WithTimeout(t.Context(), 5*time.Millisecond)
		defer leave()
		if _, err := c.run(ctx, 1); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("who left got %v", err)
		}
		<-began
		<-others
		c.hand(t, 1)
		if got := c.took(); !slices.Equal(got, []int{1, 2, 1}) {
			t.Errorf("commits took %v, want all but what nobody waited for", got)
		}
	})
}

func TestWhatWasBegunIsWaitedFor(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		c := committing(10 * time.Millisecond)
		ctx, leave := context.WithTimeout(t.Context(), time.Millisecond)
		defer leave()
		if got, err := c.run(ctx, 1); got != -1 || err != nil {
			t.Errorf("a commit under way came to %d, %v; want its outcome", got, err)
		}
	})
}
