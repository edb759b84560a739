package httpapi

import (
	"context"
	"encoding/json"
	"errors"
	"math"
	"net/http"
	"strconv"
	"strings"
	"time"

	"github.com/danielgtaylor/huma/v2"
	"github.com/gin-gonic/gin"

	"github.com/tarento/copilot/pkg/fault"
)

// Problem is the body of every answer that is not a success: a problem document of RFC 9457.
type Problem struct { //nolint:errname // it is first of all what stands on the wire
	Type      string       `json:"type" format:"uri" example:"urn:copilot:problem:not-found" doc:"Kind of problem; stable"`
	Title     string       `json:"title" example:"Not found" doc:"The kind in words; the same for every problem of a type"`
	Status    int          `json:"status" example:"404" doc:"The HTTP status"`
	Detail    string       `json:"detail,omitempty" example:"There is no such job." doc:"What happened, for people, and what to do"`
	Instance  string       `json:"instance,omitempty" format:"uri-reference" example:"/api/v1/jobs/1" doc:"The path of the request"`
	RequestID string       `json:"request_id,omitempty" doc:"Finds the request in the logs; also in X-Request-ID"`
	Code      string       `json:"code" example:"job.not_found" doc:"What exactly is wrong, for programs; stable"`
	Errors    []FieldError `json:"errors,omitempty" nullable:"false" doc:"Which parts of the request are wrong"`

	header http.Header
}

// FieldError is what is wrong with one part of a request.
type FieldError struct {
	Location string `json:"location" example:"body.email" doc:"Where it stands: body, query, path or header, then the path in it"`
	Message  string `json:"message" example:"expected string to be RFC 5322 email" doc:"What is wrong with it"`
}

// problemMedia is the media type of a problem document.
const problemMedia = "application/problem+json"

// codeInternal marks what only the logs may tell.
const codeInternal = "internal"

// Error implements error.
func (p *Problem) Error() string { return p.Code + ": " + p.Detail }

// GetStatus implements huma.StatusError.
func (p *Problem) GetStatus() int { return p.Status }

// GetHeaders implements huma.HeadersError.
func (p *Problem) GetHeaders() http.Header { return p.header }

// ContentType implements huma.ContentTypeFilter.
func (p *Problem) ContentType(string) string { return problemMedia }

// statusClientGone is what the log says of a request that its client gave up. Nobody reads the answer.
const statusClientGone = 499

// kinds maps each kind of fault to its status and title.
var kinds = map[fault.Kind]struct {
	status int
	title  string
}{
	fault.Internal:        {http.StatusInternalServerError, "Internal error"},
	fault.Invalid:         {http.StatusUnprocessableEntity, "Invalid request"},
	fault.Malformed:       {http.StatusBadRequest, "Malformed request"},
	fault.Unauthenticated: {http.StatusUnauthorized, "Not authenticated"},
	fault.Forbidden:       {http.StatusForbidden, "Not allowed"},
	fault.NotFound:        {http.StatusNotFound, "Not found"},
	fault.Conflict:        {http.StatusConflict, "Conflict"},
	fault.Gone:            {http.StatusGone, "Gone"},
	fault.Precondition:    {http.StatusPreconditionFailed, "Precondition failed"},
	fault.TooLarge:        {http.StatusRequestEntityTooLarge, "Too large"},
	fault.Unsupported:     {http.StatusUnsupportedMediaType, "Unsupported media type"},
	fault.RateLimited:     {http.StatusTooManyRequests, "Too many requests"},
	fault.Unavailable:     {http.StatusServiceUnavailable, "Temporarily unavailable"},
	fault.Timeout:         {http.StatusGatewayTimeout, "Timed out"},
	fault.Upstream:        {http.StatusBadGateway, "Unusable answer from a part we depend on"},
}

// newProblem builds the problem of a kind.
func newProblem(kind fault.Kind, code, detail string, errs ...FieldError) *Problem {
	known := kinds[kind]
	p := rareProblem(known.status, kind.String(), known.title, code, detail, errs...)
	if kind == fault.Unauthenticated {
		p.header.Set("WWW-Authenticate", `Bearer realm="copilot"`)
	}
	return p
}

// rareProblem builds a problem of a name that no kind of fault has, because only HTTP knows such problems.
func rareProblem(status int, name, title, code, detail string, errs ...FieldError) *Problem {
	return &Problem{
		Type: "urn:copilot:problem:" + name, Title: title, Status: status, Code: code, Detail: detail, Errors: errs, header: http.Header{},
	}
}

// invalid says what is wrong with one part of a request that its schema could not say.
func invalid(location, message string) *Problem {
	return newProblem(fault.Invalid, codeInvalid, detailInvalid, FieldError{Location: location, Message: message})
}

const (
	codeInvalid   = "request.invalid"
	detailInvalid = "The request does not fit what this operation takes; errors says where."
)

