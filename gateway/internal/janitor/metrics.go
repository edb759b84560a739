package janitor

import "github.com/prometheus/client_golang/prometheus"

type metrics struct {
	deleted *prometheus.CounterVec
	oldest  *prometheus.GaugeVec
}

func newMetrics(reg prometheus.Registerer) *metrics {
	m := &metrics{
		deleted: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_retention_deleted_total", Help: "Rows that were deleted because they had been kept long enough.",
		}, []string{"what"}),
		oldest: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "copilot_retention_oldest_timestamp_seconds",
			Help: "When the first of the jobs was submitted that are kept, and of those that have their events; 0 where there is none.",
		}, []string{"what"}),
	}
	reg.MustRegister(m.deleted, m.oldest)
	return m
}
