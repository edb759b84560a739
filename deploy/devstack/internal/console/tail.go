package console

import (
	"slices"
	"strings"
	"sync"
)

// tailLines is how much of a program's output is remembered.
const tailLines = 15

// Tail remembers the last lines written to it. The zero Tail is empty and ready. It is safe for use by many goroutines and
// never fails.
type Tail struct {
	lines splitter
	mu    sync.Mutex
	kept  []string
}

// Write remembers the lines of p.
func (t *Tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.lines.feed(p, func(line string) {
		t.kept = append(t.kept, line)
		if extra := len(t.kept) - tailLines; extra > 0 {
			t.kept = slices.Delete(t.kept, 0, extra)
		}
	})
	return len(p), nil
}

// Quote returns the lines, ready to follow an error; empty when there are none.
func (t *Tail) Quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := t.kept
	if t.lines.rest != "" {
		lines = append(slices.Clip(lines), t.lines.rest)
	}
	if len(lines) == 0 {
		return ""
	}
	return "; its last output:\n  " + strings.Join(lines, "\n  ")
}

// longestLine is where a line without an end is cut.
const longestLine = 64 << 10

// splitter cuts a stream of bytes into lines.
type splitter struct{ rest string }

// feed hands every line that p completes to each, without its end.
func (s *splitter) feed(p []byte, each func(line string)) {
	text := s.rest + string(p)
	for {
		line, after, found := strings.Cut(text, "\n")
		if !found {
			break
		}
		each(strings.TrimSuffix(line, "\r"))
		text = after
	}
	if len(text) > longestLine {
		each(text)
		text = ""
	}
	s.rest = text
}
