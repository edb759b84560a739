package runner

import (
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tarento/copilot/events"
)

type metrics struct {
	running  prometheus.Gauge
	lost     prometheus.Counter
	endings  *prometheus.CounterVec
	duration prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer, kind events.Kind) *metrics {
	labels := prometheus.Labels{"kind": string(kind)}
	m := &metrics{
		running: prometheus.NewGauge(prometheus.GaugeOpts{
			Name: "copilot_worker_jobs_running", Help: "Jobs that this process holds, those it claims a moment ahead included.",
			ConstLabels: labels,
		}),
		lost: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "copilot_worker_leases_lost_total", Help: "Runs that lost their lease (cancelled or taken over).", ConstLabels: labels,
		}),
		endings: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_worker_attempts_total", Help: "Attempts by the status they left the job in.", ConstLabels: labels,
		}, []string{"status"}),
		duration: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "copilot_worker_attempt_seconds", Help: "How long attempts took.", ConstLabels: labels,
			Buckets: prometheus.ExponentialBuckets(0.005, 2.5, 14),
		}),
	}
	reg.MustRegister(m.running, m.lost, m.endings, m.duration)
	return m
}

func (m *metrics) ended(s events.Status) { m.endings.WithLabelValues(string(s)).Inc() }
