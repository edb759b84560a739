package stream

import (
	"context"
	"fmt"
	"io"
	"net"
	"net/http"
	"strconv"
	"syscall"
	"time"
)

// Wire leads to a client.
type Wire interface {
	// packed makes frames, behind frameRoom bytes, ready to be written.
	packed(frames []byte, last bool) []byte
	// try writes as much as goes without waiting.
	try(p []byte) (int, error)
	// write writes everything, and takes so long at most.
	write(p []byte, within time.Duration) (int, error)
	// gone reports whether the client is known to have left.
	gone(p *probe) bool
	close() error
}

// frameRoom is how many bytes come before frames, for what packs them: a length of eight digits and a line's end.
const frameRoom = 10

// Socket is a connection that was taken over from net/http after the head of the answer.
type Socket struct {
	conn net.Conn
	raw  syscall.RawConn // nil if the connection has none
	// chunked says that the head has announced a body in chunks; else the body ends with the connection.
	chunked bool
}

// NewSocket returns the wire of a connection that was taken over from net/http when the head of the answer had been sent, and maybe some of
// its body. Chunked says whether the head has announced a body in chunks; else the body ends with the connection.
func NewSocket(conn net.Conn, chunked bool) *Socket {
	s := &Socket{conn: conn, chunked: chunked}
	if c, ok := conn.(syscall.Conn); ok {
		if raw, err := c.SyscallConn(); err == nil {
			s.raw = raw
		}
	}
	return s
}

const lastChunk = "0\r\n\r\n"

func (s *Socket) packed(frames []byte, last bool) []byte {
	if !s.chunked {
		return frames[frameRoom:]
	}
	start := frameRoom
	if n := len(frames) - frameRoom; n > 0 {
		var head [frameRoom]byte
		length := append(strconv.AppendInt(head[:0], int64(n), 16), "\r\n"...)
		start -= len(length)
		copy(frames[start:], length)
		frames = append(frames, "\r\n"...)
	}
	if last {
		frames = append(frames, lastChunk...)
	}
	return frames[start:]
}

func (s *Socket) write(p []byte, within time.Duration) (n int, err error) {
	if err := s.conn.SetWriteDeadline(time.Now().Add(within)); err != nil {
		return 0, fmt.Errorf("stream: set a deadline: %w", err)
	}
	if n, err = s.conn.Write(p); err != nil {
		return n, fmt.Errorf("stream: write: %w", err)
	}
	// Or try would fail after it.
	if err := s.conn.SetWriteDeadline(time.Time{}); err != nil {
		return n, fmt.Errorf("stream: lift a deadline: %w", err)
	}
	return n, nil
}

func (s *Socket) close() error {
	if err := s.conn.Close(); err != nil {
		return fmt.Errorf("stream: close: %w", err)
	}
	return nil
}

// Answer is the rest of an answer that net/http writes, while its handler waits.
type Answer struct {
	w       io.Writer
	control *http.ResponseController
	left    <-chan struct{}
}

// NewAnswer returns the wire of an answer whose connection cannot be taken over, such as one of HTTP/2. Its handler must not return before
// the viewer has left; its context says when the client is gone.
func NewAnswer(ctx context.Context, w http.ResponseWriter) *Answer {
	return &Answer{w, http.NewResponseController(w), ctx.Done()}
}

func (*Answer) packed(frames []byte, _ bool) []byte { return frames[frameRoom:] }

// try leaves it to write, because what net/http writes cannot be tried.
func (*Answer) try([]byte) (int, error) { return 0, nil }

func (a *Answer) write(p []byte, within time.Duration) (n int, err error) {
	// A writer without deadlines, as in some tests, has no slow client either.
	_ = a.control.SetWriteDeadline(time.Now().Add(within))
	if n, err = a.w.Write(p); err != nil {
		return n, fmt.Errorf("stream: write: %w", err)
	}
	if err = a.control.Flush(); err != nil {
		return n, fmt.Errorf("stream: flush: %w", err)
	}
	return n, nil
}

func (a *Answer) gone(*probe) bool {
	select {
	case <-a.left:
		return true
	default:
		return false
	}
}

func (*Answer) close() error { return nil }
