// Package bustest gives every test a namespace of its own on a real NATS, so that tests run side by side on one server. The
// server is the one TEST_NATS_URL names; without one a test fails with a hint: it is never skipped.
package bustest

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/nats-io/nats.go"
	"github.com/nats-io/nats.go/jetstream"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/bus"
)

// URL returns the test server's address.
func URL(tb testing.TB) string {
	tb.Helper()
	url := os.Getenv("TEST_NATS_URL")
	if url == "" {
		tb.Fatal("TEST_NATS_URL is not set: run `make test`, or go run ./deploy/devstack/cmd/devstack exec -- go test ./...")
	}
	return url
}

// Namespace returns a namespace that nobody else uses. Its streams are deleted with the test: each reserves room on the server,
// which would run out of it.
func Namespace(tb testing.TB) string {
	tb.Helper()
	namespace := "t" + strings.ReplaceAll(uuid.NewString(), "-", "")
	ctx, url := context.WithoutCancel(tb.Context()), URL(tb)
	tb.Cleanup(func() {
		if err := sweep(ctx, url, namespace); err != nil {
			tb.Error(err)
		}
	})
	return namespace
}

// sweep deletes the streams of a namespace.
func sweep(ctx context.Context, url, namespace string) error {
	ctx, cancel := context.WithTimeout(ctx, sweepTimeout)
	defer cancel()
	conn, err := nats.Connect(url, nats.Timeout(sweepTimeout))
	if err != nil {
		return fmt.Errorf("delete the test's streams: %w", err)
	}
	defer conn.Close()
	js, err := jetstream.New(conn)
	if err != nil {
		return fmt.Errorf("delete the test's streams: %w", err)
	}
	subjects := events.NewSubjects(namespace)
	for _, stream := range []string{subjects.JobsStream(), subjects.EventsStream()} {
		if err := js.DeleteStream(ctx, stream); err != nil && !errors.Is(err, jetstream.ErrStreamNotFound) {
			return fmt.Errorf("delete the test's stream %s: %w", stream, err)
		}
	}
	return nil
}

const sweepTimeout = time.Minute

// Connect opens a bus in a new namespace. It is closed with the test.
func Connect(tb testing.TB) *bus.Bus {
	tb.Helper()
	return Join(tb, Namespace(tb))
}

// Join opens another bus in a namespace. It is closed with the test.
func Join(tb testing.TB, namespace string) *bus.Bus {
	tb.Helper()
	b, err := bus.Connect(bus.Config{URL: URL(tb), Namespace: namespace, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		tb.Fatal(err)
	}
	tb.Cleanup(func() {
		if err := b.Close(); err != nil {
			tb.Error(err)
		}
	})
	return b
}
