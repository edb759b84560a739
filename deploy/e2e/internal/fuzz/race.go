package fuzz

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strings"
	"sync"

	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// racers is how many requests race each other.
const racers = 8

// race sends what contends for one thing at the same moment: updates of one version of it, anything that concerns it, and requests
// with one idempotency key.
func (w *worker) race(ctx context.Context, t task) {
	random := source(w.Seed, t.op.ID, t.number)
	_, idempotent := t.op.Parameter(openapi.InHeader, "Idempotency-Key")
	_, conditional := t.op.Parameter(openapi.InHeader, "If-Match")
	switch {
	case conditional:
		w.raceForVersion(ctx, random, t)
	case idempotent:
		w.raceForKey(ctx, random, t)
	}
	if strings.HasSuffix(t.op.Path, "}") && t.op.Method != http.MethodGet {
		w.brawl(ctx, random, t)
	}
}

// volley sends requests at the same moment and judges each answer. What was not answered has the status zero.
func (w *worker) volley(ctx context.Context, trials []trial) []answer {
	answers := make([]answer, len(trials))
	start := make(chan struct{})
	var all sync.WaitGroup
	for i, t := range trials {
		all.Go(func() {
			<-start
			got, err := w.client.do(ctx, t.request, t.op.Streams(), w.judge.limit(t)+w.Within)
			if err != nil {
				w.ledger.enter(t, answer{}, []verdict{{"silence", "no answer: " + err.Error()}})
				return
			}
			w.ledger.enter(t, got, w.judge.judge(t, got))
			answers[i] = got
		})
	}
	close(start)
	all.Wait()
	for i, t := range trials {
		w.house.learn(t.op, t.request, answers[i])
	}
	return answers
}

// plain composes a usual request of the house's Admin about one path.
func (w *worker) plain(random *rand.Rand, t task, op *openapi.Operation, path string) trial {
	c := compose(random, op, w.house.admin, w.house, true, "")
	c.path, c.number = path, t.number
	return c.done()
}

// raceForVersion updates one version of a thing several times at once: exactly one may succeed.
func (w *worker) raceForVersion(ctx context.Context, random *rand.Rand, t task) {
	path, complete := w.house.path(random, t.op)
	if !complete {
		return
	}
	show := w.sibling(t.op, http.MethodGet)
	if show == nil {
		return
	}
	version := func() string {
		shown := w.volley(ctx, []trial{w.plain(random, t, show, path)})
		return shown[0].header.Get("ETag")
	}
	// A request that succeeds when nobody contends; deleting does that once only.
	update := func(tag string) trial {
		u := w.plain(random, t, t.op, path)
		u.header.Set("If-Match", tag)
		return u
	}
	tag := version()
	if tag == "" {
		return
	}
	works := update(tag)
	if t.op.Method != http.MethodDelete {
		for i := 0; ; i++ {
			if got := w.volley(ctx, []trial{works}); got[0].success() {
				break
			}
			if i == 5 {
				return
			}
			works = update(version())
		}
		tag = version()
	}
	trials := make([]trial, racers)
	for i := range trials {
		trials[i] = works
		trials[i].header = works.header.Clone()
		trials[i].header.Set("If-Match", tag)
		trials[i].odd = []string{fmt.Sprintf("one of %d at once with the same If-Match", racers)}
	}
	answers := w.volley(ctx, trials)
	w.judgeVersions(trials[0], answers)
}

// judgeVersions judges the answers to updates of one version. An update that changes nothing may leave the version as it is, so that
// the next one succeeds, too: one that answers with the version it had counts as none.
func (w *worker) judgeVersions(t trial, answers []answer) {
	harmless := []int{http.StatusPreconditionFailed, http.StatusNotFound, http.StatusTooManyRequests}
	won := 0
	statuses := make([]int, 0, len(answers))
	for _, got := range answers {
		statuses = append(statuses, got.status)
		if got.success() && got.header.Get("ETag") != t.header.Get("If-Match") {
			won++
		}
	}
	for _, got := range answers {
		// Where nobody has won, there was nothing to race for: it may not be done at all.
		if won > 0 && !got.success() && !slices.Contains(harmless, got.status) {
			w.ledger.blame(t, got, []verdict{{kindLost, fmt.Sprintf("status %d, not 412, to an update of an old version", got.status)}})
		}
	}
	if won > 1 {
		slices.Sort(statuses)
		w.ledger.blame(t, answers[0], []verdict{{
			kindLost, fmt.Sprintf("%d of %d updates of one version succeeded: %v", won, racers, statuses),
		}})
	}
}

// kindLost is an update that another one has overwritten unseen.
const kindLost = "lost update"

// raceForKey sends one request with one key several times at once: whoever succeeds has the same thing.
func (w *worker) raceForKey(ctx context.Context, random *rand.Rand, t task) {
	path, complete := w.house.path(random, t.op)
	if !complete {
		return
	}
	trials := make([]trial, racers)
	first := w.plain(random, t, t.op, path)
	first.header.Set("Idempotency-Key", fmt.Sprintf("race-%x", random.Uint64()))
	first.header.Del("Prefer")
	first.odd = []string{fmt.Sprintf("one of %d at once with the same Idempotency-Key", racers)}
	for i := range trials {
		trials[i] = first
	}
	made := map[string]bool{}
	for _, got := range w.volley(ctx, trials) {
		if got.success() {
			made[got.field("id")] = true
		}
	}
	if len(made) > 1 {
		w.ledger.blame(first, answer{}, []verdict{{"twice", fmt.Sprintf("one Idempotency-Key made %d things: %v", len(made), made)}})
	}
}

// brawl does everything that can be done to one thing at once. It only matters that nobody falls.
func (w *worker) brawl(ctx context.Context, random *rand.Rand, t task) {
	path, complete := w.house.path(random, t.op)
	if !complete {
		return
	}
	var ways []*openapi.Operation
	for _, op := range w.doc.Operations {
		if op.Path == t.op.Path {
			ways = append(ways, op)
		}
	}
	trials := make([]trial, racers)
	for i := range trials {
		trials[i] = w.plain(random, t, ways[i%len(ways)], path)
		trials[i].odd = []string{"while others do other things to it"}
	}
	w.volley(ctx, trials)
}

// sibling is the operation with another method and the same path; nil when there is none.
func (w *worker) sibling(op *openapi.Operation, method string) *openapi.Operation {
	for _, other := range w.doc.Operations {
		if other.Path == op.Path && other.Method == method {
			return other
		}
	}
	return nil
}
