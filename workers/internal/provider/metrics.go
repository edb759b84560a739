package provider

import (
	"context"
	"maps"
	"slices"
	"sync"

	"github.com/prometheus/client_golang/prometheus"
)

// maxLabels bounds the models that have metrics of their own, because people choose models by name. The others count as "other".
const maxLabels = 50

const otherModels = "other"

const labelModel = "model"

type metrics struct {
	calls    *prometheus.CounterVec
	refused  *prometheus.CounterVec
	waited   *prometheus.CounterVec
	limits   *prometheus.GaugeVec
	failures prometheus.Counter

	mu     sync.Mutex
	models map[string]bool // that have labels
}

func newMetrics(limits Limits) *metrics {
	m := &metrics{
		calls: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_provider_calls_total",
			Help: "Calls of models by outcome: answered, throttled (429), failed (no answer), neutral (says nothing about the provider).",
		}, []string{labelModel, "outcome"}),
		refused: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_provider_refused_total",
			Help: "Calls that were not made: the circuit was open or half_open, or the limit of requests or tokens used up.",
		}, []string{labelModel, "reason"}),
		waited: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "copilot_provider_waits_total", Help: "Short waits of calls in place.",
		}, []string{labelModel}),
		limits: prometheus.NewGaugeVec(prometheus.GaugeOpts{
			Name: "copilot_provider_limit", Help: "What all replicas together may use of a model in a minute, where it is limited.",
		}, []string{labelModel, "unit"}),
		failures: prometheus.NewCounter(prometheus.CounterOpts{
			Name: "copilot_provider_redis_failures_total",
			Help: "Questions about models that Redis did not answer. Each process decides by itself then.",
		}),
		models: map[string]bool{},
	}
	for _, model := range limits.names() {
		m.models[model] = true
	}
	for model, limit := range limits {
		for unit, amount := range map[string]int64{"requests": limit.Requests, "tokens": limit.Tokens} {
			if amount > 0 {
				m.limits.WithLabelValues(model, unit).Set(float64(amount))
			}
		}
	}
	return m
}

func (m *metrics) all() []prometheus.Collector {
	return []prometheus.Collector{m.calls, m.refused, m.waited, m.limits, m.failures}
}

// label returns the model's name as metrics have it.
func (m *metrics) label(model string) string {
	m.mu.Lock()
	defer m.mu.Unlock()
	if !m.models[model] {
		if len(m.models) >= maxLabels {
			return otherModels
		}
		m.models[model] = true
	}
	return model
}

func (m *metrics) known() []string {
	m.mu.Lock()
	defer m.mu.Unlock()
	return slices.Sorted(maps.Keys(m.models))
}

// circuits shows the state of each model's circuit as it is when somebody looks.
type circuits struct{ gate *Gate }

func circuitDesc() *prometheus.Desc {
	return prometheus.NewDesc("copilot_provider_circuit",
		"1 for the state that the circuit of a model is in: closed, half_open or open.", []string{labelModel, "state"}, nil)
}

func sharedDesc() *prometheus.Desc {
	return prometheus.NewDesc("copilot_provider_shared",
		"1 while this process limits and pauses its calls together with all others, 0 while Redis is away.", nil, nil)
}

// Describe implements prometheus.Collector.
func (circuits) Describe(descs chan<- *prometheus.Desc) {
	descs <- circuitDesc()
	descs <- sharedDesc()
}

// Collect implements prometheus.Collector.
func (c circuits) Collect(found chan<- prometheus.Metric) {
	//nolint:forbidigo // a collector is not given a context
	ctx, cancel := context.WithTimeout(context.Background(), c.gate.within)
	defer cancel()
	for _, model := range c.gate.metrics.known() {
		now := c.gate.look(ctx, model).state
		for _, s := range []state{closed, halfOpen, open} {
			var is float64
			if s == now {
				is = 1
			}
			found <- prometheus.MustNewConstMetric(circuitDesc(), prometheus.GaugeValue, is, model, s.String())
		}
	}
	together := 1.0
	if c.gate.away.Load() {
		together = 0
	}
	found <- prometheus.MustNewConstMetric(sharedDesc(), prometheus.GaugeValue, together)
}

// look tells the state of a circuit as Redis has it, or this process while Redis is away.
func (g *Gate) look(ctx context.Context, model string) answer {
	if g.mayAsk() {
		said, err := g.shared.look(ctx, model)
		if err == nil {
			g.present(ctx)
			g.local.follow(model, said)
			return said
		}
		g.missing(ctx, err)
	}
	return g.local.look(model)
}
