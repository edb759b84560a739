package dispatch

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	leading    prometheus.Gauge
	dispatched *prometheus.CounterVec
	recalled   prometheus.Counter
	expired    prometheus.Counter
	dead       *prometheus.GaugeVec
	lag        prometheus.Histogram
}

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
		expired: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "copilot_dispatch_leases_expired_total", Help: "Jobs whose worker stopped renewing its lease.",
		}),
	}
	m.dead = prometheus.NewGaugeVec(prometheus.GaugeOpts{
		Name: "copilot_jobs_dead", Help: "Jobs that ran out of attempts and that nobody has retried or discarded; told by the leader.",
	}, []string{"kind"})
	m.lag = prometheus.NewHistogram(prometheus.HistogramOpts{
		Name: "copilot_dispatch_lag_seconds", Help: "How long jobs were ready before they were handed to the broker.",
		Buckets: prometheus.ExponentialBuckets(0.001, 3, 12),
	})
	reg.MustRegister(m.dead, m.lag, m.leading, m.dispatched, m.recalled, m.expired)
	return m
}
