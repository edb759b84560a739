// Package launch composes the local system: the engines in this process, Postgres and the system's own programs as
// children, and the commands a person has over them.
package launch
