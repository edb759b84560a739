package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"math/rand/v2"
	"runtime"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

var keys = [][]byte{[]byte("the key that seals"), []byte("the key that sealed before")}

func everything(_, _ *uuid.UUID) bool { return true }

func (w *world) feed(o stream.FeedOptions) *stream.Feed {
	w.t.Helper()
	if o.Sees == nil {
		o.Sees = everything
	}
	f, err := w.hub.Feed(w.ctx, w.tenant, o)
	if err != nil {
		w.t.Fatal(err)
	}
	return f
}

// told is an entry by its job and number.
func told(t *testing.T, e *stream.Entry) string {
	t.Helper()
	var shown stream.FeedEvent
	if err := json.Unmarshal(e.Data, &shown); err != nil {
		t.Fatal(err)
	}
	return fmt.Sprintf("%s %d", shown.JobID, shown.Seq)
}

// takes reads n entries at least.
func (w *world) takes(f *stream.Feed, n int) (seen []string, last string) {
	w.t.Helper()
	for len(seen) < n {
		entries, err := f.Next(w.ctx)
		if err != nil {
			w.t.Fatalf("after %d of %d entries: %v", len(seen), n, err)
		}
		for _, e := range entries {
			seen, last = append(seen, told(w.t, e)), e.ID
		}
	}
	return seen, last
}

// busy has several writers submit jobs at once, each in transactions that overlap with the others', some of which tell nobody.
func (w *world) busy(writers, jobs int) {
	var all sync.WaitGroup
	for i := range writers {
		all.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 7))
			for range jobs {
				s := w.store
				if random.IntN(4) == 0 {
					s = w.silent
				}
				err := s.InTenant(w.ctx, w.tenant, func(tx *store.Tx) error {
					for range 1 + random.IntN(3) {
						if _, err := tx.Jobs().Submit(store.NewJob{Kind: events.KindAgentRun, Input: struct{}{}}); err != nil {
							return err
						}
					}
					return nil
				})
				if err != nil {
					w.t.Error(err)
				}
			}
		})
	}
	all.Wait()
}

// logged are all events in the order of the feed.
func (w *world) logged() (all []string) {
	w.t.Helper()
	if err := w.store.View(w.ctx, w.tenant, func(tx *store.Tx) error {
		until, err := tx.Feed().Horizon()
		if err != nil {
			return err
		}
		for until.Held { // the servers' other databases have transactions, too
			if until, err = tx.Feed().Horizon(); err != nil {
				return err
			}
		}
		rows, err := tx.Feed().Read(store.FeedPosition{}, until, 100_000)
		for _, e := range rows {
			all = append(all, fmt.Sprintf("%s %d", e.JobID, e.Seq))
		}
		return err
	}); err != nil {
		w.t.Fatal(err)
	}
	return all
}

func TestReadersOfAFeedWhoCutAnywhereSeeEverythingOnceAndInOrder(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{Compare: 50 * time.Millisecond, CursorKeys: keys, FeedLag: 16})
	written := make(chan struct{})
	go func() {
		defer close(written)
		w.busy(3, 60)
		// The last one is told to everybody, so that the readers know that it is over.
		w.succeed()
	}()
	seen := make([][]string, 8)
	var readers sync.WaitGroup
	for i := range seen {
		readers.Go(func() {
			random := rand.New(rand.NewPCG(uint64(i), 3))
			end := w.job.ID.String() + " 3"
			for after, over := "", false; !over; {
				f, err := w.hub.Feed(w.ctx, w.tenant, stream.FeedOptions{After: after, FromBeginning: true, Sees: everything})
				if err != nil {
					t.Error(err)
					return
				}
				for range 1 + random.IntN(20) {
					entries, err := f.Next(w.ctx)
					if err != nil {
						t.Error(err)
						f.Close()
						return
					}
					// A connection may break in the middle of what was sent.
					for _, e := range entries[:1+random.IntN(len(entries))] {
						seen[i], after = append(seen[i], told(t, e)), e.ID
					}
					if over = seen[i][len(seen[i])-1] == end; over || random.IntN(4) == 0 {
						break
					}
					if after != entries[len(entries)-1].ID {
						break
					}
				}
				f.Close()
			}
		})
	}
	readers.Wait()
	<-written
	want := w.logged()
	for i, got := range seen {
		if !slices.Equal(got, want) {
			t.Errorf("reader %d saw %d events, want the %d of the log, in order", i, len(got), len(want))
		}
	}
}

