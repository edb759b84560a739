package store

import (
	"context"
	"errors"
	"testing"
	"testing/synctest"
	"time"
)

// slowly is a flight whose reads take a second each and return what number they are.
func slowly() (*flight[string, int], *int) {
	reads := 0
	f := &flight[string, int]{}
	f.read = func(context.Context, string) (int, error) {
		reads++
		number := reads
		<-time.After(time.Second)
		return number, nil
	}
	return f, &reads
}

func TestFlightTakesAllWhoCameBeforeItBegan(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f, reads := slowly()
		const callers = 50
		got := make([]int, callers)
		for i := range got {
			go func() { got[i], _ = f.get(t.Context(), "a") }()
			synctest.Wait()
		}
		<-time.After(3 * time.Second)
		synctest.Wait()
		if *reads != 2 {
			t.Errorf("%d reads for one caller and those who came while it read, want 2", *reads)
		}
		for i, number := range got {
			if want := min(i+1, 2); number != want {
				t.Errorf("caller %d got read %d, want %d: one that was under way is not fresh", i, number, want)
			}
		}
		if len(f.waiting) != 0 {
			t.Errorf("%d keys are remembered", len(f.waiting))
		}
	})
}

func TestFlightSharesNothingBetweenKeys(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		f := &flight[string, string]{read: func(_ context.Context, key string) (string, error) {
			<-time.After(time.Second)
			return key, nil
		}}
		began, got := time.Now(), make(chan string, 2)
		for _, key := range []string{"a", "b"} {
			go func() {
				value, _ := f.get(t.Context(), key)
				got <- key + value
			}()
		}
		first, second := <-got, <-got
		if first+second != "aabb" && first+second != "bbaa" {
			t.Errorf("read %q and %q", first, second)
		}
		if took := time.Since(began); took != time.Second {
			t.Errorf("two keys took %s, want a second: they do not wait for each other", took)
		}
	})
}

func TestFlightOutlivesThoseWhoLeave(t *testing.T) {
	t.Parallel()
	synctest.Test(t, func(t *testing.T) {
		failure := errors.New("no such thing")
		f := &flight[string, int]{read: func(ctx context.Context, _ string) (int, error) {
			select {
			case <-time.After(time.Second):
				return 1, failure
			case <-ctx.Done():
				return 0, ctx.Err()
			}
		}}
		leaving, leave := context.WithCancel(t.Context())
		errs := make(chan error, 2)
		go func() { _, _ = f.get(t.Context(), "a") }()
		synctest.Wait()
		go func() { _, err := f.get(leaving, "a"); errs <- err }()
		synctest.Wait()
		go func() { _, err := f.get(t.Context(), "a"); errs <- err }()
		synctest.Wait()
		leave()
		if err := <-errs; !errors.Is(err, context.Canceled) {
			t.Errorf("who left got %v", err)
		}
		if err := <-errs; !errors.Is(err, failure) {
			t.Errorf("who stayed got %v, want what the read came to", err)
		}
		synctest.Wait()
		if len(f.waiting) != 0 {
			t.Errorf("%d keys are remembered", len(f.waiting))
		}
	})
}
