package tour

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"
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
