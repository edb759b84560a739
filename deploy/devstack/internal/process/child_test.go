package process_test

import (
	"context"
	"errors"
	"os"
	"os/exec"
	"runtime"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/tarento/copilot/deploy/devstack/internal/process"
)

func TestAChildEnds(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		code   int
		signal syscall.Signal
	}{
		"well":                {script: "exit 0"},
		"with an exit code":   {script: "exit 7", code: 7},
		"killed by a signal":  {script: "kill -KILL $$", code: 137, signal: syscall.SIGKILL},
		"asked by a signal":   {script: "kill -TERM $$", code: 143, signal: syscall.SIGTERM},
		"with the last code":  {script: "false; exit 255", code: 255},
		"with output pending": {script: "echo something; exit 1", code: 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			child, err := process.Start(process.Spec{Name: "script", Path: "/bin/sh", Args: []string{"-c", c.script}, Stdout: newLines()})
			if err != nil {
				t.Fatal(err)
			}
			<-child.Done()
			exit, failed := errors.AsType[*process.ExitError](child.Err())
			switch {
			case c.code == 0 && child.Err() != nil:
				t.Errorf("ended with %v, want no error", child.Err())
			case c.code != 0 && (!failed || exit.Code != c.code || exit.Signal != c.signal):
				t.Errorf("ended with %#v, want code %d and signal %d", child.Err(), c.code, c.signal)
			}
			if err := child.Stop(t.Context()); err != nil {
				t.Errorf("stopping what has ended: %v", err)
			}
		})
	}
}

func TestAProgramThatDoesNotExistIsAnErrorOfStart(t *testing.T) {
	t.Parallel()
	_, err := process.Start(process.Spec{Name: "nothing", Path: "/nowhere/nothing"})
	if err == nil || !strings.Contains(err.Error(), "start nothing") {
		t.Errorf("got %v, want an error that names the program", err)
	}
}

func TestTheEnvironmentIsWhatTheSpecSays(t *testing.T) {
	t.Setenv("PROCESS_TEST_SECRET", "of the launcher")
	out := newLines()
	child, err := process.Start(process.Spec{Path: "/usr/bin/env", Env: []string{"GIVEN=1"}, Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	<-child.Done()
	if got := strings.TrimSpace(out.String()); got != "GIVEN=1" {
		t.Errorf("the child sees %q, want GIVEN=1 only", got)
	}
	child, err = process.Start(process.Spec{Path: "/usr/bin/env", Stdout: out})
	if err != nil {
		t.Fatal(err)
	}
	<-child.Done()
	if strings.Contains(out.String(), "PROCESS_TEST_SECRET") {
		t.Error("a child without an environment inherited the launcher's")
	}
}

func TestStopAsksFirst(t *testing.T) {
	t.Parallel()
	out := newLines()
	child, err := process.Start(player("polite", out))
	if err != nil {
		t.Fatal(err)
	}
	out.next(t)
	if err := child.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	if !strings.HasSuffix(out.String(), "bye\n") {
		t.Errorf("the child said %q, want it to say bye", out)
	}
	if exit, ok := errors.AsType[*process.ExitError](child.Err()); !ok || exit.Code != 3 {
		t.Errorf("ended with %v, want its own exit code 3", child.Err())
	}
}

func TestAChildThatIgnoresTheRequestIsKilled(t *testing.T) {
	t.Parallel()
	t.Run("when its grace has passed", func(t *testing.T) {
		t.Parallel()
		out := newLines()
		spec := player("stubborn", out)
		spec.Grace = 50 * time.Millisecond
		stubborn(t, spec, out, t.Context())
	})
	t.Run("when the caller has no patience left", func(t *testing.T) {
		t.Parallel()
		ctx, cancel := context.WithCancel(t.Context())
		cancel()
		out := newLines()
		spec := player("stubborn", out)
		spec.Grace = time.Hour
		stubborn(t, spec, out, ctx)
	})
}

func stubborn(t *testing.T, spec process.Spec, out *lines, ctx context.Context) { //nolint:revive // t comes first in tests
	t.Helper()
	child, err := process.Start(spec)
	if err != nil {
		t.Fatal(err)
	}
	out.next(t)
	if err := child.Stop(ctx); !errors.Is(err, process.ErrKilled) {
		t.Errorf("stop: %v, want ErrKilled", err)
	}
	if exit, ok := errors.AsType[*process.ExitError](child.Err()); !ok || exit.Signal != syscall.SIGKILL {
		t.Errorf("ended with %v, want SIGKILL", child.Err())
	}
}

func TestGrandchildrenEndWithTheChild(t *testing.T) {
	t.Parallel()
	out := newLines()
	child, err := process.Start(player("parent", out))
	if err != nil {
		t.Fatal(err)
	}
	grandchild, err := strconv.Atoi(strings.TrimSpace(out.next(t)))
	if err != nil {
		t.Fatalf("the child said %q", out)
	}
	if err := child.Stop(t.Context()); err != nil {
		t.Errorf("stop: %v", err)
	}
	gone(t, grandchild)
}

func TestChildrenEndWhenTheLauncherIsKilled(t *testing.T) {
	t.Parallel()
	if runtime.GOOS != "linux" {
		t.Logf("only Linux can do that, not %s", runtime.GOOS)
		return
	}
	// The launcher is started without the package, which would end the whole group.
	launcher := exec.CommandContext(t.Context(), os.Args[0])
	launcher.Env = []string{role + "=launcher"}
	out := newLines()
	launcher.Stdout = out
	if err := launcher.Start(); err != nil {
		t.Fatal(err)
	}
	child, err := strconv.Atoi(strings.TrimSpace(out.next(t)))
	if err != nil {
		t.Fatalf("the launcher said %q", out)
	}
	if err := launcher.Process.Kill(); err != nil {
		t.Fatal(err)
	}
	_ = launcher.Wait()
	gone(t, child)
}
