package lifecycle

import (
	"context"
	"time"
)

// Pause waits for d and reports whether ctx is still alive, so that a loop of a service can be "for Pause(ctx, every)". It returns false
// as soon as ctx ends. A d of zero or less does not wait.
func Pause(ctx context.Context, d time.Duration) bool {
	if d <= 0 {
		return ctx.Err() == nil
	}
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return false
	case <-timer.C:
		return ctx.Err() == nil
	}
}
