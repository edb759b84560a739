package e2e_test

import (
	"encoding/json"
	"net/http"
	"sync"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
)

func TestSubmitIsSafeToRepeatAndCanBeWaitedFor(t *testing.T) {
	t.Parallel()
	s := newStack(t, setup{without: []string{ingestProgram}})
	c := s.login(adminAcme)
	keyed := func(key string, body any) request {
		return request{
			method: http.MethodPost, path: "/api/v1/embeddings", json: body, header: map[string]string{"Idempotency-Key": key},
		}
	}
	hello := map[string]any{"texts": []string{"hello"}}

	t.Run("the same key and body answer with the same job, marked as a replay", func(t *testing.T) {
		var first, second job
		a := c.send(keyed("one", hello)).wants(http.StatusAccepted).into(&first)
		b := c.send(keyed("one", hello)).wants(http.StatusAccepted).into(&second)
		if first.ID != second.ID {
			t.Errorf("two jobs: %s and %s", first.ID, second.ID)
		}
		if a.header.Get("Idempotency-Replayed") != "" || b.header.Get("Idempotency-Replayed") != "true" {
			t.Errorf("marked as replays: %q, then %q", a.header.Get("Idempotency-Replayed"), b.header.Get("Idempotency-Replayed"))
		}
		if location := b.header.Get("Location"); location != "/api/v1/jobs/"+first.ID {
			t.Errorf("Location is %q", location)
		}
	})
	t.Run("the same key with another body is refused", func(t *testing.T) {
		p := c.send(keyed("one", map[string]any{"texts": []string{"other"}})).wants(http.StatusUnprocessableEntity).problem()
		if p.Code != "idempotency.mismatch" {
			t.Errorf("code %q", p.Code)
		}
	})
	t.Run("the same key of another user is another key", func(t *testing.T) {
		colleague := s.login(memberAcme)
		var mine, theirs job
		c.send(keyed("two", hello)).wants(http.StatusAccepted).into(&mine)
		colleague.send(keyed("two", hello)).wants(http.StatusAccepted).into(&theirs)
		if mine.ID == theirs.ID {
			t.Error("both got the same job")
		}
	})
	t.Run("many at once make one job", func(t *testing.T) {
		before := s.db.count("SELECT count(*) FROM jobs")
		ids := make([]string, 32)
		var all sync.WaitGroup
		for i := range ids {
			all.Go(func() {
				a, err := c.try(keyed("three", hello))
				var j job
				if err != nil || json.Unmarshal(a.body, &j) != nil || a.status != http.StatusAccepted {
					t.Errorf("status %d: %v: %s", a.status, err, a.body)
				}
				ids[i] = j.ID
			})
		}
		all.Wait()
		for _, id := range ids {
			if id != ids[0] {
				t.Fatalf("two jobs: %s and %s", id, ids[0])
			}
		}
		if made := s.db.count("SELECT count(*) FROM jobs") - before; made != 1 {
			t.Errorf("%d jobs were made", made)
		}
	})
	t.Run("Prefer: wait answers with the result", func(t *testing.T) {
		var j job
		a := c.send(request{
			method: http.MethodPost, path: "/api/v1/embeddings", json: hello, header: map[string]string{"Prefer": "wait=30"},
		}).wants(http.StatusOK).into(&j)
		var result events.EmbeddingCreateResult
		if err := json.Unmarshal(j.Result, &result); err != nil || len(result.Embeddings) != 1 || len(result.Embeddings[0]) != result.Dimension {
			t.Errorf("the result is %.200s: %v", j.Result, err)
		}
		if applied := a.header.Get("Preference-Applied"); applied != "wait=30" {
			t.Errorf("Preference-Applied is %q", applied)
		}
	})
	t.Run("Prefer: wait answers with 202 when the time is over first", func(t *testing.T) {
		s.model.script(says("Slowly, very slowly.", "3s"))
		var j job
		a := c.send(request{
			method: http.MethodPost, path: "/api/v1/agents/" + agentAcme + "/runs", json: map[string]string{"user_input": "Say something."},
			header: map[string]string{"Prefer": "wait=1"},
		}).wants(http.StatusAccepted).into(&j)
		if a.took < time.Second || a.header.Get("Retry-After") == "" {
			t.Errorf("answered after %s with Retry-After %q", a.took, a.header.Get("Retry-After"))
		}
		var held job
		c.get("/api/v1/jobs/" + j.ID + "?wait=30").wants(http.StatusOK).into(&held)
		if runResult(t, held).Content != "Slowly, very slowly." {
			t.Errorf("the run says %s", held.Result)
		}
	})
	s.db.awaitAllEnded(time.Minute)
	s.db.verify()
}
