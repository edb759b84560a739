package store_test

import (
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/tenant"
)

// settled is feed once no transaction holds it up: the server's other databases have some, too.
func (w *world) settled(id tenant.ID, after store.FeedPosition, page int) (read []store.FeedEvent, until store.FeedHorizon) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for range 2000 {
		if read, until = w.feed(id, after, page); !until.Held {
			return read, until
		}
		<-tick.C
	}
	w.t.Fatal("the feed is held up")
	return nil, until
}

// feed reads what there is after a position, in pages, and returns the end.
func (w *world) feed(id tenant.ID, after store.FeedPosition, page int) (read []store.FeedEvent, until store.FeedHorizon) {
	w.t.Helper()
	err := w.View(w.t.Context(), id, func(tx *store.Tx) (err error) {
		if until, err = tx.Feed().Horizon(); err != nil {
			return err
		}
		for {
			rows, err := tx.Feed().Read(after, until, page)
			if err != nil || len(rows) == 0 {
				return err
			}
			read = append(read, rows...)
			after = rows[len(rows)-1].At(until.Line)
		}
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return read, until
}

// told names events by their job and number.
func told(list []store.FeedEvent) (names []string) {
	for _, e := range list {
		names = append(names, fmt.Sprintf("%s %d", e.JobID, e.Seq))
	}
	return names
}

func TestTheFeedShowsEveryEventOfTheTenantInTheOrderOfTransactions(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	first := w.submit(w.acme, store.NewJob{CreatedBy: &memberAcme, ProjectID: &acmeProject})
	w.submit(w.startup, store.NewJob{})
	second := w.submit(w.acme, store.NewJob{Kind: events.KindDocumentSync})
	claimed := w.claim(first.ID)
	w.in(w.acme, func(tx *store.Tx) error { return tx.Jobs().End(claimed.Lease(), store.Succeed(nil)) })
	want := []string{
		first.ID.String() + " 1", second.ID.String() + " 1", first.ID.String() + " 2", first.ID.String() + " 3",
	}
	for _, page := range []int{1, 3, 100} {
		read, until := w.settled(w.acme, store.FeedPosition{}, page)
		if got := told(read); !slices.Equal(got, want) {
			t.Errorf("in pages of %d: %v, want %v", page, got, want)
		}
		if until.Held || until.Line == 0 {
			t.Errorf("the horizon is %+v", until)
		}
		for i, e := range read {
			rest, _ := w.settled(w.acme, e.At(until.Line), page)
			if got := told(rest); !slices.Equal(got, want[i+1:]) {
				t.Errorf("after %s: %v, want %v", want[i], got, want[i+1:])
			}
		}
		if e := read[0]; e.Kind != events.KindEmbeddingCreate || *e.CreatedBy != memberAcme || *e.ProjectID != acmeProject ||
			e.Type != events.TypeJobState || len(e.Data) == 0 {
			t.Errorf("the first event is %+v", e)
		}
		if rest, _ := w.settled(w.acme, until.Position(time.Now()), page); len(rest) > 0 {
			t.Errorf("after the end: %v", told(rest))
		}
	}
}

func TestAPageOfTheFeedIsFullWhateverIsLeftOfJobsThatAreGone(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	w.asOwner(`INSERT INTO job_events (job_id, organization_id, seq, type, data)
		SELECT gen_random_uuid(), $1, 1, 'job.state', '{}' FROM generate_series(1, 10)`, acmeID)
	for range 4 {
		w.submit(w.acme, store.NewJob{})
	}
	read, until := w.settled(w.acme, store.FeedPosition{}, 500)
	if len(read) != 4 {
		t.Fatalf("the feed shows %d events, want 4", len(read))
	}
	w.in(w.acme, func(tx *store.Tx) error {
		rows, err := tx.Feed().Read(store.FeedPosition{}, until, 4)
		if err == nil && len(rows) != 4 {
			t.Errorf("a page of 4 holds %d", len(rows))
		}
		return err
	})
}

// A transaction that began to write earlier may commit later; whoever has read what came in between must still see it.
func TestTheFeedWaitsForTransactionsThatHaveNotEnded(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	before := w.submit(w.acme, store.NewJob{})
	w.settled(w.acme, store.FeedPosition{}, 10)
	var slow, quick *store.Job
	w.in(w.acme, func(tx *store.Tx) (err error) {
		if slow, err = tx.Jobs().Submit(store.NewJob{Kind: events.KindEmbeddingCreate, Input: events.EmbeddingCreateInput{Texts: []string{"x"}}}); err != nil {
			return err
		}
		quick = w.submit(w.acme, store.NewJob{})
		read, until := w.feed(w.acme, store.FeedPosition{}, 10)
		if got, want := told(read), []string{before.ID.String() + " 1"}; !slices.Equal(got, want) {
			t.Errorf("while a transaction is open: %v, want %v", got, want)
		}
		if !until.Held {
			t.Error("nothing says that there is more to come")
		}
		if _, other := w.feed(w.startup, store.FeedPosition{}, 10); other.Held {
			t.Error("another tenant is told of it")
		}
		return nil
	})
	read, _ := w.settled(w.acme, store.FeedPosition{}, 10)
	if got, want := told(read), []string{before.ID.String() + " 1", slow.ID.String() + " 1", quick.ID.String() + " 1"}; !slices.Equal(got, want) {
		t.Errorf("when it has ended: %v, want %v", got, want)
	}
}

// A transaction that has written something and then waits for a job has an older number than the one it waits for.
func TestTheFeedShowsTheEventsOfAJobInTheirOrderWhoeverHasWrittenThem(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	job := w.claim(w.submit(w.acme, store.NewJob{}).ID)
	append1 := func(tx *store.Tx) error {
		_, err := tx.Jobs().Append(job.Lease(), events.JobProgress{Stage: "embed", Total: 2}, events.JobProgress{Stage: "embed", Total: 2})
		return err
	}
	var other *store.Job
	w.in(w.acme, func(oldest *store.Tx) (err error) {
		if other, err = oldest.Jobs().Submit(store.NewJob{Kind: events.KindEmbeddingCreate, Input: struct{}{}}); err != nil {
			return err
		}
		w.in(w.acme, func(older *store.Tx) error {
			if _, err := older.Jobs().Submit(store.NewJob{Kind: events.KindEmbeddingCreate, Input: struct{}{}}); err != nil {
				return err
			}
			w.in(w.acme, append1)
			return append1(older)
		})
		return append1(oldest)
	})
	for _, page := range []int{1, 100} {
		read, _ := w.settled(w.acme, store.FeedPosition{}, page)
		var seqs []int64
		for _, e := range read {
			if e.JobID == job.ID {
				seqs = append(seqs, e.Seq)
			}
		}
		if want := []int64{1, 2, 3, 4, 5, 6, 7, 8}; !slices.Equal(seqs, want) {
			t.Errorf("in pages of %d it shows events %v of the job, want %v", page, seqs, want)
		}
		if len(read) != len(seqs)+2 || read[len(read)-1].JobID == other.ID {
			t.Errorf("in pages of %d it shows %v", page, told(read))
		}
	}
}

func TestTheFeedIsFoundByTime(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	const jobs = 40
	var ids []uuid.UUID
	for range jobs {
		ids = append(ids, w.submit(w.acme, store.NewJob{}).ID)
	}
	// One was written every hour.
	now := time.Now().Truncate(time.Second)
	for i, id := range ids {
		w.asOwner("UPDATE job_events SET created_at = $1 WHERE job_id = $2", now.Add(time.Duration(i-jobs)*time.Hour), id)
	}
	w.settled(w.acme, store.FeedPosition{}, 100)
	for _, ago := range []int{0, 1, 7, jobs, jobs + 1} {
		var from store.FeedPosition
		if err := w.View(t.Context(), w.acme, func(tx *store.Tx) error {
			until, err := tx.Feed().Horizon()
			if err != nil {
				return err
			}
			from, err = tx.Feed().Since(now.Add(-time.Duration(ago)*time.Hour), until)
			return err
		}); err != nil {
			t.Fatal(err)
		}
		if rest, _ := w.settled(w.acme, from, 100); len(rest) != min(ago, jobs) {
			t.Errorf("%d events were written in the last %d hours, want %d", len(rest), ago, min(ago, jobs))
		}
	}
}

func TestTheEndsOfFeedsAreReadAtOnce(t *testing.T) {
	t.Parallel()
	w := newEngineWorld(t)
	w.submit(w.acme, store.NewJob{})
	w.submit(w.acme, store.NewJob{})
	ends, err := w.engine.FeedEnds(t.Context(), []uuid.UUID{w.acme.UUID(), w.startup.UUID()})
	if err != nil {
		t.Fatal(err)
	}
	read, _ := w.settled(w.acme, store.FeedPosition{}, 10)
	if len(ends) != 1 || ends[w.acme.UUID()] != read[len(read)-1].XID {
		t.Errorf("the ends are %v, the last event is %+v", ends, read[len(read)-1])
	}
}
