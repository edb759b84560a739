// Package storetest gives every test a real Postgres database of its own, with the schema of this build, in about 20 ms.
//
// The first test to ask builds a migrated template on the server, under an advisory lock, named by a fingerprint of the
// migrations; every test after it clones that template, in parallel with others, and drops its clone when it ends.
//
// The server is the one TEST_DATABASE_URL names, as a superuser. Without one a test fails with a hint: it is never skipped.
// Keep pools small; many tests share the server's connections.
package storetest
