package chaos

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"
)

// process is a program that is started again whenever it ends, as a supervisor would, except while a fault holds it down.
type process struct {
	name string
	path string
	args []string
	env  []string
	// ready is the address of its health; empty for an engine, which says on its standard output when it is ready.
	ready string

	log io.WriteCloser

	mu      sync.Mutex
	pid     int           // zero while it does not run
	server  int           // of an engine: the process that has to die with it
	ended   chan struct{} // closed when the current one has ended
	held    bool          // a fault keeps it down
	stopped bool          // for good
	started time.Time
	crashes int // ends that nobody asked for
	changed chan struct{}
	over    chan struct{} // closed when nothing of it runs any more
}

// restartPause is how long a supervisor waits before it starts a program again that has ended by itself.
const restartPause = 300 * time.Millisecond

// start begins to supervise a program whose output goes to a file in the folder.
func start(p *process, logs string) error {
	file, err := os.OpenFile(filepath.Join(logs, p.name+".log"), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		return fmt.Errorf("open the log of %s: %w", p.name, err)
	}
	p.log, p.changed, p.over = file, make(chan struct{}), make(chan struct{})
	go p.supervise()
	return nil
}

// supervise lives on one thread, because the kernel's word that the parent died is bound to the thread that started the child.
func (p *process) supervise() {
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()
	defer close(p.over)
	defer func() { _ = p.log.Close() }()
	for p.mayStart() {
		cmd, err := p.launch()
		if err == nil {
			_ = cmd.Wait() // how it ended is what the faults cause
		}
		p.mu.Lock()
		p.pid, p.server = 0, 0
		if err == nil {
			close(p.ended)
		}
		wanted := !p.held && !p.stopped
		if wanted {
			p.crashes++
		}
		p.tell()
		p.mu.Unlock()
		if wanted {
			<-time.After(restartPause)
		}
	}
}

// mayStart waits until no fault holds the program; false means that it is over for good.
func (p *process) mayStart() bool {
	for {
		p.mu.Lock()
		held, stopped, changed := p.held, p.stopped, p.changed
		p.mu.Unlock()
		if stopped || !held {
			return !stopped
		}
		<-changed
	}
}

// tell wakes who waits for a change; p.mu is held.
func (p *process) tell() {
	close(p.changed)
	p.changed = make(chan struct{})
}

func (p *process) launch() (*exec.Cmd, error) {
	cmd := exec.Command(p.path, p.args...) //nolint:gosec,noctx // the programs are ours, and signals end them
	cmd.Env = p.env
	cmd.Stdout, cmd.Stderr = p.log, p.log
	cmd.WaitDelay = time.Second
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	endWithParent(cmd.SysProcAttr)
	var said io.ReadCloser
	if p.ready == "" {
		cmd.Stdout = nil
		var err error
		if said, err = cmd.StdoutPipe(); err != nil {
			return nil, err
		}
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.stopped || p.held {
		return nil, errors.New("held")
	}
	if err := cmd.Start(); err != nil {
		_, _ = fmt.Fprintln(p.log, "chaos:", err)
		return nil, err
	}
	p.pid, p.ended, p.started = cmd.Process.Pid, make(chan struct{}), time.Now()
	if said != nil {
		go p.listen(said, p.pid)
	}
	p.tell()
	return cmd, nil
}

// listen waits for the word of an engine that it is ready, which names the server.
func (p *process) listen(said io.Reader, pid int) {
	line, err := bufio.NewReader(said).ReadString('\n')
	number, found := strings.CutPrefix(strings.TrimSpace(line), "ready ")
	server, bad := strconv.Atoi(number)
	if err != nil || !found || bad != nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.pid == pid {
		p.server = server
		p.tell()
	}
}

// await returns when the program is ready.
func (p *process) await(ctx context.Context, client *http.Client) error {
	tick := time.NewTicker(20 * time.Millisecond)
	defer tick.Stop()
	for {
		p.mu.Lock()
		changed, up := p.changed, p.pid != 0 && (p.server != 0 || p.ready != "")
		p.mu.Unlock()
		if up && (p.ready == "" || healthy(ctx, client, p.ready)) {
			return nil
		}
		var poll <-chan time.Time
		if p.ready != "" {
			poll = tick.C
		}
		select {
		case <-ctx.Done():
			return fmt.Errorf("%s was not ready in time: %w", p.name, context.Cause(ctx))
		case <-changed:
		case <-poll:
		}
	}
}

func healthy(ctx context.Context, client *http.Client, address string) bool {
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+address+"/readyz", http.NoBody)
	if err != nil {
		return false
	}
	resp, err := client.Do(req)
	if err != nil {
		return false
	}
	_ = resp.Body.Close()
	return resp.StatusCode == http.StatusOK
}

// signal goes to the program, and for an engine to its server, if there is one.
func (p *process) signal(sig syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	switch {
	case p.pid == 0:
	case p.server != 0:
		_ = syscall.Kill(p.server, sig)
	default:
		_ = syscall.Kill(-p.pid, sig)
	}
}

// freeze stops an engine's server with all its processes, and returns what lets them go on.
func (p *process) freeze() (thaw func()) {
	p.mu.Lock()
	server := p.server
	p.mu.Unlock()
	if server == 0 {
		return func() {}
	}
	_ = syscall.Kill(server, syscall.SIGSTOP) // it first, so that it starts no others
	all := append([]int{server}, childrenOf(server)...)
	for _, pid := range all[1:] {
		_ = syscall.Kill(pid, syscall.SIGSTOP)
	}
	return func() {
		for _, pid := range slices.Backward(all) {
			_ = syscall.Kill(pid, syscall.SIGCONT)
		}
	}
}

// takeDown ends the program with a signal and keeps it down until release. It reports whether it ended within the time; if not, it
// has been killed.
func (p *process) takeDown(sig syscall.Signal, within time.Duration) (inTime bool) {
	p.mu.Lock()
	p.held = true
	pid, server, ended := p.pid, p.server, p.ended
	p.mu.Unlock()
	if pid == 0 {
		return true
	}
	switch {
	case server != 0 && sig != syscall.SIGTERM:
		_ = syscall.Kill(server, sig)
	case server != 0:
		_ = syscall.Kill(pid, sig) // the launcher ends its engine in order
	default:
		_ = syscall.Kill(-pid, sig)
	}
	timer := time.NewTimer(within)
	defer timer.Stop()
	select {
	case <-ended:
		return true
	case <-timer.C:
	}
	_ = syscall.Kill(-pid, syscall.SIGKILL)
	<-ended
	return false
}

// release lets the program be started again.
func (p *process) release() {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.held = false
	p.tell()
}

// stop ends the program for good.
func (p *process) stop(within time.Duration) {
	if p.over == nil {
		return
	}
	p.mu.Lock()
	p.stopped = true
	p.mu.Unlock()
	p.signal(syscall.SIGCONT)
	p.takeDown(syscall.SIGTERM, within)
	p.mu.Lock()
	p.tell()
	p.mu.Unlock()
	<-p.over
}

// deaths is how often the program ended although nobody wanted it to.
func (p *process) deaths() int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.crashes
}
