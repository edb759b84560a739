package stream_test

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/stream"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

// world has one running job, a hub that listens, and a writer that plays the worker.
type world struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // the test's, with a deadline
	store  *store.Store    // publishes what it commits
	silent *store.Store    // commits and tells nobody, as a gateway that dies right after
	bus    *bus.Bus
	hub    *stream.Hub
	tenant tenant.ID
	job    *store.Job
}

func newWorld(t *testing.T, cfg stream.Config) *world {
	t.Helper()
	return newWorldVia(t, cfg, func(_ context.Context, url string) string { return url })
}

// newWorldVia has all but the silent store connect to the URLs that via makes of the database's.
func newWorldVia(t *testing.T, cfg stream.Config, via func(ctx context.Context, url string) string) *world {
	t.Helper()
	db := storetest.NewSeeded(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	log := slog.New(slog.DiscardHandler)
	w := &world{t: t, ctx: ctx}
	var err error
	if w.tenant, err = tenant.Parse("01900000-0000-7000-8000-000000000a00"); err != nil {
		t.Fatal(err)
	}
	w.bus = bustest.Connect(t)
	open := func(url string, committed func(events.Commit)) *store.Store {
		s, err := store.Open(ctx, store.Config{URL: url, MaxConns: 3, Committed: committed})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = s.Close() })
		return s
	}
	w.store, w.silent = open(via(ctx, db.AppURL), w.bus.Committed), open(db.AppURL, nil)
	engine, err := store.OpenEngine(ctx, store.Config{URL: via(ctx, db.EngineURL), MaxConns: 2})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = engine.Close() })
	w.hub = stream.New(cfg, w.store, engine, w.bus, log, prometheus.NewRegistry())
	running := make(chan struct{})
	hubCtx, stop := context.WithCancel(ctx)
	go func() {
		defer close(running)
		_ = w.hub.Run(hubCtx)
	}()
	t.Cleanup(func() { stop(); <-running })

	w.in(w.store, func(tx *store.Tx) (err error) {
		w.job, err = tx.Jobs().Submit(store.NewJob{Kind: events.KindAgentRun, Input: struct{}{}})
		return err
	})
	if w.job, err = engine.Claim(ctx, w.job.ID, "test", time.Minute); err != nil || w.job == nil {
		t.Fatal("the job cannot be claimed", err)
	}
	return w
}

func (w *world) in(s *store.Store, fn func(tx *store.Tx) error) {
	w.t.Helper()
	if err := s.InTenant(w.ctx, w.tenant, fn); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) append(s *store.Store, facts ...events.Fact) (last int64) {
	w.t.Helper()
	w.in(s, func(tx *store.Tx) (err error) {
		last, err = tx.Jobs().Append(w.job.Lease(), facts...)
		return err
	})
	return last
}

func (w *world) live(start int64, offset int, text string) {
	w.t.Helper()
	data, err := json.Marshal(events.TextDelta{Start: start, Offset: offset, Text: text})
	if err != nil {
		w.t.Fatal(err)
	}
	w.bus.PublishLive(events.Event{JobID: w.job.ID.String(), TenantID: w.tenant.String(), Type: events.TypeTextDelta, Data: data})
}

func (w *world) succeed() {
	w.t.Helper()
	w.in(w.store, func(tx *store.Tx) error { return tx.Jobs().End(w.job.Lease(), store.Succeed(nil)) })
}

func (w *world) subscribe(from events.Position) *stream.Subscription {
	w.t.Helper()
	s, err := w.hub.Subscribe(w.ctx, w.tenant, w.job.ID, from)
	if err != nil {
		w.t.Fatal(err)
	}
	w.t.Cleanup(s.Close)
	return s
}

// reader is a client: it keeps what it saw over all its connections.
type reader struct {
	t    *testing.T
	at   events.Position
	seqs []int64 // of logged events other than text
	text string  // of the text that is being written
}

func (r *reader) take(item stream.Item) {
	r.t.Helper()
	r.at = item.Position
	switch item.Event.Type {
	case events.TypeTextDelta:
		var d events.TextDelta
		if err := json.Unmarshal(item.Event.Data, &d); err != nil {
			r.t.Fatal(err)
		}
		if d.Offset != len(r.text) {
			r.t.Fatalf("a piece begins at %d, but %d bytes were shown", d.Offset, len(r.text))
		}
		r.text += d.Text
	case events.TypeStepStarted:
		r.text = ""
		r.seqs = append(r.seqs, item.Event.Seq)
	default:
		r.seqs = append(r.seqs, item.Event.Seq)
	}
}

func model(step, attempt int) events.StepStarted {
	return events.StepStarted{Step: step, Kind: events.StepModelCall, Name: "generate", Attempt: attempt}
}

// The worker writes an answer: every piece is shown live, some live pieces get lost or come late, and the log gets them
// coalesced now and then. Readers cut the connection wherever they like.
func TestAReaderThatCutsAnywhereSeesEverythingOnce(t *testing.T) {
	t.Parallel()
	for seed := range uint64(12) {
		t.Run("", func(t *testing.T) {
			t.Parallel()
			random := rand.New(rand.NewPCG(seed, 1))
			w := newWorld(t, stream.Config{Queue: 8, Compare: 50 * time.Millisecond})
			var want string
			written := make(chan struct{})
			go func() {
				defer close(written)
				want = w.write(random)
			}()
			readers := rand.New(rand.NewPCG(seed, 2))
			r := &reader{t: t}
			for ended := false; !ended; {
				ended = r.connect(w, 1+readers.IntN(12))
			}
			<-written
			if r.text != want {
				t.Errorf("seed %d: saw %q, want %q", seed, r.text, want)
			}
			for i := 1; i < len(r.seqs); i++ {
				if r.seqs[i] <= r.seqs[i-1] {
					t.Errorf("seed %d: event %d after %d", seed, r.seqs[i], r.seqs[i-1])
				}
			}
		})
	}
}

