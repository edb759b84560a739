package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/chaos"
)

// What `make chaos` does for longer, for some seconds.
func TestChaosBreaksNoPromise(t *testing.T) {
	t.Parallel()
	select {
	case shared.stacks <- struct{}{}:
	case <-t.Context().Done():
		t.Fatal("no room for another stack before the tests' time was over")
	}
	defer func() { <-shared.stacks }()
	result, err := chaos.Run(t.Context(), chaos.Options{
		Seed: 1, Jobs: 60, For: 15 * time.Second, Settle: time.Minute, Lease: 2 * time.Second, Bin: shared.bin, Cache: shared.cache,
		Logs: t.TempDir(), LogLevel: "warn", Out: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if !result.OK() || result.Accepted < 60 || len(result.Faults) == 0 {
		var report strings.Builder
		_ = result.Write(&report)
		t.Errorf("%s", &report)
	}
}
