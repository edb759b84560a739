//go:build linux || darwin

package stream

import (
	"errors"
	"fmt"
	"syscall"
)

func (s *Socket) try(p []byte) (n int, err error) {
	if s.raw == nil || len(p) == 0 {
		return 0, nil
	}
	refused := s.raw.Write(func(fd uintptr) bool {
		for {
			if n, err = syscall.Write(int(fd), p); !errors.Is(err, syscall.EINTR) {
				return true // whatever came of it: there is no waiting here
			}
		}
	})
	switch {
	case refused != nil:
		return 0, fmt.Errorf("stream: write: %w", refused)
	case errors.Is(err, syscall.EAGAIN):
		return 0, nil
	case err != nil:
		return 0, fmt.Errorf("stream: write: %w", err)
	default:
		return n, nil
	}
}

// probe looks whether clients are there. It is used by one goroutine, and kept because one would be made for each look otherwise.
type probe struct {
	gone bool
	look func(fd uintptr)
}

func newProbe() *probe {
	p := &probe{}
	var nothing [1]byte
	p.look = func(fd uintptr) {
		n, _, err := syscall.Recvfrom(int(fd), nothing[:], syscall.MSG_PEEK|syscall.MSG_DONTWAIT)
		p.gone = err == nil && n == 0 || err != nil && !errors.Is(err, syscall.EAGAIN) && !errors.Is(err, syscall.EINTR)
	}
	return p
}

// gone asks the kernel whether the client has closed its end: nobody reads here, so nobody is told.
func (s *Socket) gone(p *probe) bool {
	if s.raw == nil {
		return false // the next sign of life shows it
	}
	p.gone = false
	return s.raw.Control(p.look) != nil || p.gone
}
