package launch_test

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

// exitCode runs the command and returns its exit code.
func exitCode(t *testing.T, command *exec.Cmd) int {
	t.Helper()
	err := command.Run()
	if exit, ok := errors.AsType[*exec.ExitError](err); ok {
		return exit.ExitCode()
	}
	if err != nil {
		t.Fatal(err)
	}
	return 0
}

func TestExecPassesTheExitCodeOn(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		script string
		want   int
	}{
		"of a success":   {"exit 0", 0},
		"of a failure":   {"exit 42", 42},
		"of a signal":    {"kill -TERM $$", 143},
		"of one or none": {"false", 1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command, _, stderr := devstack(t, nil, "exec", "--redis", "--", "/bin/sh", "-c", c.script)
			if got := exitCode(t, command); got != c.want {
				t.Errorf("exit code %d, want %d; it said %s", got, c.want, stderr)
			}
		})
	}
}

func TestExecGivesTheEnginesThatWereAskedFor(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env, flags []string
		want       string
	}{
		"all of them": {
			want: "TEST_DATABASE_URL TEST_GEMINI_URL TEST_NATS_URL TEST_QDRANT_URL TEST_REDIS_URL",
		},
		"two of them": {
			flags: []string{"--nats", "--redis"}, want: "TEST_NATS_URL TEST_REDIS_URL",
		},
		"one that is there already": {
			env: []string{"TEST_NATS_URL=nats://elsewhere"}, flags: []string{"--nats"}, want: "TEST_NATS_URL",
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append(append([]string{"exec"}, c.flags...), "--", "/bin/sh", "-c", "env; ls -A \"$TMPDIR\"/*")
			command, stdout, stderr := devstack(t, c.env, args...)
			if got := exitCode(t, command); got != 0 {
				t.Fatalf("exit code %d; it said %s", got, stderr)
			}
			var got []string
			for line := range strings.Lines(stdout.String()) {
				if variable, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && strings.HasPrefix(variable, "TEST_") {
					got = append(got, variable)
					if c.env != nil && value != "nats://elsewhere" {
						t.Errorf("%s is %s, want the one that was set", variable, value)
					}
				}
			}
			for variable := range strings.FieldsSeq(c.want) {
				if !strings.Contains(strings.Join(got, " ")+" ", variable+" ") {
					t.Errorf("the command got %v, want %s", got, c.want)
				}
			}
			if len(got) != len(strings.Fields(c.want)) {
				t.Errorf("the command got %v, want %s", got, c.want)
			}
			for _, entry := range command.Env {
				if dir, ok := strings.CutPrefix(entry, "TMPDIR="); ok {
					left, err := os.ReadDir(dir)
					if err != nil || len(left) != 0 {
						t.Errorf("left behind in the temporary folder: %v, %v", left, err)
					}
				}
			}
		})
	}
}

func TestExecBringsCommitsToTheDiskWhenAsked(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		flags []string
		want  string
	}{
		"not by default": {want: "off"},
		"when durable":   {flags: []string{"--durable"}, want: "on"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			args := append([]string{"exec", "--postgres"}, c.flags...)
			command, _, stderr := devstack(t, nil, append(args, "--", "/bin/sh", "-c", `echo "$TEST_DATABASE_URL"; read -r _`)...)
			command.Stdout = nil
			output, outErr := command.StdoutPipe()
			input, inErr := command.StdinPipe()
			if err := errors.Join(outErr, inErr, command.Start()); err != nil {
				t.Fatal(err)
			}
			address, err := bufio.NewReader(output).ReadString('\n')
			if err != nil {
				t.Fatalf("read the command's output: %v; the launcher said %s", err, stderr)
			}
			conn, err := pgx.Connect(t.Context(), strings.TrimSpace(address))
			if err != nil {
				t.Fatal(err)
			}
			var fsync, commit string
			err = conn.QueryRow(t.Context(), "SELECT current_setting('fsync'), current_setting('synchronous_commit')").Scan(&fsync, &commit)
			if err != nil || fsync != c.want || commit != c.want {
				t.Errorf("fsync is %q and synchronous_commit %q (%v), want both %s", fsync, commit, err, c.want)
			}
			if err := errors.Join(conn.Close(t.Context()), input.Close()); err != nil {
				t.Error(err)
			}
			_ = command.Wait() // read fails at the end of its input
		})
	}
}

