package console

import (
	"fmt"
	"io"
	"os"
	"strings"
	"sync"
	"time"
)

// nameWidth is the width of the column of names.
const nameWidth = 17

// Style is a color or weight of text on a terminal.
type Style string

// The styles in use. Each is the number of its escape sequence.
const (
	Plain  Style = ""
	Bold   Style = "1"
	Faint  Style = "2"
	Red    Style = "31"
	Green  Style = "32"
	Yellow Style = "33"
	Blue   Style = "34"
	Purple Style = "35"
	Cyan   Style = "36"
)

// Console writes whole lines to one place, from many goroutines. Make it with New.
type Console struct {
	mu    sync.Mutex
	out   io.Writer
	color bool
}

// New returns a console on out. Colors are used when out is a terminal and noColor is false.
func New(out io.Writer, noColor bool) *Console {
	return &Console{out: out, color: !noColor && isTerminal(out)}
}

func isTerminal(out io.Writer) bool {
	file, ok := out.(*os.File)
	if !ok {
		return false
	}
	info, err := file.Stat()
	return err == nil && info.Mode()&os.ModeCharDevice != 0 && info.Mode()&os.ModeDevice != 0
}

// paint puts a style on text.
func (c *Console) paint(style Style, text string) string {
	if !c.color || style == Plain || text == "" {
		return text
	}
	return "\x1b[" + string(style) + "m" + text + "\x1b[0m"
}

// Linef writes a line.
func (c *Console) Linef(format string, args ...any) { c.write(fmt.Sprintf(format, args...)) }

// Title writes a line that stands out.
func (c *Console) Title(text string) { c.write(c.paint(Bold, text)) }

// Warn writes a line that asks for attention.
func (c *Console) Warn(text string) { c.write(c.paint(Yellow, "! ") + text) }

// Fail writes a line that says what went wrong.
func (c *Console) Fail(text string) { c.write(c.paint(Red, "x ") + text) }

// Phase writes that a step is done, what came of it and how long it took.
func (c *Console) Phase(name, detail string, took time.Duration) {
	c.write(fmt.Sprintf("%s %-*s %s  %s", c.paint(Green, "+"), nameWidth, name, detail, c.paint(Faint, Seconds(took))))
}

// Entry writes one line of a list of names and what they stand for.
func (c *Console) Entry(name, value string) {
	c.write(fmt.Sprintf("  %s %s", c.paint(Faint, pad(name)), value))
}

func pad(name string) string { return fmt.Sprintf("%-*s", nameWidth, name) }

func (c *Console) write(text string) {
	c.mu.Lock()
	defer c.mu.Unlock()
	// Nobody can be told that the terminal is gone.
	_, _ = io.WriteString(c.out, strings.TrimRight(text, "\n")+"\n")
}

// Seconds is how durations are shown.
func Seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }
