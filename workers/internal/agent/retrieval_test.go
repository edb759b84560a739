package agent_test

import (
	"context"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/workers/internal/agent"
)

func TestASearchWhoseWorkerDiedTimesOutLongBeforeTheRunDoes(t *testing.T) {
	t.Parallel()
	b, err := bus.Connect(bus.Config{
		URL: os.Getenv("TEST_NATS_URL"), Namespace: "t" + strings.ReplaceAll(uuid.NewString(), "-", ""), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := b.Close(); err != nil {
			t.Error(err)
		}
	})
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
