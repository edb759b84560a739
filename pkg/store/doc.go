// Package store is the record: every row that the system keeps, behind repositories.
//
// Two types reach the database, each under its own role. Store works for one tenant at a time: InTenant opens a transaction
// bound to a tenant, and the repositories of its Tx (one file per aggregate) filter by that tenant while row-level security
// guards the same line below them. Engine moves jobs of all tenants along (dispatch, claim, renew, sweep). It sees jobs, their
// events and idempotency keys, what tenants are entitled to, how far webhooks are relayed and when schedules are due, and no
// document, message or user.
//
// A job's state changes, its events and the content that goes with them share one transaction; Config.Committed is told of the
// events afterwards. A worker's writes carry its Lease, and a lease that was lost turns them into ErrLeaseLost.
package store
