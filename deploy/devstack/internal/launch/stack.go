package launch

import (
	"context"
	"errors"
	"fmt"
)

// stack holds what has been started, so that it can be ended in reverse order, also after a start that failed half-way.
// The zero stack is empty and ready.
type stack struct{ closers []closer }

type closer struct {
	name  string
	close func(context.Context) error
}

// push adds what ends the part named.
func (s *stack) push(name string, end func(context.Context) error) {
	s.closers = append(s.closers, closer{name, end})
}

// closeAll ends everything, the youngest first, and goes on after an error. When ctx is done, parts end by force. The
// stack is empty afterwards.
func (s *stack) closeAll(ctx context.Context) error {
	var problems []error
	for len(s.closers) > 0 {
		last := s.closers[len(s.closers)-1]
		s.closers = s.closers[:len(s.closers)-1]
		if err := last.close(ctx); err != nil {
			problems = append(problems, fmt.Errorf("stop %s: %w", last.name, err))
		}
	}
	return errors.Join(problems...)
}
