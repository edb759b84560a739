package fuzz

import (
	"net/http"
	"os/exec"
	"strings"
	"testing"

	"github.com/tarento/copilot/deploy/e2e/internal/arbitrary"
)

func TestArgumentsReachACommandAsTheyAre(t *testing.T) {
	t.Parallel()
	var want, script strings.Builder
	for _, odd := range append(arbitrary.Oddities(), arbitrary.Oddity{Text: "'\xff\\x'" + strings.Repeat("%", 500) + "é'" + strings.Repeat("💥", 201)}) {
		if strings.Contains(odd.Text, "\x00") {
			continue // no argument can have it
		}
		want.WriteString(odd.Text + "|")
		script.WriteString("printf '%s|' " + argument(odd.Text) + "\n")
	}
	got, err := exec.CommandContext(t.Context(), "bash", "-c", script.String()).Output()
	if err != nil || string(got) != want.String() {
		t.Errorf("arrived (%v) as %.2000q, want %.2000q", err, got, want.String())
	}
}

func TestTokensThatWorkAreLeftOut(t *testing.T) {
	t.Parallel()
	token := strings.Repeat("a", 50) + "." + strings.Repeat("b", 50) + "." + strings.Repeat("c", 50)
	text := curl(request{method: http.MethodPost, target: "/a?b='c'", header: http.Header{"Authorization": {"Bearer " + token}}})
	const want = `curl -sS -i --path-as-is -X POST "$COPILOT_URL"'/a?b='\''c'\''' -H "Authorization: Bearer $TOKEN" --data-raw ''`
	if text != want {
		t.Errorf("wrote %s, want %s", text, want)
	}
	if text := curl(request{method: http.MethodGet, target: "/", header: http.Header{"Authorization": {"Bearer x"}}}); !strings.Contains(text, "Bearer x") {
		t.Errorf("a token that does not work is left out: %s", text)
	}
}
