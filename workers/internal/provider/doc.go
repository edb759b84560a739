// Package provider stands between the workers and the model provider. Every call of a model passes a [Gate], which knows two
// things about each model: how often and with how many tokens it may be called ([Limits]), and whether it answers at all.
//
// # One circuit for all replicas
//
// What is known of a model is one small hash in Redis, its circuit, so all workers see the same state at the same moment: each
// call asks for its permission with one script, and reports how it went with another. The clock is that of Redis.
//
//   - Closed: calls go through, as far as the limits admit them. A 429 opens the circuit at once; so does a number of failures in
//     a row (connections refused, 5xx, silence, answers that break off) with no success between them.
//   - Open: no call is made. It stays so for as long as the provider asked for in its RetryInfo; or for a pause that begins with
//     a second, doubles up to half a minute, and is spread by a quarter to either side.
//   - Half open: one call of all replicas is let through to find out. Its success closes the circuit, its failure opens it again.
//
// Limits are kept by the generic cell rate algorithm, a bucket that refills steadily. Within any minute no more than the limit
// passes, up to a tenth of it at once. Tokens are estimated before the call and corrected by what the provider reports after it.
//
// # Those who have to wait
//
// A call that may not be made now is not made. A job whose turn comes within two seconds waits in place; otherwise its handler
// gets an error that puts the job back into the queue, waiting on the provider, with its attempt uncharged, and it goes on by
// itself. Each is given a later time than the one before it, as far apart as the limit admits calls, so that ten thousand waiting jobs
// come back one by one and not all together. Interactive jobs stand in a line of their own, and bulk work leaves them, and searches,
// a fifth of what a limit admits at once. A request that somebody waits for, such as a search, fails at once with
// fault.Unavailable and the time after which it makes sense to ask again.
//
// # When Redis is away
//
// Each process goes on with circuits of its own, which begin with what it last saw of the shared ones: limits then hold for each
// process and not for all of them. The log and the metrics say so.
package provider
