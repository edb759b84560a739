// Package httpapi is the REST and SSE face of the system: one file for each resource, and around them what all share.
//
// Every operation is declared once, with its method, path, documentation and the permission it needs; the OpenAPI document, the
// authorization and the route follow from that declaration. A handler gets a validated input and a known caller, and returns
// an output or an error. Errors become RFC 9457 problem documents in one place (problem.go), wherever they arise: in a handler,
// in validation, in the router or in a panic. They never repeat what was submitted.
//
// What takes long is submitted as a job and answered with 202; see accepted.go.
package httpapi
