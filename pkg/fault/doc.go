// Package fault is the one vocabulary for what can go wrong.
//
// A fault has a Kind, which decides how the rest of the system reacts (the HTTP status, whether a job is tried again), a
// stable Code, which programs match on, and a Message that is safe to show to the caller. What only the operator may see
// (driver errors, upstream bodies) stays in the wrapped error and reaches the log, never the wire.
package fault
