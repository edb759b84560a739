package suite

import (
	"flag"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"
)

// The parts of the measurement, by the names they are chosen by.
const (
	PartSubmit  = "submit"
	PartLatency = "latency"
	PartMemory  = "memory"
	PartPDF     = "pdf"
	PartRest    = "rest"
	PartLogin   = "login"
	PartRows    = "rows"
	PartJobs    = "jobs"
	PartSSE     = "sse"
	PartQueue   = "queue"
	PartFair    = "fairness"
)

// parts are all parts, in the order in which they run.
func parts() []string {
	return []string{PartSubmit, PartLatency, PartMemory, PartPDF, PartRest, PartLogin, PartRows, PartJobs, PartSSE, PartQueue, PartFair}
}

// Options say what is measured, and how long.
type Options struct {
	// Only names the parts to run; empty means all.
	Only []string
	// Rounds is how often each side is measured, by turns.
	Rounds int
	// Duration is how long a round lasts; zero means what suits the part.
	Duration time.Duration
	// Connections is how many submits or reads are under way at once.
	Connections int
	// Rate is how many jobs a second arrive in the latency part.
	Rate int
	// Jobs is how many jobs a round of the jobs part is, and a flood of the fairness part.
	Jobs int
	// Followers is how many streams of server-sent events are open at once in the sse part.
	Followers int
	// Few and Many are the numbers of rows in each table in the rows part. The queue part has ten times Many.
	Few, Many int
	// Cost is the bcrypt cost of passwords.
	Cost int
	// Document is the PDF whose ingest is timed; empty means the bundled one.
	Document string
	// JSON is the file that the report is written to; empty means none.
	JSON string
	// Volatile allows a Postgres without fsync.
	Volatile bool
}

const usage = `Usage: bench [flags]

Measures the system on this machine, each figure beside a floor that is measured in the same run by turns, and prints tables.
It needs the engines of the launcher: make bench, or devstack exec --durable -- go run ./deploy/bench/cmd/bench

Parts
  submit   how fast the gateway takes runs of an agent in, against a bare Gin handler that verifies a JWT and inserts a row, and
           against one that then publishes to JetStream
  latency  from submit to done at a fixed rate with a model that takes no time, against a bare row + JetStream + 2 updates
  memory   resident memory of every program, idle and at the peak of an ingest and three questions; sizes of the binaries
  pdf      a PDF from its upload to the end of its ingest
  rest     reading one agent and listing 20, against a bare Gin handler that verifies a JWT and does the same query with GORM
  login    logins a second, against bcrypt alone; and what a flood of logins does to reading an agent
  rows     every long list with many rows in its table, against the same list with few; minutes are spent on loading
  jobs     such as do nothing, from submit to committed end, in batches and one by one, against riverqueue/river on the same
           Postgres and hibiken/asynq on Redis
  sse      memory of idle followers, and how soon they see events and tokens, against a bare net/http hub and a bare relay
  queue    single statements about jobs with ten times -many rows in their table, against -few; and the dispatch of -many queued jobs
           of 1,000 tenants, against that of 1,000
  fairness how long a few jobs wait beside very many of another tenant, or of less urgency, against their wait alone

Flags
`

// parse reads the command line. Help goes to out.
func parse(args []string, out io.Writer) (o Options, err error) {
	flags := flag.NewFlagSet("bench", flag.ContinueOnError)
	flags.SetOutput(io.Discard)
	flags.Func("only", "run only these `parts`, separated by commas", func(value string) error {
		for name := range strings.SplitSeq(value, ",") {
			if !slices.Contains(parts(), name) {
				return fmt.Errorf("%q is none of %s", name, strings.Join(parts(), ", "))
			}
			o.Only = append(o.Only, name)
		}
		return nil
	})
	flags.IntVar(&o.Rounds, "rounds", 3, "how often each side is measured, by turns")
	flags.DurationVar(&o.Duration, "duration", 0,
		"how long a round lasts (default 5s for submit, 20s for latency, 3s for rest, 10s for login and sse, 200ms for rows, 1s for queue)")
	flags.IntVar(&o.Connections, "connections", 64, "submits or reads under way at once")
	flags.IntVar(&o.Rate, "rate", 50, "jobs a second in the latency part")
	flags.IntVar(&o.Jobs, "jobs", 10_000, "jobs in a round of the jobs part, and in a flood of the fairness part")
	flags.IntVar(&o.Followers, "followers", 9500, "open streams of server-sent events in the sse part")
	flags.IntVar(&o.Cost, "bcrypt-cost", defaultCost, "cost of password hashes, of the gateway and beside it")
	flags.IntVar(&o.Few, "few", 10_000, "rows in each table of the small database in the rows part")
	flags.IntVar(&o.Many, "many", 1_000_000, "rows in each table of the large one")
	flags.StringVar(&o.Document, "pdf", "", "`file` whose ingest is timed (default the bundled one)")
	flags.StringVar(&o.JSON, "json", "", "`file` to write the report to, as JSON")
	flags.BoolVar(&o.Volatile, "volatile", false, "measure on a Postgres without fsync, only to see whether the measurement works")
	flags.Usage = func() {
		fmt.Fprint(out, usage)
		flags.SetOutput(out)
		flags.PrintDefaults()
	}
	if err := flags.Parse(args); err != nil {
		return o, err
	}
	switch {
	case flags.NArg() > 0:
		return o, fmt.Errorf("unexpected argument %q", flags.Arg(0))
	case o.Rounds < 1 || o.Connections < 1 || o.Rate < 1 || o.Jobs < 1 || o.Followers < 1 || o.Duration < 0:
		return o, fmt.Errorf("-rounds, -connections, -rate, -jobs and -followers must be positive, -duration not negative")
	}
	return o, nil
}

// wants reports whether a part is to run.
func (o Options) wants(part string) bool { return len(o.Only) == 0 || slices.Contains(o.Only, part) }

// lasting is how long a round lasts.
func (o Options) lasting(initial time.Duration) time.Duration {
	if o.Duration > 0 {
		return o.Duration
	}
	return initial
}
