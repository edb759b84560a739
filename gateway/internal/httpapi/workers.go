package httpapi

import (
	"context"
	"net/http"
	"time"

	"github.com/google/uuid"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/dispatch"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/fault"
	"github.com/tarento/copilot/pkg/store"
)

// Crews knows the workers that are alive.
type Crews interface{ Workers() []dispatch.Worker }

// Queues knows how the queues of jobs stand.
type Queues interface {
	// WaitingOn returns why a job does not run at this moment.
	WaitingOn(j *store.Job) events.WaitingOn
	// Forecast returns that and when it presumably will, given how many of its tenant's jobs go before it.
	Forecast(j *store.Job, ahead int) dispatch.Forecast
}

// Worker is a process that takes jobs of a kind. One that takes several kinds is listed once for each.
type Worker struct {
	Name      string      `json:"name" example:"agent-worker-7f3a" doc:"What it is called; differs between processes"`
	Kind      events.Kind `json:"kind" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create,webhook.deliver" doc:"Which jobs it takes"`
	Version   string      `json:"version" example:"1.0.0" doc:"The release that it runs"`
	Slots     int         `json:"slots" example:"4" doc:"How many jobs it runs at once"`
	Running   int         `json:"running" example:"1" doc:"How many it runs now"`
	Jobs      []string    `json:"jobs" nullable:"false" example:"[\"0190f4a0-0000-7000-8000-000000000000\"]" doc:"The ids of those that run, at most 100"`
	Draining  bool        `json:"draining" doc:"It finishes what it has, and takes nothing more"`
	StartedAt time.Time   `json:"started_at" doc:"Since when it runs"`
	HeardAt   time.Time   `json:"heard_at" doc:"When it last said that it is alive"`
}

func showWorker(w *dispatch.Worker) Worker {
	return Worker{
		Name: w.Name, Kind: w.Kind, Version: w.Version, Slots: w.Slots, Running: w.Running, Jobs: append([]string{}, w.Jobs...),
		Draining: w.Draining, StartedAt: w.StartedAt.UTC(), HeardAt: events.Time(w.Heard),
	}
}

// WorkerChange is what becomes different about a worker.
type WorkerChange struct {
	Slots int         `json:"slots" minimum:"1" maximum:"1000" example:"8" doc:"How many jobs of a kind it runs at once. With fewer than run now, none is taken until enough have ended"`
	Kind  events.Kind `json:"kind,omitempty" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create,webhook.deliver" doc:"Only for jobs of this kind; for each of its kinds when it is left out"`
}

type changeWorkerInput struct {
	Name string `path:"name" maxLength:"200" doc:"The worker's name"`
	Body WorkerChange
}

type workersOutput struct {
	Body struct {
		Data []Worker `json:"data" nullable:"false" doc:"The workers that are alive, by name and kind"`
	} `nameHint:"Workers"`
}

func (s *Server) workerOperations() {
	secured(s, rbac.Platform, operation{
		id: "list-workers", method: http.MethodGet, path: "/workers", tag: tagWorkers, summary: "List the workers that are alive",
		about: "For superusers. A worker says every two seconds that it is alive, and is taken for dead after seven without.",
	}, s.listWorkers)
	secured(s, rbac.Platform, operation{
		id: "update-worker", method: http.MethodPatch, path: "/workers/{name}", tag: tagWorkers,
		summary: "Change how many jobs a worker runs",
		about: "For superusers. The worker is told and changes at once; GET /workers shows it a moment later. It forgets it when it is " +
			"started anew: what is to last stands in its configuration.",
		status: http.StatusAccepted, errors: []int{http.StatusNotFound},
	}, s.changeWorker)
}

func (s *Server) listWorkers(context.Context, *rbac.Principal, *struct{}) (*workersOutput, error) {
	out := &workersOutput{}
	out.Body.Data = shown(s.Crews.Workers(), showWorker)
	return out, nil
}

func (s *Server) changeWorker(ctx context.Context, p *rbac.Principal, in *changeWorkerInput) (*workersOutput, error) {
	var meant []dispatch.Worker
	for _, w := range s.Crews.Workers() {
		if w.Name == in.Name && (in.Body.Kind == "" || in.Body.Kind == w.Kind) {
			meant = append(meant, w)
		}
	}
	if len(meant) == 0 {
		return nil, fault.New(fault.NotFound, "worker.not_found", "No such worker is alive.")
	}
	err := s.Store.InTenant(ctx, p.Tenant, func(tx *store.Tx) error {
		for _, w := range meant {
			tx.Audit("worker", "update", uuid.Nil, map[string]any{"slots": w.Slots},
				map[string]any{"slots": in.Body.Slots, "worker": w.Name, "kind": w.Kind})
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	s.Bus.PublishResize(events.Resize{Worker: in.Name, Kind: in.Body.Kind, Slots: in.Body.Slots})
	out := &workersOutput{}
	out.Body.Data = shown(meant, showWorker)
	return out, nil
}
