// Package jobs takes work in and follows it, for every operation that does: it is the one place where a job is made together
// with what belongs to it (its document, its message, its idempotency key) and where a caller's reach over jobs is applied.
package jobs
