// Package rbac decides what a caller may do. It is the one place that does: an operation of the API declares the permission
// it needs, and where a resource has owners, members or a reach, one method here answers for it. Handlers ask and never
// compare roles or owners themselves.
package rbac
