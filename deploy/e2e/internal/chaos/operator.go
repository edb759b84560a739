package chaos

import (
	"context"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/http"
	"strings"
	"sync/atomic"
	"time"

	"github.com/tarento/copilot/events"
)

// operator looks after dead jobs: it has some done again, and discards others.
type operator struct {
	load *load
	rand *rand.Rand

	redriven, discarded atomic.Int64
}

func newOperator(l *load) *operator {
	return &operator{load: l, rand: rand.New(rand.NewPCG(l.seed+3, 0))}
}

// How often it looks, and how many jobs it has done again at once.
const (
	soonestLook = 3 * time.Second
	latestLook  = 9 * time.Second
	redrives    = 5
)

// begin looks in the background until the function that it returns is called.
func (o *operator) begin(ctx context.Context) (leave func()) {
	ctx, cancel := context.WithCancel(ctx)
	over := make(chan struct{})
	go func() {
		defer close(over)
		o.run(ctx)
	}()
	return func() { cancel(); <-over }
}

// run looks until ctx ends.
func (o *operator) run(ctx context.Context) {
	for n := 0; pause(ctx, between(o.rand, soonestLook, latestLook)); n++ {
		tenant := o.rand.IntN(len(tenants()))
		if o.rand.IntN(4) == 0 {
			o.discard(ctx, tenant)
		} else {
			o.redrive(ctx, tenant, fmt.Sprintf("redrive-%d", n))
		}
	}
}

// until asks until there is an answer that no repetition would change, or ctx ends.
func (o *operator) until(ctx context.Context, r request) (a answer, ok bool) {
	for {
		gateway := o.load.gateways[o.rand.IntN(len(o.load.gateways))]
		a, err := o.load.send(ctx, gateway, r)
		if err == nil && !a.passes() {
			return a, true
		}
		if !pause(ctx, between(o.rand, 50*time.Millisecond, 500*time.Millisecond)) {
			return a, false
		}
	}
}

// redrive has the oldest dead jobs done again.
func (o *operator) redrive(ctx context.Context, tenant int, key string) {
	a, ok := o.until(ctx, request{
		method: http.MethodPost, path: "/api/v1/jobs/redrive", token: o.load.tokens[tenant], key: key,
		body: fmt.Appendf(nil, `{"limit":%d}`, redrives),
	})
	var out struct {
		Data []struct {
			JobID     string `json:"job_id"`
			RetriedAs string `json:"retried_as"`
		} `json:"data"`
	}
	switch {
	case !ok:
		return
	case a.status != http.StatusOK || json.Unmarshal(a.body, &out) != nil:
		o.load.lied(fmt.Sprintf("redrive: %d %s", a.status, a.body))
		return
	}
	for _, job := range out.Data {
		if job.RetriedAs != "" {
			o.redriven.Add(1)
			o.load.retriedAs(job.JobID, job.RetriedAs)
		}
	}
}

// discard takes a dead job off the list.
func (o *operator) discard(ctx context.Context, tenant int) {
	a, ok := o.until(ctx, request{method: http.MethodGet, path: "/api/v1/jobs?dead=true&limit=1", token: o.load.tokens[tenant]})
	var list struct {
		Data []struct {
			ID string `json:"id"`
		} `json:"data"`
	}
	switch {
	case !ok:
		return
	case a.status != http.StatusOK || json.Unmarshal(a.body, &list) != nil:
		o.load.lied(fmt.Sprintf("list dead jobs: %d %s", a.status, a.body))
		return
	case len(list.Data) == 0:
		return
	}
	id := list.Data[0].ID
	a, ok = o.until(ctx, request{method: http.MethodPost, path: "/api/v1/jobs/" + id + "/discard", token: o.load.tokens[tenant]})
	switch {
	case !ok:
	case a.status == http.StatusOK:
		o.discarded.Add(1)
	case a.status != http.StatusConflict: // its client had it done again meanwhile
		o.load.lied(fmt.Sprintf("discard %s: %d %s", id, a.status, a.body))
	}
}

// passes tells whether the same request may get another answer soon.
func (a answer) passes() bool {
	return a.status >= http.StatusInternalServerError || a.status == http.StatusTooManyRequests ||
		a.status == http.StatusConflict && strings.HasPrefix(a.code(), "idempotency.")
}

// code is that of a problem.
func (a answer) code() string {
	var problem struct {
		Code string `json:"code"`
	}
	if json.Unmarshal(a.body, &problem) != nil {
		return ""
	}
	return problem.Code
}

// retry waits until the job has ended, and has it done again when it has not succeeded.
func (c *client) retry(ctx context.Context, job string) {
	token, path := c.load.tokens[c.tenant], "/api/v1/jobs/"+job
	for {
		a, err := c.load.send(ctx, c.gateway(), request{method: http.MethodGet, path: path + "?wait=4", token: token})
		var state struct {
			Status events.Status `json:"status"`
		}
		if err == nil && a.status == http.StatusOK && json.Unmarshal(a.body, &state) == nil && state.Status.Terminal() {
			if state.Status == events.StatusSucceeded {
				return
			}
			break
		}
		if !pause(ctx, c.jitter(200*time.Millisecond, time.Second)) {
			return
		}
	}
	for {
		a, err := c.load.send(ctx, c.gateway(), request{
			method: http.MethodPost, path: path + "/retry", token: token, key: "retry-" + c.mark,
		})
		var made struct {
			ID string `json:"id"`
		}
		switch {
		case err != nil || a.passes():
		case a.status/100 == 2 && json.Unmarshal(a.body, &made) == nil && made.ID != "":
			c.load.retriedAs(job, made.ID)
			return
		case a.status == http.StatusConflict && a.code() == "job.retried":
			return // by the operator
		default:
			c.load.lied(fmt.Sprintf("retry %s, %s: %d %s", c.mark, job, a.status, a.body))
			return
		}
		if !pause(ctx, c.jitter(50*time.Millisecond, 500*time.Millisecond)) {
			return
		}
	}
}

// retriedAs notes that somebody was told that a job was made anew as another.
func (l *load) retriedAs(old, made string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if before, known := l.retries[old]; known && before != made {
		l.lies = append(l.lies, fmt.Sprintf("job %s was retried as %s, it is said, and as %s", old, before, made))
	}
	l.retries[old] = made
}

// lied notes an answer that nobody should have got.
func (l *load) lied(what string) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lies = append(l.lies, what)
}
