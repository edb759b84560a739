package e2e_test

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

// TestReadmeCommandsWork runs what the README tells people to type. Each fenced block with the info string "sh curl" is run
// by bash, with BASE_URL naming the gateway, in the repository's root; later blocks see the variables of the earlier ones.
func TestReadmeCommandsWork(t *testing.T) {
	t.Parallel()
	text, err := os.ReadFile(filepath.Join(shared.root, "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	blocks := fenced(string(text), "sh curl")
	if len(blocks) == 0 {
		t.Fatal("README.md has no block that begins with ```sh curl")
	}
	s := newStack(t, setup{})
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	cmd := exec.CommandContext(ctx, "bash", "-euo", "pipefail", "-c", strings.Join(blocks, "\n"))
	cmd.Dir = shared.root
	cmd.Env = append(os.Environ(), "BASE_URL="+s.gateways[0].url)
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Fatalf("%v\n%s", err, out)
	}
	s.db.awaitAllEnded(time.Minute)
	s.db.verify()
}

// fenced returns the contents of Markdown's code blocks with the info string.
func fenced(text, info string) []string {
	var blocks []string
	var block strings.Builder
	inside, wanted := false, false
	for line := range strings.Lines(text) {
		mark, isFence := strings.CutPrefix(strings.TrimSpace(line), "```")
		switch {
		case isFence && !inside:
			inside, wanted = true, strings.TrimSpace(mark) == info
		case isFence:
			if wanted {
				blocks = append(blocks, block.String())
			}
			block.Reset()
			inside, wanted = false, false
		case wanted:
			block.WriteString(line)
		}
	}
	return blocks
}

func TestFencedFindsBlocksByTheirInfoString(t *testing.T) {
	t.Parallel()
	text := "# Title\n```sh\nmake run\n```\ntext\n```sh curl\necho one\necho two\n```\n```\nplain\n```\n```sh curl\necho three\n```\n"
	got := fenced(text, "sh curl")
	if len(got) != 2 || got[0] != "echo one\necho two\n" || got[1] != "echo three\n" {
		t.Errorf("got %q", got)
	}
}
