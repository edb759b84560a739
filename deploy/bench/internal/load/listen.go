package load

import (
	"bufio"
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"sync"
	"syscall"
	"time"
)

// Mark is a text that says when it was published. Listeners measure by it how long it took, wherever in a line it stands.
func Mark(now time.Time) string {
	return markStart + strconv.FormatInt(now.UnixNano(), 10) + string(markEnd)
}

const (
	markStart = "at="
	markEnd   = ';'
)

// Listeners are open streams of server-sent events. Open them with Listen; they must be closed.
type Listeners struct {
	conns  []net.Conn
	reads  sync.WaitGroup
	mu     sync.Mutex
	took   []time.Duration
	broken error
	closed bool
	more   chan struct{} // signaled when something arrived
}

// sources are how many loopback addresses the streams come from, so that no address runs out of ports.
const sources = 8

// Listen opens a stream for each path and returns when all have been answered.
func Listen(ctx context.Context, address, token string, paths []string) (*Listeners, error) {
	const dialing = 32
	if err := allow(uint64(len(paths)) + 256); err != nil {
		return nil, err
	}
	l := &Listeners{conns: make([]net.Conn, len(paths)), more: make(chan struct{}, 1)}
	var (
		wg    sync.WaitGroup
		next  = make(chan int)
		first sync.Once
		fault error
	)
	opening, stop := context.WithCancel(ctx)
	defer stop()
	for range dialing {
		wg.Go(func() {
			for i := range next {
				if err := l.open(opening, i, address, token, paths[i]); err != nil {
					first.Do(func() { fault = fmt.Errorf("open stream %d of %d: %w", i+1, len(paths), err) })
					stop()
				}
			}
		})
	}
	for i := range paths {
		next <- i
	}
	close(next)
	wg.Wait()
	if fault != nil {
		l.Close()
		return nil, fault
	}
	return l, nil
}

// allow raises the limit of open files, as far as the system lets a process do that by itself.
func allow(files uint64) error {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("read the limit of open files: %w", err)
	}
	if limit.Cur >= files {
		return nil
	}
	if limit.Max < files {
		return fmt.Errorf("%d open files are needed, and %d allowed: raise ulimit -Hn, or take fewer streams", files, limit.Max)
	}
	limit.Cur = limit.Max
	if err := syscall.Setrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return fmt.Errorf("raise the limit of open files: %w", err)
	}
	return nil
}

// open opens one stream and reads it in a goroutine of its own.
func (l *Listeners) open(ctx context.Context, i int, address, token, path string) error {
	wire, err := Request{Address: address, Method: http.MethodGet, Path: path, Token: token}.wire(ctx)
	if err != nil {
		return err
	}
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 0, 0, byte(1+i%sources))}}
	if l.conns[i], err = dialer.DialContext(ctx, "tcp", address); err != nil {
		return err
	}
	conn := l.conns[i]
	release := context.AfterFunc(ctx, func() { _ = conn.Close() })
	defer release()
	if _, err := conn.Write(wire); err != nil {
		return err
	}
	const room = 1 << 10
	resp, err := http.ReadResponse(bufio.NewReaderSize(conn, room), nil)
	if err != nil {
		return fmt.Errorf("read the answer: %w", err)
	}
	if resp.StatusCode != http.StatusOK {
		defer func() { _ = resp.Body.Close() }()
		return refusal(resp)
	}
	l.reads.Go(func() {
		defer func() { _ = resp.Body.Close() }()
		l.end(l.read(bufio.NewReaderSize(resp.Body, room)))
	})
	return nil
}

// read takes the marks out of a stream until it ends.
func (l *Listeners) read(lines *bufio.Reader) error {
	for {
		line, err := lines.ReadSlice('\n')
		if sent, marked := markOf(line); marked {
			l.arrived(time.Since(sent))
		}
		if err != nil && !errors.Is(err, bufio.ErrBufferFull) {
			return err
		}
	}
}

// markOf finds the mark in a line.
func markOf(line []byte) (sent time.Time, marked bool) {
	_, rest, found := bytes.Cut(line, []byte(markStart))
	end := bytes.IndexByte(rest, markEnd)
	if !found || end < 0 {
		return sent, false
	}
	nanos, err := strconv.ParseInt(string(rest[:end]), 10, 64)
	return time.Unix(0, nanos), err == nil
}

func (l *Listeners) arrived(after time.Duration) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.took = append(l.took, after)
	l.wake()
}

// wake has Arrived look again.
func (l *Listeners) wake() {
	select {
	case l.more <- struct{}{}:
	default:
	}
}

// end keeps the reason why the first stream ended before it was closed.
func (l *Listeners) end(err error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !l.closed && l.broken == nil {
		if errors.Is(err, io.EOF) {
			err = io.ErrUnexpectedEOF
		}
		l.broken = fmt.Errorf("a stream ended: %w", err)
		l.wake()
	}
}

// Arrived waits until so many marks have come since the last call, for so long at most, and returns how long each took. What has not
// come by then counts as having taken that long. A stream that has ended is an error.
func (l *Listeners) Arrived(ctx context.Context, marks int, within time.Duration) ([]time.Duration, error) {
	timer := time.NewTimer(within)
	defer timer.Stop()
	for late := false; ; {
		l.mu.Lock()
		took, broken := l.took, l.broken
		if len(took) >= marks || late {
			l.took = nil
		}
		l.mu.Unlock()
		switch {
		case broken != nil:
			return nil, broken
		case len(took) >= marks:
			return took, nil
		case late:
			for range marks - len(took) {
				took = append(took, within)
			}
			return took, nil
		}
		select {
		case <-l.more:
		case <-timer.C:
			late = true
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

// Close ends all streams.
func (l *Listeners) Close() {
	l.mu.Lock()
	l.closed = true
	l.mu.Unlock()
	for _, conn := range l.conns {
		if conn != nil {
			_ = conn.Close()
		}
	}
	l.reads.Wait()
}
