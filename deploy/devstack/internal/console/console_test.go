package console_test

import (
	"bytes"
	"io"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/devstack/internal/console"
)

func TestLogLinesAreShownForPeople(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		level slog.Level
		lines string
		want  string
	}{
		"a warning, with its fields in order": {
			level: slog.LevelWarn,
			lines: `{"time":"2026-01-01T00:00:00Z","level":"WARN","msg":"slow","component":"gateway","b":10000000,"a":"x"}` + "\n",
			want:  "gateway          | WARN  slow a=x b=10000000\n",
		},
		"not an unimportant one": {
			level: slog.LevelWarn,
			lines: `{"level":"INFO","msg":"fine"}` + "\n",
		},
		"an unimportant one when asked for": {
			level: slog.LevelDebug,
			lines: `{"level":"DEBUG","msg":"fine"}` + "\r\n",
			want:  "gateway          | DEBUG fine\n",
		},
		"a panic, as it is": {
			level: slog.LevelWarn,
			lines: "panic: no\n\ngoroutine 1:\n",
			want:  "gateway          | panic: no\ngateway          | goroutine 1:\n",
		},
		"JSON that is no log line": {
			level: slog.LevelWarn,
			lines: `{"some":"thing"}` + "\n" + `{"level":3}` + "\n",
			want:  "gateway          | {\"some\":\"thing\"}\ngateway          | {\"level\":3}\n",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var whole, pieces bytes.Buffer
			if _, err := io.WriteString(console.New(&whole, false).Logs("gateway", console.Red, c.level), c.lines); err != nil {
				t.Fatal(err)
			}
			logs := console.New(&pieces, false).Logs("gateway", console.Red, c.level)
			for i := range c.lines {
				if _, err := io.WriteString(logs, c.lines[i:i+1]); err != nil {
					t.Fatal(err)
				}
			}
			if whole.String() != c.want {
				t.Errorf("shown: %q, want %q", whole.String(), c.want)
			}
			if pieces.String() != c.want {
				t.Errorf("shown when it comes byte by byte: %q, want %q", pieces.String(), c.want)
			}
		})
	}
}

func TestNoColorsWhereThereIsNoTerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := console.New(&out, false)
	c.Title("title")
	c.Warn("warning")
	c.Fail("failure")
	c.Phase("build", "done", 1234*time.Millisecond)
	c.Entry("name", "value")
	c.Linef("%d lines", 6)
	want := "title\n! warning\nx failure\n+ build             done  1.2 s\n  name              value\n6 lines\n"
	if out.String() != want {
		t.Errorf("written: %q, want %q", out.String(), want)
	}
}

func TestATailQuotesTheLastLines(t *testing.T) {
	t.Parallel()
	var tail console.Tail
	if got := tail.Quote(); got != "" {
		t.Errorf("an empty tail quotes %q", got)
	}
	for i := range 100 {
		if _, err := io.WriteString(&tail, strings.Repeat("x", i)+"\nbegin"); err != nil {
			t.Fatal(err)
		}
	}
	lines := strings.Split(tail.Quote(), "\n")
	if len(lines) != 17 || lines[0] != "; its last output:" || lines[15] != "  begin"+strings.Repeat("x", 99) || lines[16] != "  begin" {
		t.Errorf("quoted %d lines: %q", len(lines), lines)
	}
	if _, err := tail.Write(bytes.Repeat([]byte("y"), 1<<20)); err != nil {
		t.Fatal(err)
	}
	if len(tail.Quote()) > 1<<20+1<<17 {
		t.Error("a line without an end grows for ever")
	}
}
