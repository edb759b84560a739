// Package runner is the one loop that every worker binary runs: fetch a dispatched job, claim it in Postgres, hand it to the
// Handler of its kind, renew its lease, and turn what the handler returns into rows.
//
// A handler never touches a job's status. It returns an Outcome, or an error that carries its intent: Snooze, After, or a
// fault, whose kind says whether another try makes sense. Only this package maps intents to endings.
//
// The broker's message is acknowledged as soon as the claim has committed. From there on Postgres knows that the job runs, and
// the lease, not the broker, notices when its worker dies.
package runner
