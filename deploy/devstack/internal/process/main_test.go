package process_test

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/tarento/copilot/deploy/devstack/internal/process"
)

// role, when set, makes the test program play one of the children below instead of running tests.
const role = "PROCESS_TEST_ROLE"

func TestMain(m *testing.M) {
	switch os.Getenv(role) {
	case "":
		goleak.VerifyTestMain(m)
	case "polite":
		stopped := make(chan os.Signal, 1)
		signal.Notify(stopped, syscall.SIGTERM)
		fmt.Println("up")
		<-stopped
		fmt.Println("bye")
		os.Exit(3)
	case "stubborn":
		signal.Ignore(syscall.SIGTERM)
		fmt.Println("up")
		<-time.After(time.Hour) // without cgo, waiting for nothing at all would be called a deadlock
	case "parent":
		// Leaves a stubborn child of its own behind.
		child := exec.Command(os.Args[0])
		child.Env = []string{role + "=stubborn"}
		output, err := child.StdoutPipe()
		if err == nil {
			err = child.Start()
		}
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		_, _ = bufio.NewReader(output).ReadString('\n')
		fmt.Println(child.Process.Pid)
		stopped := make(chan os.Signal, 1)
		signal.Notify(stopped, syscall.SIGTERM)
		<-stopped
		os.Exit(0)
	case "launcher":
		// Starts a child through the package and waits to be killed.
		child, err := process.Start(process.Spec{
			Path: os.Args[0], Env: []string{role + "=polite"}, Stdout: readyThen(func() {}),
		})
		if err != nil {
			fmt.Println(err)
			os.Exit(1)
		}
		fmt.Println(child.PID())
		<-child.Done()
	}
}

// lines is an io.Writer whose lines can be waited for.
type lines struct {
	mu      sync.Mutex
	text    string
	arrived chan struct{}
}

func newLines() *lines { return &lines{arrived: make(chan struct{}, 1000)} }

func (l *lines) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.text += string(p)
	for range strings.Count(string(p), "\n") {
		l.arrived <- struct{}{}
	}
	return len(p), nil
}

// next waits for one more line and returns everything written so far.
func (l *lines) next(t *testing.T) string {
	t.Helper()
	select {
	case <-l.arrived:
	case <-time.After(20 * time.Second):
		t.Fatal("the child said nothing")
	}
	return l.String()
}

func (l *lines) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text
}

// readyThen is a writer that calls f with the first write.
func readyThen(f func()) *once { return &once{f: f} }

type once struct {
	do sync.Once
	f  func()
}

func (o *once) Write(p []byte) (int, error) {
	o.do.Do(o.f)
	return len(p), nil
}

// player returns the spec of a child that plays a role.
func player(name string, out *lines) process.Spec {
	return process.Spec{
		Name: name, Path: os.Args[0], Env: []string{role + "=" + name, "GOCOVERDIR=" + os.TempDir()},
		Stdout: out, Stderr: out, Grace: 20 * time.Second,
	}
}

// gone waits until no process has the number.
func gone(t *testing.T, pid int) {
	t.Helper()
	deadline := time.After(20 * time.Second)
	for syscall.Kill(pid, 0) == nil && !zombie(pid) {
		select {
		case <-deadline:
			t.Fatalf("process %d still lives", pid)
		case <-time.After(5 * time.Millisecond):
		}
	}
}

// zombie reports whether the process is dead and waits for a parent, which in a container may never ask.
func zombie(pid int) bool {
	raw, err := os.ReadFile("/proc/" + strconv.Itoa(pid) + "/stat")
	if err != nil {
		return false
	}
	_, after, _ := strings.Cut(string(raw), ") ")
	return strings.HasPrefix(after, "Z")
}
