// Package suite measures the system on the machine it runs on. Every rate and every latency stands beside a floor, measured in the
// same run by turns: on a machine that is busy with other things the figures move, their ratio much less.
package suite

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"github.com/tarento/copilot/deploy/bench/internal/system"
)

// Environment is what the measurement has of the world around it.
type Environment struct {
	// Getenv reads a variable, such as os.Getenv.
	Getenv func(string) string
	// Dir is a folder in the repository, such as the working directory.
	Dir string
	// Out is for the report, Log for what is going on.
	Out, Log io.Writer
}

// Run does what the command line says and prints the report. Asking for help is no error.
func Run(ctx context.Context, args []string, env Environment) error {
	o, err := parse(args, env.Out)
	if errors.Is(err, flag.ErrHelp) {
		return nil
	}
	if err != nil {
		return err
	}
	report, err := Measure(ctx, o, env)
	if err != nil {
		return err
	}
	if err := report.Print(env.Out); err != nil {
		return err
	}
	if o.JSON == "" {
		return nil
	}
	return report.Write(o.JSON)
}

// Measure runs the parts that are wanted. The first that fails ends all.
func Measure(ctx context.Context, o Options, env Environment) (report *Report, err error) {
	engines, err := system.EnginesFromEnv(env.Getenv)
	if err != nil {
		return nil, err
	}
	durable, err := engines.Durable(ctx)
	if err != nil {
		return nil, err
	}
	if !durable && !o.Volatile {
		return nil, system.ErrVolatile
	}
	root, err := repository(env.Dir)
	if err != nil {
		return nil, err
	}
	m := &measurement{options: o, log: env.Log, bundled: filepath.Join(root, bundled)}
	m.sayf("building the programs")
	if m.site, err = system.Prepare(ctx, engines, root); err != nil {
		return nil, err
	}
	m.site.BcryptCost = o.Cost
	defer func() { err = errors.Join(err, m.site.Close(context.WithoutCancel(ctx))) }()

	report = &Report{TakenAt: time.Now().UTC().Truncate(time.Second), Machine: machine(durable)}
	for _, part := range []struct {
		name    string
		measure func(context.Context, *Report) error
	}{
		{PartSubmit, m.submit},
		{PartLatency, m.latency},
		{PartMemory, m.memory},
		{PartPDF, m.pdf},
		{PartRest, m.rest},
		{PartLogin, m.login},
		{PartRows, m.rows},
		{PartJobs, m.jobs},
		{PartSSE, m.sse},
		{PartQueue, m.queue},
		{PartFair, m.fairness},
	} {
		if !o.wants(part.name) {
			continue
		}
		if err := part.measure(ctx, report); err != nil {
			return nil, fmt.Errorf("measure %s: %w", part.name, err)
		}
	}
	return report, nil
}

// bundled is the PDF that the tour ingests, from the repository's root.
const bundled = "deploy/devstack/tour/documents/mnesia-4.21.3.pdf"

// measurement is one run.
type measurement struct {
	options Options
	site    *system.Site
	bundled string // the PDF of the tour
	log     io.Writer
}

// on runs a part on a system of its own.
func (m *measurement) on(ctx context.Context, programs []string, do func(*system.System) error) (err error) {
	s, err := m.site.Start(ctx, programs...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, s.Stop(context.WithoutCancel(ctx))) }()
	return s.Explain(do(s))
}

// sayf tells the person who waits what is going on.
func (m *measurement) sayf(format string, args ...any) {
	fmt.Fprintf(m.log, "bench: "+format+"\n", args...)
}

// repository finds the repository's root above a folder.
func repository(dir string) (string, error) {
	start, err := filepath.Abs(dir)
	if err != nil {
		return "", fmt.Errorf("find the repository: %w", err)
	}
	for dir := start; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.work")); err == nil {
			return dir, nil
		}
		if dir == filepath.Dir(dir) {
			return "", fmt.Errorf("%s is not in the repository: go there first", start)
		}
	}
}
