// Command floor is the least that could do the system's work; make bench measures the system against it. See package floor.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tarento/copilot/deploy/bench/internal/floor"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

func run(ctx context.Context, args []string) error {
	config, err := floor.FromEnv(os.Getenv)
	if err != nil {
		return err
	}
	switch {
	case len(args) == 1 && args[0] == "serve":
		return floor.Serve(ctx, config)
	case len(args) == 1 && args[0] == "work":
		return floor.Work(ctx, config, os.Stdout)
	default:
		return fmt.Errorf("usage: floor serve | floor work")
	}
}
