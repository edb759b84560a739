package e2e_test

import (
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/fuzz"
)

// What `make fuzz-api` does for minutes, for some seconds.
func TestAnyRequestIsAnsweredAsTheDocumentSays(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{env: map[string]map[string]string{gatewayProgram: {"REGISTRATIONS_PER_ADDRESS": "0"}}})
	result, err := fuzz.Run(t.Context(), fuzz.Options{
		URL: s.gateways[0].url, Seed: 1, Number: -1, Cases: 4, For: 20 * time.Second, Workers: 2, Out: t.Output(),
	})
	if err != nil {
		t.Fatal(err)
	}
	if len(result.Failures) > 0 || result.Cases == 0 {
		var report strings.Builder
		_ = result.Write(&report)
		t.Errorf("%s", &report)
	}
}
