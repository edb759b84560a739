package launch

import (
	"net"
	"strings"
	"testing"
)

func TestANamedServerThatIsAwayIsSaidByItsVariable(t *testing.T) {
	t.Parallel()
	up, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = up.Close() })
	down, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	gone := down.Addr().String()
	if err := down.Close(); err != nil {
		t.Fatal(err)
	}
	for name, address := range map[string]string{
		"one that listens":        "nats://" + up.Addr().String(),
		"one of two that listens": "nats://" + gone + ",nats://" + up.Addr().String(),
		"something without host":  "host=/var/run/postgresql dbname=copilot",
	} {
		if err := reach(t.Context(), "NATS_URL", address, "4222"); err != nil {
			t.Errorf("%s: %v", name, err)
		}
	}
	err = reach(t.Context(), "NATS_URL", "nats://user:swordfish@"+gone, "4222")
	if err == nil || !strings.Contains(err.Error(), "NATS_URL names "+gone) || strings.Contains(err.Error(), "swordfish") {
		t.Errorf("got %v", err)
	}
}
