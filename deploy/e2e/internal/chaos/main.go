package chaos

import (
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"
)

// Main runs the program and returns its exit code: 0 when every promise was kept, 1 when one was not or the run could not be done,
// 2 for a wrong call. The report goes to out, what happens meanwhile to progress.
func Main(ctx context.Context, args []string, out, progress io.Writer) int {
	o, asJSON, err := parse(args, progress)
	if errors.Is(err, flag.ErrHelp) {
		return 0
	}
	if err != nil {
		return 2
	}
	result, err := Run(ctx, o)
	if err != nil {
		_, _ = fmt.Fprintf(progress, "chaos: %v\nchaos: NO VERDICT; logs in %s; again: %s\n", err, o.Logs, o.command())
		return 1
	}
	if err := save(result, filepath.Join(o.Logs, "result.json")); err != nil {
		_, _ = fmt.Fprintln(progress, "chaos:", err)
	}
	if asJSON {
		encoder := json.NewEncoder(out)
		encoder.SetIndent("", "  ")
		err = encoder.Encode(result)
	} else {
		err = result.Write(out)
	}
	if err != nil || !result.OK() {
		return 1
	}
	return 0
}

func parse(args []string, usage io.Writer) (o Options, asJSON bool, err error) {
	flags := flag.NewFlagSet("chaos", flag.ContinueOnError)
	flags.SetOutput(usage)
	flags.Uint64Var(&o.Seed, "seed", uint64(time.Now().UnixNano())%1_000_000, "what the clients do, and which faults come in which order")
	flags.IntVar(&o.Jobs, "jobs", 500, "jobs that clients submit")
	flags.DurationVar(&o.For, "for", 90*time.Second, "how long clients submit and faults come")
	full := flags.Bool("full", false, "the long run: 20,000 jobs in 30 minutes, unless -jobs and -for say otherwise")
	flags.DurationVar(&o.Settle, "settle", 2*time.Minute, "how long no job may end, when everything is healed and some are open")
	flags.DurationVar(&o.Lease, "lease", 3*time.Second, "how long a job stays with a worker that shows no sign of life")
	flags.StringVar(&o.Bin, "bin", "", "folder of the built programs; they are built when it is empty")
	flags.StringVar(&o.Root, "root", ".", "the repository")
	flags.StringVar(&o.Logs, "logs", "", "folder for logs and the result; one in the temporary folder when it is empty")
	flags.StringVar(&o.LogLevel, "log-level", "info", "least severe level in the programs' logs")
	flags.BoolVar(&asJSON, "json", false, "write the result as JSON")
	flags.Func("only", "draw only this `fault`; repeatable: "+strings.Join(faultNames(), ", "), func(name string) error {
		if !slices.Contains(faultNames(), name) {
			return errors.New("there is no such fault")
		}
		o.Only = append(o.Only, name)
		return nil
	})
	if err := flags.Parse(args); err != nil {
		return o, false, err
	}
	if *full {
		lengthen(&o, flags)
	}
	if flags.NArg() > 0 || o.Jobs < 1 || o.For <= 0 {
		_, _ = fmt.Fprintln(usage, "chaos: unexpected arguments")
		return o, false, errors.New("unexpected arguments")
	}
	if o.Logs == "" {
		o.Tidy = true
		o.Logs = filepath.Join(os.TempDir(), fmt.Sprintf("copilot-chaos-%d-%d", o.Seed, time.Now().Unix()))
	}
	o.Out = usage
	return o, asJSON, nil
}

// The long run.
const (
	fullJobs   = 20_000
	fullFor    = 30 * time.Minute
	fullSettle = 5 * time.Minute
)

// lengthen makes it the long run, as far as the flags do not say otherwise.
func lengthen(o *Options, flags *flag.FlagSet) {
	set := map[string]bool{}
	flags.Visit(func(f *flag.Flag) { set[f.Name] = true })
	if !set["jobs"] {
		o.Jobs = fullJobs
	}
	if !set["for"] {
		o.For = fullFor
	}
	if !set["settle"] {
		o.Settle = fullSettle
	}
}

func save(result *Result, path string) error {
	text, err := json.MarshalIndent(result, "", "  ")
	if err == nil {
		err = os.WriteFile(path, text, 0o600)
	}
	if err != nil {
		return fmt.Errorf("save the result: %w", err)
	}
	return nil
}
