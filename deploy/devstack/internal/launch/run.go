package launch

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/tarento/copilot/deploy/devstack/internal/console"
	"github.com/tarento/copilot/deploy/devstack/internal/ports"
	"github.com/tarento/copilot/deploy/devstack/internal/postgres"
	"github.com/tarento/copilot/deploy/devstack/internal/state"
	"github.com/tarento/copilot/deploy/devstack/tour"
)

// The seeded user who takes the tour.
const (
	tourUser     = "admin@acme.com"
	tourPassword = "SecurePassword123!"
)

// run brings the system up, takes the tour and serves until it is stopped.
func (c *command) run(ctx, forced context.Context, o options) error {
	s := c.newSession(o, o.state, true)
	err := s.serve(ctx, forced, func(ctx context.Context) error {
		if o.tour && len(o.without) == 0 {
			// A tour that fails is a reason to look around, not to stop.
			if err := s.tour(ctx, false); err != nil && ctx.Err() == nil {
				s.console.Fail(err.Error())
			}
		}
		s.greet()
		<-ctx.Done()
		return nil
	})
	return ignoreInterrupt(err)
}

// toured brings the system up on free ports in a temporary folder, takes the tour and checks its answers.
func (c *command) toured(ctx, forced context.Context, o options) error {
	return c.briefly(ctx, forced, o, c.system.Stdout, func(ctx context.Context, s *session) error { return s.tour(ctx, true) })
}

// with brings the system up on free ports in a temporary folder, runs a command with its address in its environment and
// returns the command's exit code. What the launcher has to say goes where complaints go: the output is the command's.
func (c *command) with(ctx, forced context.Context, o options, words []string) (code int, err error) {
	if len(words) == 0 {
		return 0, usagef("with needs a command to run, such as: devstack with -- sh -c 'curl -s $%s/health'", varURL)
	}
	err = c.briefly(ctx, forced, o, c.system.Stderr, func(ctx context.Context, s *session) (err error) {
		code, err = c.runCommand(ctx, forced, append(slices.Clone(c.system.Env), varURL+"="+s.api()), words)
		return err
	})
	return code, err
}

// briefly brings the system up on free ports in a temporary folder, does something with it and throws it away.
func (c *command) briefly(
	ctx, forced context.Context, o options, out io.Writer, do func(context.Context, *session) error,
) (err error) {
	var done stack
	defer func() { err = errors.Join(err, done.closeAll(forced)) }()
	home, err := temporary(&done)
	if err != nil {
		return err
	}
	list := portOptions()
	free, err := ports.Free(ctx, len(list))
	if err != nil {
		return err
	}
	for i, p := range list {
		o.ports[p.name] = free[i]
	}
	s := c.newSession(o, home, false)
	s.console = console.New(out, c.system.getenv("NO_COLOR") != "")
	return s.serve(ctx, forced, func(ctx context.Context) error { return do(ctx, s) })
}

// clean throws the state away.
func (c *command) clean(o options) error {
	if err := errors.Join(os.RemoveAll(builds(o.root)), os.RemoveAll(postgres.SideFolder(builds(o.root)))); err != nil {
		return fmt.Errorf("remove the fetched Postgres: %w", err)
	}
	if !state.Exists(o.state) {
		if _, err := os.Stat(o.state); err == nil {
			return fmt.Errorf("%s does not look like a state folder: remove it by hand if it is one", o.state)
		}
		c.say("nothing to clean in " + o.state)
		return nil
	}
	folder, err := state.Open(o.state)
	if err != nil {
		return err
	}
	if err := errors.Join(os.RemoveAll(postgres.SideFolder(folder.Path(enginePostgres))), folder.Remove()); err != nil {
		return fmt.Errorf("clean %s: %w", o.state, err)
	}
	c.say("removed " + o.state)
	return nil
}

func (s *session) tour(ctx context.Context, check bool) error {
	return tour.Run(ctx, tour.Config{
		BaseURL:    s.api(),
		Identifier: tourUser,
		Password:   tourPassword,
		Out:        s.command.system.Stdout,
		Check:      check,
	})
}

func (s *session) api() string { return "http://" + ports.Addr(s.options.ports[portHTTP]) }

// greet tells the person what there is now.
func (s *session) greet() {
	s.console.Linef("")
	s.console.Title("The system is up. Ctrl-C stops it; the data stays in " + s.home + ".")
	s.console.Entry("API", s.api()+"/api/v1")
	s.console.Entry("docs", s.api()+"/docs")
	for _, p := range s.wanted() {
		s.console.Entry(p.name, "http://"+ports.Addr(s.options.ports[p.ops])+"/metrics")
	}
	s.console.Entry("log in as", tourUser+" / "+tourPassword)
	s.console.Entry("try", fmt.Sprintf(`curl -s %s/api/v1/auth/login -H 'Content-Type: application/json' -d '{"email":%q,"password":%q}'`,
		s.api(), tourUser, tourPassword))
	s.console.Entry("logs", s.folder.Path("logs"))
	for _, standIn := range s.standIns {
		s.console.Entry("stand-in", standIn)
	}
	for _, name := range s.options.without {
		s.console.Entry("by hand", name+": its variables are in "+s.folder.Path("env"))
	}
	s.console.Linef("")
}

// ignoreInterrupt makes being stopped by the person a good end.
func ignoreInterrupt(err error) error {
	if _, interrupted := errors.AsType[*interruptedError](err); interrupted && len(strings.Split(err.Error(), "\n")) == 1 {
		return nil
	}
	return err
}

// opsVariable is the name that a program's address for health and metrics has in the env file.
func opsVariable(p program) string {
	return strings.ToUpper(strings.ReplaceAll(p.name, "-", "_")) + "_OPS_ADDR"
}
