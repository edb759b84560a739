package dispatch

import (
	"sync/atomic"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/events"
	"github.com/tarento/copilot/pkg/store"
)

// metrics are what the dispatch tells of itself and, while it leads, of all jobs. What it counts it counts only then, so the sum over
// gateways is right; what it measures it shows only then, so any of max and sum is.
type metrics struct {
	leading    prometheus.Gauge
	dispatched *prometheus.CounterVec
	recalled   prometheus.Counter
	standing   *standing

	each    map[store.KindPlan]*jobMetrics
	unknown map[events.Kind]*jobMetrics
}

// jobMetrics are those of a kind's jobs of tenants on one plan.
type jobMetrics struct {
	lag, wait, run prometheus.Observer
	outcomes       map[events.Outcome]prometheus.Counter
	expired        prometheus.Counter
}

// planUnknown stands for the plan of a tenant that was not looked up yet.
const planUnknown = "unknown"

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		leading: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "copilot_dispatch_leading", Help: "1 while this gateway leads the dispatch; the sum over gateways should be 1.",
		}),
		dispatched: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_dispatch_jobs_total", Help: "Jobs handed to the broker.",
		}, []string{"kind"}),
		recalled: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "copilot_dispatch_recalled_total", Help: "Jobs dispatched again because the broker lost their message.",
		}),
		standing: newStanding(), each: map[store.KindPlan]*jobMetrics{}, unknown: map[events.Kind]*jobMetrics{},
	}
	labels := []string{"kind", "plan"}
	seconds := func(name, help string, from, by float64, buckets int) *prometheus.HistogramVec {
		return prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: name, Help: help, Buckets: prometheus.ExponentialBuckets(from, by, buckets),
		}, labels)
	}
	lag := seconds("copilot_dispatch_lag_seconds", "How long jobs were ready before they were handed to the broker.", 0.001, 3, 12)
	waits := seconds("copilot_job_wait_seconds", "How long jobs were ready before a worker took them.", 0.002, 3, 13)
	runs := seconds("copilot_job_run_seconds", "How long a job had a slot, each time that a worker took it.", 0.002, 3, 13)
	outcomes := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "copilot_job_attempts_total", Help: "How often workers had a job, by what came of it.",
	}, []string{"kind", "plan", "outcome"})
	expired := prometheus.NewCounterVec(prometheus.CounterOpts{
		Name: "copilot_dispatch_leases_expired_total", Help: "Jobs whose worker stopped renewing its lease.",
	}, labels)
	// All are there from the beginning, so that the first of them is an increase.
	for _, kind := range events.Kinds() {
		for _, plan := range append(store.Plans(), planUnknown) {
			of := &jobMetrics{
				lag: lag.WithLabelValues(string(kind), plan), wait: waits.WithLabelValues(string(kind), plan),
				run: runs.WithLabelValues(string(kind), plan), expired: expired.WithLabelValues(string(kind), plan),
				outcomes: map[events.Outcome]prometheus.Counter{},
			}
			for _, outcome := range events.Outcomes() {
				of.outcomes[outcome] = outcomes.WithLabelValues(string(kind), plan, string(outcome))
			}
			m.each[store.KindPlan{Kind: kind, Plan: plan}], m.unknown[kind] = of, of
		}
	}
	reg.MustRegister(m.leading, m.dispatched, m.recalled, m.standing, lag, waits, runs, outcomes, expired)
	return m
}

// of returns the metrics of a kind, one of those that are known, and a plan, which may be none.
func (m *metrics) of(kind events.Kind, plan string) *jobMetrics {
	if found, ok := m.each[store.KindPlan{Kind: kind, Plan: plan}]; ok {
		return found
	}
	return m.unknown[kind]
}

// ended counts the end of a claim.
func (m *jobMetrics) ended(e events.Ended) {
	m.run.Observe(e.DurationMS / 1000)
	if counter, known := m.outcomes[e.Outcome]; known {
		counter.Inc()
	}
}

// standing shows how all queues stand, as the leader last saw it. Who does not lead shows nothing. It implements prometheus.Collector.
type standing struct {
	now atomic.Pointer[[]prometheus.Metric]

	queued, waiting, flying, oldest, dead, workers, slots *prometheus.Desc
}

func newStanding() *standing {
	desc := func(name, help string, labels ...string) *prometheus.Desc {
		return prometheus.NewDesc(name, help+"; told by the gateway that leads the dispatch.", labels, nil)
	}
	return &standing{
		queued: desc("copilot_jobs_queued", "Jobs in the queue, by what they wait for: fairness is their turn",
			"kind", "plan", "waiting_on"),
		waiting: desc("copilot_jobs_waiting", "Jobs that wait for the jobs they were parted into", "kind", "plan"),
		flying:  desc("copilot_jobs_in_flight", "Jobs that workers have", "kind", "plan"),
		oldest:  desc("copilot_jobs_oldest_seconds", "For how long the job has been ready that was submitted first", "kind", "plan"),
		dead:    desc("copilot_jobs_dead", "Jobs that ran out of attempts and that nobody has retried or discarded", "kind", "plan"),
		workers: desc("copilot_workers", "Workers that are alive and take jobs", "kind"),
		slots:   desc("copilot_workers_slots", "How many jobs the workers run at once all together", "kind"),
	}
}

// Describe implements prometheus.Collector.
func (s *standing) Describe(descs chan<- *prometheus.Desc) {
	for _, d := range []*prometheus.Desc{s.queued, s.waiting, s.flying, s.oldest, s.dead, s.workers, s.slots} {
		descs <- d
	}
}

// Collect implements prometheus.Collector.
func (s *standing) Collect(metrics chan<- prometheus.Metric) {
	if now := s.now.Load(); now != nil {
		for _, m := range *now {
			metrics <- m
		}
	}
}

func (s *standing) forget() { s.now.Store(nil) }

// place is where a job can stand.
type place struct {
	store.KindPlan

	waitingOn events.WaitingOn
}

// figures are numbers of jobs and workers at one moment.
type figures struct {
	queued          map[place]int
	waiting, flying map[store.KindPlan]int
	dead            map[store.KindPlan]int
	oldest          map[store.KindPlan]float64
	workers, slots  map[events.Kind]int
}

// show replaces what is shown. What there is none of is shown as zero.
func (s *standing) show(f figures) {
	var all []prometheus.Metric
	gauge := func(desc *prometheus.Desc, value float64, labels ...string) {
		all = append(all, prometheus.MustNewConstMetric(desc, prometheus.GaugeValue, value, labels...))
	}
	for _, kind := range events.Kinds() {
		gauge(s.workers, float64(f.workers[kind]), string(kind))
		gauge(s.slots, float64(f.slots[kind]), string(kind))
		for _, plan := range store.Plans() {
			of := store.KindPlan{Kind: kind, Plan: plan}
			f.queued[place{of, events.WaitingDispatch}] += 0
			gauge(s.waiting, float64(f.waiting[of]), string(kind), plan)
			gauge(s.flying, float64(f.flying[of]), string(kind), plan)
			gauge(s.oldest, f.oldest[of], string(kind), plan)
			gauge(s.dead, float64(f.dead[of]), string(kind), plan)
		}
	}
	for at, n := range f.queued {
		gauge(s.queued, float64(n), string(at.Kind), at.Plan, string(at.waitingOn))
	}
	s.now.Store(&all)
}
