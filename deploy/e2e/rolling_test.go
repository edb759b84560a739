package e2e_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

func TestDrillRollingRestartFailsNoRequest(t *testing.T) {
	t.Parallel()
	d := newDrill(t)
	perSecond, rounds, delay := size(d, 50, 200), size(d, 1, 3), 5*time.Second
	patient := map[string]string{"WORKER_LEASE": "30s"} // nobody is lost
	s := newStack(t, setup{
		gateways: 2, twice: []string{agentProgram, embeddingProgram},
		env: map[string]map[string]string{
			// A client that is slow because the machine is must not be cut off for it.
			gatewayProgram: {"DRAIN_DELAY": delay.String(), "HEADER_READ_TIMEOUT": "1m"}, agentProgram: patient, embeddingProgram: patient,
		},
	})
	b := newBalancer(t, s.gateways, delay/10)
	// Some runs take longer than a gateway takes to leave, so that their streams go on elsewhere.
	answer := says(longAnswer, "").Parts
	s.model.script(
		step{Endpoint: generates, Contains: "at length", Repeat: forever, ChunkDelay: size(d, "80ms", "150ms"), Parts: answer},
		step{Endpoint: generates, Repeat: forever, ChunkDelay: "10ms", Parts: answer},
	)
	l := &traffic{t: t, client: &client{
		t: t, base: "http://balancer", token: s.login(adminAcme).token, http: &http.Client{Transport: b},
	}}
	ctx, stop := context.WithCancel(t.Context())
	var flowing sync.WaitGroup
	flowing.Go(func() { l.flow(ctx, time.Second/time.Duration(perSecond)) })
	began := time.Now()
	for round := range rounds {
		for _, p := range s.logs {
			asked := time.Now()
			p.stop(t, 50*time.Second)
			ended := time.Since(asked)
			p.restart(t)
			d.sayf("round %d: %s ended in %s, was ready %s after that; %d requests so far, %d failed", round+1, p.name, rounded(ended),
				rounded(time.Since(asked)-ended), l.sent.Load(), l.failed.Load())
		}
	}
	took := time.Since(began)
	stop()
	flowing.Wait()
	s.db.awaitAllEnded(time.Minute)

	sent := int(l.sent.Load())
	d.none(fmt.Sprintf("rolling restart under %d requests/s: requests that failed", perSecond), int(l.failed.Load()), sent, "")
	broken := l.broken(s)
	d.none("rolling restart: accepted jobs that did not end once, streams that lie", broken, len(l.jobs)+len(l.readers), "")
	d.sayf("%.0f requests/s over %s, of which %d submits; %d streams came back %d times; %d requests found a gateway gone and went to the other",
		float64(sent)/took.Seconds(), took.Round(time.Second), len(l.jobs), len(l.readers), l.resumed.Load(), b.moved.Load())
	if len(l.jobs) == 0 || len(l.readers) == 0 {
		t.Error("there was nothing to break")
	}
	s.db.verify()
}

// traffic is what clients do meanwhile.
type traffic struct {
	t      *testing.T
	client *client

	sent, failed, resumed atomic.Int64

	mu      sync.Mutex
	jobs    []string
	readers map[string][]streamed // of runs, by job
}

// mostOpen is how many requests may be open: a machine that cannot keep up gets no more for it.
const mostOpen = 128

// flow sends requests at an even pace until ctx ends, and returns when the last one is answered.
func (l *traffic) flow(ctx context.Context, every time.Duration) {
	l.readers = map[string][]streamed{}
	var requests sync.WaitGroup
	open := make(chan struct{}, mostOpen)
	next := time.NewTimer(0)
	defer next.Stop()
	began := time.Now()
	for n := 0; ; n++ {
		next.Reset(time.Until(began.Add(time.Duration(n) * every)))
		select {
		case <-ctx.Done():
			requests.Wait()
			return
		case <-next.C:
		}
		open <- struct{}{}
		requests.Go(func() {
			defer func() { <-open }()
			l.one(n)
		})
	}
}

// one makes the request with the number.
func (l *traffic) one(n int) {
	some := l.some(n)
	switch {
	case n%50 == 0:
		input := fmt.Sprintf("Speak, %d.", n)
		if n%100 == 0 {
			input = fmt.Sprintf("Speak at length, %d.", n)
		}
		if id := l.submit("/api/v1/agents/"+agentAcme+"/runs", map[string]any{"user_input": input}); id != "" {
			l.follow(id)
		}
	case n%10 < 3 || some == "":
		l.submit("/api/v1/embeddings", map[string]any{"texts": []string{fmt.Sprintf("text %d", n)}})
	case n%20 == 7:
		l.follow(some)
	case n%10 == 4:
		l.read("/api/v1/jobs?limit=20")
	case n%10 == 5:
		l.read("/api/v1/agent-configs/" + agentAcme)
	case n%50 == 9:
		l.read("/api/v1/jobs/" + some + "?wait=2")
	default:
		l.read("/api/v1/jobs/" + some)
	}
}

