package agent_test

import (
	"context"
	"errors"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/runner"
	"github.com/tarento/copilot/pkg/runnertest"
	"github.com/tarento/copilot/workers/internal/agent"
)

func TestASearchWhoseWorkerDiedTimesOutLongBeforeTheRunDoes(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	// It takes requests and never answers.
	if err := b.Subscribe(t.Context(), b.Subjects().Search(), func(string, []byte) {}); err != nil {
		t.Fatal(err)
	}
	run, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	search := agent.Retrieval{Bus: b, Within: 50 * time.Millisecond}
	for {
		_, err := search.Search(run, events.SearchRequest{})
		if fault.Is(err, fault.Unavailable) { // the subscription has not arrived yet
			continue
		}
		if !fault.Is(err, fault.Timeout) || run.Err() != nil {
			t.Errorf("got %v, want a timeout", err)
		}
		return
	}
}

func TestARunWhoseSearchHasToWaitForTheProviderWaitsForItToo(t *testing.T) {
	t.Parallel()
	b := bustest.Connect(t)
	runnertest.Background(t, func(ctx context.Context) error {
		return b.Respond(ctx, b.Subjects().Search(), "search", 1, nil, func(context.Context, []byte) any {
			return events.SearchReply{Error: &events.SearchError{
				Kind: "unavailable", Failure: events.Failure{Code: "provider.paused", Message: "Later."},
				RetryAfterMS: 30_000, WaitingOn: events.WaitingProvider,
			}}
		})
	})
	for {
		_, err := agent.Retrieval{Bus: b}.Search(t.Context(), events.SearchRequest{})
		f := fault.Of(err)
		if f != nil && f.Code != "provider.paused" && f.Kind == fault.Unavailable {
			continue // it has not subscribed yet
		}
		snooze, ok := errors.AsType[*runner.SnoozeError](err)
		if !ok || snooze.On != events.WaitingProvider || snooze.For < 30*time.Second || snooze.For > time.Minute || f.Code != "provider.paused" {
			t.Errorf("got %v", err)
		}
		return
	}
}
