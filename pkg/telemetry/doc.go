// Package telemetry is what an operator sees of a process: its logs, its metrics and whether it is alive and ready. Every
// binary serves the same three paths on its operations address: /livez, /readyz and /metrics.
package telemetry
