package lifecycle_test

import (
	"bufio"
	"bytes"
	"errors"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
)

func TestMainTurnsTheEndIntoAnExitCode(t *testing.T) {
	t.Parallel()
	cases := []struct {
		name, way string
		signals   []os.Signal // each sent after another line of output
		code      int
		killedBy  syscall.Signal
		stdout    string
		stderr    string
	}{
		{name: "a program that ends well gives 0", way: "returns nil"},
		{name: "help gives 0 and no error", way: "prints help"},
		{name: "an error gives 1 and is printed", way: "fails", code: 1, stderr: "the disk is full\n"},
		{name: "an error may ask for its own code", way: "asks for code 3", code: 3, stderr: "parse arguments: wrong usage\n"},
		{name: "a panic gives 1 with its stack", way: "panics", code: 1, stderr: "panic: at the disco\n"},
		{
			name: "SIGTERM ends the context, which is a good end", way: "waits",
			signals: []os.Signal{syscall.SIGTERM}, stdout: "cause: terminated signal received\n",
		},
		{
			name: "SIGINT does the same", way: "waits",
			signals: []os.Signal{syscall.SIGINT}, stdout: "cause: interrupt signal received\n",
		},
		{
			name: "a second signal ends a program that hangs", way: "hangs",
			signals: []os.Signal{syscall.SIGTERM, syscall.SIGTERM}, killedBy: syscall.SIGTERM,
		},
	}
	for _, c := range cases {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			cmd := exec.CommandContext(t.Context(), os.Args[0])
			cmd.Env = append(os.Environ(), childVariable+"="+c.way)
			var stderr bytes.Buffer
			cmd.Stderr = &stderr
			pipe, err := cmd.StdoutPipe()
			if err != nil {
				t.Fatal(err)
			}
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			out := bufio.NewReader(pipe)
			for _, s := range c.signals {
				if line, err := out.ReadString('\n'); err != nil {
					t.Fatalf("read the child's line: %q, %v, stderr %s", line, err, &stderr)
				}
				if err := cmd.Process.Signal(s); err != nil {
					t.Fatal(err)
				}
			}
			rest, err := io.ReadAll(out)
			if err != nil {
				t.Fatal(err)
			}
			var exit *exec.ExitError
			if err := cmd.Wait(); err != nil && !errors.As(err, &exit) {
				t.Fatal(err)
			}
			status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus)
			if !ok {
				t.Fatal("no wait status")
			}
			if c.killedBy != 0 {
				if !status.Signaled() || status.Signal() != c.killedBy {
					t.Errorf("ended with %v, want it killed by %v", cmd.ProcessState, c.killedBy)
				}
				return
			}
			if status.ExitStatus() != c.code {
				t.Errorf("ended with %v, want code %d; stderr:\n%s", cmd.ProcessState, c.code, &stderr)
			}
			said := stderr.String()
			if !strings.HasSuffix(string(rest), c.stdout) || !strings.HasPrefix(said, c.stderr) || c.stderr == "" && said != "" {
				t.Errorf("stdout %q, stderr %q, want %q and %q", rest, &stderr, c.stdout, c.stderr)
			}
		})
	}
}
