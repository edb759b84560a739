// Package history holds what happened to the jobs of a run against what must never happen to any.
//
// A [Job] is all that was seen of one job, from outside: what clients were told, each change of its row in the order of commits and
// by whom, its log, its journal, the calls that reached the model, and what readers of its stream were shown. [Check] finds each
// broken promise as a [Violation]:
//
//	for _, v := range history.Check(&job) {
//		fmt.Println(v.Promise, v.Job, v.What)
//	}
//
// [CheckSubmit] and [CheckBatch] do the same for what a client got for one Idempotency-Key, [CheckRetries] for jobs that do
// others again, [Feed] for what a reader of an organization's feed was shown, [Hook] for what a webhook was told, and
// [Recovery] measures how long things stood still after a fault. Nothing here runs or reads anything: the history is data, so
// hand-made ones test the checker.
package history
