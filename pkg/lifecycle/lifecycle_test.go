package lifecycle_test

import (
	"context"
	"errors"
	"flag"
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/pkg/lifecycle"
)

// childVariable makes the test binary play a program that ends in the given way, for the tests of Main that need a process.
const childVariable = "LIFECYCLE_TEST_CHILD"

func TestMain(m *testing.M) {
	if way := os.Getenv(childVariable); way != "" {
		os.Exit(lifecycle.Main(context.Background(), os.Stderr, func(ctx context.Context) error { return child(ctx, way) }))
	}
	goleak.VerifyTestMain(m)
}

// child is the program that the tests of Main start. It says "ready" when it can take signals.
func child(ctx context.Context, way string) error {
	fmt.Println("ready")
	switch way {
	case "returns nil":
		return nil
	case "fails":
		return errors.New("the disk is full")
	case "asks for code 3":
		return fmt.Errorf("parse arguments: %w", coded(3))
	case "prints help":
		return fmt.Errorf("parse: %w", flag.ErrHelp)
	case "panics":
		panic("at the disco")
	case "waits":
		<-ctx.Done()
		fmt.Println("cause:", context.Cause(ctx))
		return context.Cause(ctx)
	case "hangs":
		<-ctx.Done()
		fmt.Println("stopping")
		select {}
	}
	return nil
}

type coded int

func (c coded) Error() string { return "wrong usage" }
func (c coded) ExitCode() int { return int(c) }
