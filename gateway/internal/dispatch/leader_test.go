package dispatch

import (
	"context"
	"log/slog"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/jackc/pgx/v5"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/testutil"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/store"
	"github.com/tarento/copilot/pkg/storetest"
	"github.com/tarento/copilot/pkg/tenant"
)

// office is a database and a NATS namespace of its own, and a dispatcher that does what the test says.
type office struct {
	*Dispatcher

	t     *testing.T
	owner *pgx.Conn
	acme  tenant.ID
}

func newOffice(t *testing.T, cfg Config) *office {
	t.Helper()
	db, b := storetest.NewSeeded(t), bustest.Connect(t)
	o := &office{t: t, owner: db.Conn(t, db.OwnerURL)}
	var err error
	if o.acme, err = tenant.Parse("01900000-0000-7000-8000-000000000a00"); err != nil {
		t.Fatal(err)
	}
	s, err := store.Open(t.Context(), store.Config{URL: db.AppURL, MaxConns: 3})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	e, err := store.OpenEngine(t.Context(), store.Config{URL: db.EngineURL, MaxConns: 5})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = e.Close() })
	o.Dispatcher = New(cfg, e, s, b, slog.New(slog.DiscardHandler), prometheus.NewRegistry())
	return o
}

func (o *office) submit(n store.NewJob) (id uuid.UUID) {
	o.t.Helper()
	n.Kind, n.Input = events.KindEmbeddingCreate, struct{}{}
	err := o.store.InTenant(o.t.Context(), o.acme, func(tx *store.Tx) error {
		job, err := tx.Jobs().Submit(n)
		if err == nil {
			id = job.ID
		}
		return err
	})
	if err != nil {
		o.t.Fatal(err)
	}
	return id
}

// lead lets the dispatcher lead until the test ends.
func (o *office) lead() {
	o.t.Helper()
	ctx, cancel := context.WithCancel(o.t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = o.Dispatcher.lead(ctx)
	}()
	o.t.Cleanup(func() { cancel(); <-done })
	o.until(o.metrics.leading, 1)
}

// until waits until a metric is at least so much.
func (o *office) until(metric prometheus.Collector, want float64) {
	o.t.Helper()
	tick := time.NewTicker(5 * time.Millisecond)
	defer tick.Stop()
	for deadline := time.Now().Add(time.Minute); testutil.ToFloat64(metric) < want; <-tick.C {
		if time.Now().After(deadline) {
			o.t.Fatalf("it is %v for ever, want %v", testutil.ToFloat64(metric), want)
		}
	}
}

// newQueue deletes what the broker holds.
func (o *office) newQueue() {
	o.t.Helper()
	nc, err := nats.Connect(bustest.URL(o.t), nats.Timeout(time.Minute))
	if err != nil {
		o.t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		o.t.Fatal(err)
	}
	if err := js.DeleteStream(o.t.Context(), o.bus.Subjects().JobsStream()); err != nil {
		o.t.Fatal(err)
	}
}

func (o *office) do(fn func(context.Context) error) {
	o.t.Helper()
	if err := fn(o.t.Context()); err != nil {
		o.t.Fatal(err)
	}
}

// A worker that died tells nobody that its job is over: the leader has to count it out itself, or nothing else goes at the limit.
func TestAJobOfADeadWorkerIsUnderWayNoMore(t *testing.T) {
	t.Parallel()
	for name, attempts := range map[string]int{"and runs again": 2, "and has failed": 1} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, Config{Lost: time.Hour})
			lost := o.submit(store.NewJob{MaxAttempts: attempts})
			l := newLeader(o.Dispatcher)
			q := l.queues[events.KindEmbeddingCreate]
			q.limits[o.acme] = store.JobLimit{MaxRunning: 1}
			if _, err := o.engine.Claim(t.Context(), lost, "test", time.Minute); err != nil {
				t.Fatal(err)
			}
			o.do(func(ctx context.Context) error { return l.correct(ctx, time.Hour) })
			if q.share(o.acme).underWay != 1 {
				t.Fatal("the job is not known to run")
			}
			_, err := o.owner.Exec(t.Context(), "UPDATE jobs SET lease_expires_at = now() - interval '1 second' WHERE id = $1", lost)
			if err != nil {
				t.Fatal(err)
			}
			o.do(l.sweep)
			if who := q.wanting(1); q.share(o.acme).underWay != 0 || len(who) != 1 || q.timed {
				t.Errorf("%d jobs are under way, %d tenants are to be read, timed is %v", q.share(o.acme).underWay, len(who), q.timed)
			}
		})
	}
}

