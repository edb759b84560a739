// Package engines runs the services the system depends on, other than Postgres, inside the launcher's process: a real NATS
// server with JetStream, a Redis stand-in, a Qdrant stand-in and a Gemini stand-in; and a real Redis beside it where the machine
// has one. Each listens on the loopback interface only.
package engines
