// Command chaos runs the whole system while its parts are killed, frozen and cut off, and checks that no promise is broken.
package main

import (
	"context"
	"os"
	"os/signal"
	"syscall"

	"github.com/tarento/copilot/deploy/e2e/internal/chaos"
)

func main() {
	ctx, stop := signal.NotifyContext(context.Background(), syscall.SIGINT, syscall.SIGTERM)
	code := chaos.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
	stop()
	os.Exit(code)
}
