package httpapi

import (
	"bytes"
	"errors"
	"io"
	"maps"
	"net"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"

	"github.com/danielgtaylor/huma/v2"
	"github.com/danielgtaylor/huma/v2/adapters/humagin"
	"github.com/gin-gonic/gin"

	"github.com/tarento/copilot/pkg/fault"
)

// maxTarget is how long the target of a request may be: its path and its query, as they were sent.
const maxTarget = 8 << 10

// shortTarget refuses requests whose path and query are longer than any the API has a use for.
func shortTarget(c *gin.Context) {
	if len(c.Request.RequestURI) <= maxTarget {
		c.Next()
		return
	}
	abort(c, rareProblem(http.StatusRequestURITooLong, "target-too-long", "Path and query too long", "request.target_too_long",
		"The path and the query have more than the "+strconv.Itoa(maxTarget)+" bytes that are allowed."))
}

// plainQuery refuses parameters that the operation does not have, which are mostly typing mistakes, those that are there twice, of
// which all but one would count for nothing, and text that cannot be stored. It says which parameters there are.
func plainQuery(ctx huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(ctx)
	if p := checkTarget(c.Request.URL, ctx.Operation().Parameters); p != nil {
		abort(c, p)
		return
	}
	next(ctx)
}

func checkTarget(target *url.URL, params []*huma.Param) *Problem {
	if !storable(target.Path) {
		return invalid("path", expectedText)
	}
	if target.RawQuery == "" {
		return nil
	}
	values, err := url.ParseQuery(target.RawQuery)
	if err != nil {
		return invalid("query", "expected name=value pairs, joined by & and percent-encoded")
	}
	var wrong []FieldError
	for _, name := range slices.Sorted(maps.Keys(values)) {
		location := "query." + brief(name)
		at := slices.IndexFunc(params, func(p *huma.Param) bool { return p.In == "query" && p.Name == name })
		switch {
		case at < 0:
			wrong = append(wrong, FieldError{Location: location, Message: "unexpected parameter, expected " + queryNames(params)})
		case len(values[name]) > 1 && !repeats(params[at]):
			wrong = append(wrong, FieldError{Location: location, Message: "expected once; a list is separated by commas"})
		case slices.ContainsFunc(values[name], func(v string) bool { return !storable(v) }):
			wrong = append(wrong, FieldError{Location: location, Message: expectedText})
		}
	}
	if wrong != nil {
		return newProblem(fault.Invalid, codeInvalid, detailInvalid, wrong...)
	}
	return nil
}

// repeats reports whether a parameter is a list of which each has its own.
func repeats(p *huma.Param) bool { return p.Explode != nil && *p.Explode }

const expectedText = "expected UTF-8 text without NUL characters"

// storable reports whether the database takes a text.
func storable(s string) bool { return utf8.ValidString(s) && strings.IndexByte(s, 0) < 0 }

func queryNames(params []*huma.Param) string {
	var names []string
	for _, p := range params {
		if p.In == "query" {
			names = append(names, p.Name)
		}
	}
	if names == nil {
		return "none"
	}
	return "only " + strings.Join(names, ", ")
}

// brief makes a name that a client made up fit for a message.
func brief(name string) string { return strings.ToValidUTF8(clip(name, 64), "\uFFFD") }

// plainBody takes the whole body of an operation, within its size and time, and refuses what is not plain JSON (see checkJSON)
// before anything is decoded. Bodies of another media type are left to huma, which refuses them.
func plainBody(ctx huma.Context, next func(huma.Context)) {
	c := humagin.Unwrap(ctx)
	if c.Request.Body == nil || c.Request.Body == http.NoBody || !isJSON(c.Request.Header.Get("Content-Type")) {
		next(ctx)
		return
	}
	body, p := readBody(ctx, c.Request)
	if p == nil && len(body) > 0 {
		p = checkJSON(body)
	}
	if p != nil {
		abort(c, p)
		return
	}
	// Huma reads the body again, and sets the deadline again, which the end of the paced body lifts.
	again := io.NopCloser(bytes.NewReader(body))
	if paced, ok := c.Request.Body.(*pacedBody); ok {
		paced.ReadCloser = again
	} else {
		c.Request.Body = again
	}
	next(ctx)
}

func isJSON(media string) bool {
	media, _, _ = strings.Cut(media, ";")
	media = strings.ToLower(strings.TrimSpace(media))
	return media == "" || strings.HasSuffix(media, "/json") || strings.HasSuffix(media, "+json")
}

func readBody(ctx huma.Context, r *http.Request) ([]byte, *Problem) {
	op := ctx.Operation()
	if r.ContentLength > op.MaxBodyBytes {
		return nil, bodyTooLarge(op.MaxBodyBytes)
	}
	// A writer without deadlines, as in some tests, has no slow client either.
	_ = ctx.SetReadDeadline(time.Now().Add(op.BodyReadTimeout))
	body, err := io.ReadAll(io.LimitReader(r.Body, op.MaxBodyBytes+1))
	timeout, isNet := errors.AsType[net.Error](err)
	switch {
	case int64(len(body)) > op.MaxBodyBytes:
		return nil, bodyTooLarge(op.MaxBodyBytes)
	case isNet && timeout.Timeout():
		return nil, frameworkProblem(http.StatusRequestTimeout)
	case err != nil:
		return nil, newProblem(fault.Malformed, codeMalformed, "The body broke off.")
	default:
		return body, nil
	}
}

func bodyTooLarge(limit int64) *Problem {
	return newProblem(fault.TooLarge, codeTooLarge, "The body is larger than the "+size(limit)+" that are allowed here.")
}

// frameworkProblem is what huma would answer with this status.
func frameworkProblem(status int) *Problem { return fromHuma(&huma.ErrorModel{Status: status}) }
