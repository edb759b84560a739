// Package account is how people come to have a session: they register, log in, refresh, change their password and log out; and how
// they make API keys for programs. It joins the passwords and tokens of package auth with the record, and makes the Principal that
// every request is decided by.
//
// [Access] remembers what sessions and keys allow, in the process and in Redis, and forgets it on every gateway the moment it
// changes.
package account
