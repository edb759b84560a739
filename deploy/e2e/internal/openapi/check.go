package openapi

import (
	"bytes"
	"fmt"
	"mime"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"unicode/utf8"
)

const (
	mediaEvents = "text/event-stream"
	// MediaProblem is the media type of errors, RFC 9457.
	MediaProblem = "application/problem+json"
	// MediaJSON is the media type of most bodies.
	MediaJSON = "application/json"
	// MediaForm is the media type of uploads.
	MediaForm = "multipart/form-data"
)

// Check says in what an answer deviates from what the document promises: a status, a media type, a header or a body that is not in
// it. The body of a stream is not looked at. No deviation is nil.
func (op *Operation) Check(status int, header http.Header, body []byte) []string {
	known, ok := op.response(status)
	if !ok {
		return []string{fmt.Sprintf("status %d is not documented (%s are)", status, strings.Join(op.Statuses(), ", "))}
	}
	var wrong []string
	for _, name := range known.headers {
		if header.Get(name) == "" {
			wrong = append(wrong, "the header "+name+" is missing")
		}
	}
	if len(known.content) == 0 {
		if len(body) > 0 {
			wrong = append(wrong, fmt.Sprintf("a body of %d bytes where none is documented", len(body)))
		}
		return wrong
	}
	media, _, err := mime.ParseMediaType(header.Get("Content-Type"))
	if err != nil {
		return append(wrong, fmt.Sprintf("the media type %q cannot be read", header.Get("Content-Type")))
	}
	schema, ok := known.of(media)
	if !ok {
		return append(wrong, fmt.Sprintf("the media type %s is not documented for status %d", media, status))
	}
	if !isJSON(media) {
		return wrong
	}
	if !utf8.Valid(body) {
		wrong = append(wrong, "the body is no UTF-8")
	}
	if err := schema.promised(body); err != nil {
		wrong = append(wrong, fmt.Sprintf("the body does not fit its schema for status %d: %v", status, err))
	}
	return wrong
}

// response finds what is documented about a status: by itself, by its class or by default.
func (op *Operation) response(status int) (response, bool) {
	for _, key := range []string{strconv.Itoa(status), strconv.Itoa(status/100) + "XX", "default"} {
		if r, ok := op.responses[key]; ok {
			return r, true
		}
	}
	return response{}, false
}

// of finds the schema of a media type, by its name or by a range such as image/* or */*.
func (r response) of(media string) (Schema, bool) {
	kind, _, _ := strings.Cut(media, "/")
	for _, name := range []string{media, kind + "/*", "*/*"} {
		if schema, ok := r.content[name]; ok {
			return schema, true
		}
	}
	return Schema{}, false
}

func isJSON(media string) bool { return media == MediaJSON || strings.HasSuffix(media, "+json") }

// IsEvents tells whether a text is a piece of a stream of server-sent events: nothing but known fields and comments. Its last line
// may be cut.
func IsEvents(body []byte) bool {
	lines := slices.Collect(bytes.Lines(body))
	for i, line := range lines {
		if !bytes.HasSuffix(line, []byte("\n")) && i == len(lines)-1 {
			return true
		}
		name, _, _ := bytes.Cut(bytes.TrimRight(line, "\r\n"), []byte(":"))
		switch string(name) {
		case "", "id", "event", "data", "retry":
		default:
			return false
		}
	}
	return true
}
