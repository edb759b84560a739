// Package account is how people come to have a session: they register, log in, refresh, change their password and log out. It
// joins the passwords and tokens of package auth with the record, and makes the Principal that every request is decided by.
package account
