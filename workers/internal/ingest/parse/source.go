package parse

import (
	"context"
	"errors"
	"fmt"
	"io"
	"sync"

	"github.com/tarento/copilot/pkg/fault"
)

// storage passes reads through and remembers the first one that failed, because a parser would take a broken disk for a
// broken document.
type storage struct {
	content io.ReaderAt

	mu  sync.Mutex
	err error
}

// ReadAt implements io.ReaderAt.
func (s *storage) ReadAt(p []byte, off int64) (int, error) {
	n, err := s.content.ReadAt(p, off)
	if err != nil && !errors.Is(err, io.EOF) {
		s.mu.Lock()
		if s.err == nil {
			s.err = err
		}
		s.mu.Unlock()
	}
	return n, err // passed through as it is: io.EOF must stay io.EOF
}

// failure returns the first read error.
func (s *storage) failure() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// head returns the first n bytes, or fewer when the file is shorter.
func (s Source) head(n int64) ([]byte, error) {
	buf := make([]byte, min(n, s.Size))
	got, err := s.Content.ReadAt(buf, 0)
	if err != nil && !errors.Is(err, io.EOF) {
		return nil, fmt.Errorf("read the beginning: %w", err)
	}
	return buf[:got], nil
}

// all returns the whole content of a file of at most limit bytes.
func (s Source) all(limit int64) ([]byte, error) {
	if err := s.fits(limit); err != nil {
		return nil, err
	}
	return s.head(limit)
}

// fits returns a fault when the file is larger than limit bytes.
func (s Source) fits(limit int64) error {
	if s.Size <= limit {
		return nil
	}
	return fault.New(fault.TooLarge, "document.too_large",
		"The file is %s; text files may have %s. Split it into smaller files and upload those.", bytesText(s.Size), bytesText(limit))
}

// interruptible fails reads once its context is done, so that a parser that only reads a stream can be cancelled.
func interruptible(ctx context.Context, r io.Reader) io.Reader {
	return readerFunc(func(p []byte) (int, error) {
		if err := context.Cause(ctx); err != nil {
			return 0, err
		}
		return r.Read(p) // passed through as it is: io.EOF must stay io.EOF
	})
}

// readerFunc makes a function an io.Reader.
type readerFunc func(p []byte) (int, error)

// Read implements io.Reader.
func (f readerFunc) Read(p []byte) (int, error) { return f(p) }
