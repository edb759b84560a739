package launch

import (
	"context"
	"errors"
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

// exec starts fresh engines in a temporary folder, runs a command with their addresses in its environment, ends them and
// returns the command's exit code. The engines are set up for speed: nothing in them survives. only names the ones wanted;
// empty means all.
func (c *command) exec(ctx, forced context.Context, only map[string]bool, words []string) (code int, err error) {
	if len(words) == 0 {
		return 0, usagef("exec needs a command to run, such as: devstack exec -- go test ./...")
	}
	var done stack
	defer func() { err = errors.Join(err, done.closeAll(forced)) }()
	started := time.Now()
	environment, err := c.testEnvironment(ctx, only, &done)
	if err != nil {
		return 0, err
	}
	c.say("engines ready in " + console.Seconds(time.Since(started)))
	return c.runCommand(ctx, forced, environment, words)
}

// testEnvironment starts the engines and returns our environment with their addresses.
func (c *command) testEnvironment(ctx context.Context, only map[string]bool, done *stack) ([]string, error) {
	dir, err := temporary(done)
	if err != nil {
		return nil, err
	}
	list := allEngines()
	free, err := ports.Free(ctx, len(list))
	if err != nil {
		return nil, err
	}
	environment := append([]string{}, c.system.Env...)
	for i, e := range list {
		if len(only) > 0 && !only[e.name] {
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
			scripted:      true,
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