// Somebody else led when it came: what was to be done is done, and counted.
func TestWhatWasToldBeforeALeaderBeganIsNoNews(t *testing.T) {
	t.Parallel()
	const kind = events.KindEmbeddingCreate
	o := newOffice(t, Config{Tick: time.Hour})
	told := func(id uuid.UUID) {
		job := &events.ReadyJob{ID: id.String()}
		ready := events.Ready{TenantID: o.acme.String(), Kind: kind, Class: events.ClassBulk, Priority: 5, Job: job}
		o.signal(signal{nudge: &events.Nudge{Ready: []events.Ready{ready}}})
	}
	ended := func() {
		one := events.Ended{JobID: uuid.NewString(), Outcome: events.OutcomeSucceeded, DurationMS: 1}
		o.signal(signal{flow: &events.Flow{Worker: "crew", Kind: kind, Ended: []events.Ended{one}}})
	}
	told(uuid.New())
	for !o.missed.Load() {
		ended()
	}
	o.lead()
	succeeded := o.metrics.unknown[kind].outcomes[events.OutcomeSucceeded]
	ended()
	o.until(succeeded, 1)
	o.crews.beat(&events.WorkerBeat{Worker: "crew", Kind: kind, Slots: 10}, time.Now())
	told(o.submit(store.NewJob{}))
	dispatched := o.metrics.dispatched.WithLabelValues(string(kind))
	o.until(dispatched, 1)
	if ends, jobs := testutil.ToFloat64(succeeded), testutil.ToFloat64(dispatched); ends != 1 || jobs != 1 {
		t.Errorf("%v jobs have ended, %v were handed out, want one and one", ends, jobs)
	}
}

func TestTheMoreJobsRunTheFewerComparisonsThereAre(t *testing.T) {
	t.Parallel()
	for running, want := range map[int]time.Duration{
		0: time.Minute, 1999: time.Minute, 2000: 2 * time.Minute, 9500: 5 * time.Minute, 100_000: surveyEvery * time.Minute,
	} {
		l := &leader{Dispatcher: &Dispatcher{cfg: Config{Tick: time.Minute}}, queues: map[events.Kind]*turns{
			events.KindAgentRun: {running: ghosts(running / 2)}, events.KindEmbeddingCreate: {running: ghosts(running - running/2)},
		}}
		if got := l.compareEvery(); got != want {
			t.Errorf("with %d jobs every %s, want %s", running, got, want)
		}
	}
}

// ghosts are jobs that do not run, whatever the leader believes.
func ghosts(n int) map[uuid.UUID]handed {
	all := make(map[uuid.UUID]handed, n)
	for range n {
		all[uuid.New()] = handed{tenant: someone(1)}
	}
	return all
}

func TestWhatIsBelievedIsComparedAtOnceWhenThereIsReason(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		running  int
		reason   func(*office, *leader)
		compared bool
	}{
		"few jobs run":    {running: 10, reason: func(*office, *leader) {}, compared: true},
		"thousands run":   {running: 9500, reason: func(*office, *leader) {}},
		"a new queue":     {running: 9500, reason: func(o *office, _ *leader) { o.newQueue() }, compared: true},
		"missed signals":  {running: 9500, reason: func(o *office, _ *leader) { o.missed.Store(true) }, compared: true},
		"time has passed": {running: 9500, reason: func(_ *office, l *leader) { l.compared = l.compared.Add(-5 * time.Hour) }, compared: true},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o := newOffice(t, Config{Tick: time.Hour, Lost: time.Hour})
			l := newLeader(o.Dispatcher)
			o.do(l.round)
			l.queues[events.KindAgentRun].running = ghosts(c.running)
			l.repaired = l.repaired.Add(-time.Hour)
			l.compared = l.compared.Add(-time.Hour)
			c.reason(o, l)
			o.do(l.round)
			if left := len(l.queues[events.KindAgentRun].running); (left == 0) != c.compared {
				t.Errorf("of %d jobs that do not run %d are believed to", c.running, left)
			}
		})
	}
}
