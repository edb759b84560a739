// Command agent-worker is configured by its environment; -h prints the reference.
package main

import (
	"context"
	"os"

	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/lifecycle"
	"github.com/tarento/copilot/workers/internal/app"
)

func main() {
	os.Exit(lifecycle.Main(context.Background(), os.Stderr, func(ctx context.Context) error {
		return app.RunAgent(ctx, os.Args[1:], config.Environ(), app.Streams{Out: os.Stdout, Err: os.Stderr})
	}))
}
