package geminilocal

import (
	"encoding/base64"
	"encoding/json"
	"fmt"
	"strings"
)

// RetrievalTool is the name of the function that the stand-in calls on its own when it is offered: its arguments are
// {"query": "..."}, and its response is {"passages": [{"mark": "[1]", "title": "...", "page": 12, "heading": "...",
// "text": "..."}]}, where all but mark and text may be left out.
const RetrievalTool = "search_documents"

// ModelSuffix ends the modelVersion of every response.
const ModelSuffix = "-local-standin"

const signature = "(Answered by the local stand-in for Gemini, which quotes passages.)"

// wordsPerChunk is how finely an answer of its own is streamed.
const wordsPerChunk = 3

// reply is what one call to the model returns.
type reply struct {
	pieces        []part // one chunk of the stream each
	finish        string
	finishMessage string
	blocked       string // the reason, when the prompt was refused
	usage         *Usage // nil: counted
}

// compose is the stand-in's own answer to a request, without a script.
func compose(req *generateRequest) reply {
	question, results := req.lastTurn()
	functions, mustCall := req.functions()
	if len(results) == 0 {
		for _, f := range functions {
			if f.Name == RetrievalTool {
				return calling(req, f.Name, map[string]any{"query": question})
			}
		}
		if mustCall {
			f := functions[0]
			parameters := f.Parameters
			if f.ParametersJSONSchema != nil {
				parameters = f.ParametersJSONSchema
			}
			args, _ := parameters.fit(question).(map[string]any)
			return calling(req, f.Name, args)
		}
	}

	text := prose(question, results)
	switch config := req.GenerationConfig; {
	case config.ResponseJSONSchema != nil:
		return jsonReply(req, config.ResponseJSONSchema.fit(text))
	case config.ResponseSchema != nil:
		return jsonReply(req, config.ResponseSchema.fit(text))
	case config.ResponseMIMEType == "application/json":
		return jsonReply(req, map[string]any{"answer": text})
	}
	return limited(req, text+" "+signature)
}

// prose answers with the passages that were retrieved, or says why it cannot.
func prose(question string, results []*functionResponse) string {
	var passages []passage
	retrieved := false
	for _, r := range results {
		if found, ok := passagesIn(r.Response); ok {
			retrieved = true
			passages = append(passages, found...)
		}
	}
	switch {
	case retrieved:
		if quotes := quote(question, passages); quotes != "" {
			return "The documents say: " + quotes
		}
		return "The documents that were searched say nothing about this."
	case len(results) > 0:
		last := results[len(results)-1]
		return fmt.Sprintf("The tool %s answered: %s", last.Name, clip(clean(string(last.Response))))
	case question == "":
		return "There is no question in this request."
	default:
		return fmt.Sprintf("You said: “%s”. No documents were offered to answer from.", clip(clean(question)))
	}
}

// calling is a reply that calls a function. The id depends on nothing but the conversation.
func calling(req *generateRequest, name string, args map[string]any) reply {
	id := fmt.Sprintf("standin-%d-%08x", len(req.Contents), hash(0, []byte(req.promptText())))
	call := part{FunctionCall: &functionCall{ID: id, Name: name, Args: args}}
	return reply{pieces: []part{signed(call)}, finish: "STOP"}
}

// signed adds the thought signature that must come back with a function call.
func signed(p part) part {
	if p.ThoughtSignature == "" && p.FunctionCall != nil {
		p.ThoughtSignature = base64.StdEncoding.EncodeToString([]byte("local-standin:" + p.FunctionCall.ID))
	}
	return p
}

func jsonReply(req *generateRequest, value any) reply {
	text, err := json.MarshalIndent(value, "", "  ")
	if err != nil { // every value came from JSON or is a number within the schema's bounds
		text = []byte("null")
	}
	return limited(req, string(text))
}

// limited streams text a few words at a time and ends it where the request's token limit does.
func limited(req *generateRequest, text string) reply {
	finish := "STOP"
	if limit := req.GenerationConfig.MaxOutputTokens; limit > 0 && tokens(text) > limit {
		text, finish = strings.ToValidUTF8(text[:limit*4], ""), "MAX_TOKENS"
	}
	return reply{pieces: chunks(text), finish: finish}
}

// chunks cuts text into parts of a few words; joined they are the text again.
func chunks(text string) []part {
	var pieces []part
	words := strings.SplitAfter(text, " ")
	for len(words) > 0 {
		n := min(wordsPerChunk, len(words))
		if piece := strings.Join(words[:n], ""); piece != "" {
			pieces = append(pieces, part{Text: piece})
		}
		words = words[n:]
	}
	return pieces
}
