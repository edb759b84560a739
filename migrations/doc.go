// Package migrations owns the database schema: the SQL files that make it, the order they run in, and the demonstration
// data that a development database starts with.
//
// The files under sql/ are embedded, so a binary carries the schema it was built for. Every file runs in one transaction,
// under an advisory lock that lets several deployments start at once, and gives up after a few seconds rather than queue
// behind a long-running query and block everybody who comes after it (lock_timeout, set by Open).
//
// Changes are made in two deployments, expand then contract: first add what the new code needs in a form the old code
// can live with, and remove the old form only when no running binary uses it any more.
//
// The schema separates five roles. The owner, who runs migrations; copilot_app, which sees the one tenant named by the setting
// app.tenant_id; copilot_engine, which sees the jobs of all tenants but no content; and two as which nobody logs in:
// copilot_auth, which finds out whose a login is, and copilot_search, which owns the views that searches read. Row-level
// security is forced, so it binds the owner, too. A new table with tenant data needs organization_id and a call of isolate() in
// the migration that creates it; tests read the catalog and fail when it has none. One that is to be searched by words also calls
// searchable().
//
// Only the migrate command and tests import this package.
package migrations
