package gemini

import (
	"context"
	"errors"
	"net/http"
	"net/url"
	"strings"
	"time"
	"unicode/utf8"

	"google.golang.org/genai"

	"github.com/tarento/copilot/pkg/fault"
)

// fault classifies an error of the SDK. ctx is the caller's context, watched the one the call ran under.
func (c *Client) fault(ctx, watched context.Context, model string, err error) error {
	if ctx.Err() != nil {
		return ctx.Err()
	}
	cause := c.scrub(err)
	if errors.Is(context.Cause(watched), errSilent) {
		return fault.Wrap(cause, fault.Timeout, "provider.timeout", "The model provider did not answer for %s.", c.timeout)
	}
	if api, ok := errors.AsType[genai.APIError](err); ok {
		return classify(api, model, cause)
	}
	if _, ok := errors.AsType[*url.Error](err); ok {
		return fault.Wrap(cause, fault.Unavailable, "provider.unavailable", "The model provider cannot be reached.")
	}
	// The request was answered, but what came ended early or cannot be read, which a cut in the middle of a line looks like.
	return fault.Wrap(cause, fault.Upstream, "provider.stream_cut", "The model's answer broke off.")
}

// classify turns an error body of the service into a fault.
func classify(api genai.APIError, model string, cause error) *fault.Error {
	switch {
	case api.Code == http.StatusTooManyRequests:
		return fault.Wrap(cause, fault.RateLimited, "provider.rate_limited",
			"The model provider's quota is used up for the moment.").After(retryAfter(api))
	case concernsCredentials(api):
		return fault.Wrap(cause, fault.Forbidden, "provider.credentials",
			"The model provider does not accept this deployment's credentials. An operator has to correct them.")
	case api.Code == http.StatusNotFound:
		return fault.Wrap(cause, fault.Invalid, "model.unknown",
			"The model %q does not exist or cannot do this. Choose another.", model)
	case api.Code == http.StatusRequestTimeout || api.Code >= 500 || api.Code < 400:
		return fault.Wrap(cause, fault.Unavailable, "provider.unavailable",
			"The model provider is not available.").After(retryAfter(api))
	default:
		return fault.Wrap(cause, fault.Invalid, "model.rejected",
			"The model does not accept this request. Check its length, the tools and the parameters of the model.")
	}
}

// concernsCredentials reports whether no change of the request would help. The service calls a key it does not know an invalid
// argument, and a project that may not use it from where it runs a failed precondition.
func concernsCredentials(api genai.APIError) bool {
	switch api.Code {
	case http.StatusUnauthorized, http.StatusForbidden:
		return true
	case http.StatusBadRequest:
		return api.Status == "FAILED_PRECONDITION" || strings.HasPrefix(reason(api), "API_KEY_")
	default:
		return false
	}
}

// retryAfter reads how long the service asks to be left alone; zero when it does not say.
func retryAfter(api genai.APIError) time.Duration {
	for _, detail := range api.Details {
		if kind, _ := detail["@type"].(string); !strings.HasSuffix(kind, "google.rpc.RetryInfo") {
			continue
		}
		delay, _ := detail["retryDelay"].(string)
		if d, err := time.ParseDuration(delay); err == nil && d > 0 {
			return d
		}
	}
	return 0
}

// reason reads the machine-readable reason of an error, such as "API_KEY_INVALID".
func reason(api genai.APIError) string {
	for _, detail := range api.Details {
		if kind, _ := detail["@type"].(string); strings.HasSuffix(kind, "google.rpc.ErrorInfo") {
			reason, _ := detail["reason"].(string)
			return reason
		}
	}
	return ""
}

// maxCause is how much of a cause is kept, in bytes: the SDK puts whole prompts and answers into some of its errors.
const maxCause = 2 << 10

// scrub returns err as it may be logged: without the key, and not longer than a screen.
func (c *Client) scrub(err error) error {
	text := err.Error()
	if len(text) <= maxCause && !strings.Contains(text, c.key) {
		return err
	}
	return errors.New(clipped(strings.ReplaceAll(text, c.key, "[API key]")))
}

// clipped shortens text to maxCause.
func clipped(text string) string {
	if len(text) <= maxCause {
		return text
	}
	cut := maxCause
	for cut > 0 && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}
