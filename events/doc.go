// Package events is the contract between the gateway, the workers and whoever listens: job kinds with their inputs and
// results, the facts that a job's log holds, the control messages, and every subject they travel on. It imports only the
// standard library, so that a client can import it too. asyncapi.yaml describes the same in machine-readable form, and the
// golden files in testdata fix the bytes on the wire.
//
// # The job's state machine
//
//	             claim                     nil
//	submit  ┌──────────────▶ running ───────────────▶ succeeded
//	   │    │                 │ │ │
//	   ▼    │  retry, snooze, │ │ │ for good, or out of attempts (dead)
//	  queued ◀────────────────┘ │ └──────────────────▶ failed
//	   │       lease expired    │                        ▲
//	   │                        ▼ children               │ a child failed
//	   │                     waiting ────────────────────┤
//	   │                        │  last child            │
//	   │                        └──────────▶ succeeded   │
//	   ├──── cancel (from queued, running, waiting) ──▶ cancelled
//	   └──── deadline (from queued, running, waiting) ─▶ failed
//
// Postgres holds the only record of it. A status is terminal when nothing leaves it: succeeded, failed, cancelled. Every
// accepted job reaches exactly one of them. Transitions as data are in Transitions.
//
// # Order and identity
//
// Each event has a per-job sequence number, taken under the job's row lock, so the order of the log is the order of
// commits. Text deltas travel twice: at once over a core subject (never stored there), and later coalesced in the log. Both carry
// the text they belong to (Start) and their byte offset in it, so a reader that merges by position shows each byte once.
package events
