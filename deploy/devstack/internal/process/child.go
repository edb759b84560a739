package process

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"runtime"
	"sync"
	"syscall"
	"time"
)

// DefaultGrace is how long a child may take to end after it was asked to.
const DefaultGrace = 10 * time.Second

// orphanedOutput bounds the wait for output that is still held open by a process which left the child's group.
const orphanedOutput = 2 * time.Second

// ErrKilled is the result of Stop when the child did not end within its grace and was killed.
var ErrKilled = errors.New("did not end in time and was killed")

// Spec says what to run and how. Path is required; everything else has a useful zero value.
type Spec struct {
	// Name is what people know the child by; it stands in errors. Empty means Path.
	Name string
	// Path is the program, looked up in the launcher's PATH when it has no slash.
	Path string
	// Args are the arguments after the program's name.
	Args []string
	// Env is the whole environment of the child, "KEY=value" each. Nothing is inherited.
	Env []string
	// Dir is the working directory; empty means the launcher's.
	Dir string
	// Stdin is the child's input; nil means none. With a terminal the child becomes its foreground job until it ends.
	Stdin *os.File
	// Stdout and Stderr receive the output; nil discards it.
	Stdout, Stderr io.Writer
	// Credential makes the child run as another user; nil means the launcher's.
	Credential *syscall.Credential
	// StopSignal asks the child to end, from Stop or when the launcher dies; zero means SIGTERM.
	StopSignal syscall.Signal
	// Grace is how long the child may take to end after StopSignal before it is killed; zero means DefaultGrace.
	Grace time.Duration
}

func (s Spec) name() string {
	if s.Name != "" {
		return s.Name
	}
	return s.Path
}

func (s Spec) stopSignal() syscall.Signal {
	if s.StopSignal == 0 {
		return syscall.SIGTERM
	}
	return s.StopSignal
}

func (s Spec) grace() time.Duration {
	if s.Grace == 0 {
		return DefaultGrace
	}
	return s.Grace
}

// ExitError says that a child ended otherwise than with exit code 0.
type ExitError struct {
	// Name is the child's name.
	Name string
	// Code is the exit code; for a child ended by a signal it is 128 plus the signal's number, as shells report it.
	Code int
	// Signal is the signal that ended the child; zero when it exited by itself.
	Signal syscall.Signal
}

// Error says how the child ended.
func (e *ExitError) Error() string {
	if e.Signal != 0 {
		return fmt.Sprintf("%s was ended by signal %d (%s)", e.Name, int(e.Signal), e.Signal)
	}
	return fmt.Sprintf("%s exited with code %d", e.Name, e.Code)
}

// Child is a running program, or one that has ended. Make it with Start. Its methods may be called from any goroutine.
type Child struct {
	spec Spec
	pid  int
	done chan struct{}
	err  error // written once, before done is closed

	mu   sync.Mutex
	over bool // the group is gone and its number may belong to somebody else
}

// Start runs the program and returns once it runs. The caller must call Stop, or wait for Done.
func Start(spec Spec) (*Child, error) {
	c := &Child{spec: spec, done: make(chan struct{})}
	started := make(chan error, 1)
	go c.live(started)
	if err := <-started; err != nil {
		return nil, fmt.Errorf("start %s: %w", spec.name(), err)
	}
	return c, nil
}

// live starts the child and sees it to its end, on one operating-system thread: the kernel's "parent died" signal is
// bound to the thread that started the child, so that thread has to live as long as the child does.
func (c *Child) live(started chan<- error) {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(c.done)

	terminal, restore := foreground(c.spec.Stdin)
	defer restore()

	cmd := exec.Command(c.spec.Path, c.spec.Args...) //nolint:gosec,noctx // running what it is told is its purpose; Stop ends it
	cmd.Env = append([]string{}, c.spec.Env...)
	cmd.Dir = c.spec.Dir
	if c.spec.Stdin != nil {
		cmd.Stdin = c.spec.Stdin
	}
	cmd.Stdout, cmd.Stderr = c.spec.Stdout, c.spec.Stderr
	cmd.WaitDelay = orphanedOutput
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Credential: c.spec.Credential, Foreground: terminal}
	endWithParent(cmd.SysProcAttr, c.spec.stopSignal())

	err := cmd.Start()
	if err == nil {
		c.pid = cmd.Process.Pid
	}
	started <- err
	if err != nil {
		return
	}
	// While the dead leader is not yet reaped its number cannot be given to another process, so the group can be ended
	// without any risk of hitting a stranger.
	awaitExit(c.pid)
	c.signal(-c.pid, syscall.SIGKILL)
	c.mu.Lock()
	c.over = true
	c.mu.Unlock()
	c.err = c.outcome(cmd.Wait())
}

func (c *Child) outcome(err error) error {
	var exit *exec.ExitError
	switch {
	case err == nil, errors.Is(err, exec.ErrWaitDelay):
		return nil
	case errors.As(err, &exit):
		result := &ExitError{Name: c.spec.name(), Code: exit.ExitCode()}
		if status, ok := exit.Sys().(syscall.WaitStatus); ok && status.Signaled() {
			result.Signal = status.Signal()
			result.Code = 128 + int(status.Signal())
		}
		return result
	default:
		return fmt.Errorf("wait for %s: %w", c.spec.name(), err)
	}
}

// PID returns the child's process number, which is also that of its group.
func (c *Child) PID() int { return c.pid }

// Done is closed when the child and its whole group have ended.
func (c *Child) Done() <-chan struct{} { return c.done }

// Err returns how the child ended: nil for exit code 0, otherwise an error with an *ExitError in its chain. It is nil
// while the child runs.
func (c *Child) Err() error {
	select {
	case <-c.done:
		return c.err
	default:
		return nil
	}
}

// Signal sends sig to the child's whole group. It does nothing when the child has ended.
func (c *Child) Signal(sig syscall.Signal) { c.signal(-c.pid, sig) }

// signal sends sig to a process, or with a negative number to a group, as long as the number is the child's.
func (c *Child) signal(pid int, sig syscall.Signal) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if !c.over {
		_ = syscall.Kill(pid, sig)
	}
}

// Stop asks the child to end and waits for it. It kills the child's group when the grace has passed or ctx is done, and
// then returns an error with ErrKilled in its chain. How the child ended otherwise is no error here; Err tells it.
func (c *Child) Stop(ctx context.Context) error {
	// Only the leader is asked: it knows best in which order its own children end. What it leaves behind is killed.
	return c.end(ctx, c.pid, c.spec.stopSignal())
}

// Interrupt does the same with another signal, which goes to the child's whole group, as from a terminal.
func (c *Child) Interrupt(ctx context.Context, sig syscall.Signal) error {
	return c.end(ctx, -c.pid, sig)
}

func (c *Child) end(ctx context.Context, asked int, sig syscall.Signal) error {
	select {
	case <-c.done:
		return nil
	default:
	}
	c.signal(asked, sig)
	grace := time.NewTimer(c.spec.grace())
	defer grace.Stop()
	select {
	case <-c.done:
		return nil
	case <-grace.C:
	case <-ctx.Done():
	}
	c.Signal(syscall.SIGKILL)
	<-c.done
	return fmt.Errorf("%s: %w", c.spec.name(), ErrKilled)
}
