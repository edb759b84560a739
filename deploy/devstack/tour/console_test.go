package tour

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

func TestConsoleRewritesItsProgressLineOnATerminal(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := &console{out: &out, live: true, start: time.Now()}
	c.progressf("one %d", 1)
	c.progressf("%s", strings.Repeat("ü", 200))
	c.notef("done")
	c.notef("next")
	const back = "\r\x1b[K"
	want := back + margin + "one 1" + back + margin + strings.Repeat("ü", lineWidth-1-len(margin)) + "…" +
		back + margin + "done\n" + margin + "next\n"
	if out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestConsoleHasNoProgressLineElsewhere(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	c := newConsole(&out)
	c.progressf("one")
	c.notef("done")
	if want := margin + "done\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestConsoleKeepsTheFirstError(t *testing.T) {
	t.Parallel()
	broken := errors.New("broken pipe")
	c := newConsole(brokenWriter{broken})
	c.notef("one")
	c.notef("two")
	if !errors.Is(c.failed(), broken) {
		t.Errorf("error %v, want %v", c.failed(), broken)
	}
}

type brokenWriter struct{ err error }

func (w brokenWriter) Write([]byte) (int, error) { return 0, w.err }

func TestAnswerIsIndentedAsItGrows(t *testing.T) {
	t.Parallel()
	var out bytes.Buffer
	a := answer{console: newConsole(&out)}
	for _, piece := range []string{"One", "", " line\nand", " another."} {
		a.add(piece)
	}
	a.end()
	if want := "       A  One line\n" + margin + "and another.\n"; out.String() != want {
		t.Errorf("printed %q, want %q", out.String(), want)
	}
}

func TestTranscript(t *testing.T) {
	t.Parallel()
	type step struct {
		delta     events.TextDelta
		piece     string
		restarted bool
	}
	tests := []struct {
		name  string
		steps []step
		text  string
	}{
		{name: "pieces follow each other", text: "abcd", steps: []step{
			{delta: events.TextDelta{Start: 3, Text: "ab"}, piece: "ab"},
			{delta: events.TextDelta{Start: 3, Offset: 2, Text: "cd"}, piece: "cd"},
		}},
		{name: "what came before is left out", text: "abcd", steps: []step{
			{delta: events.TextDelta{Start: 3, Text: "abc"}, piece: "abc"},
			{delta: events.TextDelta{Start: 3, Text: "ab"}},
			{delta: events.TextDelta{Start: 3, Offset: 1, Text: "bcd"}, piece: "d"},
		}},
		{name: "a new text replaces the one so far", text: "xy", steps: []step{
			{delta: events.TextDelta{Start: 3, Text: "ab"}, piece: "ab"},
			{delta: events.TextDelta{Start: 8, Text: "x"}, piece: "x", restarted: true},
			{delta: events.TextDelta{Start: 8, Offset: 1, Text: "y"}, piece: "y"},
		}},
		{name: "late pieces of a replaced text are left out", text: "x", steps: []step{
			{delta: events.TextDelta{Start: 8, Text: "x"}, piece: "x"},
			{delta: events.TextDelta{Start: 3, Offset: 1, Text: "b"}},
		}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			t.Parallel()
			var got transcript
			for i, s := range tt.steps {
				if piece, restarted := got.add(s.delta); piece != s.piece || restarted != s.restarted {
					t.Errorf("step %d: %q, restarted %t, want %q, %t", i, piece, restarted, s.piece, s.restarted)
				}
			}
			if string(got.text) != tt.text {
				t.Errorf("text %q, want %q", got.text, tt.text)
			}
		})
	}
}
