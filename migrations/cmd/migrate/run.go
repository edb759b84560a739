package main

import (
	"context"
	"database/sql"
	"errors"
	"flag"
	"fmt"
	"io"
	"text/tabwriter"
	"time"

	"github.com/caarlos0/env/v11"

	"github.com/tarento/copilot/migrations"
)

const usage = `Usage: migrate [flags] up | down | status | seed

Commands
  up      apply every migration the database does not have yet
  down    take back the newest migration, or with -to N every one newer than N (-to 0 removes all data)
  status  list the migrations and which of them are applied
  seed    add the demonstration data (refused when ENVIRONMENT=production)

Flags
`

const environment = `
Environment
  MIGRATE_DATABASE_URL  the database, as its owner: postgres://user:password@host:port/database (required)
  ENVIRONMENT           development, test or production
`

// settings is what the environment says.
type settings struct {
	DatabaseURL string `env:"MIGRATE_DATABASE_URL"`
	Environment string `env:"ENVIRONMENT" envDefault:"development"`
}

// newest is the -to value that means "only the newest migration".
const newest = -1

// run does what args say and writes the outcome to out.
func run(ctx context.Context, args, environ []string, out io.Writer) error {
	flags := flag.NewFlagSet("migrate", flag.ContinueOnError)
	flags.SetOutput(out)
	flags.Usage = func() {
		fmt.Fprint(out, usage)
		flags.PrintDefaults()
		fmt.Fprint(out, environment)
	}
	wait := flags.Duration("wait", 30*time.Second, "how long to wait for a server that is not up yet")
	to := flags.Int64("to", newest, "down: the version to go back to")
	if err := flags.Parse(args); err != nil {
		if errors.Is(err, flag.ErrHelp) {
			return nil
		}
		return err
	}
	if flags.NArg() != 1 {
		flags.Usage()
		return errors.New("expected one command: up, down, status or seed")
	}
	command, err := commandNamed(flags.Arg(0), *to)
	if err != nil {
		return err
	}

	var cfg settings
	if err := env.ParseWithOptions(&cfg, env.Options{Environment: env.ToMap(environ)}); err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	if cfg.DatabaseURL == "" {
		return errors.New("MIGRATE_DATABASE_URL is not set: it names the database to migrate, as its owner")
	}
	db, err := migrations.Open(ctx, cfg.DatabaseURL, *wait)
	if err != nil {
		return err
	}
	return errors.Join(command(ctx, db, cfg, out), db.Close())
}

type command func(ctx context.Context, db *sql.DB, cfg settings, out io.Writer) error

func commandNamed(name string, to int64) (command, error) {
	switch name {
	case "up":
		return up, nil
	case "down":
		return func(ctx context.Context, db *sql.DB, _ settings, out io.Writer) error { return down(ctx, db, to, out) }, nil
	case "status":
		return status, nil
	case "seed":
		return seed, nil
	default:
		return nil, fmt.Errorf("there is no command %q: use up, down, status or seed", name)
	}
}

func up(ctx context.Context, db *sql.DB, _ settings, out io.Writer) error {
	steps, err := migrations.Up(ctx, db)
	report(out, "applied", steps)
	return err
}

func down(ctx context.Context, db *sql.DB, to int64, out io.Writer) error {
	if to == newest {
		var err error
		if to, err = beforeNewest(ctx, db); err != nil {
			return err
		}
	}
	steps, err := migrations.Down(ctx, db, to)
	report(out, "took back", steps)
	return err
}

// beforeNewest returns the version just below the newest applied one; 0 when there are none.
func beforeNewest(ctx context.Context, db *sql.DB) (int64, error) {
	states, err := migrations.Status(ctx, db)
	if err != nil {
		return 0, err
	}
	var below, top int64
	for _, s := range states {
		if s.Applied {
			below, top = top, s.Version
		}
	}
	return below, nil
}

func status(ctx context.Context, db *sql.DB, _ settings, out io.Writer) error {
	states, err := migrations.Status(ctx, db)
	if err != nil {
		return err
	}
	table := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	for _, s := range states {
		applied := "pending"
		if s.Applied {
			applied = "applied " + s.AppliedAt.UTC().Format(time.RFC3339)
		}
		fmt.Fprintf(table, "%s\t%s\n", s.Name, applied)
	}
	return table.Flush()
}

func seed(ctx context.Context, db *sql.DB, cfg settings, out io.Writer) error {
	if err := migrations.Seed(ctx, db, migrations.SeedOptions{Environment: cfg.Environment}); err != nil {
		return err
	}
	fmt.Fprintln(out, "The demonstration data is in place.")
	return nil
}

func report(out io.Writer, did string, steps []migrations.Step) {
	if len(steps) == 0 {
		fmt.Fprintln(out, "Nothing to do.")
	}
	for _, s := range steps {
		fmt.Fprintf(out, "%s %s in %s\n", did, s.Name, s.Took.Round(time.Millisecond))
	}
}
