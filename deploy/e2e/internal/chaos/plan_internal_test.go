package chaos

import (
	"encoding/json"
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
		"several turns", "poisoned",
	} {
		if seen[what] < 3 {
			t.Errorf("of 400 plans %d have %q", seen[what], what)
		}
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
