package tour

import (
	"context"
	"fmt"
	"time"

	"github.com/tarento/copilot/gateway/client"
)

// watcher is told of a job's events, in their order. Nil functions are left out.
type watcher struct {
	state    func(client.JobState)
	progress func(client.JobProgress)
	text     func(client.TextDelta)
}

// follow watches a job until it ends and returns it as it ended. The error says so when the job did not succeed.
func follow(ctx context.Context, c *client.Client, id string, w watcher) (*client.Job, error) {
	seen := "no event yet"
	for e, err := range c.FollowJob(ctx, id) {
		if err == nil {
			err = w.tell(e, &seen)
		}
		if err != nil {
			return nil, fmt.Errorf("follow job %s (%s): %w", id, seen, err)
		}
	}
	ended, err := c.GetJob(ctx, id)
	if err != nil {
		return nil, fmt.Errorf("read job %s: %w", id, err)
	}
	if err := ended.Err(); err != nil {
		return nil, err
	}
	return ended, nil
}

// tell hands one event to the watcher, and says for error messages what the job was seen to do. Steps, usage and events that are
// not known are left out; new ones may come with a later server.
func (w watcher) tell(e client.Event, seen *string) error {
	switch e.Type {
	case client.EventJobState:
		var s client.JobState
		if err := e.Into(&s); err != nil {
			return err
		}
		*seen = "last seen: " + string(s.Status)
		if w.state != nil {
			w.state(s)
		}
	case client.EventJobProgress:
		var p client.JobProgress
		if err := e.Into(&p); err != nil {
			return err
		}
		*seen = fmt.Sprintf("last seen: %s %d of %d", p.Stage, p.Done, p.Total)
		if w.progress != nil {
			w.progress(p)
		}
	case client.EventTextDelta:
		var d client.TextDelta
		if err := e.Into(&d); err != nil {
			return err
		}
		*seen = "last seen: writing the answer"
		if w.text != nil {
			w.text(d)
		}
	default:
	}
	return nil
}

// pause waits, or returns the cause of the context's end.
func pause(ctx context.Context, d time.Duration) error {
	timer := time.NewTimer(d)
	defer timer.Stop()
	select {
	case <-ctx.Done():
		return context.Cause(ctx)
	case <-timer.C:
		return nil
	}
}
