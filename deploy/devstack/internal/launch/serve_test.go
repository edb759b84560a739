package launch_test

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"github.com/jackc/pgx/v5"

	"github.com/tarento/copilot/deploy/devstack/internal/ports"
)

func TestServeRefusesWhatItCannotRun(t *testing.T) {
	t.Parallel()
	for name, args := range map[string][]string{
		"no engine":         {"--dir", "x", "--port", "4000"},
		"an unknown engine": {"--dir", "x", "--port", "4000", "mysql"},
		"two engines":       {"--dir", "x", "--port", "4000", "nats", "redis"},
		"no folder":         {"--port", "4000", "nats"},
		"no port":           {"--dir", "x", "nats"},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			command, _, stderr := devstack(t, nil, append([]string{"serve"}, args...)...)
			if got := exitCode(t, command); got != 2 {
				t.Errorf("exit code %d, want 2; it said %s", got, stderr)
			}
		})
	}
}

func TestServedPostgresKeepsWhatItConfirmedWhenItIsKilled(t *testing.T) {
	t.Parallel()
	dir := sharedTemp(t)
	free, err := ports.Free(t.Context(), 1)
	if err != nil {
		t.Fatal(err)
	}
	const password = "not-a-secret"
	address := fmt.Sprintf("postgres://copilot_owner:%s@%s/postgres?sslmode=disable", password, ports.Addr(free[0]))
	server := func() (pid int, ended func() int) {
		command, _, stderr := devstack(t, []string{"DEVSTACK_OWNER_PASSWORD=" + password},
			"serve", "--durable", "--dir", dir+"/postgres", "--port", strconv.Itoa(free[0]), "postgres")
		command.Stdout = nil
		out, err := command.StdoutPipe()
		if err == nil {
			err = command.Start()
		}
		if err != nil {
			t.Fatal(err)
		}
		line, err := bufio.NewReader(out).ReadString('\n')
		if err != nil {
			t.Fatalf("it says %q, %v; %s", line, err, stderr)
		}
		number, _ := strings.CutPrefix(strings.TrimSpace(line), "ready ")
		if pid, err = strconv.Atoi(number); err != nil {
			t.Fatalf("it says %q, want ready and a number", line)
		}
		return pid, func() int {
			_ = command.Wait()
			return command.ProcessState.ExitCode()
		}
	}
	pid, ended := server()
	query(t, address, "CREATE TABLE kept AS SELECT 1")
	if err := syscall.Kill(pid, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if code := ended(); code != 1 {
		t.Errorf("exit code %d after the server was killed, want 1", code)
	}
	pid, ended = server()
	query(t, address, "TABLE kept")
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil { // in order, once nobody is connected
		t.Fatal(err)
	}
	ended()
	if conn, err := (&net.Dialer{}).DialContext(t.Context(), "tcp", ports.Addr(free[0])); err == nil {
		_ = conn.Close()
		t.Error("somebody listens on after the end")
	}
}

// query runs a statement.
func query(t *testing.T, address, statement string) {
	t.Helper()
	conn, err := pgx.Connect(t.Context(), address)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = conn.Close(context.WithoutCancel(t.Context())) }()
	if _, err := conn.Exec(t.Context(), statement); err != nil {
		t.Fatalf("%s: %v", statement, err)
	}
}
