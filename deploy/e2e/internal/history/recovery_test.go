package history_test

import (
	"slices"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

func TestRecoveryIsFromTheHealingToTheNextProgressOfWhoWasHurt(t *testing.T) {
	t.Parallel()
	faults := []history.Fault{
		{Kind: "kill worker", Target: "a", Writer: "a", Began: at(0), Healed: at(100)},
		{Kind: "kill nats", Target: "nats", Began: at(200), Healed: at(300)},
		{Kind: "kill worker", Target: "b", Writer: "b", Began: at(400), Healed: at(500)}, // hurt again before it shows
		{Kind: "freeze worker", Target: "b", Writer: "b", Began: at(600), Healed: at(700)},
		{Kind: "kill worker", Target: "a", Writer: "a", Began: at(2000), Healed: at(2100)}, // never seen again
	}
	progress := []history.Progress{
		{At: at(110), Writer: "b"}, {At: at(150), Writer: "a"}, {At: at(330), Writer: "b"}, {At: at(1000), Writer: "b"},
	}
	claims := []time.Time{at(50), at(90), at(260), at(360), at(450), at(1000)}
	got := history.Recovery(faults, progress, claims)
	want := []history.Recovered{
		{Kind: "freeze worker", Faults: 1, Measured: 1, P50: 300 * time.Millisecond, P99: 300 * time.Millisecond, Max: 300 * time.Millisecond, Unclaimed: 550 * time.Millisecond},
		{Kind: "kill nats", Faults: 1, Measured: 1, P50: 30 * time.Millisecond, P99: 30 * time.Millisecond, Max: 30 * time.Millisecond, Unclaimed: 170 * time.Millisecond},
		{Kind: "kill worker", Faults: 3, Measured: 1, P50: 50 * time.Millisecond, P99: 50 * time.Millisecond, Max: 50 * time.Millisecond, Unclaimed: 550 * time.Millisecond},
	}
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestOrphansAreMeasuredFromTheDeathOfTheirWorkerToTheirNextClaim(t *testing.T) {
	t.Parallel()
	jobs := []*history.Job{good(), good()}
	jobs[1].Changes = jobs[1].Changes[:1] // was never claimed
	faults := []history.Fault{
		{Kind: "kill worker", Target: "agent-1", Writer: "agent-1", Began: at(1010)},
		{Kind: "kill worker", Target: "agent-2", Writer: "agent-2", Began: at(1010)}, // had nothing then
		{Kind: "freeze worker", Target: "agent-1", Writer: "agent-1", Began: at(1010)},
	}
	want := history.Recovered{Kind: "orphaned by kill worker", Faults: 1, Measured: 1, P50: 2 * time.Second, P99: 2 * time.Second, Max: 2 * time.Second}
	if got := history.Orphans(jobs, "kill worker", faults); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}

func TestStandstillsAreTheLongestTimesInTheQueue(t *testing.T) {
	t.Parallel()
	short, never, later := good(), good(), good()
	short.ID, never.ID, later.ID = "short", "never", "later"
	later.RunAt = at(3005) // until then it stands in nobody's way
	short.Changes[3].At = short.Changes[2].At.Add(time.Millisecond)
	never.Changes = never.Changes[:1]
	got := history.Standstills([]*history.Job{short, never, later, good()}, 3)
	want := []history.Standstill{
		{Job: "later", Kind: events.KindAgentRun, For: 5 * time.Millisecond, From: at(3005)},
		{Job: "one", Kind: events.KindAgentRun, For: 10 * time.Millisecond, From: at(0)},
		{Job: "short", Kind: events.KindAgentRun, For: 10 * time.Millisecond, From: at(0)},
	}
	slices.SortFunc(got, func(a, b history.Standstill) int {
		if a.Job < b.Job {
			return -1
		}
		return 1
	})
	if !slices.Equal(got, want) {
		t.Errorf("got  %+v\nwant %+v", got, want)
	}
}

func TestScheduledJobsAreMeasuredFromTheirTimeToTheirFirstClaim(t *testing.T) {
	t.Parallel()
	early, late, never := good(), good(), good()
	early.RunAt, late.RunAt, never.RunAt = at(4), at(-20), at(5)
	never.Changes = never.Changes[:1]
	want := history.Recovered{
		Kind: "scheduled", Faults: 3, Measured: 2, P50: 30 * time.Millisecond, P99: 30 * time.Millisecond, Max: 30 * time.Millisecond,
	}
	if got := history.Starts([]*history.Job{early, late, never, good()}); got != want {
		t.Errorf("got %+v, want %+v", got, want)
	}
}
