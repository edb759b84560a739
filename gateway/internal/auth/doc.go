// Package auth knows who a caller is: passwords, access tokens, refresh tokens and API keys.
//
// [Passwords] hashes and checks passwords with bcrypt in a pool of bounded size, so that a flood of logins queues up and is
// refused instead of taking the processor from everything else. An unknown user costs what a wrong password costs.
//
// [Tokens] issues and verifies access tokens: signed, short-lived, checked without asking anybody. Its [Keyring] holds the key that
// signs and those that still verify, which is how keys are rotated. A key is a secret that all gateways share ([HS256]) or a pair
// of which others may have the public half ([EdDSA], [KeySet]).
//
// Refresh tokens ([NewRefresh], [ParseRefresh]) and API keys ([NewKey], [ParseKey]) are opaque and kept as hashes. They carry their
// tenant, so that they are looked up inside it, and a checksum, so that garbage is refused without a query. Rotation and reuse
// detection belong to the store.
//
// Failures that a client may see are fault.Error values; nothing here puts a password, a token or a key into an error.
package auth
