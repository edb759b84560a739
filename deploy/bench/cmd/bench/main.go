// Command bench measures the system; make bench runs it on fresh engines. bench -h lists the flags.
package main

import (
	"context"
	"fmt"
	"os"
	"os/signal"
	"syscall"

	"github.com/tarento/copilot/deploy/bench/internal/suite"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := suite.Run(ctx, os.Args[1:], suite.Environment{Getenv: os.Getenv, Dir: ".", Out: os.Stdout, Log: os.Stderr})
	stop()
	if err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}
