// Package bustest gives every test a namespace of its own on a real NATS, so that tests run side by side on one server. The
// server is the one TEST_NATS_URL names; without one a test fails with a hint: it is never skipped.
package bustest

import (
	"log/slog"
	"os"
	"strings"
	"testing"

	"github.com/google/uuid"

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

// Namespace returns a namespace that nobody else uses.
func Namespace() string { return "t" + strings.ReplaceAll(uuid.NewString(), "-", "") }

// Connect opens a bus in a new namespace. It is closed with the test.
func Connect(tb testing.TB) *bus.Bus {
	tb.Helper()
	return Join(tb, Namespace())
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
