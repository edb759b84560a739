package presets_test

import (
	"slices"
	"strings"
	"testing"

	"github.com/tarento/copilot/gateway/internal/presets"
)

func TestFiveTypesComeReadyToWork(t *testing.T) {
	t.Parallel()
	var ready, plain []string
	for _, p := range presets.All() {
		if p.Name == "" || p.Description == "" {
			t.Errorf("%s: says nothing about itself", p.Type)
		}
		if !p.Ready() {
			plain = append(plain, p.Type)
			continue
		}
		ready = append(ready, p.Type)
		if len(p.Tools) == 0 || p.MaxTokens == 0 || p.Temperature == 0 || p.Input.NumField() == 0 {
			t.Errorf("%s: something is missing: %+v", p.Type, p)
		}
		if !strings.Contains(p.SystemPrompt, "citation mark") || !strings.Contains(strings.ToLower(p.SystemPrompt), "search") {
			t.Errorf("%s: the prompt neither searches nor cites", p.Type)
		}
	}
	if !slices.Equal(ready, []string{"rfp", "jira", "documentation", "hr", "finance"}) ||
		!slices.Equal(plain, []string{"document_analyzer", "chat_agent", "custom"}) {
		t.Errorf("ready: %v, plain: %v", ready, plain)
	}
}
