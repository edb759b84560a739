// Package fuzz asks a running system everything that its OpenAPI document allows, and much that it does not, and holds each answer
// against the document and against what must never be: a fault of the server, an answer that was not promised, a look at the insides,
// something of another tenant's.
//
//	result, err := fuzz.Run(ctx, fuzz.Options{URL: "http://127.0.0.1:8080", Seed: 1, Cases: 100, Out: os.Stderr})
//	result.Write(os.Stdout)
//
// Nothing here knows the operations by name, but for registering and logging in: what may be sent follows from the document, and what
// exists from the answers. Organizations are founded for the purpose, and founded anew when a case has destroyed one's own login.
// Each case is made from the seed, the operation and its number alone, so it can be repeated; only the ids differ.
package fuzz
