package system

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
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
	name  string
	log   string // the file that it writes to
	ready string // the URL that answers when it is ready
	cmd   *exec.Cmd
	done  chan struct{} // closed when it has ended, after err is set
	err   error
	stop  context.CancelFunc
}

// start runs a program until ctx ends or stop is called; either sends it SIGTERM. What it writes goes to a file in the folder logs
// without a detour through this process, which has other things to do.
func start(ctx context.Context, name, path, logs string, env []string, args ...string) (*process, error) {
	log, err := os.Create(filepath.Join(logs, strings.ReplaceAll(name, " ", "-")+".log"))
	if err != nil {
		return nil, fmt.Errorf("start %s: %w", name, err)
	}
	defer func() { _ = log.Close() }() // the program has it then
	ctx, stop := context.WithCancel(ctx)
	p := &process{name: name, log: log.Name(), done: make(chan struct{}), stop: stop}
	p.cmd = exec.CommandContext(ctx, path, args...) //nolint:gosec // a program that this package has built
	p.cmd.Env = env
	p.cmd.Stdout, p.cmd.Stderr = log, log
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

// awaitReady returns when the program says that it is ready.
func (p *process) awaitReady(ctx context.Context, client *http.Client) error {
	ctx, cancel := context.WithTimeoutCause(ctx, readyLimit, fmt.Errorf("it was not ready within %s", readyLimit))
	defer cancel()
	tick := time.NewTicker(pollPause)
	defer tick.Stop()
	for !answers(ctx, client, p.ready) {
		select {
		case <-p.done:
			return errors.Join(fmt.Errorf("%s ended instead of getting ready:\n%s", p.name, p.last(20, nil)), p.err)
		case <-ctx.Done():
			return fmt.Errorf("start %s: %w\n%s", p.name, context.Cause(ctx), p.last(20, nil))
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

// last returns the last n lines that the program wrote, of those that the filter lets through; nil lets all through.
func (p *process) last(n int, filter func(line []byte) bool) string {
	text, err := os.ReadFile(p.log)
	if err != nil {
		return err.Error()
	}
	var lines [][]byte
	for line := range bytes.Lines(text) {
		if filter == nil || filter(line) {
			lines = append(lines, line)
		}
	}
	return string(bytes.TrimSpace(bytes.Join(lines[max(0, len(lines)-n):], nil)))
}

// trouble lets lines through that tell of no normal course of things.
func trouble(line []byte) bool {
	return !bytes.Contains(line, []byte(`"level":"INFO"`)) && !bytes.Contains(line, []byte(`"level":"DEBUG"`))
}