func TestAReaderOfAFeedStartsWhereItSays(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{CursorKeys: keys})
	w.logged() // what is held up would come, too
	now := w.feed(stream.FeedOptions{})
	defer now.Close()
	begin := now.Cursor()
	longAgo, recently, ahead := time.Time{}, time.Now().Add(-time.Hour), time.Now().Add(time.Hour)
	w.succeed()
	end := w.job.ID.String() + " 3"
	if seen, _ := w.takes(now, 1); !slices.Equal(seen, []string{end}) {
		t.Errorf("from now on: %v", seen)
	}
	for name, c := range map[string]struct {
		from stream.FeedOptions
		want []string
	}{
		"from the beginning":         {stream.FeedOptions{FromBeginning: true}, w.logged()},
		"after a cursor":             {stream.FeedOptions{After: begin}, []string{end}},
		"since the year one":         {stream.FeedOptions{Since: &longAgo}, w.logged()},
		"since an hour ago":          {stream.FeedOptions{Since: &recently}, w.logged()},
		"one type":                   {stream.FeedOptions{FromBeginning: true, Types: []events.Type{events.TypeJobState}}, w.logged()},
		"one kind":                   {stream.FeedOptions{FromBeginning: true, Kinds: []events.Kind{events.KindAgentRun}}, w.logged()},
		"what nobody may see":        {stream.FeedOptions{FromBeginning: true, Sees: func(_, _ *uuid.UUID) bool { return false }}, nil},
		"another kind":               {stream.FeedOptions{FromBeginning: true, Kinds: []events.Kind{events.KindDocumentSync}}, nil},
		"another type":               {stream.FeedOptions{FromBeginning: true, Types: []events.Type{events.TypeUsage}}, nil},
		"since a time that is ahead": {stream.FeedOptions{Since: &ahead}, nil},
	} {
		f := w.feed(c.from)
		if len(c.want) > 0 {
			if seen, _ := w.takes(f, len(c.want)); !slices.Equal(seen, c.want) {
				t.Errorf("%s: %v, want %v", name, seen, c.want)
			}
		}
		short, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
		if entries, err := f.Next(short); !errors.Is(err, context.DeadlineExceeded) {
			t.Errorf("%s: %d more entries, %v", name, len(entries), err)
		}
		cancel()
		f.Close()
	}
}

func TestAReaderThatLagsReadsTheLogAndOneThatStaysBehindIsSentAway(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{CursorKeys: keys, FeedLag: 10, SlowAfter: time.Nanosecond})
	slow := w.feed(stream.FeedOptions{FromBeginning: true})
	defer slow.Close()
	w.takes(slow, 2)
	quick := w.feed(stream.FeedOptions{})
	defer quick.Close()
	short, cancel := context.WithTimeout(w.ctx, 50*time.Millisecond)
	defer cancel()
	if entries, err := quick.Next(short); !errors.Is(err, context.DeadlineExceeded) {
		t.Fatalf("before anything happens: %d entries, %v", len(entries), err)
	}
	for range 12 {
		w.append(w.store, events.JobProgress{Stage: "x"})
		w.takes(quick, 1) // which is live, so the tail has it
	}
	at := slow.Cursor()
	if _, err := slow.Next(w.ctx); !fault.Is(err, fault.RateLimited) {
		t.Fatalf("got %v, want to be sent away", err)
	}
	again := w.feed(stream.FeedOptions{After: at})
	defer again.Close()
	if seen, _ := w.takes(again, 12); !slices.Equal(seen, w.logged()[2:]) {
		t.Errorf("after coming back: %v", seen)
	}
}

