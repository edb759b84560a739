package launch

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"path/filepath"
	"syscall"
	"time"

	"github.com/tarento/copilot/deploy/devstack/internal/console"
	"github.com/tarento/copilot/deploy/devstack/internal/ports"
	"github.com/tarento/copilot/deploy/devstack/internal/process"
	"github.com/tarento/copilot/deploy/devstack/internal/state"
)

// execGrace is how long the command may take to end after a signal; go test prints where its tests hang meanwhile.
const execGrace = 15 * time.Second

// execOptions say which engines a command gets.
type execOptions struct {
	// only names the engines wanted; empty means all.
	only map[string]bool
	// durable gives up speed for commits that reach the disk. Nothing survives the command either way.
	durable bool
}

// define adds the flags to a set.
func (o *execOptions) define(flags *flag.FlagSet) {
	o.only = make(map[string]bool)
	for _, e := range allEngines() {
		flags.BoolFunc(e.name, "start only this engine, and others named so ("+e.testVariable+")", func(string) error {
			o.only[e.name] = true
			return nil
		})
	}
	flags.BoolVar(&o.durable, "durable", false, "have Postgres bring every commit to the disk, as measurements need it")
}

// exec starts fresh engines in a temporary folder, runs a command with their addresses in its environment, ends them and
// returns the command's exit code.
func (c *command) exec(ctx, forced context.Context, o execOptions, words []string) (code int, err error) {
	if len(words) == 0 {
		return 0, usagef("exec needs a command to run, such as: devstack exec -- go test ./...")
	}
	var done stack
	defer func() { err = errors.Join(err, done.closeAll(forced)) }()
	started := time.Now()
	environment, err := c.testEnvironment(ctx, o, &done)
	if err != nil {
		return 0, err
	}
	c.say("engines ready in " + console.Seconds(time.Since(started)))
	return c.runCommand(ctx, forced, environment, words)
}

// testEnvironment starts the engines and returns our environment with their addresses.
func (c *command) testEnvironment(ctx context.Context, o execOptions, done *stack) ([]string, error) {
	dir, err := temporary(done)
	if err != nil {
		return nil, err
	}
	root, err := repository()
	if err != nil { // exec works anywhere; then nothing that was fetched is kept
		root = dir
	}
	list := allEngines()
	free, err := ports.Free(ctx, len(list))
	if err != nil {
		return nil, err
	}
	environment := append([]string{}, c.system.Env...)
	for i, e := range list {
		if len(o.only) > 0 && !o.only[e.name] {
			continue
		}
		if c.system.getenv(e.testVariable) != "" {
			c.say(e.testVariable + " is set: using that server")
			continue
		}
		up, err := e.start(ctx, place{
			dir:           filepath.Join(dir, e.name),
			port:          free[i],
			log:           io.Discard,
			say:           c.say,
			ownerPassword: state.NewSecret(),
			searchPath:    c.system.getenv(varPath),
			builds:        builds(root),
			durable:       o.durable,
			discarded:     true,
			scripted:      true,
			realRedis:     true,
		})
		if err != nil {
			return nil, err
		}
		done.push(e.name, up.stop)
		environment = append(environment, e.testVariable+"="+up.url)
	}
	return environment, nil
}

// runCommand runs a command in the terminal's foreground and returns its exit code.
func (c *command) runCommand(ctx, forced context.Context, environment, words []string) (int, error) {
	child, err := process.Start(process.Spec{
		Name:   words[0],
		Path:   words[0],
		Args:   words[1:],
		Env:    environment,
		Stdin:  c.system.Stdin,
		Stdout: c.system.Stdout,
		Stderr: c.system.Stderr,
		Grace:  execGrace,
	})
	if err != nil {
		return 0, err
	}
	select {
	case <-child.Done():
	case <-ctx.Done():
		sig := syscall.SIGTERM
		if interrupted, ok := errors.AsType[*interruptedError](context.Cause(ctx)); ok {
			sig = interrupted.signal
		}
		if err := child.Interrupt(forced, sig); err != nil {
			c.say(err.Error())
		}
	}
	if exit, ok := errors.AsType[*process.ExitError](child.Err()); ok {
		return exit.Code, nil
	}
	if err := child.Err(); err != nil {
		return 0, fmt.Errorf("run %s: %w", words[0], err)
	}
	return 0, nil
}
