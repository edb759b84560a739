// Package app builds the worker binaries: configuration in, running process out. It is the only place in this module where
// parts are put together. The three workers share everything but what their handler needs, so each has a Config that embeds the
// Shared one, and a build function.
package app
