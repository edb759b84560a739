package launch

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"strings"
)

// Exit codes of the program, beside those of a command that exec ran.
const (
	exitFailed = 1
	exitUsage  = 2
	exitSignal = 128 // plus the signal's number
)

// System is what the program has of the world around it.
type System struct {
	// Args are the arguments after the program's name.
	Args []string
	// Env is the environment, "KEY=value" each.
	Env []string
	// Stdin is handed to the command that exec runs; nil means none.
	Stdin *os.File
	// Stdout is for results, Stderr for complaints and for what exec says about its work.
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

// Error says what is wrong with the call.
func (e usageError) Error() string { return string(e) }

func usagef(format string, args ...any) error { return usageError(fmt.Sprintf(format, args...)) }

// command is one invocation of the program.
type command struct {
	system System
}

// Main runs the program and returns its exit code.
func Main(ctx context.Context, system System) int {
	c := &command{system: system}
	polite, forced, release := watchSignals(ctx)
	defer release()
	code, err := c.dispatch(polite, forced)
	if err == nil {
		return code
	}
	c.say(err.Error())
	if _, ok := errors.AsType[usageError](err); ok {
		return exitUsage
	}
	if interrupted, ok := errors.AsType[*interruptedError](err); ok {
		return exitSignal + int(interrupted.signal)
	}
	return exitFailed
}

func (c *command) dispatch(ctx, forced context.Context) (int, error) {
	name, args := "help", c.system.Args
	if len(args) > 0 {
		name, args = args[0], args[1:]
	}
	switch name {
	case "help", "-h", "-help", "--help":
		return 0, c.help()
	case "exec":
		var o execOptions
		flags := newFlags(name)
		o.define(flags)
		if err := flags.Parse(args); err != nil {
			return c.parsed(err)
		}
		return c.exec(ctx, forced, o, flags.Args())
	case "serve":
		var o serveOptions
		flags := newFlags(name)
		o.define(flags)
		if err := flags.Parse(args); err != nil {
			return c.parsed(err)
		}
		return 0, c.serve(ctx, forced, o, flags.Args())
	case "run", "up", "tour", "clean", "with":
		var o options
		flags := newFlags(name)
		root, err := repository()
		if err == nil {
			err = o.define(flags, c.system, root)
		}
		if err != nil {
			return 0, err
		}
		if err := flags.Parse(args); err != nil {
			return c.parsed(err)
		}
		words := flags.Args()
		if name == "with" {
			words = nil // they are the command
		}
		if err := o.complete(words); err != nil {
			return 0, err
		}
		if name == "with" {
			return c.with(ctx, forced, o, flags.Args())
		}
		return 0, c.withSystem(ctx, forced, name, o)
	default:
		return 0, usagef("there is no command %q: see devstack help", name)
	}
}

// withSystem does what the commands on the whole system do.
func (c *command) withSystem(ctx, forced context.Context, name string, o options) error {
	switch name {
	case "tour":
		return c.toured(ctx, forced, o)
	case "clean":
		return c.clean(o)
	case "up":
		for _, p := range programs() {
			o.without = append(o.without, p.name)
		}
	}
	return c.run(ctx, forced, o)
}

// parsed turns what the flag package says into what the program says.
func (c *command) parsed(err error) (int, error) {
	if errors.Is(err, flag.ErrHelp) {
		return 0, c.help()
	}
	return 0, usagef("%v: see devstack help", err)
}

const help = `Usage: devstack COMMAND [FLAGS]

  run    start the whole system, take a tour of it, serve until Ctrl-C
  tour   do that on free ports in a temporary folder, check the tour's answers, stop everything; exit 0 or 1
  up     start the engines and migrate the database, but none of the programs
  with   do that, and instead of the tour run a command that finds the API at COPILOT_URL: devstack with -- ./check.sh
  exec   start fresh engines in a temporary folder and run a command with their addresses: devstack exec -- go test ./...
  serve  run one engine in a folder, on a port, until it is stopped or killed: devstack serve --dir D --port P nats
  clean  throw the state away
  help   this text

A second Ctrl-C stops by force.

Flags of run, tour, with, up and clean (in parentheses the variable that sets the default)
`

const helpExec = `
Flags of exec (in parentheses the variable that the command gets; when it is set already, that server is used)
`

const helpServe = `
Flags of serve (` + varOwnerPassword + ` is the password of Postgres's owner)
`

const helpVariables = `
Servers of your own, used instead of ours
  MIGRATE_DATABASE_URL  Postgres, as the owner of the database; with DATABASE_URL and ENGINE_DATABASE_URL for the two roles,
                        or without them to have their logins made
  NATS_URL, REDIS_URL, QDRANT_URL (with QDRANT_API_KEY), GEMINI_API_KEY (with GEMINI_BASE_URL, the real service by default)
`

func (c *command) help() error {
	var text strings.Builder
	text.WriteString(help)
	flags := newFlags("run")
	flags.SetOutput(&text)
	var o options
	if err := o.define(flags, System{}, ""); err != nil {
		return err
	}
	flags.PrintDefaults()
	text.WriteString(helpExec)
	flags = newFlags("exec")
	flags.SetOutput(&text)
	var e execOptions
	e.define(flags)
	flags.PrintDefaults()
	text.WriteString(helpServe)
	flags = newFlags("serve")
	flags.SetOutput(&text)
	var s serveOptions
	s.define(flags)
	flags.PrintDefaults()
	text.WriteString(helpVariables)
	_, err := io.WriteString(c.system.Stdout, text.String())
	return err
}

// say tells the person at the terminal something.
func (c *command) say(text string) { _, _ = fmt.Fprintln(c.system.Stderr, "devstack:", text) }