// problemOf turns any error into the problem to answer with.
func problemOf(err error) *Problem {
	if p, ok := errors.AsType[*Problem](err); ok {
		return p
	}
	if tooLarge, ok := errors.AsType[*http.MaxBytesError](err); ok {
		return newProblem(fault.TooLarge, codeTooLarge, "The request is larger than the "+size(tooLarge.Limit)+" that are allowed.")
	}
	if errors.Is(err, context.Canceled) {
		return &Problem{Type: "about:blank", Title: "Client closed request", Status: statusClientGone, Code: "client.gone"}
	}
	f := fault.Of(err)
	p := newProblem(f.Kind, f.Code, f.Message)
	if f.RetryAfter > 0 {
		p.header.Set("Retry-After", seconds(f.RetryAfter))
	}
	return p
}

const (
	codeTooLarge  = "request.too_large"
	codeMalformed = "request.malformed"
)

// seconds writes a duration as Retry-After wants it: whole seconds, at least one.
func seconds(d time.Duration) string { return strconv.Itoa(max(1, int(math.Ceil(d.Seconds())))) }

// size writes a number of bytes for people.
func size(n int64) string {
	if n >= 1<<20 && n%(1<<20) == 0 {
		return strconv.FormatInt(n>>20, 10) + " MiB"
	}
	return strconv.FormatInt(n, 10) + " bytes"
}

// frameworkProblems says which problem stands for an error that huma found by itself.
var frameworkProblems = map[int]struct {
	kind         fault.Kind
	code, detail string
}{
	http.StatusBadRequest: {fault.Malformed, codeMalformed, "The body cannot be read as JSON."},
	http.StatusRequestTimeout: {
		fault.Malformed, "request.timeout", "The body did not arrive in time. Send it faster.",
	},
	http.StatusRequestEntityTooLarge: {fault.TooLarge, codeTooLarge, "The body is larger than the 1 MiB that are allowed here."},
	http.StatusUnsupportedMediaType: {
		fault.Unsupported, "request.unsupported_media_type", "This operation takes application/json.",
	},
	http.StatusUnprocessableEntity: {fault.Invalid, codeInvalid, detailInvalid},
}

// fromHuma turns an error that huma made into a problem. The submitted values that huma repeats, passwords among them, are left
// out.
func fromHuma(e *huma.ErrorModel) *Problem {
	known, ok := frameworkProblems[e.Status]
	if !ok {
		if e.Status >= http.StatusInternalServerError {
			return newProblem(fault.Internal, codeInternal, fault.Of(e).Message)
		}
		return &Problem{
			Type: "about:blank", Title: http.StatusText(e.Status), Status: e.Status, Code: "request.refused", Detail: e.Detail,
		}
	}
	p := newProblem(known.kind, known.code, known.detail)
	p.Status = e.Status
	if e.Status == http.StatusBadRequest && len(e.Errors) == 0 {
		p.Detail = "This operation needs a body."
	}
	for _, d := range e.Errors {
		if d != nil && known.kind == fault.Invalid {
			p.Errors = append(p.Errors, fieldError(d))
		}
	}
	return p
}

// fieldError says what is wrong with a part of the request, without the words of the libraries that read ids and JSON.
func fieldError(d *huma.ErrorDetail) FieldError {
	e := FieldError{Location: d.Location, Message: d.Message}
	if said, _, found := strings.Cut(d.Message, "invalid UUID"); found {
		if e.Message, found = strings.CutSuffix(said, ": "); !found || !strings.HasPrefix(said, "expected") {
			e.Message = "expected a UUID"
		}
		return e
	}
	// What the schema lets pass and Go does not, such as 1.0 for an integer, is known by its path in the struct only:
	// "json: cannot unmarshal number 1.0 into Go struct field NewRun.max_iterations of type int".
	if said, rest, found := strings.Cut(d.Message, " into Go "); found && strings.HasPrefix(said, "json: ") {
		e.Message = "expected another kind of value, such as a whole number without a fraction"
		path, _, _ := strings.Cut(strings.TrimPrefix(rest, "struct field "), " ")
		if _, field, ok := strings.Cut(path, "."); ok {
			e.Location += "." + field
		}
	}
	return e
}

// completeProblem is the transformer that every answer passes: it makes problems of huma's errors and says in each which
// request it belongs to.
func completeProblem(ctx huma.Context, _ string, body any) (any, error) {
	if e, ok := body.(*huma.ErrorModel); ok {
		body = fromHuma(e)
	}
	p, ok := body.(*Problem)
	if !ok {
		return body, nil
	}
	complete := *p
	url := ctx.URL()
	complete.Instance, complete.RequestID = url.EscapedPath(), requestOf(ctx.Context()).id
	return &complete, nil
}

// abort answers with a problem outside of huma and ends the chain. What was written already stays.
func abort(c *gin.Context, p *Problem) {
	c.Abort()
	if c.Writer.Written() {
		return
	}
	for name, values := range p.header {
		for _, v := range values {
			c.Writer.Header().Add(name, v)
		}
	}
	complete := *p
	complete.Instance, complete.RequestID = c.Request.URL.EscapedPath(), requestOf(c.Request.Context()).id
	body, err := json.Marshal(&complete)
	if err != nil {
		c.Status(http.StatusInternalServerError)
		return
	}
	c.Data(p.Status, problemMedia, append(body, '\n'))
}
