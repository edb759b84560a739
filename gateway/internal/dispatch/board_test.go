package dispatch

import (
	"testing"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

func TestForecasts(t *testing.T) {
	t.Parallel()
	const kind = events.KindAgentRun
	own, other := someone(1), someone(2)
	agent := uuid.UUID{15: 9}
	now := time.Unix(1e9, 0)
	// Two of the four slots are free for a second each, where nothing else is said.
	type edit func(*events.KindQueue, *store.Job)
	queue := func(k *events.KindQueue, mine, others events.TenantQueue) {
		mine.TenantID, others.TenantID = own.String(), other.String()
		k.Tenants = []events.TenantQueue{mine, others}
	}
	for name, c := range map[string]struct {
		edit  edit
		ahead int
		age   time.Duration
		on    events.WaitingOn
		eta   time.Duration // below zero is not known
	}{
		"a free slot is taken at once": {on: "fairness"},
		"those that are ahead take the free slots first": {
			ahead: 5, on: "fairness", eta: time.Second, // four more of them end before: one after the other on four slots
		},
		"without a free slot the next that ends counts": {
			edit: func(k *events.KindQueue, _ *store.Job) { k.Free = 0 }, on: "worker", eta: time.Second / 4,
		},
		"where others wait, too, it is a matter of fairness": {
			edit: func(k *events.KindQueue, _ *store.Job) {
				k.Free = 0
				queue(k, events.TenantQueue{Weight: 1}, events.TenantQueue{Bulk: 1000, Weight: 1})
			},
			ahead: 3, on: "fairness", eta: 2 * time.Second, // three of its own, four of the others, itself
		},
		"who weighs more waits less": {
			edit: func(k *events.KindQueue, _ *store.Job) {
				k.Free = 0
				queue(k, events.TenantQueue{Weight: 4}, events.TenantQueue{Bulk: 1000, Weight: 1})
			},
			ahead: 3, on: "fairness", eta: 1250 * time.Millisecond,
		},
		"others take no more turns than they have jobs": {
			edit: func(k *events.KindQueue, _ *store.Job) {
				k.Free = 0
				queue(k, events.TenantQueue{Weight: 1}, events.TenantQueue{Bulk: 2, Weight: 1})
			},
			ahead: 9, on: "fairness", eta: 3 * time.Second,
		},
		"all interactive jobs go before a bulk one": {
			edit: func(k *events.KindQueue, _ *store.Job) {
				k.Free = 0
				queue(k, events.TenantQueue{Weight: 1}, events.TenantQueue{Interactive: 7, Weight: 1})
			},
			on: "fairness", eta: 2 * time.Second,
		},
		"no bulk job goes before an interactive one": {
			edit: func(k *events.KindQueue, j *store.Job) {
				k.Free, j.Class = 0, events.ClassInteractive
				queue(k, events.TenantQueue{Weight: 1}, events.TenantQueue{Bulk: 7, Weight: 1})
			},
			on: "worker", eta: time.Second / 4,
		},
		"a tenant at its limit waits for one of its own": {
			edit: func(k *events.KindQueue, _ *store.Job) {
				queue(k, events.TenantQueue{Weight: 1, UnderWay: 2, MaxRunning: 2}, events.TenantQueue{Weight: 1})
			},
			ahead: 1, on: "quota", eta: time.Second,
		},
		"a tenant with room waits on no quota": {
			edit: func(k *events.KindQueue, _ *store.Job) {
				queue(k, events.TenantQueue{Weight: 1, UnderWay: 1, MaxRunning: 2}, events.TenantQueue{Weight: 1})
			},
			on: "fairness",
		},
		"others at their limit keep what they have and get no more": {
			edit: func(k *events.KindQueue, _ *store.Job) {
				k.Free = 0
				queue(k, events.TenantQueue{Weight: 1}, events.TenantQueue{Bulk: 50, Weight: 1, UnderWay: 2, MaxRunning: 2})
			},
			on: "worker", eta: time.Second / 2,
		},
		"an agent at its limit waits for one of its runs": {
			edit: func(k *events.KindQueue, j *store.Job) {
				k.FullAgents, j.AgentConfigID, j.AgentLimit = []string{agent.String()}, &agent, 1
			},
			ahead: 1, on: "quota", eta: 2 * time.Second,
		},
		"without a worker nobody knows when": {
			edit: func(k *events.KindQueue, _ *store.Job) { k.Workers, k.Slots, k.Free = 0, 0, 0 }, on: "worker", eta: -1,
		},
		"before any job has ended nobody knows when": {
			edit: func(k *events.KindQueue, _ *store.Job) { k.MeanMS, k.Free = 0, 0 }, on: "worker", eta: -1,
		},
		"what is old says nothing":              {age: events.QueueFresh + 1, on: "fairness", eta: -1},
		"too many ahead were not counted":       {ahead: store.AheadCounted, on: "fairness", eta: -1},
		"of another kind nothing was told":      {edit: func(_ *events.KindQueue, j *store.Job) { j.Kind = "other" }, on: "fairness", eta: -1},
		"a job that has a time waits for that":  {edit: func(_ *events.KindQueue, j *store.Job) { j.WaitingOn = "schedule" }, on: "schedule", eta: -1},
		"a job that runs waits for nothing":     {edit: func(_ *events.KindQueue, j *store.Job) { j.Status, j.WaitingOn = "running", "" }, eta: -1},
		"a job that was parted waits for those": {edit: func(_ *events.KindQueue, j *store.Job) { j.Status, j.WaitingOn = "waiting", "children" }, on: "children", eta: -1},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			k := events.KindQueue{Kind: kind, Workers: 1, Slots: 4, Free: 2, MeanMS: 1000}
			job := &store.Job{
				OrganizationID: own.UUID(), Kind: kind, Class: events.ClassBulk, Status: events.StatusQueued, WaitingOn: events.WaitingDispatch,
			}
			if c.edit != nil {
				c.edit(&k, job)
			}
			var b board
			if f := b.forecast(job, c.ahead, now); f.Known || f.WaitingOn != job.WaitingOn {
				t.Errorf("before anything was told: %+v", f)
			}
			b.post(&events.QueueSnapshot{Kinds: []events.KindQueue{k}}, now)
			f := b.forecast(job, c.ahead, now.Add(c.age))
			if f.WaitingOn != c.on || f.Known != (c.eta >= 0) || f.Known && f.ETA.Round(time.Millisecond) != c.eta {
				t.Errorf("got %+v, want %s in %s", f, c.on, c.eta)
			}
		})
	}
}
