package fuzz

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/tarento/copilot/deploy/e2e/internal/openapi"
)

// worker makes one case after the other, in a house of its own.
type worker struct {
	*run

	house *house
	// served is how many cases the house has seen.
	served int
}

// wear is how many cases a house is used for. What a case does to it is not always noticed.
const wear = 1500

func (w *worker) do(ctx context.Context, t task) error {
	if err := w.settle(ctx); err != nil {
		return err
	}
	w.served++
	w.restock(ctx, t.op)
	if t.number < 0 {
		w.race(ctx, t)
		return nil
	}
	random := source(w.Seed, t.op.ID, t.number)
	what := w.compose(ctx, random, t)
	what.number = t.number
	got, ok := w.send(ctx, what)
	if ok && len(what.strange) > 0 {
		w.compare(ctx, what, got, random)
	}
	w.recover(ctx, what, got)
	return nil
}

// settle makes sure that there is a house.
func (w *worker) settle(ctx context.Context) error {
	if w.house != nil && w.served < wear {
		return nil
	}
	h, err := found(ctx, w.client, w.doc, fmt.Sprintf("house-%s-%d", strconv.FormatInt(time.Now().UnixNano(), 36), w.founded.Add(1)), "")
	if err != nil {
		return err
	}
	w.furnish(ctx, h, "", furnishing)
	w.house, w.served = h, 0
	return nil
}

// restock makes things of the kind that an operation is about when none is left.
func (w *worker) restock(ctx context.Context, op *openapi.Operation) {
	if !strings.Contains(op.Path, "{") {
		return
	}
	if _, complete := w.house.path(rand.New(rand.NewPCG(w.Seed, 0)), op); complete {
		return
	}
	for _, maker := range w.doc.Operations {
		if isMaker(w.doc, maker) && related(maker, op) {
			w.attempt(ctx, w.house, maker, "", w.served)
		}
	}
}

// related tells whether one operation may make what the path of another goes through: they are in the same part of the API.
func related(maker, op *openapi.Operation) bool {
	const part = 4 // "", api, v1 and the name
	one, other := strings.Split(maker.Path, "/"), strings.Split(op.Path, "/")
	return len(one) >= part && len(other) >= part && slices.Equal(one[:part], other[:part])
}

// compose makes the case of a number: who sends what about whose things.
func (w *worker) compose(ctx context.Context, random *rand.Rand, t task) trial {
	switch n := random.IntN(100); {
	case n < 15:
		return compose(random, t.op, w.house.admin, w.house, false, "").done()
	case n < 24:
		return w.composeStrange(random, t)
	case n < 28:
		c := compose(random, t.op, w.house.admin, ruins{w.house}, false, "")
		c.say("about what was deleted")
		return c.done()
	case n < 34:
		return compose(random, t.op, w.visitor(ctx), &stranger{house: w.house, other: w.acme}, false, "").done()
	default:
		c := compose(random, t.op, w.house.admin, w.house, random.IntN(2) == 0, "")
		c.upset()
		return c.done()
	}
}

// composeStrange makes a request about things of the neighbor's.
func (w *worker) composeStrange(random *rand.Rand, t task) trial {
	world := &stranger{house: w.house, other: w.neighbor}
	c := compose(random, t.op, w.house.admin, world, true, "")
	what := c.done()
	for _, id := range world.used {
		// What several tenants see belongs to none of them, such as the permissions that there are.
		if w.house.seen[id] || w.acme.seen[id] {
			continue
		}
		if strings.Contains(what.target, id) || strings.Contains(string(what.body), id) {
			what.strange = append(what.strange, id)
		}
	}
	if len(what.strange) > 0 {
		what.odd = append(what.odd, "about what is another tenant's")
	}
	return what
}

// send sends a trial and judges the answer. It returns false when there was none.
func (w *worker) send(ctx context.Context, t trial) (answer, bool) {
	got, err := w.client.do(ctx, t.request, t.op.Streams(), w.judge.limit(t)+w.Within)
	if err != nil {
		if ctx.Err() == nil {
			w.ledger.enter(t, answer{}, []verdict{{"silence", "no answer: " + err.Error()}})
		}
		return answer{}, false
	}
	w.ledger.enter(t, got, append(w.judge.judge(t, got), w.ownSecrets(t, got)...))
	if t.who == w.house.admin.who && !t.astray {
		w.house.learn(t.op, t.request, got)
	}
	return got, true
}

// ownSecrets finds the worker's own password in an answer.
func (w *worker) ownSecrets(t trial, got answer) []verdict {
	if strings.Contains(string(got.body), w.house.admin.password) {
		return []verdict{{"secret", fmt.Sprintf("the body has the password of %s", t.who)}}
	}
	return nil
}

// compare asks the same about what does not exist, and judges whether that can be told apart.
func (w *worker) compare(ctx context.Context, t trial, strange answer, random *rand.Rand) {
	missing, err := w.client.do(ctx, t.withoutIDs(t.strange, random), t.op.Streams(), w.judge.limit(t)+w.Within)
	if err != nil || missing.success() {
		return // what takes any id says nothing about this one
	}
	if wrong := twins(strange, missing); len(wrong) > 0 {
		w.ledger.blame(t, strange, wrong)
	}
}

// recover logs in again, or founds another house, when a case has ended the login.
func (w *worker) recover(ctx context.Context, t trial, got answer) {
	old := time.Since(w.house.admin.since) > renewal
	if !old && (t.unknown || got.status != http.StatusUnauthorized && !ends(t, got)) {
		return
	}
	if t.who == memberName {
		w.memberGone.Store(true)
		return
	}
	if !w.house.admin.known(ctx, w.client) && !w.house.admin.restored(ctx, w.client) {
		w.house = nil
	}
}

// ends tells whether a success may have ended a login, or what may be done with it.
func ends(t trial, got answer) bool {
	return got.success() && t.method != http.MethodGet && slices.ContainsFunc([]string{"/auth/", "/users", "/roles", "/organizations"},
		func(part string) bool { return strings.Contains(t.op.Path, part) })
}

// memberName is what the seeded Member is called.
const memberName = "Acme's Member"

// visitor is the seeded Member, logged in.
func (r *run) visitor(ctx context.Context) account {
	r.memberMu.Lock()
	defer r.memberMu.Unlock()
	if r.memberGone.Swap(false) || time.Since(r.member.since) > renewal {
		// If it fails, the answers to come are 401, as they should be.
		_ = r.member.login(ctx, r.client)
	}
	return r.member
}
