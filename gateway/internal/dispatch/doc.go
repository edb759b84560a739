// Package dispatch hands queued jobs to the broker: it alone decides whose turn it is.
//
// Every gateway runs a Dispatcher, one of them leads. Leadership is an advisory lock in Postgres, so it falls with the leader's
// connection and another takes over within seconds. The leader is woken by a local or remote commit (a nudge over NATS), by the
// time when the next scheduled job comes due, and by a timer as the last resort.
//
// The broker's queue is kept short, because what lies there can no longer be reordered. The leader also repairs: jobs whose
// worker stopped renewing its lease go back to the queue or, out of attempts, end as dead; jobs whose message was lost, because
// the stream was deleted or a publish never arrived, are dispatched again.
package dispatch
