// Package client calls the Co-Pilot API. It has a method for every operation and a type for everything that is sent and answered;
// both are generated from the OpenAPI document. What is written by hand is how calls are made:
//
//   - [Client.Login] keeps the tokens and renews them, once for all calls that find them expired; or the calls carry an API key
//     ([WithAPIKey]).
//   - An answer that is not a success is a [*Problem]: errors.As gives its code, its status and what is wrong with which field.
//   - Calls that are safe to repeat are repeated when the server asks for patience (429, 503) or cannot be reached. Submits are safe:
//     each carries an Idempotency-Key, the caller's own ([WithIdempotencyKey]) or a random one.
//   - What takes long is a job. [WaitFor] holds the answer to a submit for it, [Client.Wait] waits as long as it takes, and
//     [Client.FollowJob] yields its events and comes back to where it was whenever the stream is cut.
//   - Each List method has an All method beside it, which yields the items of all pages.
//   - [Inspect] shows what else stands in an answer: its status, its ETag, where the thing is.
//
// Ids and cursors are opaque strings. The zero value of an optional field is not sent, unless it could mean something: then the
// field is a pointer. The package depends on nothing but the standard library.
package client
