package bus_test

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"
	"go.uber.org/goleak"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/wiretest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const patience = time.Minute

func bulk(int) events.Class { return events.ClassBulk }

func jobs(n int) []events.Dispatch {
	out := make([]events.Dispatch, n)
	for i := range out {
		out[i] = events.Dispatch{JobID: "job" + strconv.Itoa(i), TenantID: "t", Kind: events.KindAgentRun, Number: 1}
	}
	return out
}

func consumer(t *testing.T, b *bus.Bus, kind events.Kind) *bus.Consumer {
	t.Helper()
	if _, err := b.EnsureTopology(t.Context()); err != nil {
		t.Fatal(err)
	}
	c, err := b.Consume(t.Context(), kind, 100)
	if err != nil {
		t.Fatal(err)
	}
	return c
}

func TestEachDispatchReachesOneWorkerOfItsKind(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	agents, others := consumer(t, b, events.KindAgentRun), consumer(t, b, events.KindDocumentIngest)
	if err := b.Dispatch(t.Context(), bulk, jobs(20)); err != nil {
		t.Fatal(err)
	}
	seen := map[string]int{}
	take := func(d bus.Delivery) {
		seen[d.JobID]++
		if err := d.Done(); err != nil {
			t.Error(err)
		}
	}
	for len(seen) < 20 {
		if err := agents.Fetch(t.Context(), 5, patience, take); err != nil {
			t.Fatal(err)
		}
	}
	for id, n := range seen {
		if n != 1 {
			t.Errorf("%s was delivered %d times", id, n)
		}
	}
	err := others.Fetch(t.Context(), 1, 100*time.Millisecond, func(d bus.Delivery) { t.Errorf("another kind's worker got %s", d.JobID) })
	if err != nil {
		t.Error(err)
	}
}

func TestADispatchThatIsSentTwiceArrivesOnceAndItsRepetitionAgain(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	c := consumer(t, b, events.KindAgentRun)
	first := jobs(1)
	second := []events.Dispatch{{JobID: first[0].JobID, TenantID: "t", Kind: events.KindAgentRun, Number: 2}}
	for _, batch := range [][]events.Dispatch{first, first, second} {
		if err := b.Dispatch(t.Context(), bulk, batch); err != nil {
			t.Fatal(err)
		}
	}
	var numbers []int64
	take := func(d bus.Delivery) {
		numbers = append(numbers, d.Number)
		_ = d.Done()
	}
	// A third one, which must not be, would be there with the second.
	err := errors.Join(c.Fetch(t.Context(), 2, patience, take), c.Fetch(t.Context(), 1, 100*time.Millisecond, take))
	if err != nil || len(numbers) != 2 || numbers[0] != 1 || numbers[1] != 2 {
		t.Errorf("delivered %v, %v", numbers, err)
	}
}

func TestADispatchWithoutAStreamIsRefused(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	if err := b.Dispatch(t.Context(), bulk, jobs(3)); err == nil {
		t.Error("taken")
	}
	if created, err := b.JobsCreated(t.Context()); err != nil || !created.IsZero() {
		t.Errorf("the stream was created at %v, %v", created, err)
	}
}

// A queue that refuses some of the jobs in the middle of a dispatch is found out by the places that it gave to the others.
func TestADispatchThatWasNotTakenWholeFails(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	consumer(t, b, events.KindAgentRun)
	batch := jobs(5)
	if err := b.Dispatch(t.Context(), bulk, batch[1:3]); err != nil {
		t.Fatal(err)
	}
	// The queue has two of these already, so it takes three.
	if err := b.Dispatch(t.Context(), bulk, batch); err == nil {
		t.Error("a dispatch of which the queue took a part did not fail")
	}
}

func TestAQueueThatWasKeptInAFileIsReplaced(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	nc, err := nats.Connect(os.Getenv("TEST_NATS_URL"), nats.Timeout(patience))
	if err != nil {
		t.Fatal(err)
	}
	defer nc.Close()
	js, err := jetstream.New(nc)
	if err != nil {
		t.Fatal(err)
	}
	before, err := js.CreateStream(t.Context(), jetstream.StreamConfig{
		Name: b.Subjects().JobsStream(), Subjects: []string{b.Subjects().AllJobs()}, Retention: jetstream.WorkQueuePolicy,
	})
	if err != nil {
		t.Fatal(err)
	}
	created, err := b.EnsureTopology(t.Context())
	if err != nil || !created.After(before.CachedInfo().Created) {
		t.Errorf("created %v, before %v: %v", created, before.CachedInfo().Created, err)
	}
	if again, err := b.EnsureTopology(t.Context()); err != nil || !again.Equal(created) {
		t.Errorf("created %v, then %v: %v", created, again, err)
	}
}

