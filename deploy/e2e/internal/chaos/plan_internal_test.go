package chaos

import (
	"encoding/json"
	"fmt"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

func TestAPlanFollowsFromTheSeedAlone(t *testing.T) {
	t.Parallel()
	differ := false
	for n := range 50 {
		a, b := makePlan(7, n, 50, time.Minute), makePlan(7, n, 50, time.Minute)
		if !reflect.DeepEqual(a, b) {
			t.Errorf("client %d has two plans: %+v and %+v", n, a, b)
		}
		differ = differ || !reflect.DeepEqual(a, makePlan(8, n, 50, time.Minute))
	}
	if !differ {
		t.Error("another seed makes the same plans")
	}
}

func TestPlansHaveEverythingInThem(t *testing.T) {
	t.Parallel()
	seen := map[string]int{}
	var last time.Duration
	for n := range 400 {
		p := makePlan(1, n, 400, time.Minute)
		if p.at < last || p.at > time.Minute {
			t.Errorf("client %d comes at %s, after one at %s", n, p.at, last)
		}
		last = p.at
		seen[string(p.kind)]++
		seen[string(p.wants)]++
		for what, is := range map[string]bool{
			"cancelled": p.cancelAfter > 0, "followed": p.follows, "twice": p.twice, "again": p.again, "several turns": p.turns > 2,
			"in a batch": len(p.batch) > 1, "delayed": p.delay > 0, "done again": p.retries && p.wants == events.StatusFailed,
			"hopeless": isHopeless(p),
			"poisoned": strings.Contains(p.document+strings.Join(p.texts, ""), poison),
		} {
			if is {
				seen[what]++
			}
		}
		if p.answer != "" && p.wants != events.StatusSucceeded {
			t.Errorf("client %d gets an answer from a run that fails", n)
		}
	}
	for _, what := range []string{
		"agent.run", "document.ingest", "embedding.create", "succeeded", "failed", "cancelled", "followed", "twice", "again",
		"several turns", "poisoned", "in a batch", "delayed", "done again", "hopeless",
	} {
		if seen[what] < 3 {
			t.Errorf("of 400 plans %d have %q", seen[what], what)
		}
	}
}

// isHopeless tells whether the model never has a word to say.
func isHopeless(p plan) bool {
	last := p.script[turnSession(p.mark, p.turns-1)]
	return p.kind == events.KindAgentRun && len(last) == 1 && len(last[0].Parts) == 1 && strings.TrimSpace(last[0].Parts[0].Text) == "" &&
		last[0].Parts[0].Call == nil
}

func TestTheFullRunIsOneFlagThatOthersCanNarrow(t *testing.T) {
	t.Parallel()
	for name, c := range map[string]struct {
		args []string
		jobs int
		span time.Duration
	}{
		"short":    {nil, 500, 90 * time.Second},
		"full":     {[]string{"-full"}, 20_000, 30 * time.Minute},
		"narrowed": {[]string{"-jobs", "30", "-full", "-for", "1m"}, 30, time.Minute},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			o, _, err := parse(append(c.args, "-seed", "7"), t.Output())
			if err != nil || o.Jobs != c.jobs || o.For != c.span {
				t.Errorf("%d jobs for %s, %v, want %d for %s", o.Jobs, o.For, err, c.jobs, c.span)
			}
			want := fmt.Sprintf(`make chaos ARGS="-seed 7 -jobs %d -for %s"`, c.jobs, c.span)
			if got := o.command(); got != want {
				t.Errorf("again: %s, want %s", got, want)
			}
		})
	}
}

func TestTheMeterKnowsTheJobAndTheTurnOfACall(t *testing.T) {
	t.Parallel()
	type object = map[string]any
	said := func(role, text string) object { return object{"role": role, "parts": []object{{"text": text}}} }
	for name, c := range map[string]struct {
		path    string
		body    object
		session string
		turn    int
	}{
		"the first turn of a run": {
			"/v1beta/models/gemini-2.5-flash:streamGenerateContent",
			object{"contents": []object{said("user", "mark-000007 asks")}},
			"mark-000007.0", 0,
		},
		"a later turn, which quotes passages of other jobs": {
			"/v1beta/models/gemini-2.5-flash:streamGenerateContent",
			object{"contents": []object{
				said("user", "mark-000007 asks"), said("model", "wait"), said("user", "mark-000001"), said("model", "wait"), said("user", "x"),
			}},
			"mark-000007.2", 2,
		},
		"an embedding": {
			"/v1beta/models/gemini-embedding-001:batchEmbedContents",
			object{"requests": []object{{"content": said("", "mark-000003 words")}}},
			"mark-000003.embed", 0,
		},
		"an embedding of what is refused": {
			"/v1beta/models/gemini-embedding-001:batchEmbedContents", object{"requests": []object{
				{"content": said("", "mark-000003 words")}, {"content": said("", "mark-000004 is poisoned")},
			}}, "poisoned.embed", 0,
		},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			body, err := json.Marshal(c.body)
			if err != nil {
				t.Fatal(err)
			}
			session, _, turn, _ := sessionOf(c.path, body)
			if session != c.session || turn != c.turn {
				t.Errorf("session %q, turn %d, want %q and %d", session, turn, c.session, c.turn)
			}
		})
	}
}
