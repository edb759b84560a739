// Package gemini speaks to the model provider for the rest of the module: it generates answers and embeds texts. It is the
// only importer of the google.golang.org/genai SDK, and nothing of the SDK shows in its API, so that the agent and the
// embedding worker know messages, tool calls and vectors, and nothing of a provider.
//
// # Conversations
//
// A [Message] is plain data and survives a trip through JSON, because agent runs journal every one of them. What the model
// wrote is kept twice: readable (Text, Calls), and verbatim in Raw, which is what goes back to the model. Raw carries thought
// signatures that newer models insist on, so a message of the model must be passed on as it was received.
//
// # Failures
//
// Every failure is a [github.com/tarento/copilot/pkg/fault] error with one of these codes; the end of the caller's context is
// not a failure and is returned as it is (context.Canceled, context.DeadlineExceeded).
//
//	code                         kind          when
//	provider.rate_limited        RateLimited   429; RetryAfter from the service's RetryInfo
//	provider.unavailable         Unavailable   5xx, or no connection; RetryAfter when the service said so
//	provider.stream_cut          Upstream      the answer broke off, or ended without a finish reason
//	provider.timeout             Timeout       the service was silent for longer than Config.Timeout
//	provider.credentials         Forbidden     401, 403, an invalid key, a project that may not use the service
//	model.unknown                Invalid       404: no such model, or it cannot do this
//	model.rejected               Invalid       400 and other 4xx
//	model.invalid_request        Invalid       refused here, before anything was sent
//	model.blocked                Invalid       the provider's filter refused the prompt or stopped the answer
//	model.malformed_call         Upstream      the model tried to call a tool and got it wrong
//	model.no_answer              Upstream      the model stopped without text and without a call
//
// provider.credentials is Forbidden because that is the kind that is neither blamed on the input nor tried again: the same
// call fails until an operator changes the configuration. Its message says so.
//
// The client never tries anything again by itself: retries belong to the job engine, breakers and limits to package provider, which
// stands before it and sees all workers. The SDK does not retry unless told to either. The one thing it does on its own is to
// continue an answer for which the service handed out a checkpoint to continue from, which is part of the protocol.
//
// The API key appears in no error.
package gemini
