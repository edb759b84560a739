package launch

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/tarento/copilot/deploy/devstack/internal/state"
)

// varOwnerPassword is where serve finds the password of Postgres's owner, which has no place among arguments.
const varOwnerPassword = "DEVSTACK_OWNER_PASSWORD"

// serveOptions say where and how one engine runs.
type serveOptions struct {
	dir     string
	port    int
	durable bool
}

// define adds the flags to a set.
func (o *serveOptions) define(flags *flag.FlagSet) {
	flags.StringVar(&o.dir, "dir", "", "`folder` for all that the engine keeps; it survives the engine")
	flags.Func("port", "`port` that the engine listens on", func(text string) (err error) {
		o.port, err = parsePort(text)
		return err
	})
	flags.BoolVar(&o.durable, "durable", false, "have Postgres bring every commit to the disk, so that killing it loses none")
}

// serve runs one engine in the foreground until it is told to stop, for whoever wants to end and start engines one by one. Once the
// engine answers, it prints "ready" and the number of the process to kill when the engine is to die.
func (c *command) serve(ctx, forced context.Context, o serveOptions, words []string) (err error) {
	all := allEngines()
	if len(words) != 1 || !slices.ContainsFunc(all, func(e engine) bool { return e.name == words[0] }) {
		return usagef("serve needs the name of one engine: %s", strings.Join(engineNames(), ", "))
	}
	if o.dir == "" || o.port == 0 {
		return usagef("serve needs --dir and --port")
	}
	wanted := all[slices.Index(engineNames(), words[0])]
	root, err := repository()
	if err != nil { // serve works anywhere; then what was fetched is kept with the data
		root = o.dir
	}
	at := place{
		dir: o.dir, port: o.port, log: c.system.Stderr, say: c.say, searchPath: c.system.getenv(varPath), builds: builds(root),
		ownerPassword: c.system.getenvOr(varOwnerPassword, state.NewSecret()), durable: o.durable, scripted: true,
	}
	up, err := wanted.start(ctx, at)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, up.stop(forced)) }()
	pid := up.pid
	if pid == 0 {
		pid = os.Getpid()
	}
	if _, err := fmt.Fprintln(c.system.Stdout, "ready", pid); err != nil {
		return fmt.Errorf("say that %s is ready: %w", wanted.name, err)
	}
	select {
	case <-ctx.Done():
		return nil
	case <-up.died:
		return fmt.Errorf("%s has ended; its files are in %s", wanted.name, filepath.Clean(o.dir))
	}
}

// engineNames are the names of all engines, in their order.
func engineNames() (names []string) {
	for _, e := range allEngines() {
		names = append(names, e.name)
	}
	return names
}
