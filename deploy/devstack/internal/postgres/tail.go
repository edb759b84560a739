package postgres

import (
	"io"
	"strings"
	"sync"
)

// tailLines is how much of the server's output an error quotes.
const tailLines = 12

// tail passes output on and remembers the last lines of it.
type tail struct {
	mu    sync.Mutex
	to    io.Writer
	lines []string
	rest  string
}

func newTail(to io.Writer) *tail { return &tail{to: to} }

// Write remembers p and passes it on.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	parts := strings.Split(t.rest+string(p), "\n")
	t.rest = parts[len(parts)-1]
	t.lines = append(t.lines, parts[:len(parts)-1]...)
	if extra := len(t.lines) - tailLines; extra > 0 {
		t.lines = append([]string(nil), t.lines[extra:]...)
	}
	return t.to.Write(p)
}

// quote returns the last lines, ready to follow an error; empty when there are none.
func (t *tail) quote() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := t.lines
	if t.rest != "" {
		lines = append(lines[:len(lines):len(lines)], t.rest)
	}
	if len(lines) == 0 {
		return ""
	}
	return "; its last output:\n  " + strings.Join(lines, "\n  ")
}