// connect reads at most n items and reports whether the stream ended.
func (r *reader) connect(w *world, n int) (ended bool) {
	s := w.subscribe(r.at)
	defer s.Close()
	for range n {
		item, err := s.Next(w.ctx)
		if errors.Is(err, io.EOF) {
			return true
		}
		if err != nil {
			r.t.Fatal(err)
		}
		r.take(item)
	}
	return false
}

// write plays a worker whose first attempt at the text is lost, and returns the final text.
func (w *world) write(random *rand.Rand) (text string) {
	for attempt := 1; attempt <= 2; attempt++ {
		start := w.append(w.store, model(1, attempt))
		text = ""
		logged := 0
		flush := func() {
			s := w.store
			if random.IntN(4) == 0 {
				s = w.silent
			}
			w.append(s, events.TextDelta{Start: start, Offset: logged, Text: text[logged:]})
			logged = len(text)
		}
		for range 40 {
			piece := strings.Repeat(string(rune('a'+random.IntN(26))), 1+random.IntN(5)) + "ß"
			if random.IntN(10) > 0 {
				w.live(start, len(text), piece)
			}
			text += piece
			if random.IntN(6) == 0 {
				flush()
			}
		}
		if attempt == 2 {
			if logged < len(text) {
				flush()
			}
			w.append(w.store, events.StepFinished{Step: 1, Kind: events.StepModelCall, Name: "generate"})
		}
	}
	w.succeed()
	return text
}

func TestAnEventThatTheBusNeverDeliveredIsFoundInTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{Compare: 20 * time.Millisecond})
	s := w.subscribe(events.Position{Seq: 2})
	w.in(w.silent, func(tx *store.Tx) error { return tx.Jobs().End(w.job.Lease(), store.Succeed(nil)) })
	item, err := s.Next(w.ctx)
	if err != nil || !item.Event.Terminal() {
		t.Fatalf("got %+v, %v", item, err)
	}
	if _, err := s.Next(w.ctx); !errors.Is(err, io.EOF) {
		t.Errorf("after the end: %v, want EOF", err)
	}
}

func TestASlowReaderFallsBackOnTheLog(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{Queue: 2})
	s := w.subscribe(events.Position{})
	for i := range 50 {
		w.append(w.store, events.JobProgress{Stage: "parse", Done: i, Total: 50})
	}
	w.succeed()
	r := &reader{t: t}
	for {
		item, err := s.Next(w.ctx)
		if errors.Is(err, io.EOF) {
			break
		}
		if err != nil {
			t.Fatal(err)
		}
		r.take(item)
	}
	if len(r.seqs) != 53 {
		t.Errorf("saw %d events, want 53", len(r.seqs))
	}
}

func TestTextOfALostAttemptIsNotShownAfterItsSuccessor(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{})
	first := w.append(w.store, model(1, 1))
	second := w.append(w.store, model(1, 2))
	s := w.subscribe(events.Position{Seq: second})
	w.live(first, 0, "zombie")
	w.live(second, 0, "alive")
	item, err := s.Next(w.ctx)
	if err != nil {
		t.Fatal(err)
	}
	if !strings.Contains(string(item.Event.Data), "alive") {
		t.Errorf("saw %s", item.Event.Data)
	}
}

func TestAwaitReturnsWhenTheJobHasEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{})
	short, cancel := context.WithTimeout(w.ctx, 30*time.Millisecond)
	defer cancel()
	if err := w.hub.Await(short, w.tenant, w.job.ID); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("a running job: %v", err)
	}
	awaited := make(chan error, 1)
	go func() { awaited <- w.hub.Await(w.ctx, w.tenant, w.job.ID) }()
	w.succeed()
	if err := <-awaited; err != nil {
		t.Error(err)
	}
	if err := w.hub.Await(w.ctx, w.tenant, w.job.ID); err != nil {
		t.Errorf("a job that ended before: %v", err)
	}
}

func TestDrainSendsReadersElsewhere(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{})
	s := w.subscribe(events.Position{Seq: 2})
	w.hub.Drain()
	if _, err := s.Next(w.ctx); !fault.Is(err, fault.Unavailable) {
		t.Errorf("got %v, want Unavailable", err)
	}
}

func TestAStreamOfALogThatIsGoneSaysHowTheJobEnded(t *testing.T) {
	t.Parallel()
	w := newWorld(t, stream.Config{})
	w.append(w.store, events.JobProgress{Stage: "parse", Done: 1, Total: 2})
	w.succeed()
	w.in(w.store, func(tx *store.Tx) error { return tx.DB().Exec("DELETE FROM job_events").Error })
	for _, from := range []events.Position{{}, {Seq: 2}, {Seq: 3, Offset: 7}} {
		s := w.subscribe(from)
		item, err := s.Next(w.ctx)
		if err != nil || !item.Event.Terminal() || item.Position.Seq != 4 {
			t.Errorf("from %s on comes %+v: %v", from, item, err)
		}
		if _, err := s.Next(w.ctx); !errors.Is(err, io.EOF) {
			t.Errorf("then %v, want the end", err)
		}
	}
}
