package schedule

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	times *prometheus.CounterVec
	lag   prometheus.Histogram
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		times: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_schedule_times_total", Help: "Times of schedules that this gateway has seen to, by what they came to.",
		}, []string{"outcome"}),
		lag: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "copilot_schedule_lag_seconds", Help: "How long after its time a run of a schedule was submitted.",
			Buckets: []float64{.01, .05, .1, .5, 1, 5, 30, 120, 600, 3600},
		}),
	}
	for _, what := range []outcome{ran, skipped, disabled, failed} {
		m.times.WithLabelValues(string(what))
	}
	reg.MustRegister(m.times, m.lag)
	return m
}