// some returns one of the jobs; empty as long as there is none.
func (l *traffic) some(n int) string {
	l.mu.Lock()
	defer l.mu.Unlock()
	if len(l.jobs) == 0 {
		return ""
	}
	return l.jobs[n*7%len(l.jobs)]
}

// fail counts a request that failed, and tells of the first ones.
func (l *traffic) fail(what string, err error) {
	if l.failed.Add(1) <= 10 {
		l.t.Errorf("%s: %v", what, err)
	}
}

func (l *traffic) ask(r request, status int) (a answer, ok bool) {
	l.sent.Add(1)
	a, err := l.client.try(r)
	if err == nil && a.status != status {
		err = fmt.Errorf("status %d: %.300s", a.status, a.body)
	}
	if err != nil {
		l.fail(r.method+" "+r.path, err)
	}
	return a, err == nil
}

func (l *traffic) read(path string) {
	l.ask(request{method: http.MethodGet, path: path}, http.StatusOK)
}

func (l *traffic) submit(path string, body any) (id string) {
	a, ok := l.ask(request{method: http.MethodPost, path: path, json: body}, http.StatusAccepted)
	if !ok {
		return ""
	}
	var j job
	if err := json.Unmarshal(a.body, &j); err != nil || j.ID == "" {
		l.fail(path, fmt.Errorf("a job without an id: %s", a.body))
		return ""
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.jobs = append(l.jobs, j.ID)
	return j.ID
}

// follow reads a job's stream to the job's end. A gateway that ends it in good order is no failure: it asks to come back.
func (l *traffic) follow(id string) {
	var seen []streamed
	defer func() {
		l.mu.Lock()
		defer l.mu.Unlock()
		l.readers[id] = seen
	}()
	for after := ""; ; l.resumed.Add(1) {
		l.sent.Add(1)
		s, err := l.client.open(l.t.Context(), id, after)
		if err != nil {
			l.fail("follow "+id, err)
			return
		}
		for err == nil {
			var e streamed
			if e, err = s.next(); err == nil {
				seen, after = append(seen, e), e.id
			}
		}
		s.close()
		if !errors.Is(err, io.EOF) {
			l.fail("follow "+id, fmt.Errorf("broken off after %s: %w", after, err))
			return
		}
		if len(seen) > 0 && terminal(seen[len(seen)-1]) {
			return
		}
	}
}

// terminal reports whether an event tells of its job's end.
func terminal(e streamed) bool {
	var state events.JobState
	return e.name == events.TypeJobState && json.Unmarshal(e.data, &state) == nil && state.Status.Terminal()
}

// broken counts the promises that were not kept, and tells of the first ones.
func (l *traffic) broken(s *stack) (n int) {
	note := func(format string, args ...any) {
		if n++; n <= 10 {
			l.t.Errorf(format, args...)
		}
	}
	ends := map[string]int{}
	for _, row := range list[struct {
		ID string
		N  int
	}](s.db, `SELECT j.id::text, count(*) FROM jobs j JOIN job_events e ON e.job_id = j.id AND e.type = 'job.state'
		AND e.data->>'status' = 'succeeded' WHERE j.status = 'succeeded' GROUP BY 1`) {
		ends[row.ID] = row.N
	}
	for _, id := range l.jobs {
		if ends[id] != 1 {
			note("job %s was accepted and has succeeded %d times", id, ends[id])
		}
	}
	for id, seen := range l.readers {
		whole, err := s.client().as(l.client.token).take(l.t.Context(), id, "", -1)
		if err != nil {
			note("read job %s again: %v", id, err)
			continue
		}
		want := mustTell(l.t, whole)
		got, err := tell(seen)
		if err != nil {
			note("the stream of job %s: %v", id, err)
		} else if difference := got.withoutVoid(want).differs(want); difference != "" {
			note("the stream of job %s: %s", id, difference)
		}
	}
	return n
}

// withoutVoid leaves out texts that are not in the whole story: those of a run that a worker had to hand back, because the end of its
// grace came first. Who was there has seen them.
func (s story) withoutVoid(whole story) story {
	s.lines = slices.DeleteFunc(slices.Clone(s.lines), func(line string) bool {
		start, isText := strings.CutPrefix(line, "text ")
		start, _, _ = strings.Cut(start, " ")
		return isText && !slices.ContainsFunc(whole.lines, func(other string) bool { return strings.HasPrefix(other, "text "+start+" ") })
	})
	return s
}

// as returns the client with a token that another one got.
func (c *client) as(token string) *client {
	other := *c
	other.token = token
	return &other
}