func TestASignalReachesTheCommandAndEverythingEnds(t *testing.T) {
	t.Parallel()
	command, _, stderr := devstack(t, nil, "exec", "--postgres", "--nats", "--", "/bin/sh", "-c",
		`trap 'echo caught; exit 5' INT; echo "$TEST_DATABASE_URL"; while :; do sleep 0.01; done`)
	command.Stdout = nil
	output, err := command.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	lines := bufio.NewReader(output)
	address, err := lines.ReadString('\n')
	if err != nil {
		t.Fatalf("read the command's output: %v; the launcher said %s", err, stderr)
	}
	if err := command.Process.Signal(syscall.SIGINT); err != nil {
		t.Fatal(err)
	}
	rest, err := io.ReadAll(lines)
	if err != nil || string(rest) != "caught\n" {
		t.Errorf("the command said %q, %v, want that it caught the signal", rest, err)
	}
	exit, ok := errors.AsType[*exec.ExitError](command.Wait())
	if !ok || exit.ExitCode() != 5 {
		t.Errorf("ended with %v, want the command's exit code 5", exit)
	}
	_, after, _ := strings.Cut(address, "@")
	host, _, _ := strings.Cut(after, "/")
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", host); err == nil {
		_ = conn.Close()
		t.Errorf("Postgres still listens on %s", host)
	}
}

func TestWithRunsACommandBesideTheSystem(t *testing.T) {
	t.Parallel()
	command, stdout, stderr := devstack(t, nil, "with",
		"--without", "gateway", "--without", "agent-worker", "--without", "ingest-worker", "--without", "embedding-worker",
		"--", "/bin/sh", "-c", `echo "$COPILOT_URL"; exit 7`)
	if got := exitCode(t, command); got != 7 {
		t.Errorf("exit code %d, want the command's; it said %s", got, stderr)
	}
	if address, ok := strings.CutPrefix(stdout.String(), "http://127.0.0.1:"); !ok || strings.Count(address, "\n") != 1 {
		t.Errorf("the output is %q, want the API's address and nothing else", stdout)
	}
	if !strings.Contains(stderr.String(), "migrated and seeded") {
		t.Errorf("the launcher said %q, want how the system came up", stderr)
	}
}

func TestAWrongCallIsExplained(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		env, args []string
		want      string
	}{
		"no such command":          {args: []string{"fly"}, want: `there is no command "fly"`},
		"nothing to run":           {args: []string{"exec"}, want: "exec needs a command"},
		"nothing to run with it":   {args: []string{"with"}, want: "with needs a command"},
		"no such flag":             {args: []string{"exec", "--mysql"}, want: "mysql"},
		"a word too many":          {args: []string{"run", "fast"}, want: `unexpected argument "fast"`},
		"a port out of range":      {args: []string{"run", "--http-port", "99999"}, want: "not a port"},
		"a port from the shell":    {env: []string{"COPILOT_HTTP_PORT=web"}, args: []string{"run"}, want: `COPILOT_HTTP_PORT: "web"`},
		"a tour that is undecided": {env: []string{"TOUR=maybe"}, args: []string{"run"}, want: "TOUR"},
		"a level that is none":     {args: []string{"run", "--log-level", "loud"}, want: "loud"},
		"a program that is none":   {args: []string{"run", "--without", "frontend"}, want: `there is no program "frontend"`},
		"a variable that is none":  {args: []string{"run", "--env", "X"}, want: "KEY=value"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command, _, stderr := devstack(t, c.env, c.args...)
			if got := exitCode(t, command); got != 2 || !strings.Contains(stderr.String(), c.want) {
				t.Errorf("exit code %d, said %q, want 2 and %q", got, stderr, c.want)
			}
		})
	}
}

func TestHelpListsEveryFlagWithItsDefault(t *testing.T) {
	t.Parallel()
	for _, args := range [][]string{{"help"}, {"--help"}, {"run", "--help"}, {"exec", "-h"}, {}} {
		command, stdout, _ := devstack(t, nil, args...)
		if got := exitCode(t, command); got != 0 {
			t.Errorf("%v: exit code %d", args, got)
		}
		for _, want := range []string{
			"-http-port", "COPILOT_HTTP_PORT; default 8080", "-postgres-port", "default 54329", "-nats-port", "default 42229",
			"-state", ".devstack", "-tour", "-verbose", "-durable", "TEST_DATABASE_URL", "MIGRATE_DATABASE_URL",
		} {
			if !strings.Contains(stdout.String(), want) {
				t.Errorf("%v does not print %s", args, want)
			}
		}
	}
}

