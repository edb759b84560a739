package ports_test

import (
	"errors"
	"net"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

func TestFreePortsAreDifferentAndFree(t *testing.T) {
	t.Parallel()
	found, err := ports.Free(t.Context(), 20)
	if err != nil {
		t.Fatal(err)
	}
	seen := make(map[int]bool)
	wants := make([]ports.Want, 0, len(found))
	for _, port := range found {
		if seen[port] {
			t.Errorf("port %d was given twice", port)
		}
		seen[port] = true
		wants = append(wants, ports.Want{Number: port, For: "a test"})
	}
	if len(found) != 20 {
		t.Errorf("got %d ports, want 20", len(found))
	}
	if err := ports.Check(t.Context(), wants); err != nil {
		t.Errorf("the free ports are not free: %v", err)
	}
}

func TestTakenPortsAreNamedWithTheirOwnerAndTheWayOut(t *testing.T) {
	t.Parallel()
	taken := make([]int, 2)
	for i := range taken {
		listener, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ports.Addr(0))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = listener.Close() })
		address, ok := listener.Addr().(*net.TCPAddr)
		if !ok {
			t.Fatalf("listening on %v", listener.Addr())
		}
		taken[i] = address.Port
	}
	free, err := ports.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	err = ports.Check(t.Context(), []ports.Want{
		{Number: taken[0], For: "the gateway's API", Change: "--http-port"},
		{Number: free[0], For: "NATS", Change: "--nats-port"},
		{Number: taken[1], For: "Postgres", Change: "--postgres-port"},
	})
	if problem, ok := errors.AsType[*ports.TakenError](err); !ok || problem.Number != taken[0] {
		t.Fatalf("got %v, want a TakenError for port %d first", err, taken[0])
	}
	for _, want := range []string{
		"the gateway's API needs it", "--http-port", "Postgres needs it", "--postgres-port", "taken by another program",
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("the error does not say %q: %v", want, err)
		}
	}
	if strings.Contains(err.Error(), "NATS") {
		t.Errorf("the error blames a free port: %v", err)
	}
}

func TestAPortForTwoIsTaken(t *testing.T) {
	t.Parallel()
	free, err := ports.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	err = ports.Check(t.Context(), []ports.Want{{Number: free[0], For: "NATS"}, {Number: free[0], For: "Postgres"}})
	if err == nil || !strings.Contains(err.Error(), "already meant for NATS") {
		t.Errorf("got %v, want that NATS has it", err)
	}
}
