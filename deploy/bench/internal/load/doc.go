// Package load puts load on an HTTP server in two ways: Closed keeps a number of connections busy and finds out how much the server
// can do; Open sends requests at a fixed rate, whether or not earlier ones were answered, and finds out how long they take.
//
// The generator runs on the same machine as the server it measures, so it does as little as it can: a closed load writes the
// same prepared bytes again and again and reads no more of the answers than it must.
package load
