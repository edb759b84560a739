package dispatch_test

import (
	"context"
	"errors"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/dispatch"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	patience = time.Minute
	kind     = events.KindEmbeddingCreate
)

// world is a database and a NATS namespace of its own, with as many dispatchers as a test starts.
type world struct {
	t      *testing.T
	ctx    context.Context //nolint:containedctx // the test's, with a deadline
	db     *storetest.DB
	store  *store.Store
	engine *store.Engine
	bus    *bus.Bus
	tenant tenant.ID
}

// newWorld has a worker with so many free slots.
func newWorld(t *testing.T, slots int) *world {
	t.Helper()
	db := storetest.NewSeeded(t)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	w := &world{t: t, ctx: ctx, db: db, bus: bustest.Connect(t)}
	var err error
	if w.tenant, err = tenant.Parse("01900000-0000-7000-8000-000000000a00"); err != nil {
		t.Fatal(err)
	}
	if w.store, err = store.Open(ctx, store.Config{URL: w.db.AppURL, MaxConns: 3, Committed: w.bus.Committed}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.store.Close() })
	if w.engine, err = store.OpenEngine(ctx, store.Config{URL: w.db.EngineURL, MaxConns: 5, Committed: w.bus.Committed}); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = w.engine.Close() })
	w.crew(slots)
	return w
}

// crew lets dispatchers believe that a worker with so many free slots is there, until the test ends.
func (w *world) crew(slots int) {
	beat := func() { w.bus.PublishBeat(events.WorkerBeat{Worker: "crew", Kind: kind, Slots: slots}) }
	if err := w.bus.Subscribe(w.ctx, w.bus.Subjects().Roll(), func(string, []byte) { beat() }); err != nil {
		w.t.Fatal(err)
	}
	beat()
	done := make(chan struct{})
	ctx, cancel := context.WithCancel(w.ctx)
	go func() {
		defer close(done)
		tick := time.NewTicker(events.BeatEvery)
		defer tick.Stop()
		for {
			select {
			case <-ctx.Done():
				return
			case <-tick.C:
				beat()
			}
		}
	}()
	w.t.Cleanup(func() { cancel(); <-done })
}