func TestRequestsAreSharedAmongResponders(t *testing.T) {
	t.Parallel()
	namespace := bustest.Namespace(t)
	client := bustest.Join(t, namespace)
	ctx, cancel := context.WithCancel(t.Context())
	stopped := make(chan error, 2)
	for range 2 {
		server := bustest.Join(t, namespace)
		go func() {
			stopped <- server.Respond(ctx, server.Subjects().Search(), "search", 2, nil, func(_ context.Context, data []byte) any {
				var req events.SearchRequest
				if err := json.Unmarshal(data, &req); err != nil {
					return err.Error()
				}
				return events.SearchReply{Hits: []events.SearchHit{{Text: req.Query}}}
			})
		}()
	}
	for i := 0; i < 10; {
		var reply events.SearchReply
		err := client.Request(t.Context(), client.Subjects().Search(), events.SearchRequest{Query: "q" + strconv.Itoa(i)}, &reply)
		if fault.Is(err, fault.Unavailable) {
			continue // nobody has subscribed yet
		}
		if err != nil || len(reply.Hits) != 1 || reply.Hits[0].Text != "q"+strconv.Itoa(i) {
			t.Fatalf("answered %+v, %v", reply, err)
		}
		i++
	}
	cancel()
	for range 2 {
		if err := <-stopped; err != nil {
			t.Error(err)
		}
	}
}

