package geminilocal

import (
	"encoding/json"
	"fmt"
	"net/http"
	"strconv"
	"time"
)

// apiError is an error body of the service: a google.rpc.Status.
type apiError struct {
	Code    int              `json:"code"`
	Message string           `json:"message"`
	Status  string           `json:"status"`
	Details []map[string]any `json:"details,omitempty"`
}

func invalidf(format string, args ...any) *apiError {
	return &apiError{Code: http.StatusBadRequest, Message: fmt.Sprintf(format, args...), Status: "INVALID_ARGUMENT"}
}

func notFoundf(format string, args ...any) *apiError {
	return &apiError{Code: http.StatusNotFound, Message: fmt.Sprintf(format, args...), Status: "NOT_FOUND"}
}

func malformedBody(err error) *apiError {
	return invalidf("Invalid JSON payload received. %s", err)
}

// nobody is the answer to a caller without a key.
func nobody() *apiError {
	return &apiError{
		Code: http.StatusForbidden, Status: "PERMISSION_DENIED",
		Message: "Method doesn't allow unregistered callers (callers without established identity). " +
			"Please use API Key or other form of API consumer identity to call this API.",
	}
}

// body words a scripted failure as the service does.
func (f *Failure) body() *apiError {
	e := &apiError{Code: f.Code, Message: f.Message}
	var usual string
	switch f.Code {
	case http.StatusBadRequest:
		e.Status, usual = "INVALID_ARGUMENT", "Request contains an invalid argument."
	case http.StatusUnauthorized:
		e.Status, usual = "UNAUTHENTICATED", "Request had invalid authentication credentials."
	case http.StatusForbidden:
		e.Status, usual = "PERMISSION_DENIED", "The caller does not have permission"
	case http.StatusNotFound:
		e.Status, usual = "NOT_FOUND", "Requested entity was not found."
	case http.StatusTooManyRequests:
		e.Status, usual = "RESOURCE_EXHAUSTED", "You exceeded your current quota, please check your plan and billing details."
	case http.StatusInternalServerError:
		e.Status, usual = "INTERNAL", "An internal error has occurred. Please retry."
	case http.StatusServiceUnavailable:
		e.Status, usual = "UNAVAILABLE", "The model is overloaded. Please try again later."
	case http.StatusGatewayTimeout:
		e.Status, usual = "DEADLINE_EXCEEDED", "Deadline expired before operation could complete."
	default:
		e.Status, usual = "UNKNOWN", http.StatusText(f.Code)
	}
	if e.Message == "" {
		e.Message = usual
	}
	if f.Reason != "" {
		e.Details = append(e.Details, map[string]any{
			"@type": "type.googleapis.com/google.rpc.ErrorInfo", "reason": f.Reason, "domain": "googleapis.com",
			"metadata": map[string]string{"service": "generativelanguage.googleapis.com"},
		})
	}
	if f.RetryAfter > 0 {
		seconds := strconv.FormatFloat(time.Duration(f.RetryAfter).Seconds(), 'f', -1, 64)
		e.Message += fmt.Sprintf(" Please retry in %ss.", seconds)
		e.Details = append(
			e.Details,
			map[string]any{"@type": "type.googleapis.com/google.rpc.RetryInfo", "retryDelay": seconds + "s"},
		)
	}
	return e
}

func writeError(w http.ResponseWriter, e *apiError) {
	writeJSON(w, e.Code, map[string]*apiError{"error": e})
}

func writeJSON(w http.ResponseWriter, status int, v any) {
	body, err := json.Marshal(v)
	if err != nil { // only values of this package come here, and all of them encode
		status, body = http.StatusInternalServerError, []byte(`{"error":{"code":500,"status":"INTERNAL"}}`)
	}
	writeBody(w, status, body)
}

// writeBody sends a complete response. A failed write means that the client left, which is not worth a word.
func writeBody(w http.ResponseWriter, status int, body []byte) {
	w.Header().Set("Content-Type", "application/json; charset=UTF-8")
	w.Header().Set("Content-Length", strconv.Itoa(len(body)))
	w.WriteHeader(status)
	_, _ = w.Write(body)
}
