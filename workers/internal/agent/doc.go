// Package agent runs agents: a loop of model calls and tool calls that ends with an answer.
//
// Each call is a journalled step, so a run that lost its worker goes on after the last finished step and no model call that was
// paid for is made again. The text of a model call is streamed while it is written. Passages that the retrieval tool found get
// marks ("[1]"); those that the answer uses become its citations, stored with the message and the job's result.
package agent
