// Command devstack runs the whole system, or parts of it, on one machine.
package main

import (
	"context"
	"os"

	"github.com/tarento/copilot/deploy/devstack/internal/launch"
)

func main() {
	os.Exit(launch.Main(context.Background(), launch.System{
		Args:   os.Args[1:],
		Env:    os.Environ(),
		Stdin:  os.Stdin,
		Stdout: os.Stdout,
		Stderr: os.Stderr,
	}))
}
