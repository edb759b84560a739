// Package ratelimit says how often something may happen, across all gateways.
//
// A [Rule] is a rate with a burst, such as ten logins a minute for an account; a [Limiter] counts by rule and key in Redis, with the
// generic cell rate algorithm: one round trip, one small key per counted thing, and no windows at whose edges twice the
// rate gets through.
//
// A limit that is asked for every request would cost each of them a trip to Redis. A [Purse] draws permits in advance, a few at
// a time, and is as strict.
//
// Redis being away is not the callers' fault and must not become an outage of its own. Each rule says whether it then lets
// everything pass or nothing; the limiter waits only briefly, then leaves Redis alone for a moment, and tells the log and the
// metrics.
package ratelimit