func TestAResponderThatStopsAnswersWhatItHolds(t *testing.T) {
	t.Parallel()
	namespace := bustest.Namespace(t)
	client := bustest.Join(t, namespace)
	server := bustest.Join(t, namespace)
	serving, stop := context.WithCancel(t.Context())
	held, stopped := make(chan struct{}, 1), make(chan error, 1)
	go func() {
		stopped <- server.Respond(serving, server.Subjects().Search(), "search", 1, nil, func(ctx context.Context, _ []byte) any {
			held <- struct{}{}
			<-serving.Done()
			if ctx.Err() != nil {
				return events.SearchReply{}
			}
			return events.SearchReply{Hits: []events.SearchHit{{Text: "found"}}}
		})
	}()
	go func() {
		<-held
		stop()
	}()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	for {
		var reply events.SearchReply
		err := client.Request(ctx, client.Subjects().Search(), events.SearchRequest{}, &reply)
		if fault.Is(err, fault.Unavailable) {
			continue // it has not subscribed yet
		}
		if err != nil || len(reply.Hits) != 1 {
			t.Errorf("answered %+v, %v", reply, err)
		}
		break
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestAResponderThatHasNoRoomSaysSo(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	serving, stop := context.WithCancel(t.Context())
	stopped := make(chan error, 1)
	begun, leave := make(chan struct{}, 100), make(chan struct{})
	go func() {
		busy := events.SearchReply{Error: &events.SearchError{Kind: "unavailable"}}
		stopped <- b.Respond(serving, b.Subjects().Search(), "search", 1, busy, func(context.Context, []byte) any {
			begun <- struct{}{}
			<-leave
			return events.SearchReply{}
		})
	}()
	ask := func() (reply events.SearchReply, err error) {
		for {
			err := b.Request(t.Context(), b.Subjects().Search(), events.SearchRequest{}, &reply)
			if !fault.Is(err, fault.Unavailable) { // it has not subscribed yet
				return reply, err
			}
		}
	}
	answers := make(chan events.SearchReply, 20)
	for i := range cap(answers) {
		go func() {
			reply, err := ask()
			if err != nil {
				t.Error(err)
			}
			answers <- reply
		}()
		if i == 0 {
			<-begun
		}
	}
	for range cap(answers) - 5 { // one is worked on, and four wait
		if reply := <-answers; reply.Error == nil {
			t.Errorf("answered %+v while nothing could be", reply)
		}
	}
	close(leave)
	for range 5 {
		if reply := <-answers; reply.Error != nil {
			t.Errorf("answered %+v", reply.Error)
		}
	}
	stop()
	if err := <-stopped; err != nil {
		t.Error(err)
	}
}

func TestARequestThatNobodyAnswersSaysSo(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	var reply events.SearchReply
	if err := b.Request(t.Context(), b.Subjects().Search(), events.SearchRequest{}, &reply); !fault.Is(err, fault.Unavailable) {
		t.Errorf("without a responder: %v", err)
	}
	serving, stop := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		_ = b.Respond(serving, b.Subjects().Search(), "search", 1, nil, func(context.Context, []byte) any { <-serving.Done(); return nil })
	}()
	for {
		ctx, cancel := context.WithTimeout(t.Context(), 200*time.Millisecond)
		err := b.Request(ctx, b.Subjects().Search(), events.SearchRequest{}, &reply)
		cancel()
		if fault.Is(err, fault.Timeout) {
			break
		}
		if !fault.Is(err, fault.Unavailable) {
			t.Fatalf("with a slow responder: %v", err)
		}
	}
	stop()
	<-done
}

func TestCommittedEventsArriveInOrderAndWakeTheDispatcher(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	lists, nudges := make(chan []events.Event, 10), make(chan events.Nudge, 10)
	err := errors.Join(
		b.Subscribe(t.Context(), b.Subjects().AllEvents(), func(subject string, data []byte) {
			var list []events.Event
			if err := json.Unmarshal(data, &list); err != nil || b.Subjects().TenantOf(subject) != list[0].TenantID {
				t.Errorf("%s carried %s", subject, data)
			}
			lists <- list
		}),
		b.Subscribe(t.Context(), b.Subjects().Nudge(), func(_ string, data []byte) {
			var n events.Nudge
			if err := json.Unmarshal(data, &n); err != nil {
				t.Error(err)
			}
			nudges <- n
		}),
	)
	if err != nil {
		t.Fatal(err)
	}
	var c events.Commit
	for seq := range int64(6) {
		c.Events = append(c.Events, events.Event{
			JobID: "j", TenantID: []string{"t", "u"}[seq%2], Seq: seq + 1, Type: events.TypeJobState, Data: json.RawMessage(`{}`),
		})
	}
	ready := events.Ready{TenantID: "t", Kind: events.KindAgentRun, Class: events.ClassBulk, Priority: 5}
	sooner := events.Ready{TenantID: "t", Kind: events.KindAgentRun, Class: events.ClassInteractive, Priority: 9}
	c.Ready = []events.Ready{ready, sooner, ready}
	c.Due(1500 * time.Millisecond)
	b.Committed(c)
	for range 2 {
		list := receive(t, lists)
		if len(list) != 3 || list[1].Seq != list[0].Seq+2 || list[2].Seq != list[1].Seq+2 || list[2].TenantID != list[0].TenantID {
			t.Errorf("a list holds %+v", list)
		}
	}
	if n := receive(t, nudges); len(n.Ready) != 1 || n.Ready[0] != sooner || n.DueInMS != 1500 {
		t.Errorf("nudged with %+v", n)
	}
}

func TestANudgeNamesJobsWhileTheyAreFew(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	nudges := make(chan events.Nudge, 10)
	if err := b.Subscribe(t.Context(), b.Subjects().Nudge(), func(_ string, data []byte) {
		var n events.Nudge
		if err := json.Unmarshal(data, &n); err != nil {
			t.Error(err)
		}
		nudges <- n
	}); err != nil {
		t.Fatal(err)
	}
	for told, want := range map[int]int{1: 1, 3: 3, 64: 64, 65: 1} {
		var c events.Commit
		for i := range told {
			c.Ready = append(c.Ready, events.Ready{
				TenantID: "t", Kind: events.KindAgentRun, Class: events.ClassBulk, Priority: 5, Job: &events.ReadyJob{ID: strconv.Itoa(i)},
			})
		}
		b.Committed(c)
		n := receive(t, nudges)
		if len(n.Ready) != want || (n.Ready[0].Job != nil) != (want == told) {
			t.Errorf("of %d jobs it tells %+v", told, n.Ready)
		}
	}
}

func receive[T any](t *testing.T, from <-chan T) (v T) {
	t.Helper()
	select {
	case v = <-from:
	case <-time.After(patience):
		t.Fatal("nothing arrived")
	}
	return v
}

// A NATS that is frozen closes no connection and reads nothing.
func TestANATSThatReadsNoMoreHoldsUpNoCommitForLong(t *testing.T) {
	t.Parallel()
	wire := wiretest.Lay(t, bustest.URL(t))
	b, err := bus.Connect(bus.Config{URL: wire.Near, Namespace: bustest.Namespace(t), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.Close() })
	if _, err := b.EnsureTopology(t.Context()); err != nil {
		t.Fatal(err)
	}
	wire.Freeze()
	fact := events.Event{JobID: "j", TenantID: "t", Seq: 1, Type: events.TypeJobState, Data: json.RawMessage(`"` + strings.Repeat("x", 64<<10) + `"`)}
	var longest time.Duration
	for range 400 { // 25 MiB, more than the machine keeps for a connection
		began := time.Now()
		b.Committed(events.Commit{Events: []events.Event{fact}})
		longest = max(longest, time.Since(began))
	}
	t.Logf("the longest of them took %s", longest)
	if longest > 15*time.Second {
		t.Errorf("a commit waited %s for NATS", longest)
	}
}