func TestACursorOfAnotherLineOfTheDatabaseGoesOnByTime(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{CursorKeys: keys})
	elsewhere := store.FeedPosition{Line: 1, XID: 1 << 40, JobID: w.job.ID, Seq: 9, Time: time.Now()}
	f := w.feed(stream.FeedOptions{After: w.hub.CursorAt(w.tenant, elsewhere)})
	defer f.Close()
	if !f.Restarted() {
		t.Error("the reader is not told")
	}
	if seen, _ := w.takes(f, 2); !slices.Equal(seen, w.logged()) {
		t.Errorf("saw %v", seen)
	}
}

func TestAFailoverEndsTheFeedsOfBeforeAndNotThoseOfAfter(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{CursorKeys: keys, Compare: 50 * time.Millisecond})
	f := w.feed(stream.FeedOptions{})
	defer f.Close()
	w.append(w.store, events.JobProgress{Stage: "x"})
	w.takes(f, 1) // now it is live
	elsewhere := store.FeedPosition{Line: 1, XID: 1 << 40, Time: time.Now()}
	if err := w.hub.Join(w.tenant, elsewhere, false); !fault.Is(err, fault.Unavailable) {
		t.Errorf("who comes from before gets %v, want Unavailable", err)
	}
	w.succeed()
	w.takes(f, 1)
	if err := w.hub.Join(w.tenant, elsewhere, true); err != nil {
		t.Errorf("who comes from after gets %v", err)
	}
	if entries, err := f.Next(w.ctx); !fault.Is(err, fault.Unavailable) {
		t.Errorf("a feed of before goes on with %d entries, %v", len(entries), err)
	}
}

// belonging marks the context of a request.
type belonging struct{}

func TestATailDoesNotHoldOnToWhoCameFirst(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{CursorKeys: keys})
	released := make(chan struct{})
	begin := func() *stream.Feed {
		held := new([1 << 10]byte)
		runtime.AddCleanup(held, func(released chan struct{}) { close(released) }, released)
		f, err := w.hub.Feed(context.WithValue(w.ctx, belonging{}, held), w.tenant, stream.FeedOptions{Sees: everything})
		if err != nil {
			t.Fatal(err)
		}
		return f
	}
	f := begin()
	defer f.Close()
	for {
		runtime.GC()
		select {
		case <-released:
			return
		case <-w.ctx.Done():
			t.Fatal("what a request held is there after it")
		case <-time.After(10 * time.Millisecond):
		}
	}
}

func TestCursorsAreReadOnlyAsTheyWereGivenOut(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{CursorKeys: keys})
	at := store.FeedPosition{Line: -7, XID: 1 << 60, JobID: uuid.New(), Seq: 12, Time: time.UnixMilli(1_700_000_000_123).UTC()}
	cursor := w.hub.CursorAt(w.tenant, at)
	if got, err := w.hub.PositionOf(w.tenant, cursor); err != nil || got != at {
		t.Errorf("read %+v, %v, want %+v", got, err, at)
	}
	before := newWorld(t, stream.Config{CursorKeys: keys[1:]})
	if got, err := w.hub.PositionOf(w.tenant, before.hub.CursorAt(w.tenant, at)); err != nil || got != at {
		t.Errorf("of the previous key: %+v, %v", got, err)
	}
	other, err := tenant.Parse("01900000-0000-7000-8000-000000000b00")
	if err != nil {
		t.Fatal(err)
	}
	flipped := []byte(cursor)
	flipped[30] ^= 1
	for name, c := range map[string]struct {
		of   tenant.ID
		text string
	}{
		"another tenant's":     {other, cursor},
		"one that was changed": {w.tenant, string(flipped)},
		"a part":               {w.tenant, cursor[:40]},
		"a position of a job":  {w.tenant, "7.40"},
		"too much":             {w.tenant, cursor + "AAAA"},
		"nonsense":             {w.tenant, strings.Repeat("?", len(cursor))},
	} {
		if _, err := w.hub.PositionOf(c.of, c.text); !fault.Is(err, fault.Invalid) {
			t.Errorf("%s: %v, want a refusal", name, err)
		}
	}
}

func TestDrainSendsReadersOfFeedsElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{CursorKeys: keys})
	f := w.feed(stream.FeedOptions{})
	defer f.Close()
	w.hub.Drain()
	if _, err := f.Next(w.ctx); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want Unavailable", err)
	}
}
