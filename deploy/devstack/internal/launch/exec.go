package launch

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/tarento/copilot/deploy/devstack/internal/engines"
	"github.com/tarento/copilot/deploy/devstack/internal/ports"
	"github.com/tarento/copilot/deploy/devstack/internal/postgres"
	"github.com/tarento/copilot/deploy/devstack/internal/process"
)

// execGrace is how long the command may take to end after a signal; go test prints where its tests hang meanwhile.
const execGrace = 15 * time.Second

// engine is one thing a command can be given for its tests.
type engine struct {
	name     string
	variable string
	start    func(ctx context.Context, dir string, port int, done *stack) (url string, err error)
}

// testEngines are the engines of the exec command, set up for speed: nothing in them survives.
func (c *command) testEngines() []engine {
	return []engine{
		{"postgres", "TEST_DATABASE_URL", func(ctx context.Context, dir string, port int, done *stack) (string, error) {
			log, err := os.Create(filepath.Join(dir, "postgres.log")) //nolint:gosec // a folder of ours
			if err != nil {
				return "", fmt.Errorf("write Postgres's log: %w", err)
			}
			done.push("the log", func(context.Context) error { return log.Close() })
			password, err := newSecret()
			if err != nil {
				return "", err
			}
			server, err := postgres.Start(ctx, postgres.Config{
				Home:       filepath.Join(dir, "postgres"),
				Port:       port,
				Password:   password,
				SearchPath: c.system.getenv("PATH"),
				Log:        log,
				Say:        c.say,
			})
			if err != nil {
				return "", err
			}
			done.push("Postgres", func(ctx context.Context) error {
				return errors.Join(server.Stop(ctx), os.RemoveAll(server.Home()))
			})
			return server.OwnerURL("postgres"), nil
		}},
		{"nats", "TEST_NATS_URL", func(ctx context.Context, dir string, port int, done *stack) (string, error) {
			server, err := engines.StartNATS(ctx, filepath.Join(dir, "nats"), port, slog.New(slog.DiscardHandler))
			if err != nil {
				return "", err
			}
			done.push("NATS", func(context.Context) error { return server.Close() })
			return server.URL(), nil
		}},
		{"redis", "TEST_REDIS_URL", func(_ context.Context, _ string, port int, done *stack) (string, error) {
			server, err := engines.StartRedis(port)
			if err != nil {
				return "", err
			}
			done.push("Redis", func(context.Context) error { return server.Close() })
			return server.URL(), nil
		}},
	}
}

// exec starts fresh engines in a temporary folder, runs a command with their addresses in its environment, ends them and
// returns the command's exit code.
func (c *command) exec(ctx, forced context.Context, only map[string]bool, words []string) (code int, err error) {
	if len(words) == 0 {
		return 0, errUsage("exec needs a command to run: devstack exec -- go test ./...")
	}
	var done stack
	defer func() { err = errors.Join(err, done.closeAll(forced)) }()

	dir, err := os.MkdirTemp("", "copilot-exec-")
	if err != nil {
		return 0, fmt.Errorf("make a temporary folder: %w", err)
	}
	done.push("the temporary folder", func(context.Context) error { return os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil { //nolint:gosec // Postgres's user has to pass through it
		return 0, fmt.Errorf("open the temporary folder: %w", err)
	}

	environment := c.system.Env
	started := time.Now()
	list := c.testEngines()
	free, err := ports.Free(ctx, len(list))
	if err != nil {
		return 0, err
	}
	for i, e := range list {
		if len(only) > 0 && !only[e.name] {
			continue
		}
		if given := c.system.getenv(e.variable); given != "" {
			c.say(fmt.Sprintf("%s is set: using it", e.variable))
			continue
		}
		address, err := e.start(ctx, dir, free[i], &done)
		if err != nil {
			return 0, err
		}
		environment = append(environment[:len(environment):len(environment)], e.variable+"="+address)
	}
	c.say(fmt.Sprintf("engines ready in %s", seconds(time.Since(started))))
	return c.runWith(ctx, forced, environment, words)
}

// runWith runs a command in the terminal's foreground and returns its exit code.
func (c *command) runWith(ctx, forced context.Context, environment, words []string) (int, error) {
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
		var interrupted *interruptedError
		if errors.As(context.Cause(ctx), &interrupted) {
			child.Signal(interrupted.signal)
		}
		if err := child.Stop(forced); err != nil {
			c.say(err.Error())
		}
	}
	var exit *process.ExitError
	if errors.As(child.Err(), &exit) {
		return exit.Code, nil
	}
	return 0, child.Err()
}
