// Command gateway serves the API. It is configured by its environment; -h prints the reference.
package main

import (
	"context"
	"os"

	"github.com/tarento/copilot/gateway/internal/app"
	"github.com/tarento/copilot/pkg/config"
	"github.com/tarento/copilot/pkg/lifecycle"
)

func main() {
	os.Exit(lifecycle.Main(context.Background(), os.Stderr, func(ctx context.Context) error {
		return app.Run(ctx, os.Args[1:], config.Environ(), app.Streams{Out: os.Stdout, Err: os.Stderr})
	}))
}
