package chaos

import (
	"fmt"
	"math/rand/v2"
	"strings"
	"time"

	"github.com/tarento/copilot/events"
)

// plan is what one client does, and what must come of it. It follows from the seed and the client's number alone.
type plan struct {
	mark string
	kind events.Kind
	// tenant is the index of the organization that it belongs to.
	tenant int
	// at is when it submits, from the beginning of the load.
	at time.Duration
	// script is what the model says, by session.
	script map[string][]reaction
	// turns is how many model calls a run takes, answer what the last of them says.
	turns  int
	answer string
	// texts are what is embedded, batch the texts of each job of a batch, document is what is ingested.
	texts    []string
	batch    [][]string
	document string
	// wants is how the job must end.
	wants events.Status
	// delay is how long after the submit the job may begin, of a batch every second one; zero is at once.
	delay time.Duration
	// retries says that it has the job done again when that was of no avail.
	retries bool
	// cancelAfter is when the client changes its mind, after the job was accepted; zero means never.
	cancelAfter time.Duration
	// follows says that it reads the job's stream, readsAfter how late it begins to.
	follows    bool
	readsAfter time.Duration
	// twice says that it submits at both gateways at once, with one key; again that it does so once more after it was answered.
	twice, again bool
}

// The tenants, by their seeded administrators and agents.
type tenant struct{ admin, agent string }

func tenants() []tenant {
	return []tenant{
		{"admin@acme.com", "01900000-0000-7000-8000-000000000a41"},
		{"admin@startup.io", "01900000-0000-7000-8000-000000000b41"},
	}
}

// seededPassword is that of every seeded account.
const seededPassword = "SecurePassword123!"

// forever makes a reaction answer every call.
const forever = -1

// makePlan decides what client number n of all does.
func makePlan(seed uint64, n, all int, span time.Duration) plan {
	r := rand.New(rand.NewPCG(seed, uint64(n)+1))
	p := plan{
		mark: fmt.Sprintf("mark-%06d", n), tenant: r.IntN(len(tenants())), script: map[string][]reaction{},
		at: time.Duration(float64(span) * (float64(n) + r.Float64()) / float64(all)), wants: events.StatusSucceeded,
		follows: chance(r, 40), twice: chance(r, 6), again: chance(r, 10), retries: chance(r, 50),
	}
	if chance(r, 6) {
		p.delay = between(r, time.Second, 12*time.Second)
	}
	if chance(r, 25) {
		p.readsAfter = between(r, time.Second, 10*time.Second)
	}
	if chance(r, 8) {
		p.cancelAfter = between(r, time.Millisecond, 2*time.Second)
	}
	switch pick := r.IntN(100); {
	case pick < 45:
		p.planRun(r)
	case pick < 65:
		p.delay = 0 // an upload has no time
		p.planIngest(r)
	case pick < 68:
		p.planBatch(r)
	default:
		p.planEmbedding(r)
	}
	return p
}

// size is how many jobs come of it.
func (p *plan) size() int { return max(1, len(p.batch)) }

// planRun makes it a run of an agent: some searches, then an answer that is written word by word.
func (p *plan) planRun(r *rand.Rand) {
	p.kind, p.turns = events.KindAgentRun, 1+r.IntN(4)
	p.follows = p.follows || chance(r, 50)
	fails, hopeless := chance(r, 4), chance(r, 2)
	for turn := range p.turns {
		answer := reaction{Repeat: forever, Delay: between(r, 0, 400*time.Millisecond).String()}
		if turn < p.turns-1 {
			query := fmt.Sprintf("What does %s say, look %d: %s?", p.mark, turn+1, words(r, 4))
			answer.Parts = []part{{Call: &tool{Name: events.ToolSearchDocuments, Args: map[string]any{"query": query}}}}
		} else {
			p.answer = fmt.Sprintf("This is %s. %s", p.mark, words(r, 10+r.IntN(90)))
			answer.ChunkDelay = between(r, time.Millisecond, 30*time.Millisecond).String()
			for word := range strings.SplitAfterSeq(p.answer, " ") {
				answer.Parts = append(answer.Parts, part{Text: word})
			}
		}
		var script []reaction
		switch {
		case hopeless && turn == p.turns-1:
			// An answer without a word is no fault of the service, and none that would pass: the run tries until it is dead.
			p.wants, p.answer = events.StatusFailed, ""
			script = []reaction{{Repeat: forever, Parts: []part{{Text: " "}}}}
		case fails && turn == p.turns-1:
			p.wants, p.answer = events.StatusFailed, ""
			script = []reaction{{Repeat: forever, Error: &failure{Code: 400}}}
		case chance(r, troubled):
			script = []reaction{trouble(r, answer), answer}
		default:
			script = []reaction{answer}
		}
		p.script[turnSession(p.mark, turn)] = script
	}
}

