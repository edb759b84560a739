// Package bus carries jobs to workers and facts to whoever listens, over NATS.
//
// The JOBS stream is a work queue: one durable consumer per job kind, shared by all its workers. Nothing in it is a record. A
// message only says "look at this job", so the whole stream may be lost and the dispatcher fills it again from Postgres.
// Therefore acknowledgements count nothing (MaxDeliver is unlimited, attempts live in Postgres), delays live in Postgres (a
// delayed nak fills MaxAckPending and blocks everybody), and the stream lies in the broker's memory.
//
// Events are published twice in spirit: those of the log to the EVENTS stream's subjects, live text deltas to core subjects. A
// gateway listens to both with one core subscription each.
package bus
