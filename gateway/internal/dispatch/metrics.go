package dispatch

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	leading    prometheus.Gauge
	dispatched *prometheus.CounterVec
	recalled   prometheus.Counter
	expired    prometheus.Counter
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
	reg.MustRegister(m.leading, m.dispatched, m.recalled, m.expired)
	return m
}
