package chaos

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/history"
	"github.com/tarento/copilot/events"
)

// silence is how long a stream may say nothing, not even a comment, before its reader connects anew.
const silence = 20 * time.Second

// follow reads a job's stream to its end, over as many connections to whichever gateways as it takes. Some it breaks itself.
func (c *client) follow(ctx context.Context, job string) {
	r := &history.Reader{Name: "the reader of " + c.mark}
	defer func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.reader = r
	}()
	position := ""
	for !r.Ended {
		limit := time.Hour
		if c.jitter(0, 100)%3 == 0 {
			limit = c.jitter(200*time.Millisecond, 3*time.Second)
		}
		r.Connections++
		position = c.readSome(ctx, r, job, position, limit)
		if !r.Ended && !pause(ctx, c.jitter(20*time.Millisecond, 300*time.Millisecond)) {
			return
		}
	}
}

// readSome reads over one connection until that ends, and returns the position to resume at.
func (c *client) readSome(ctx context.Context, r *history.Reader, job, position string, limit time.Duration) string {
	ctx, cancel := context.WithTimeout(ctx, limit)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, c.gateway()+"/api/v1/jobs/"+job+"/events", http.NoBody)
	if err != nil {
		return position
	}
	req.Header.Set("Accept", "text/event-stream")
	req.Header.Set("Authorization", "Bearer "+c.load.tokens[c.tenant])
	if position != "" {
		req.Header.Set("Last-Event-ID", position)
	}
	idle := time.AfterFunc(silence, cancel)
	defer idle.Stop()
	resp, err := c.load.http.Do(req)
	if err != nil {
		return position
	}
	defer func() { _ = resp.Body.Close() }()
	if resp.StatusCode != http.StatusOK {
		_, _ = io.Copy(io.Discard, io.LimitReader(resp.Body, 4<<10))
		return position
	}
	for e, err := range readEvents(resp.Body, func() { idle.Reset(silence) }) {
		if err != nil {
			return position
		}
		if !slices.Contains(events.Types(), e.Type) {
			continue // the stream speaks of itself
		}
		position = e.ID
		r.Shown = append(r.Shown, e)
		var state events.JobState
		if e.Type == events.TypeJobState && json.Unmarshal(e.Data, &state) == nil && state.Status.Terminal() {
			r.Ended = true
			return position
		}
	}
	return position
}

// readEvents yields server-sent events until the body ends, and with no type the ids that come alone; alive is called for each line.
func readEvents(body io.Reader, alive func()) func(yield func(history.Shown, error) bool) {
	return func(yield func(history.Shown, error) bool) {
		lines := bufio.NewReader(body)
		var e history.Shown
		var data strings.Builder
		moved := false
		for {
			line, err := lines.ReadString('\n')
			if err != nil {
				if !errors.Is(err, io.EOF) {
					yield(history.Shown{}, fmt.Errorf("read the stream: %w", err))
				}
				return
			}
			alive()
			name, value, _ := strings.Cut(strings.TrimSuffix(line, "\n"), ":")
			value = strings.TrimPrefix(value, " ")
			switch name {
			case "id":
				e.ID, moved = value, true
			case "event":
				e.Type = events.Type(value)
			case "data":
				data.WriteString(value)
			case "":
				if value == "" && (e.Type != "" || moved) {
					e.Data = json.RawMessage(data.String())
					if !yield(e, nil) {
						return
					}
					e.Type, moved = "", false
					data.Reset()
				}
			}
		}
	}
}
