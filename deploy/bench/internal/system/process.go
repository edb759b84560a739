package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"os/exec"
	"strconv"
	"sync"
	"syscall"
	"time"
)

const (
	// readyLimit is how long a program may take from its start to its readiness, on a machine that does other things too.
	readyLimit = 60 * time.Second
	// stopLimit is how long it may take to end.
	stopLimit = 30 * time.Second
	// pollPause is the pause between two looks at a program that is not ready.
	pollPause = 20 * time.Millisecond
)

// process is a program that runs.
type process struct {
	name string
	log  *tail
	cmd  *exec.Cmd
	done chan struct{} // closed when it has ended, after err is set
	err  error
	stop context.CancelFunc
}

// start runs a program until ctx ends or stop is called; either sends it SIGTERM.
func start(ctx context.Context, name, path string, env []string, args ...string) (*process, error) {
	ctx, stop := context.WithCancel(ctx)
	p := &process{name: name, log: &tail{}, done: make(chan struct{}), stop: stop}
	p.cmd = exec.CommandContext(ctx, path, args...)
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = p.log, p.log
	p.cmd.Cancel = func() error { return p.cmd.Process.Signal(syscall.SIGTERM) }
	p.cmd.WaitDelay = stopLimit
	if err := p.cmd.Start(); err != nil {
		stop()
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	go func() {
		defer close(p.done)
		p.err = p.cmd.Wait()
	}()
	return p, nil
}

// end stops the program and waits for it. Only an end by force is an error.
func (p *process) end() error {
	p.stop()
	<-p.done
	if errors.Is(p.err, exec.ErrWaitDelay) {
		return fmt.Errorf("%s did not end within %s of SIGTERM", p.name, stopLimit)
	}
	return nil
}

// awaitReady returns when the address answers with a success.
func (p *process) awaitReady(ctx context.Context, client *http.Client, url string) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("it was not ready within %s", readyLimit))
	defer cancel()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for !answers(ctx, client, url) {
		select {
		case <-p.done:
			return fmt.Errorf("%s ended instead of getting ready (%v):\n%s", p.name, p.err, p.log.last(20)) //nolint:errorlint // p.err may be nil
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w\n%s", p.name, context.Cause(ctx), p.log.last(20))
		case <-tick.C:
		}
	}
	return nil
}

func answers(ctx context.Context, client *http.Client, url string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode/100 == 2
}

// tail keeps the last of what a program writes.
type tail struct {
	mu   sync.Mutex
	text []byte
}

// tailSize is how much of a program's output is kept, at least.
const tailSize = 64 << 10

// Write implements io.Writer.
func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.text = append(t.text, p...)
	if len(t.text) > 2*tailSize {
		t.text = append(t.text[:0], t.text[len(t.text)-tailSize:]...)
	}
	return len(p), nil
}

// last returns the last n lines.
func (t *tail) last(n int) string {
	t.mu.Lock()
	defer t.mu.Unlock()
	lines := bytes.Split(bytes.TrimSpace(t.text), []byte("\n"))
	return string(bytes.Join(lines[max(0, len(lines)-n):], []byte("\n")))
}

// freeAddress finds a port that nobody listens on, below those that systems give to outgoing connections, so that none takes it
// before the program does.
func freeAddress(ctx context.Context) (string, error) {
	const first, count, tries = 12_000, 6_000, 200
	for range tries {
		address := net.JoinHostPort("127.0.0.1", strconv.Itoa(first+rand.IntN(count)))
		listener, err := (&net.ListenConfig{}).Listen(ctx, "tcp", address)
		if err != nil {
			continue
		}
		if err := listener.Close(); err != nil {
			return "", fmt.Errorf("release port: %w", err)
		}
		return address, nil
	}
	return "", errors.New("no port is free")
}
