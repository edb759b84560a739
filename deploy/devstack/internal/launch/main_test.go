package launch_test

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/deploy/devstack/internal/launch"
)

// asLauncher, when set, makes the test program be devstack itself.
const asLauncher = "LAUNCH_TEST_MAIN"

func TestMain(m *testing.M) {
	if os.Getenv(asLauncher) != "" {
		os.Exit(launch.Main(context.Background(), launch.System{
			Args: os.Args[1:], Env: os.Environ(), Stdin: os.Stdin, Stdout: os.Stdout, Stderr: os.Stderr,
		}))
	}
	if launch.IsFakeProgram(os.Args[0]) {
		if err := launch.PlayProgram(os.Args[0]); err != nil {
			fmt.Fprintln(os.Stderr, err)
			os.Exit(1)
		}
		os.Exit(0)
	}
	goleak.VerifyTestMain(m)
}

// devstack returns a command that runs the launcher with the arguments, in an environment of its own.
func devstack(t *testing.T, env []string, args ...string) (command *exec.Cmd, stdout, stderr *bytes.Buffer) {
	t.Helper()
	command = exec.CommandContext(t.Context(), os.Args[0], args...)
	command.Env = append([]string{
		asLauncher + "=1", "PATH=" + os.Getenv("PATH"), "HOME=" + os.Getenv("HOME"), "TMPDIR=" + sharedTemp(t),
		"GOCACHE=" + os.Getenv("GOCACHE"), "GOFLAGS=" + os.Getenv("GOFLAGS"), "GOPROXY=" + os.Getenv("GOPROXY"),
	}, env...)
	stdout, stderr = new(bytes.Buffer), new(bytes.Buffer)
	command.Stdout, command.Stderr = stdout, stderr
	command.WaitDelay = 30 * time.Second
	return command, stdout, stderr
}

// sharedTemp makes a temporary folder that Postgres's user can pass through; those of the testing package are for ours only.
func sharedTemp(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "launch-test-") //nolint:usetesting // see above
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o711); err != nil {
		t.Fatal(err)
	}
	if dir, err = filepath.EvalSymlinks(dir); err != nil {
		t.Fatal(err)
	}
	return dir
}