// troubled is the share of calls that go wrong once, in percent. Every 429 is a pause of all jobs that need the model, so more would
// measure nothing else.
const troubled = 4

// trouble is a reaction that makes the job wait or try again, once.
func trouble(r *rand.Rand, answer reaction) reaction {
	switch r.IntN(6) {
	case 0:
		return reaction{Error: &failure{Code: 429, RetryAfter: "1s"}}
	case 1, 2:
		return reaction{Error: &failure{Code: 500}}
	case 3, 4:
		if len(answer.Parts) > 1 {
			return reaction{Parts: answer.Parts, ChunkDelay: answer.ChunkDelay, Cut: &cut{After: 1 + r.IntN(len(answer.Parts)-1)}}
		}
	}
	return reaction{Error: &failure{Code: 503}}
}

// planIngest makes it the ingest of a document of one to some parts.
func (p *plan) planIngest(r *rand.Rand) {
	p.kind = events.KindDocumentIngest
	var b strings.Builder
	for i := range 20 + r.IntN(40)*r.IntN(12) {
		fmt.Fprintf(&b, "Entry %d of %s tells of %s.\n\n", i+1, p.mark, words(r, 9))
	}
	if p.troubleEmbedding(r) {
		fmt.Fprintf(&b, "The last entry of %s is %s.\n", p.mark, poison)
	}
	p.document = b.String()
}

// planEmbedding makes it the embedding of some texts.
func (p *plan) planEmbedding(r *rand.Rand) {
	p.kind = events.KindEmbeddingCreate
	for range 1 + r.IntN(6) {
		p.texts = append(p.texts, p.mark+" "+words(r, 12))
	}
	if p.troubleEmbedding(r) {
		p.texts[r.IntN(len(p.texts))] = p.mark + " is " + poison
	}
}

// planBatch makes it several embeddings that are submitted together.
func (p *plan) planBatch(r *rand.Rand) {
	p.kind, p.follows, p.cancelAfter = events.KindEmbeddingCreate, false, 0
	for n := range 2 + r.IntN(19) {
		p.batch = append(p.batch, []string{fmt.Sprintf("%s, part %d: %s", p.mark, n+1, words(r, 8))})
	}
	p.script[embedSession(p.mark)] = []reaction{{Repeat: forever, Delay: between(r, 0, time.Second).String()}}
}

// poison is in texts that the model refuses for good. A session of their own would not do: texts of several jobs share a call.
const poison = "poisoned"

// troubleEmbedding makes some embeddings slow and some fail once, and says which are to be poisoned.
func (p *plan) troubleEmbedding(r *rand.Rand) (poisoned bool) {
	slow := reaction{Repeat: forever, Delay: between(r, 0, time.Second).String()}
	script := []reaction{slow}
	switch {
	case chance(r, 4):
		poisoned, p.wants = true, events.StatusFailed
	case chance(r, troubled):
		script = []reaction{trouble(r, reaction{}), slow}
	}
	p.script[embedSession(p.mark)] = script
	return poisoned
}

func chance(r *rand.Rand, percent int) bool { return r.IntN(100) < percent }

func between(r *rand.Rand, low, high time.Duration) time.Duration {
	return low + time.Duration(r.Int64N(int64(high-low)))
}

// words are n words that mean nothing together.
func words(r *rand.Rand, n int) string {
	all := strings.Fields(`river stone ledger harbor window candle orchard signal copper winter market engine paper garden
		bridge lantern valley thunder copper basket meadow anchor saddle island pepper timber velvet marble falcon ribbon`)
	picked := make([]string, n)
	for i := range picked {
		picked[i] = all[r.IntN(len(all))]
	}
	return strings.Join(picked, " ")
}