// dispatcher runs a dispatcher until the test ends or the returned function is called.
func (w *world) dispatcher(cfg dispatch.Config) (stop func()) {
	ctx, cancel := context.WithCancel(w.ctx)
	done := make(chan struct{})
	d := dispatch.New(cfg, w.engine, w.store, w.bus, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	go func() {
		defer close(done)
		_ = d.Run(ctx)
	}()
	stop = func() { cancel(); <-done }
	w.t.Cleanup(stop)
	return stop
}

func (w *world) submit(n store.NewJob) uuid.UUID {
	w.t.Helper()
	n.Kind, n.Input = kind, struct{}{}
	var id uuid.UUID
	err := w.store.InTenant(w.ctx, w.tenant, func(tx *store.Tx) error {
		job, err := tx.Jobs().Submit(n)
		if err == nil {
			id = job.ID
		}
		return err
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return id
}

// receive takes the next dispatched job from the broker and acknowledges it.
func (w *world) receive() events.Dispatch {
	w.t.Helper()
	var got []events.Dispatch
	for len(got) == 0 {
		if w.ctx.Err() != nil {
			w.t.Fatal("nothing was dispatched")
		}
		consumer, err := w.bus.Consume(w.ctx, kind, 100)
		if err != nil {
			if _, err := w.bus.EnsureTopology(w.ctx); err != nil {
				w.t.Fatal(err)
			}
			continue
		}
		err = consumer.Fetch(w.ctx, 1, 200*time.Millisecond, func(d bus.Delivery) {
			got = append(got, d.Dispatch)
			_ = d.Done()
		})
		if err != nil && !errors.Is(err, bus.ErrGone) {
			w.t.Fatal(err)
		}
	}
	return got[0]
}

func (w *world) claim(id string) *store.Job {
	w.t.Helper()
	job, err := w.engine.Claim(w.ctx, uuid.MustParse(id), "test", time.Minute)
	if err != nil || job == nil {
		w.t.Fatal("nothing to claim: ", err)
	}
	return job
}

func (w *world) sql(query string, args ...any) {
	w.t.Helper()
	conn, err := pgx.Connect(w.ctx, w.db.OwnerURL)
	if err != nil {
		w.t.Fatal(err)
	}
	defer func() { _ = conn.Close(w.ctx) }()
	if _, err := conn.Exec(w.ctx, query, args...); err != nil {
		w.t.Fatal(err)
	}
}

func (w *world) untilEnded(id uuid.UUID) (job *store.Job) {
	w.t.Helper()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := w.store.InTenant(w.ctx, w.tenant, func(tx *store.Tx) (err error) {
			job, err = tx.Jobs().Get(id)
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
		if job.Status.Terminal() {
			return job
		}
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			w.t.Fatalf("the job never ended; it is %s", job.Status)
		}
	}
}

func TestACommittedJobReachesTheBrokerAtOnce(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	// The tick is so long that only the nudge can be what wakes the leader.
	w.dispatcher(dispatch.Config{Tick: time.Hour})
	first := w.submit(store.NewJob{})
	if got := w.receive(); got.JobID != first.String() || got.TenantID != w.tenant.String() {
		t.Errorf("received %+v", got)
	}
	second := w.submit(store.NewJob{})
	if got := w.receive(); got.JobID != second.String() {
		t.Errorf("received %+v", got)
	}
}

func TestAScheduledJobIsDispatchedWhenItsTimeComes(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	w.dispatcher(dispatch.Config{Tick: time.Hour})
	at := time.Now().Add(700 * time.Millisecond)
	w.submit(store.NewJob{RunAt: at})
	w.receive()
	if early := time.Until(at); early > 0 {
		t.Errorf("dispatched %s early", early)
	}
}

func TestJobsThatWereWithAStreamThatVanishedAreDispatchedAgain(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	w.dispatcher(dispatch.Config{Tick: 50 * time.Millisecond, Lost: time.Hour})
	ids := map[string]bool{w.submit(store.NewJob{}).String(): true, w.submit(store.NewJob{}).String(): true}
	w.untilDispatched(2)

	nc, err := nats.Connect(bustest.URL(t), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	if err := js.DeleteStream(w.ctx, w.bus.Subjects().JobsStream()); err != nil {
		t.Fatal(err)
	}
	for range 2 {
		got := w.receive()
		if !ids[got.JobID] {
			t.Errorf("received %+v", got)
		}
		delete(ids, got.JobID)
	}
}

// untilDispatched waits until n jobs are with the broker.
func (w *world) untilDispatched(n uint64) {
	w.t.Helper()
	nc, err := nats.Connect(bustest.URL(w.t), nats.Timeout(patience))
	if err != nil {
		w.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		w.t.Fatal(err)
	}
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		// The stream is not there before the first dispatcher is.
		if s, err := js.Stream(w.ctx, w.bus.Subjects().JobsStream()); err == nil && s.CachedInfo().State.Msgs == n {
			return
		}
		select {
		case <-tick.C:
		case <-w.ctx.Done():
			w.t.Fatalf("%d jobs were never with the broker", n)
		}
	}
}

func TestAJobWhoseMessageIsLostIsDispatchedAgainAfterAWhile(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	w.dispatcher(dispatch.Config{Tick: 20 * time.Millisecond, Lost: 100 * time.Millisecond})
	w.submit(store.NewJob{})
	first := w.receive()
	// Nobody claims it.
	if again := w.receive(); again.JobID != first.JobID || again.Number <= first.Number {
		t.Errorf("received %+v after %+v", again, first)
	}
}

func TestAJobOfADeadWorkerRunsAgainUntilItsAttemptsAreUsedUp(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	w.dispatcher(dispatch.Config{Tick: 20 * time.Millisecond})
	id := w.submit(store.NewJob{MaxAttempts: 2})
	for attempt := 1; attempt <= 2; attempt++ {
		if job := w.claim(w.receive().JobID); job.Attempt != attempt {
			t.Fatalf("attempt %d, want %d", job.Attempt, attempt)
		}
		w.sql("UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = $1", id)
	}
	if job := w.untilEnded(id); job.Status != events.StatusFailed || !job.Dead || *job.ErrorCode != "worker.lost" {
		t.Errorf("the job is %s, dead %v", job.Status, job.Dead)
	}
}

func TestAJobThatCannotBeEndedDoesNotStopTheDispatchOfOthers(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	poison := w.submit(store.NewJob{MaxAttempts: 1})
	w.claim(poison.String())
	w.sql(`CREATE FUNCTION refuse() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN RAISE 'not this one'; END $$`)
	w.sql(`CREATE TRIGGER refuse BEFORE UPDATE ON jobs FOR EACH ROW WHEN (NEW.status = 'failed') EXECUTE FUNCTION refuse()`)
	w.sql("UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = $1", poison)
	w.dispatcher(dispatch.Config{Tick: 20 * time.Millisecond})
	id := w.submit(store.NewJob{})
	if got := w.receive(); got.JobID != id.String() {
		t.Errorf("received %+v", got)
	}
}

func TestAnotherDispatcherTakesOverWhenTheLeaderStops(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 100)
	stop := w.dispatcher(dispatch.Config{Tick: 50 * time.Millisecond})
	w.submit(store.NewJob{})
	w.receive()
	w.dispatcher(dispatch.Config{Tick: 50 * time.Millisecond})
	stop()
	id := w.submit(store.NewJob{})
	for {
		// The first job was never claimed, so the new leader dispatches it again.
		if w.receive().JobID == id.String() {
			return
		}
	}
}

func TestTheBrokerHoldsNoMoreThanTheWorkersCanTake(t *testing.T) {
	t.Parallel()
	w := newWorld(t, 3)
	for range 10 {
		w.submit(store.NewJob{})
	}
	w.dispatcher(dispatch.Config{Tick: 20 * time.Millisecond, Lost: time.Hour})
	w.untilDispatched(3)
	// What a worker has claimed is no longer with the broker, and takes one of its slots.
	job := w.receive()
	w.claim(job.JobID)
	w.bus.PublishFlow(events.Flow{Worker: "crew", Kind: kind, Claimed: []string{job.JobID}})
	w.untilDispatched(2)
	w.bus.PublishFlow(events.Flow{Worker: "crew", Kind: kind, Ended: []events.Ended{{JobID: job.JobID, DurationMS: 1000}}})
	w.untilDispatched(3)
}
