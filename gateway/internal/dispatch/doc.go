// Package dispatch hands queued jobs to the broker: it alone decides whose turn it is.
//
// Every gateway runs a Dispatcher, one of them leads. Leadership is an advisory lock in Postgres, so it falls with the leader's
// connection and another takes over within seconds. The leader is woken by commits that made jobs ready (a nudge over NATS), by the
// workers, who say what became of the jobs that they were handed, by the time when the next job gets ready, and by a timer as the last
// resort.
//
// The broker's queue is kept as short as the workers' free slots need, because what lies there can no longer be reordered. What is
// there the leader remembers and does not write down: a follower hands out again what nobody has claimed. The leader also repairs:
// jobs whose worker stopped renewing its lease go back to the queue or, out of attempts, end as dead; jobs whose message was lost,
// because the stream was deleted or a publish never arrived, are dispatched again; jobs past their deadline fail.
//
// turns.go holds the order of turns and nothing else, crews.go what is known of the workers, leader.go what the leader does.
package dispatch