// freePorts returns flags that put the whole system on free ports.
func freePorts(t *testing.T) []string {
	t.Helper()
	names := []string{
		"http", "gateway-ops", "agent-ops", "ingest-ops", "embedding-ops", "postgres", "nats", "redis", "qdrant", "gemini",
	}
	free, err := ports.Free(t.Context(), len(names))
	if err != nil {
		t.Fatal(err)
	}
	flags := make([]string, len(names))
	for i, name := range names {
		flags[i] = fmt.Sprintf("--%s-port=%d", name, free[i])
	}
	return flags
}

func TestATakenPortIsSaidBeforeAnythingStarts(t *testing.T) {
	t.Parallel()
	taken, err := (&net.ListenConfig{}).Listen(t.Context(), "tcp", ports.Addr(0))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = taken.Close() }()
	_, port, err := net.SplitHostPort(taken.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	folder := filepath.Join(sharedTemp(t), "state")
	args := append([]string{"up", "--state", folder}, append(freePorts(t), "--nats-port="+port)...)
	command, stdout, stderr := devstack(t, nil, args...)
	if got := exitCode(t, command); got != 1 {
		t.Errorf("exit code %d, want 1", got)
	}
	want := "port " + port + " is taken by another program: NATS needs it; choose another with --nats-port"
	if !strings.Contains(stderr.String(), want) {
		t.Errorf("said %q, want %q", stderr, want)
	}
	if strings.Contains(stdout.String(), "postgres") {
		t.Errorf("something was started: %s", stdout)
	}
}

func TestTheStateOutlivesTheSystemUntilItIsCleaned(t *testing.T) {
	t.Parallel()
	folder := filepath.Join(sharedTemp(t), "state")
	flags := freePorts(t)
	for range 2 { // the second finds the data of the first
		command, _, stderr := devstack(t, nil, append([]string{"up", "--state", folder}, flags...)...)
		command.Stdout = nil
		output, err := command.StdoutPipe()
		if err != nil {
			t.Fatal(err)
		}
		if err := command.Start(); err != nil {
			t.Fatal(err)
		}
		lines := bufio.NewScanner(output)
		up := false
		for !up && lines.Scan() {
			up = strings.Contains(lines.Text(), "The system is up")
		}
		if !up {
			t.Fatalf("it did not come up: %v; it said %s", command.Wait(), stderr)
		}
		second, _, complaint := devstack(t, nil, append([]string{"up", "--state", folder}, flags...)...)
		if got := exitCode(t, second); got != 1 || !strings.Contains(complaint.String(), fmt.Sprintf("process %d", command.Process.Pid)) {
			t.Errorf("a second launcher ended with %d, %q, want that process %d has the folder", got, complaint, command.Process.Pid)
		}
		check := exec.CommandContext(t.Context(), "/bin/sh", "-c",
			`set -eu; set -a; . "$0/env"; [ -n "$DATABASE_URL$NATS_URL$JWT_SECRET" ]`, folder)
		if out, err := check.CombinedOutput(); err != nil {
			t.Errorf("read the env file: %v, %s", err, out)
		}
		if err := command.Process.Signal(syscall.SIGTERM); err != nil {
			t.Fatal(err)
		}
		for lines.Scan() {
			t.Log(lines.Text())
		}
		if err := command.Wait(); err != nil {
			t.Errorf("after SIGTERM: %v; it said %s", err, stderr)
		}
	}
	if _, err := os.Stat(filepath.Join(folder, "postgres", "data", "PG_VERSION")); err != nil {
		t.Errorf("the data is gone: %v", err)
	}
	for _, want := range []string{"removed", "nothing to clean"} {
		command, _, stderr := devstack(t, nil, "clean", "--state", folder)
		if got := exitCode(t, command); got != 0 || !strings.Contains(stderr.String(), want) {
			t.Errorf("clean ended with %d and said %q, want %q", got, stderr, want)
		}
	}
}

func TestCleanLeavesOtherFoldersAlone(t *testing.T) {
	t.Parallel()
	folder := t.TempDir()
	file := filepath.Join(folder, "precious")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	command, _, stderr := devstack(t, nil, "clean", "--state", folder)
	if got := exitCode(t, command); got != 1 || !strings.Contains(stderr.String(), "does not look like a state folder") {
		t.Errorf("clean ended with %d and said %q", got, stderr)
	}
	if _, err := os.Stat(file); err != nil {
		t.Errorf("the file is gone: %v", err)
	}
}
