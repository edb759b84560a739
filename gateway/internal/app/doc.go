// Package app puts the gateway together: it reads the configuration, opens what the parts need, runs them and closes
// everything in order. Nothing else happens here.
package app
