// Package chaos runs the whole system as processes, hurts them while clients use it, heals everything, and holds what happened
// against what was promised.
//
//	code := chaos.Main(ctx, os.Args[1:], os.Stdout, os.Stderr)
//
// A run starts the engines with the launcher's serve command, each a process that can be killed; two gateways and five workers; and
// between every two of them a link (see link.go) that can be cut, stalled and delayed. The load (load.go, follow.go) speaks HTTP and
// server-sent events only, and repeats what was not answered under the same Idempotency-Key. Beside the clients there are readers of the
// feeds and a receiver of webhooks (hooks.go), and an operator who looks after dead jobs (operator.go). What each client is to do comes
// from the seed alone (plan.go), and so does the order of the faults (fault.go); when exactly they hit does not.
//
// Triggers in a schema of our own (audit.sql) write down each change of a job, entry of its log and step of its journal, with the
// process that made it: the application_name of its connection. A meter (model.go) before the model's stand-in counts the calls of
// each step. Package history judges (judge.go) all of that when the system has come to rest.
package chaos
