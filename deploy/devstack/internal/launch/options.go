package launch

import (
	"flag"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

// The names of ports that are not an engine's.
const (
	portHTTP         = "http"
	portGatewayOps   = "gateway-ops"
	portAgentOps     = "agent-ops"
	portIngestOps    = "ingest-ops"
	portEmbeddingOps = "embedding-ops"
)

// portOption is a port that can be chosen.
type portOption struct {
	name    string
	initial int
	purpose string
}

// portOptions are all ports of the system. Those of the engines are away from the usual ones, which may be in use.
func portOptions() []portOption {
	return []portOption{
		{portHTTP, 8080, "the gateway's API"},
		{portGatewayOps, 9090, "the gateway's health and metrics"},
		{portAgentOps, 9091, "the agent worker's health and metrics"},
		{portIngestOps, 9092, "the ingest worker's health and metrics"},
		{portEmbeddingOps, 9093, "the embedding worker's health and metrics"},
		{enginePostgres, 54329, "Postgres"},
		{engineNATS, 42229, "NATS"},
		{engineRedis, 63799, "the Redis stand-in"},
		{engineQdrant, 63349, "the Qdrant stand-in"},
		{engineGemini, 42280, "the Gemini stand-in"},
	}
}

func (p portOption) flag() string { return p.name + "-port" }

func (p portOption) variable() string {
	return "COPILOT_" + strings.ToUpper(strings.ReplaceAll(p.name, "-", "_")) + "_PORT"
}

func (p portOption) want(number int) ports.Want {
	return ports.Want{Number: number, For: p.purpose, Change: "--" + p.flag() + " or " + p.variable()}
}

// options say how the system is run.
type options struct {
	root     string // of the repository
	state    string
	tour     bool
	verbose  bool
	logLevel string
	ports    map[string]int
	without  []string // programs that somebody runs by hand
	extra    []string // variables for all programs, "KEY=value" each
}

// stateDefault is where the state is kept, relative to the repository.
const stateDefault = ".devstack"

// define adds the flags to a set. Their defaults come from the environment.
func (o *options) define(flags *flag.FlagSet, system System, root string) error {
	o.root = root
	o.ports = make(map[string]int)
	flags.StringVar(&o.state, "state", system.getenvOr("DEVSTACK_STATE", filepath.Join(root, stateDefault)),
		"folder for data, secrets and logs (DEVSTACK_STATE)")
	flags.StringVar(&o.logLevel, "log-level", system.getenvOr(varLogLevel, "info"),
		"least severe level in the log files: debug, info, warn or error (LOG_LEVEL)")
	verbose, err := system.getbool("VERBOSE", false)
	if err != nil {
		return err
	}
	flags.BoolVar(&o.verbose, "verbose", verbose, "show all log lines, not only warnings and errors (VERBOSE)")
	tour, err := system.getbool("TOUR", true)
	if err != nil {
		return err
	}
	flags.BoolVar(&o.tour, "tour", tour, "take the tour when the system is ready (TOUR)")
	flags.Func("without", "leave this program out, to run it by hand: gateway, agent-worker, ingest-worker or embedding-worker; repeatable",
		func(name string) error {
			if !slices.ContainsFunc(programs(), func(p program) bool { return p.name == name }) {
				return fmt.Errorf("there is no program %q", name)
			}
			o.without = append(o.without, name)
			return nil
		})
	flags.Func("env", "`KEY=value` to set for every program; repeatable", func(entry string) error {
		if name, _, ok := strings.Cut(entry, "="); !ok || name == "" {
			return fmt.Errorf("%q is not KEY=value", entry)
		}
		o.extra = append(o.extra, entry)
		return nil
	})
	for _, p := range portOptions() {
		if err := o.definePort(flags, system, p); err != nil {
			return err
		}
	}
	return nil
}

func (o *options) definePort(flags *flag.FlagSet, system System, p portOption) error {
	number := p.initial
	if given := system.getenv(p.variable()); given != "" {
		var err error
		if number, err = parsePort(given); err != nil {
			return usagef("%s: %v", p.variable(), err)
		}
	}
	o.ports[p.name] = number
	flags.Func(p.flag(), fmt.Sprintf("`port` of %s (%s; default %d)", p.purpose, p.variable(), p.initial), func(text string) error {
		number, err := parsePort(text)
		o.ports[p.name] = number
		return err
	})
	return nil
}

func parsePort(text string) (int, error) {
	number, err := strconv.Atoi(text)
	if err != nil || number < 1 || number > 65535 {
		return 0, fmt.Errorf("%q is not a port (1 to 65535)", text)
	}
	return number, nil
}

// complete checks what cannot be checked flag by flag.
func (o *options) complete(args []string) error {
	if len(args) > 0 {
		return usagef("unexpected argument %q", args[0])
	}
	var level slog.Level
	if err := level.UnmarshalText([]byte(o.logLevel)); err != nil {
		return usagef("--log-level: %q is none of debug, info, warn and error", o.logLevel)
	}
	state, err := filepath.Abs(o.state)
	if err != nil {
		return fmt.Errorf("find the state folder: %w", err)
	}
	o.state = state
	return nil
}

// repository returns the root of the repository that the working directory is in.
func repository() (string, error) {
	start, err := os.Getwd()
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if isFile(filepath.Join(dir, "go.work")) && isFile(filepath.Join(dir, "deploy", "devstack", "go.mod")) {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", usagef("%s is not in the repository: go there first", start)
		}
	}
}

func isFile(path string) bool {
	info, err := os.Stat(path)
	return err == nil && info.Mode().IsRegular()
}

// getenvOr returns a variable's value, or the fallback when it is empty.
func (s System) getenvOr(key, fallback string) string {
	if value := s.getenv(key); value != "" {
		return value
	}
	return fallback
}

// getbool reads a variable that is on or off.
func (s System) getbool(key string, fallback bool) (bool, error) {
	given := s.getenv(key)
	if given == "" {
		return fallback, nil
	}
	value, err := strconv.ParseBool(given)
	if err != nil {
		return false, usagef("%s: %q is neither 1 nor 0", key, given)
	}
	return value, nil
}

// newFlags returns a flag set that prints nothing: errors are printed once, by Main, and help by the help command.
func newFlags(name string) *flag.FlagSet {
	flags := flag.NewFlagSet("devstack "+name, flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	return flags
}
