// Package floor holds what the system is measured against: the least that could do its work. It promises nothing that the system
// promises (no tenants, no permissions, no events, no leases, no retries), so it shows what those promises cost.
//
//   - Inserting: a bare Gin handler that verifies a JWT and inserts one row with pgx.
//   - Publishing: the same handler, which then publishes the row's id to JetStream and waits for the broker's acknowledgement.
//   - Running: the same again, which then waits for the end; a bare worker, in a process of its own, takes the id, marks the row as
//     running, marks it as done, and says so over core NATS.
//   - Reading: a bare Gin handler that verifies a JWT, runs the system's query with GORM, and answers the same JSON. It connects as
//     the owner, because it does not name the tenant to Postgres, whose row-level security would hide the rows.
//   - Following: a bare net/http handler that verifies a JWT and writes what is published for a job as server-sent events, out of one
//     subscription for all clients or out of one for each.
//
// The first three commit as durably as the system does, to the same Postgres and the same NATS.
package floor
