package e2e_test

import (
	"bytes"
	"context"
	"fmt"
	"net"
	"net/http"
	"os/exec"
	"runtime"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"
)

// process is one program of a stack. It can be started again after it ended, on the same ports.
type process struct {
	name string
	path string
	env  []string
	ops  string // address of its health and metrics
	log  *tail

	pid  int
	done chan struct{} // closed when the program has ended; nil before the first start
}

// start runs the program. A process that runs already is left alone.
func (p *process) start(t *testing.T) {
	t.Helper()
	if p.running() {
		return
	}
	p.done = make(chan struct{})
	started := make(chan error, 1)
	go p.live(p.done, started)
	if err := <-started; err != nil {
		t.Fatalf("start %s: %v", p.name, err)
	}
}

// live sees the program to its end on one thread, because the kernel's word that the parent died is bound to the thread that
// started the child.
func (p *process) live(done chan<- struct{}, started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(done)
	cmd := exec.Command(p.path)
	cmd.Env = p.env
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithParent(cmd.SysProcAttr)
	err := cmd.Start()
	if err == nil {
		p.pid = cmd.Process.Pid
	}
	started <- err
	if err == nil {
		_ = cmd.Wait() // how it ended is what the tests cause
	}
}

func (p *process) running() bool {
	if p.done == nil {
		return false
	}
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// kill ends the program as a crash of its machine would: at once, without a word.
func (p *process) kill(t *testing.T) {
	t.Helper()
	if !p.running() {
		t.Fatalf("%s has ended before it could be killed", p.name)
	}
	p.signal(syscall.SIGKILL)
	<-p.done
}

// restart starts a program that has ended and waits until it is ready.
func (p *process) restart(t *testing.T) {
	t.Helper()
	p.start(t)
	p.awaitReady(t)
}

// stop asks the program to end and kills it when it does not.
func (p *process) stop(t *testing.T, grace time.Duration) {
	t.Helper()
	if !p.running() {
		return
	}
	p.signal(syscall.SIGTERM)
	timer := time.NewTimer(grace)
	defer timer.Stop()
	select {
	case <-p.done:
		return
	case <-timer.C:
	}
	t.Errorf("%s did not end within %s of SIGTERM", p.name, grace)
	p.signal(syscall.SIGKILL)
	<-p.done
}

// signal goes to the program's whole group.
func (p *process) signal(sig syscall.Signal) { _ = syscall.Kill(-p.pid, sig) }

// readyWithin is how long a program may take until it is ready, on a machine that does other things too.
const readyWithin = 60 * time.Second

// awaitReady returns when the program says that it is ready.
func (p *process) awaitReady(t *testing.T) {
	t.Helper()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	eventually(t, readyWithin, p.name+" is ready", func() (bool, string) {
		if !p.running() {
			t.Fatalf("%s ended instead of getting ready:\n%s", p.name, p.log.last(40))
		}
		req, err := http.NewRequestWithContext(t.Context(), http.MethodGet, "http://"+p.ops+"/readyz", http.NoBody)
		if err != nil {
			return false, err.Error()
		}
		resp, err := client.Do(req)
		if err != nil {
			return false, err.Error()
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.StatusCode == http.StatusOK, resp.Status
	})
}

// tail keeps what a program writes.
type tail struct {
	mu   sync.Mutex
	text bytes.Buffer
}

// Write implements io.Writer.
func (l *tail) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(p)
}

// last returns the last n lines, without those that only say that a request was answered.
func (l *tail) last(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	lines := bytes.Split(bytes.TrimSuffix(l.text.Bytes(), []byte("\n")), []byte("\n"))
	lines = slices.DeleteFunc(lines, func(line []byte) bool { return bytes.Contains(line, []byte(`"level":"INFO","msg":"request"`)) })
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// nextPort hands out ports below those that systems give to outgoing connections, so that none is taken between the moment
// it was found free and the start of the program that is to listen there.
var nextPort atomic.Int64

const firstPort, ports = 18_000, 12_000

// freePort returns the number of a port that nobody listens on, and that no other test of this run gets.
func freePort(t *testing.T) int {
	t.Helper()
	nextPort.CompareAndSwap(0, time.Now().UnixNano()%ports+1)
	for range ports {
		port := firstPort + int(nextPort.Add(1)%ports)
		var config net.ListenConfig
		l, err := config.Listen(context.WithoutCancel(t.Context()), "tcp", address(port))
		if err != nil {
			continue
		}
		if err := l.Close(); err != nil {
			t.Fatalf("release port %d: %v", port, err)
		}
		return port
	}
	t.Fatal("no port is free")
	return 0
}

func address(port int) string { return net.JoinHostPort("127.0.0.1", strconv.Itoa(port)) }

// eventually polls until the condition holds, and fails the test with the last state when it does not within the time.
func eventually(t *testing.T, within time.Duration, what string, holds func() (ok bool, state string)) {
	t.Helper()
	deadline := time.Now().Add(within)
	tick := time.NewTicker(15 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, state := holds()
		if ok {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("not within %s: %s; at last: %s", within, what, state)
		}
		select {
		case <-tick.C:
		case <-t.Context().Done():
			t.Fatalf("the test ended while waiting: %s; at last: %s", what, state)
		}
	}
}

// environ writes variables in the form that a process gets them.
func environ(variables map[string]string) []string {
	env := make([]string, 0, len(variables))
	for name, value := range variables {
		env = append(env, fmt.Sprintf("%s=%s", name, value))
	}
	return env
}
