package httpapi

import (
	"context"
	"net/http"
	"slices"
	"time"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/gateway/internal/rbac"
	"github.com/tarento/copilot/pkg/access"
	"github.com/tarento/copilot/pkg/store"
)

// JobStats is how the jobs stand.
type JobStats struct {
	At    time.Time   `json:"at" doc:"When that was so"`
	Since time.Time   `json:"since" doc:"From when on submitted jobs are looked at for how they went: a day, or back to the newest 10,000 jobs if that is less"`
	Kinds []KindStats `json:"kinds" nullable:"false" doc:"By kind, all kinds; those of webhooks only for the platform"`
}

// KindStats is how the jobs of a kind stand.
type KindStats struct {
	Kind      events.Kind              `json:"kind" enum:"agent.run,document.ingest,document.delete,document.sync,embedding.create,webhook.deliver" doc:"What they do"`
	Queued    int                      `json:"queued" example:"12" doc:"How many are in the queue; of each reason up to 10,000 are counted"`
	QueuedFor map[events.WaitingOn]int `json:"queued_for" nullable:"false" example:"{\"fairness\":10,\"schedule\":2}" doc:"The same by what they wait for; fairness is their turn"`
	Running   int                      `json:"running" example:"4" doc:"How many run"`
	Waiting   int                      `json:"waiting" example:"1" doc:"How many wait for the jobs they were parted into, up to 10,000"`
	Dead      int                      `json:"dead" example:"0" doc:"How many ran out of attempts and were neither tried again nor discarded, up to 10,000"`
	Oldest    *float64                 `json:"oldest_seconds" example:"3.5" doc:"For how many seconds the one waits for its turn that waits the longest; null if none does"`
	Wait      *Spread                  `json:"wait_seconds" doc:"How long those waited for their turn that began within the last hour; null if none did"`
	Run       *Spread                  `json:"run_seconds" doc:"How long those took, from their first beginning, that succeeded within the last hour; null if none did"`
	LastHour  EndedJobs                `json:"last_hour" doc:"How those ended that ended within the last hour"`
	LastDay   EndedJobs                `json:"last_day" doc:"How those ended that were submitted since then"`
}

// Spread is how long things took.
type Spread struct {
	P50 float64 `json:"p50" example:"0.4" doc:"Half of them took no longer"`
	P95 float64 `json:"p95" example:"2.1" doc:"95 of 100 took no longer"`
	P99 float64 `json:"p99" example:"4.8" doc:"99 of 100 took no longer"`
}

// EndedJobs is how many jobs ended how.
type EndedJobs struct {
	Succeeded int `json:"succeeded" example:"240" doc:"How many did what they were to do"`
	Failed    int `json:"failed" example:"2" doc:"How many failed for good"`
	Cancelled int `json:"cancelled" example:"1" doc:"How many were cancelled"`
}

type jobStatsInput struct {
	Scope string `query:"scope" enum:"organization,platform" default:"organization" doc:"Whose jobs: those of one's organization or, for superusers, all"`
}

type jobStatsOutput struct{ Body JobStats }

func (s *Server) jobStatsOperations() {
	secured(s, access.JobsReadAll, operation{
		id: "get-job-stats", method: http.MethodGet, path: "/jobs/stats", tag: tagJobs, summary: "Read how the jobs stand",
		about: "What is queued, runs, waits and is dead, by kind, and how long jobs waited and ran of late. What it takes to answer is " +
			"bounded, however many jobs there are: figures are exact up to the limits that their descriptions name.",
	}, s.getJobStats)
}

func (s *Server) getJobStats(ctx context.Context, p *rbac.Principal, in *jobStatsInput) (*jobStatsOutput, error) {
	if in.Scope == "platform" {
		if err := p.SeesPlatform(); err != nil {
			return nil, err
		}
		stats, err := s.Jobs.PlatformStats(ctx)
		if err != nil {
			return nil, err
		}
		return &jobStatsOutput{showJobStats(stats, events.Kinds())}, nil
	}
	stats, err := view(ctx, s, p.Tenant, func(tx *store.Tx) (store.JobStats, error) { return tx.Jobs().Stats() })
	if err != nil {
		return nil, err
	}
	kinds := slices.DeleteFunc(events.Kinds(), func(k events.Kind) bool { return k == events.KindWebhookDeliver })
	return &jobStatsOutput{showJobStats(stats, kinds)}, nil
}

func showJobStats(stats store.JobStats, kinds []events.Kind) JobStats {
	shown := JobStats{At: events.Time(stats.At), Since: events.Time(stats.Since), Kinds: make([]KindStats, len(kinds))}
	for i, kind := range kinds {
		shown.Kinds[i] = KindStats{Kind: kind, QueuedFor: map[events.WaitingOn]int{}}
		for _, open := range stats.Open {
			if open.Kind == kind {
				shown.Kinds[i].add(open)
			}
		}
		for _, recent := range stats.Recent {
			if recent.Kind == kind {
				shown.Kinds[i].went(&recent)
			}
		}
	}
	return shown
}

func (k *KindStats) add(open store.OpenJobs) {
	switch open.Status { //nolint:exhaustive // no others are open or dead
	case events.StatusQueued:
		k.Queued += open.Jobs
		k.QueuedFor[open.WaitingOn] += open.Jobs
	case events.StatusRunning:
		k.Running += open.Jobs
	case events.StatusWaiting:
		k.Waiting += open.Jobs
	case events.StatusFailed:
		k.Dead += open.Jobs
	}
	if open.Oldest != nil {
		k.Oldest = new(max(0, *open.Oldest))
	}
}

func (k *KindStats) went(r *store.RecentJobs) {
	k.LastHour = EndedJobs{Succeeded: r.SucceededHour, Failed: r.FailedHour, Cancelled: r.CancelledHour}
	k.LastDay = EndedJobs{Succeeded: r.SucceededDay, Failed: r.FailedDay, Cancelled: r.CancelledDay}
	k.Wait, k.Run = spread(r.WaitP50, r.WaitP95, r.WaitP99), spread(r.RunP50, r.RunP95, r.RunP99)
}

func spread(p50, p95, p99 *float64) *Spread {
	if p50 == nil || p95 == nil || p99 == nil {
		return nil
	}
	return &Spread{P50: *p50, P95: *p95, P99: *p99}
}
