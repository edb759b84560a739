package telemetry

import (
	"io"
	"log/slog"
	"strings"

	"github.com/tarento/copilot/pkg/fault"
)

// LogConfig is how a process logs.
type LogConfig struct {
	Level  string `env:"LOG_LEVEL"  envDefault:"info" desc:"Least severe level that is logged: debug, info, warn or error"`
	Format string `env:"LOG_FORMAT" envDefault:"json" desc:"Form of the log lines: json or text"`
}

// Validate implements the config package's hook.
func (c LogConfig) Validate() error {
	if _, err := c.level(); err != nil {
		return fault.New(fault.Invalid, "config.log_level", "LOG_LEVEL must be debug, info, warn or error")
	}
	if f := strings.ToLower(c.Format); f != "json" && f != "text" {
		return fault.New(fault.Invalid, "config.log_format", "LOG_FORMAT must be json or text")
	}
	return nil
}

func (c LogConfig) level() (l slog.Level, err error) {
	err = l.UnmarshalText([]byte(c.Level))
	return l, err
}

// Logger returns a logger that writes to w and names the component in every line.
func (c LogConfig) Logger(w io.Writer, component string) *slog.Logger {
	level, err := c.level()
	if err != nil {
		level = slog.LevelInfo
	}
	opts := &slog.HandlerOptions{Level: level, ReplaceAttr: spellDurations}
	var h slog.Handler = slog.NewJSONHandler(w, opts)
	if strings.EqualFold(c.Format, "text") {
		h = slog.NewTextHandler(w, opts)
	}
	return slog.New(h).With("component", component)
}

// spellDurations has the JSON lines say 1.5s where slog would write a bare number of nanoseconds.
func spellDurations(_ []string, a slog.Attr) slog.Attr {
	if a.Value.Kind() == slog.KindDuration {
		a.Value = slog.StringValue(a.Value.Duration().String())
	}
	return a
}
