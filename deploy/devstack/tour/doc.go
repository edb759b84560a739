// Package tour shows a running system to its user, the way a REST and SSE client would see it: it logs in, uploads the three
// bundled documents, follows their ingestion over server-sent events, asks one question of each document, prints the answers
// as they stream and the passages they cite, and sums up how long everything took.
//
// The package knows the system only by its public API, which it calls with the Go client. It holds no state of its own: a
// second tour of the same installation finds the documents of the first one and asks again.
//
// [Run] is all there is to call. With [Config.Check] it is also the shortest end-to-end test of an installation: it then fails
// with a [CheckError] when an answer does not cite the passage that holds the fact, and says everything that was not as expected.
//
// documents/README.md lists the bundled documents with their sources and licenses.
package tour
