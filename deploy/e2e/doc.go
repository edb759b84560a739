// Package e2e tests the whole system from the outside: over HTTP and server-sent events, with real processes that are killed
// in the middle of their work. It holds tests only.
//
// Each test starts a stack of its own: a database cloned from a migrated and seeded template, a NATS namespace, a Qdrant
// prefix and an API key of its own at the Gemini stand-in, and on them the gateway and the three workers as processes. Tests
// share the engines and nothing else, so they run side by side.
//
// Nothing of the system is imported but its contract, package events. A test reads the database only to find out what no
// client may see: that a log has no gap, that nothing was done twice.
//
// The engines come from the launcher:
//
//	go run ./deploy/devstack/cmd/devstack exec -- go test -race ./deploy/e2e/...
package e2e
