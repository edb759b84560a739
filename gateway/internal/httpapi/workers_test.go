package httpapi_test

import (
	"encoding/json"
	"slices"
	"testing"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/access"
)

func TestSuperusersSeeTheWorkersAndSizeThem(t *testing.T) {
	t.Parallel()
	g := start(t)
	root := g.person("root", access.Admin)
	g.sql("UPDATE users SET is_superuser = true WHERE email = $1", root)
	told := make(chan events.Resize, 1)
	err := g.bus.Subscribe(t.Context(), g.bus.Subjects().Resize(), func(_ string, data []byte) {
		var r events.Resize
		_ = json.Unmarshal(data, &r)
		told <- r
	})
	if err != nil {
		t.Fatal(err)
	}
	beat := events.WorkerBeat{
		Worker: "w1", Kind: events.KindAgentRun, Version: "1.2.3", Slots: 4, Running: 1, Jobs: []string{nothing}, StartedAt: events.Time(time.Now()),
	}
	type worker struct {
		Name, Kind, Version string
		Slots, Running      int
		Jobs                []string
		Draining            bool
	}
	var list struct{ Data []worker }
	known := func() int {
		g.call(root, "GET", "/v1/workers", nil).wants(200).into(&list)
		list.Data = slices.DeleteFunc(list.Data, func(w worker) bool { return w.Name != "w1" }) // the gateway itself delivers to webhooks
		return len(list.Data)
	}
	g.bus.PublishBeat(beat)
	beat.Kind, beat.Draining = events.KindEmbeddingCreate, true
	g.bus.PublishBeat(beat)
	g.eventually("both kinds are known", func() bool { return known() == 2 })
	if w := list.Data[0]; w.Name != "w1" || w.Kind != "agent.run" || w.Version != "1.2.3" || w.Slots != 4 || w.Running != 1 ||
		len(w.Jobs) != 1 || w.Draining || !list.Data[1].Draining {
		t.Errorf("the workers are %+v", list.Data)
	}
	g.call(admin, "GET", "/v1/workers", nil).wants(403)
	g.call(admin, "PATCH", "/v1/workers/w1", `{"slots":8}`).wants(403)
	g.call(root, "PATCH", "/v1/workers/w1", `{"slots":0}`).wants(422)
	g.call(root, "PATCH", "/v1/workers/w2", `{"slots":8}`).wants(404)
	g.call(root, "PATCH", "/v1/workers/w1", `{"slots":8,"kind":"document.ingest"}`).wants(404)
	g.call(root, "PATCH", "/v1/workers/w1", `{"slots":8,"kind":"agent.run"}`).wants(202)
	timeout := time.NewTimer(patience)
	defer timeout.Stop()
	select {
	case r := <-told:
		if r.Worker != "w1" || r.Kind != events.KindAgentRun || r.Slots != 8 {
			t.Errorf("told %+v", r)
		}
	case <-timeout.C:
		t.Fatal("the worker was not told")
	}
	g.call(root, "GET", "/v1/audit-logs?action=worker.update", nil).wants(200).has(`"slots":8`, `"w1"`)
	beat.Stopped = true
	g.bus.PublishBeat(beat)
	g.eventually("the one that left is gone", func() bool { return known() == 1 })
}
