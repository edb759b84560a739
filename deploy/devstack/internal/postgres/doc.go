// Package postgres runs a real Postgres server from whatever binaries the machine offers.
//
// The binaries are those in PATH, else the highest version below /usr/lib/postgresql, else a build fetched by
// fergusstrange/embedded-postgres. A data folder that exists is opened with the major version that made it. The server
// listens on the loopback interface only, without a Unix socket (so no path limit applies), and asks for a password.
// Postgres refuses to run as root; started by root, the package runs it as an unprivileged user and, when that user cannot
// reach the wanted folder, moves the data to one it can reach.
package postgres
