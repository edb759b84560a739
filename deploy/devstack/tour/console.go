package tour

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
	"unicode/utf8"
)

const (
	// margin is where text begins that belongs to the line above it: below the times.
	margin = "          "
	// lineWidth is how much of a line a progress line uses at most, so that it never wraps and can always be taken back.
	lineWidth = 78
)

// console prints the tour. Finished lines carry the time since its start. On a terminal, a progress line stands at the end and
// is rewritten in place; elsewhere progress is printed as lines. It is safe for concurrent use.
type console struct {
	mu    sync.Mutex
	out   io.Writer
	live  bool // out is a terminal
	start time.Time

	volatile bool // the cursor stands in a progress line
	err      error
}

func newConsole(out io.Writer) *console {
	return &console{out: out, live: isTerminal(out), start: time.Now()}
}

// isTerminal reports whether w shows what is written to a person at once.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	if !ok {
		return false
	}
	info, err := f.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0
}

// elapsed is the time since the start of the tour.
func (c *console) elapsed() time.Duration { return time.Since(c.start) }

// stepf prints a line that says what is done now, with the time since the start.
func (c *console) stepf(format string, args ...any) {
	c.print(label(seconds(c.elapsed())) + fmt.Sprintf(format, args...) + "\n")
}

// notef prints a line below the one above.
func (c *console) notef(format string, args ...any) {
	c.print(margin + fmt.Sprintf(format, args...) + "\n")
}

// headingf prints a line from the left edge, with a blank one above unless it is the first.
func (c *console) headingf(format string, args ...any) {
	c.print("\n" + fmt.Sprintf(format, args...) + "\n")
}

// progressf replaces the progress line on a terminal, and prints nothing elsewhere.
func (c *console) progressf(format string, args ...any) {
	if !c.live {
		return
	}
	line := margin + fmt.Sprintf(format, args...)
	if n := utf8.RuneCountInString(line); n > lineWidth {
		line = string([]rune(line)[:lineWidth-1]) + "…"
	}
	c.mu.Lock()
	defer c.mu.Unlock()
	c.write("\r\x1b[K" + line)
	c.volatile = true
}

// print writes whole lines, or the running text of an answer, after taking the progress line back.
func (c *console) print(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.volatile {
		text = "\r\x1b[K" + text
		c.volatile = false
	}
	c.write(text)
}

// write keeps the first error; a tour that nobody can read any more still runs to its end.
func (c *console) write(text string) {
	if _, err := io.WriteString(c.out, text); err != nil && c.err == nil {
		c.err = err
	}
}

// failed returns the first error of writing.
func (c *console) failed() error {
	c.mu.Lock()
	defer c.mu.Unlock()
	return c.err
}

// answer prints a text that grows, indented as a note is.
type answer struct {
	*console
	begun bool
}

// add prints the next piece.
func (a *answer) add(piece string) {
	if piece == "" {
		return
	}
	piece = strings.ReplaceAll(piece, "\n", "\n"+margin)
	if !a.begun {
		a.begun = true
		piece = label("A") + piece
	}
	a.print(piece)
}

// again begins a new text, since the one so far does not count.
func (a *answer) again() {
	if a.begun {
		a.print("\n" + margin + "(the model starts again)\n")
	}
	a.begun = false
}

// end ends the text with its line.
func (a *answer) end() {
	if a.begun {
		a.print("\n")
	}
}

// label puts a short word into the margin, at its right end.
func label(word string) string { return fmt.Sprintf("%*s  ", len(margin)-2, word) }

// seconds writes a duration as people compare them: in seconds, with two digits after the point.
func seconds(d time.Duration) string { return fmt.Sprintf("%.2f s", d.Seconds()) }

// size writes a number of bytes in KiB or MiB.
func size(n int) string {
	if n < 1<<20 {
		return fmt.Sprintf("%d KiB", (n+1023)>>10)
	}
	return fmt.Sprintf("%.1f MiB", float64(n)/(1<<20))
}
