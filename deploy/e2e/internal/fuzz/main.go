package fuzz

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"math/rand/v2"
	"strconv"
	"strings"
	"time"
)

// Exit codes of the program.
const (
	exitOK     = 0
	exitFailed = 1
	exitUsage  = 2
)

// Main is the program: it reads the flags, tries the system out, writes what it found to out and what it is doing to progress, and
// returns the exit code: 0 without failures.
func Main(ctx context.Context, args []string, getenv func(string) string, out, progress io.Writer) int {
	o, err := parse(args, getenv, progress)
	if errors.Is(err, flag.ErrHelp) {
		return exitOK
	}
	if err != nil {
		_, _ = fmt.Fprintln(progress, "fuzz-api:", err)
		return exitUsage
	}
	_, _ = fmt.Fprintf(progress, "fuzz-api: %s, seed %d\n", o.URL, o.Seed)
	result, err := Run(ctx, o)
	if err == nil {
		err = result.Write(out)
	}
	if err != nil {
		_, _ = fmt.Fprintln(progress, "fuzz-api:", err)
		return exitFailed
	}
	if len(result.Failures) > 0 {
		return exitFailed
	}
	return exitOK
}

// varURL is set by the launcher for a command that runs beside the system.
const varURL = "COPILOT_URL"

func parse(args []string, getenv func(string) string, progress io.Writer) (Options, error) {
	o := Options{Out: progress, Number: -1}
	flags := flag.NewFlagSet("fuzz-api", flag.ContinueOnError)
	flags.SetOutput(progress)
	flags.StringVar(&o.URL, "url", getenv(varURL),
		"`address` of the gateway (COPILOT_URL); its rate limits must be off, its accounts the seeded ones")
	flags.Uint64Var(&o.Seed, "seed", 0, "`number` that makes the same cases again; 0 chooses one")
	flags.IntVar(&o.Cases, "cases", 200, "how many cases are made for each operation; 0 as many as --for gives time for")
	flags.DurationVar(&o.For, "for", 0, "how long to go on at most; 0 until all cases are made")
	flags.IntVar(&o.Workers, "workers", workersDefault, "how many cases run at the same time")
	flags.DurationVar(&o.Within, "within", withinDefault, "how long an answer may take")
	flags.StringVar(&o.Only, "only", "", "the `operation` to try, by its id")
	replay := flags.String("replay", "", "the one case to try again, as the report names it: `operation:number`; needs --seed")
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	if flags.NArg() > 0 {
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	}
	if o.URL == "" {
		return o, errors.New("there is no system to try: run `make fuzz-api`, or say --url")
	}
	if o.Cases == 0 && o.For == 0 {
		return o, errors.New("--cases 0 needs --for: it would never end")
	}
	if o.Cases < 0 || o.Workers < 1 || o.Within < time.Millisecond {
		return o, errors.New("--cases, --workers and --within cannot be negative, the last two not zero")
	}
	if *replay != "" {
		operation, number, _ := strings.Cut(*replay, ":")
		n, err := strconv.Atoi(number)
		if err != nil || operation == "" || o.Seed == 0 {
			return o, errors.New("--replay needs an operation and a number, such as create-job:42, and --seed")
		}
		o.Only, o.Number, o.Workers = operation, n, 1
	}
	if o.Seed == 0 {
		o.Seed = rand.Uint64N(1_000_000) + 1
	}
	return o, nil
}
