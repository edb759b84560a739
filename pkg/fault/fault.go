package fault

import (
	"context"
	"errors"
	"fmt"
	"time"
)

// Kind says what sort of failure a fault is. The zero value is Internal, so that an unclassified error is never blamed on
// the caller and never shown to it.
type Kind int

// The kinds, each with the HTTP status it maps to in the gateway.
const (
	Internal        Kind = iota // 500: a defect or an unknown failure; tried again
	Invalid                     // 422: the input can never succeed as it is
	Malformed                   // 400: the input cannot be read at all
	Unauthenticated             // 401: no or wrong credentials
	Forbidden                   // 403: known caller, missing permission
	NotFound                    // 404: does not exist, or belongs to another tenant
	Conflict                    // 409: the state of the resource forbids it
	Gone                        // 410: it existed and will not come back
	Precondition                // 412: If-Match did not match
	TooLarge                    // 413: over a documented limit
	Unsupported                 // 415: a media type we do not read
	RateLimited                 // 429: too much, come back after RetryAfter
	Unavailable                 // 503: a part we depend on is away; tried again
	Timeout                     // 504: the time allowed ran out; tried again
	Upstream                    // 502: a part we depend on answered, but not with what it owes; tried again
)

var kindNames = [...]string{
	Internal: "internal", Invalid: "invalid", Malformed: "malformed", Unauthenticated: "unauthenticated",
	Forbidden: "forbidden", NotFound: "not-found", Conflict: "conflict", Gone: "gone", Precondition: "precondition-failed",
	TooLarge: "too-large", Unsupported: "unsupported", RateLimited: "rate-limited", Unavailable: "unavailable", Timeout: "timeout",
	Upstream: "upstream",
}

// String returns the kind's name as it stands in a problem's type.
func (k Kind) String() string {
	if k < 0 || int(k) >= len(kindNames) {
		return kindNames[Internal]
	}
	return kindNames[k]
}

// Retryable reports whether the same request may succeed later without being changed.
func (k Kind) Retryable() bool {
	switch k {
	case Internal, RateLimited, Unavailable, Timeout, Upstream:
		return true
	default:
		return false
	}
}

// Error is a classified failure. Build it with New or Wrap.
type Error struct {
	Kind Kind
	// Code is stable and machine-readable, a noun and a reason: "document.encrypted".
	Code string
	// Message is for people, safe to show, and says what to do where something can be done.
	Message string
	// RetryAfter is how long the failing side asked to be left alone; zero when it did not say.
	RetryAfter time.Duration
	// Err is the cause, for logs only; nil when there is none.
	Err error
}

// New returns a fault without a cause. The format's arguments must be safe to show.
func New(kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...)}
}

// Wrap returns a fault caused by err. The format's arguments must be safe to show; err is never shown.
func Wrap(err error, kind Kind, code, format string, args ...any) *Error {
	return &Error{Kind: kind, Code: code, Message: fmt.Sprintf(format, args...), Err: err}
}

// After sets RetryAfter and returns the same fault.
func (e *Error) After(d time.Duration) *Error {
	e.RetryAfter = d
	return e
}

// Error describes the fault with its cause, for logs.
func (e *Error) Error() string {
	if e.Err == nil {
		return e.Code + ": " + e.Message
	}
	return e.Code + ": " + e.Message + ": " + e.Err.Error()
}

// Unwrap returns the cause.
func (e *Error) Unwrap() error { return e.Err }

// Of returns the first fault in err's chain. An error without one becomes a Timeout or Internal fault whose message
// reveals nothing. Of(nil) is nil.
func Of(err error) *Error {
	if err == nil {
		return nil
	}
	if f, ok := errors.AsType[*Error](err); ok {
		return f
	}
	if errors.Is(err, context.DeadlineExceeded) {
		return Wrap(err, Timeout, "timeout", "The operation took longer than allowed. Try again.")
	}
	return Wrap(err, Internal, "internal", "Something went wrong on our side. The request id finds it in our logs.")
}

// Is reports whether err's chain holds a fault of that kind.
func Is(err error, kind Kind) bool {
	f, ok := errors.AsType[*Error](err)
	return ok && f.Kind == kind
}

// KindOf returns the kind of that name; an unknown name is Internal.
func KindOf(name string) Kind {
	for k, n := range kindNames {
		if n == name {
			return Kind(k)
		}
	}
	return Internal
}
