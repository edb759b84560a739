// Command fuzz-api asks a running system everything that its OpenAPI document allows, and much that it does not. See package fuzz.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tarento/copilot/deploy/e2e/internal/fuzz"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	code := fuzz.Main(ctx, os.Args[1:], os.Getenv, os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
