package console

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"maps"
	"slices"
	"strings"
	"sync"
)

// Logs shows a program's log lines, those of at least a level, with the program's name in front. Lines in slog's JSON form
// are shown for people; any other line (a panic, a complaint of the runtime) is shown as it is. Make it with Console.Logs.
type Logs struct {
	console *Console
	name    string
	style   Style
	level   slog.Level

	mu    sync.Mutex
	lines splitter
}

// Logs returns a writer for the output of the named program.
func (c *Console) Logs(name string, style Style, level slog.Level) *Logs {
	return &Logs{console: c, name: name, style: style, level: level}
}

// Write shows the lines of p that matter. It never fails.
func (l *Logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lines.feed(p, l.show)
	return len(p), nil
}

func (l *Logs) show(line string) {
	if line == "" {
		return
	}
	text, level := readable(line)
	if level < l.level {
		return
	}
	style := Plain
	switch {
	case level >= slog.LevelError:
		style = Red
	case level >= slog.LevelWarn:
		style = Yellow
	}
	l.console.write(l.console.paint(l.style, pad(l.name)+"|") + " " + l.console.paint(style, text))
}

// readable returns a log line for people and its level. What is no log line counts as an error: programs print it when
// something is wrong.
func readable(line string) (string, slog.Level) {
	var fields map[string]any
	decoder := json.NewDecoder(strings.NewReader(line))
	decoder.UseNumber() // a float64 would be shown as 1e+07
	if err := decoder.Decode(&fields); err != nil {
		return line, slog.LevelError
	}
	said, ok := fields[slog.LevelKey].(string)
	var level slog.Level
	if !ok || level.UnmarshalText([]byte(said)) != nil {
		return line, slog.LevelError
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%-5s %v", level, fields[slog.MessageKey])
	for _, key := range slices.Sorted(maps.Keys(fields)) {
		switch key {
		case slog.LevelKey, slog.MessageKey, slog.TimeKey, "component":
		default:
			fmt.Fprintf(&b, " %s=%v", key, fields[key])
		}
	}
	return b.String(), level
}
