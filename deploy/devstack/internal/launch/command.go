package launch

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
	"time"
)

// Exit codes of the program.
const (
	exitFailed = 1
	exitUsage  = 2
)

// System is what the program has of the world around it.
type System struct {
	// Args are the arguments after the program's name.
	Args []string
	// Env is the environment, "KEY=value" each.
	Env []string
	// Stdin is handed to the command that exec runs.
	Stdin *os.File
	// Stdout is for results, Stderr for what the program says about its work.
	Stdout, Stderr io.Writer
}

// getenv returns a variable's value; empty when it is not set.
func (s System) getenv(key string) string {
	value := ""
	for _, entry := range s.Env {
		if name, found, _ := strings.Cut(entry, "="); name == key {
			value = found
		}
	}
	return value
}

// usageError says that the program was called wrongly.
type usageError string

func (e usageError) Error() string { return string(e) }

func errUsage(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// command is one invocation of the program.
type command struct {
	system System
}

// Main runs the program and returns its exit code.
func Main(ctx context.Context, system System) int {
	c := &command{system: system}
	code, err := c.dispatch(ctx)
	var usage usageError
	switch {
	case err == nil:
		return code
	case errors.Is(err, flag.ErrHelp):
		return 0
	case errors.As(err, &usage):
		c.say(err.Error())
		return exitUsage
	default:
		c.say(err.Error())
		return max(code, exitFailed)
	}
}

func (c *command) dispatch(ctx context.Context) (int, error) {
	name, rest := "help", c.system.Args
	if len(rest) > 0 {
		name, rest = rest[0], rest[1:]
	}
	polite, forced, release := watchSignals(ctx)
	defer release()
	switch name {
	case "exec":
		only := map[string]bool{}
		flags := flag.NewFlagSet("devstack exec", flag.ContinueOnError)
		flags.SetOutput(c.system.Stderr)
		for _, e := range c.testEngines() {
			flags.BoolFunc(e.name, "start only this engine, and others named so ("+e.variable+")", func(string) error {
				only[e.name] = true
				return nil
			})
		}
		if err := flags.Parse(rest); err != nil {
			return 0, flag.ErrHelp
		}
		return c.exec(polite, forced, only, flags.Args())
	default:
		return 0, errUsage("devstack has no command %q", name)
	}
}

// say tells the person at the terminal something.
func (c *command) say(text string) { _, _ = fmt.Fprintln(c.system.Stderr, "devstack:", text) }

// seconds is how durations are shown.
func seconds(d time.Duration) string { return fmt.Sprintf("%.1f s", d.Seconds()) }

// newSecret returns 192 random bits in hexadecimal.
func newSecret() (string, error) {
	raw := make([]byte, 24)
	if _, err := rand.Read(raw); err != nil {
		return "", fmt.Errorf("make a secret: %w", err)
	}
	return hex.EncodeToString(raw), nil
}
