package agent_test

import (
	"context"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bustest"
	"github.com/tarento/copilot/pkg/fault"
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
