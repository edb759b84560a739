package engines

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"time"

	"github.com/tarento/copilot/deploy/devstack/internal/console"
	"github.com/tarento/copilot/deploy/devstack/internal/ports"
	"github.com/tarento/copilot/deploy/devstack/internal/process"
)

const (
	redisStartLimit = 20 * time.Second
	redisPollPause  = 10 * time.Millisecond
)

// RedisServer is a real Redis in a process of its own. It keeps nothing on disk. Make it with StartRedisServer; it must be stopped.
type RedisServer struct {
	child *process.Child
	port  int
}

// FindRedisServer returns the machine's redis-server. SearchPath lists the folders to look in, as in the PATH variable; those that
// are not absolute are passed over. Empty means that there is none.
func FindRedisServer(searchPath string) string {
	for _, dir := range filepath.SplitList(searchPath) {
		if !filepath.IsAbs(dir) {
			continue
		}
		if path, err := exec.LookPath(filepath.Join(dir, "redis-server")); err == nil {
			return path
		}
	}
	return ""
}

// StartRedisServer starts the program on the port, in the folder dir, which is made, and returns once it answers. What it prints
// goes to log; nil discards it.
func StartRedisServer(ctx context.Context, path, dir string, port int, log io.Writer) (*RedisServer, error) {
	if log == nil {
		log = io.Discard
	}
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return nil, fmt.Errorf("start Redis: %w", err)
	}
	tail := new(console.Tail)
	log = io.MultiWriter(log, tail)
	child, err := process.Start(process.Spec{
		Name: "redis-server",
		Path: path,
		Args: []string{
			"--bind", ports.Host, "--port", strconv.Itoa(port), "--dir", dir,
			"--save", "", "--appendonly", "no", "--daemonize", "no",
		},
		Env:    []string{"PATH=/usr/local/bin:/usr/bin:/bin", "LC_ALL=C", "TZ=UTC"},
		Stdout: log,
		Stderr: log,
	})
	if err != nil {
		return nil, fmt.Errorf("start Redis: %w", err)
	}
	r := &RedisServer{child: child, port: port}
	if err := r.await(ctx); err != nil {
		return nil, fmt.Errorf("start Redis: %w%s", errors.Join(err, r.Stop(context.WithoutCancel(ctx))), tail.Quote())
	}
	return r, nil
}

// await returns when the server answers.
func (r *RedisServer) await(ctx context.Context) error {
	ctx, cancel := context.WithTimeoutCause(ctx, redisStartLimit, fmt.Errorf("it did not answer within %s", redisStartLimit))
	defer cancel()
	for !r.answers(ctx) {
		select {
		case <-r.child.Done():
			return errors.New("it ended at once")
		case <-ctx.Done():
			return context.Cause(ctx)
		case <-time.After(redisPollPause):
		}
	}
	return nil
}

func (r *RedisServer) answers(ctx context.Context) bool {
	conn, err := (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", ports.Addr(r.port))
	if err != nil {
		return false
	}
	defer func() { _ = conn.Close() }()
	if err := conn.SetDeadline(time.Now().Add(time.Second)); err != nil {
		return false
	}
	if _, err := io.WriteString(conn, "PING\r\n"); err != nil {
		return false
	}
	var pong [len("+PONG")]byte
	_, err = io.ReadFull(conn, pong[:])
	return err == nil && string(pong[:]) == "+PONG"
}

// URL is the server's address.
func (r *RedisServer) URL() string { return "redis://" + ports.Addr(r.port) + "/0" }

// PID is the number of the server's process.
func (r *RedisServer) PID() int { return r.child.PID() }

// Done is closed when the server has ended.
func (r *RedisServer) Done() <-chan struct{} { return r.child.Done() }

// Stop ends the server and waits for it; its content is gone.
func (r *RedisServer) Stop(ctx context.Context) error { return r.child.Stop(ctx) }
