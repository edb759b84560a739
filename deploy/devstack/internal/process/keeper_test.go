package process_test

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/devstack/internal/process"
)

func TestAKeeperStartsADeadChildAgain(t *testing.T) {
	t.Parallel()
	out := newLines()
	child, err := process.Start(player("polite", out))
	if err != nil {
		t.Fatal(err)
	}
	out.next(t)
	exits := make(chan process.Exit, 1)
	keeper := process.Keep(child, process.Policy{Restarts: 1, Pause: time.Millisecond, Settled: time.Hour},
		func(e process.Exit) { exits <- e })
	child.Signal(syscall.SIGKILL)
	exit := <-exits
	if died, ok := errors.AsType[*process.ExitError](exit.Err); !ok || died.Signal != syscall.SIGKILL || exit.Again != time.Millisecond {
		t.Errorf("told %+v, want a death by SIGKILL and a restart after 1 ms", exit)
	}
	out.next(t) // the second child is up
	select {
	case <-keeper.Done():
		t.Error("the keeper ended although its child lives")
	default:
	}
	if err := keeper.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	if err := keeper.Err(); err != nil {
		t.Errorf("after Stop the keeper blames %v", err)
	}
}

func TestAKeeperGivesUp(t *testing.T) {
	t.Parallel()
	spec := process.Spec{Name: "brief", Path: "/bin/sh", Args: []string{"-c", "exit 4"}}
	child, err := process.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	var told []time.Duration
	keeper := process.Keep(child, process.Policy{Restarts: 3, Pause: time.Millisecond, Settled: time.Hour},
		func(e process.Exit) { told = append(told, e.Again) })
	<-keeper.Done()
	if exit, ok := errors.AsType[*process.ExitError](keeper.Err()); !ok || exit.Code != 4 {
		t.Errorf("gave up with %v, want exit code 4", keeper.Err())
	}
	want := []time.Duration{time.Millisecond, 2 * time.Millisecond, 4 * time.Millisecond, 0}
	if len(told) != len(want) {
		t.Fatalf("told %v, want %v", told, want)
	}
	for i := range want {
		if told[i] != want[i] {
			t.Errorf("told %v, want %v", told, want)
			break
		}
	}
	if err := keeper.Stop(t.Context()); err != nil {
		t.Errorf("stop after giving up: %v", err)
	}
}

func TestAProgramThatVanishedCountsAsARestart(t *testing.T) {
	t.Parallel()
	path := filepath.Join(t.TempDir(), "program")
	if err := os.Symlink("/bin/sh", path); err != nil {
		t.Fatal(err)
	}
	child, err := process.Start(process.Spec{
		Name: "vanishing", Path: path, Args: []string{"-c", "rm " + path + "; exit 5"}, Env: []string{"PATH=/usr/bin:/bin"},
	})
	if err != nil {
		t.Fatal(err)
	}
	keeper := process.Keep(child, process.Policy{Restarts: 2, Pause: time.Millisecond, Settled: time.Hour}, func(process.Exit) {})
	<-keeper.Done()
	if !errors.Is(keeper.Err(), os.ErrNotExist) {
		t.Errorf("gave up with %v, want that the program is not there", keeper.Err())
	}
}
